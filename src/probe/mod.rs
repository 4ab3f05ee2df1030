//! Proof by use: what a store answers to a target's own key (docs/decisions/verification.md).
//!
//! A grant is true when the key did the thing, a limit is true when the key tried and was refused. [`probes`] lists
//! what can be tried, [`plan`] what is to be tried for one access, [`reading`] what an answer says, [`proof`] what all answers
//! say together: data and plain functions. [`engine`] sends the probes, through `client.rs`, the only file that speaks to S3
//! with a target's key.

pub mod bucket;
mod client;
pub mod engine;
pub mod plan;
pub mod probes;
pub mod proof;
mod reach;
pub mod reading;
#[cfg(test)]
pub(crate) mod sample;

pub use bucket::bucket_is_missing;
pub use engine::{DEADLINE, prove};
pub use plan::{Marks, Plan, Untested};
pub use probes::{Depth, Probe};
pub use proof::{Finding, Limits, Proof, Standing};
pub use reach::Reach;
pub use reading::{Family, Reading};
