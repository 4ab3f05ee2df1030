//! The pipeline: observe → parse → plan → execute → report, for targets and for stores.

pub mod census;
pub mod changes;
pub mod context;
pub mod departed;
pub mod error;
pub mod execute;
pub mod farewell;
pub mod goal;
pub mod guard;
pub mod hand;
pub mod memory;
pub mod namespaces;
pub mod observe;
pub mod overlap;
pub mod plan;
pub mod report;
pub mod rivals;
pub mod run;
pub mod rush;
pub mod seen;
pub mod slots;
pub mod state;
pub mod stores;
pub mod targets;
pub mod verdict;
pub mod watches;

use jiff::Timestamp;

/// Now, in the whole seconds that Kubernetes writes.
#[must_use]
pub fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}
