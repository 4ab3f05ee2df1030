//! What the operator tells those who run it: logs, metrics, and whether it is well.

pub mod health;
pub mod http;
pub mod log;
pub mod metrics;

use std::sync::{Arc, OnceLock};

use health::Health;
use metrics::{Census, Metrics};

/// Takes a census of all targets and stores.
type Count = Box<dyn Fn() -> Census + Send + Sync>;

/// Shared by all who have something to tell.
#[derive(Default)]
pub struct Telemetry {
    /// What is counted while it happens.
    pub metrics: Arc<Metrics>,
    /// Whether the operator is well.
    pub health: Health,
    census: OnceLock<Count>,
}

impl Telemetry {
    /// From now on there is something to count. What was said first stands.
    pub fn count_with(&self, count: Count) {
        let _ = self.census.set(count);
    }

    /// All metrics, as Prometheus reads them.
    #[must_use]
    pub fn exposition(&self) -> String {
        let census = self.census.get().map(|count| count()).unwrap_or_default();
        self.metrics.exposition(self.health.works(), &census)
    }
}
