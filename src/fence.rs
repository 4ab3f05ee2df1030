//! What keeps a replica that lost the lead, without knowing it, from changing anything.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

/// Asked before each call to Kubernetes and to a store. A replica whose process was stopped for a while finds it closed
/// when it goes on, before it has had the time to look at its Lease. When all of its machine was suspended, its clocks stood
/// still as well: then the next renewal, at most three seconds later, ends it.
#[derive(Clone, Debug, Default)]
pub struct Fence(Arc<Mutex<Opening>>);

#[derive(Clone, Copy, Debug, Default)]
enum Opening {
    /// There are no other replicas.
    #[default]
    Always,
    Until(Instant),
}

impl Fence {
    /// Open until then, if it is not opened again.
    pub fn open_until(&self, end: Instant) {
        *self.lock() = Opening::Until(end);
    }

    /// Whether this replica may still act.
    #[must_use]
    pub fn is_open(&self) -> bool {
        match *self.lock() {
            Opening::Always => true,
            Opening::Until(end) => Instant::now() < end,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Opening> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
