//! The pipeline of a target. Its files are the steps, in this order:
//!
//! ```text
//!  reconcile ─▶ decide ─▶ observe ─▶ plan ─▶ perform ─▶ record ─▶ report ─▶ requeue
//!  (IO)         (pure)    (IO)       (pure)  (IO)       (pure)    (pure)    (pure)
//! ```

pub mod collect;
pub mod decide;
pub mod error;
pub mod events;
pub mod failure;
#[cfg(test)]
pub mod fixtures;
pub mod observe;
pub mod overlap;
pub mod perform;
pub mod plan;
pub mod reconcile;
pub mod record;
pub mod report;
pub mod requeue;
pub mod state;
pub mod verification;
