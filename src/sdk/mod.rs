//! What all clients of an SDK have in common: their answers have an end, and who lost the lead sends nothing.
//! Which certificates they trust stands here, too.

pub mod bounded;
pub mod fenced;
pub mod trust;
