//! Two pipelines, one for targets and one for stores, and what they share.

pub mod absence;
pub mod backup_store;
pub mod backup_target;
pub mod brief;
pub mod cache;
pub mod census;
pub mod connection;
pub mod context;
pub mod departed;
pub mod guard;
pub mod looks;
pub mod namespaces;
pub mod places;
pub mod retry;
pub mod rivals;
pub mod run;
pub mod seen;
pub mod shared_keys;
pub mod shutdown;
pub mod slots;
pub mod time;
pub mod unpublished_keys;
pub mod urgency;
pub mod wake;
pub mod watched;
pub mod watches;
