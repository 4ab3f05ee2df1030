//! Proof by use: what a store answers to a target's own key (design §8).
//!
//! A grant is true when the key did the thing, a limit is true when the key tried and was refused. [`probes`] says what is
//! tried, [`reading`] what an answer says, [`proof`] what all answers say together: data and plain functions. [`engine`]
//! sends the probes, through [`client`], the only file that speaks to S3 with a target's key.

pub mod bucket;
mod client;
pub mod engine;
pub mod probes;
pub mod proof;
pub mod reading;

pub use bucket::bucket_is_missing;
pub use engine::{DEADLINE, Reach, prove};
pub use probes::{Depth, Plan, Probe};
pub use proof::{Limits, Proof, Standing};
pub use reading::{AWS, Family, Reading};
