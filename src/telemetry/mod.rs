//! What the operator tells those who run it: logs, metrics, and whether it is well.

pub mod health;
pub mod http;
pub mod log;
pub mod metrics;

use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use health::Health;
use metrics::{Census, Metrics};
use tokio::time::Instant;

/// A census looks at every target, and anybody may ask for one.
const CENSUS_EVERY: Duration = Duration::from_secs(3);

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
    last_census: Mutex<Option<(Instant, Census)>>,
}

impl Telemetry {
    /// From now on there is something to count. What was said first stands.
    pub fn count_with(&self, count: Count) {
        let _ = self.census.set(count);
    }

    /// All metrics, as Prometheus reads them.
    #[must_use]
    pub fn exposition(&self) -> String {
        let mut last = self.last_census.lock().unwrap_or_else(PoisonError::into_inner);
        let known = last.take().filter(|(at, _)| at.elapsed() < CENSUS_EVERY);
        let (_, census) = last.insert(known.unwrap_or_else(|| (Instant::now(), self.count())));
        self.metrics.exposition(self.health.works(), census)
    }

    fn count(&self) -> Census {
        self.census.get().map(|count| count()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_asks_again_at_once_costs_no_census() {
        let telemetry = Telemetry::default();
        let counted = Arc::new(AtomicUsize::new(0));
        let count = counted.clone();
        telemetry.count_with(Box::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
            Census::default()
        }));
        for _ in 0..100 {
            let _ = telemetry.exposition();
        }
        assert_eq!(counted.load(Ordering::Relaxed), 1);
        advance(CENSUS_EVERY).await;
        let _ = telemetry.exposition();
        assert_eq!(counted.load(Ordering::Relaxed), 2);
    }
}
