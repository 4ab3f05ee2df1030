//! The pipeline of a target. Its files are the steps, in this order:
//!
//! ```text
//!  inputs ─▶ decide ─▶ observe ─▶ settle ─▶ plan ─▶ perform ─▶ record ─▶ conclude ─▶ report ─▶ requeue
//!  (IO)      (pure)    (IO)       (pure)    (pure)  (IO)       (pure)    (pure)      (pure)    (pure)
//! ```
//!
//! `reconcile` is their table of contents: from `observe` to `record` until nothing is left to do.

pub mod collect;
pub mod conclude;
pub mod decide;
pub mod error;
pub mod events;
pub mod failure;
#[cfg(test)]
pub mod fixtures;
pub mod inputs;
pub mod observe;
pub mod overlap;
pub mod perform;
pub mod plan;
pub mod reconcile;
pub mod record;
pub mod report;
pub mod requeue;
pub mod settle;
pub mod state;
pub mod verification;
