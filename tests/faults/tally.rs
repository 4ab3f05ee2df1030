//! What came of all plans, in one line.

use std::{
    fmt,
    sync::atomic::{AtomicUsize, Ordering},
};

/// Counts what plans find.
#[derive(Default)]
pub struct Tally {
    pub run: AtomicUsize,
    pub converged: AtomicUsize,
    pub leaks: AtomicUsize,
    pub foreign: AtomicUsize,
    pub canary: AtomicUsize,
    /// Canary operations that failed.
    pub failed: AtomicUsize,
}

/// One more.
pub fn count(counter: &AtomicUsize) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [run, converged, leaks, foreign, canary, failed] =
            [&self.run, &self.converged, &self.leaks, &self.foreign, &self.canary, &self.failed]
                .map(|counter| counter.load(Ordering::Relaxed));
        write!(
            f,
            "fault plans: {run} run, {converged} converged, {leaks} leaks, {foreign} foreign touched, \
             {canary} canary operations, {failed} failed"
        )
    }
}
