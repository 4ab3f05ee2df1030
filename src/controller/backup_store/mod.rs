//! The pipeline of a store: reconcile → report.

pub mod reconcile;
pub mod report;
