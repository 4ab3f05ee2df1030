//! What came of all plans, in one line.

use std::{
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Of so many plans, one may break nothing: its call was not made in its run, although both reference runs made it. Of more
/// the plans are at fault, and say too little.
const MAY_BREAK_NOTHING: usize = 50;

/// Counts what plans find.
#[derive(Default)]
pub struct Tally {
    pub situations: AtomicUsize,
    pub run: AtomicUsize,
    /// Broke something, and were well again.
    pub converged: AtomicUsize,
    pub leaks: AtomicUsize,
    pub foreign: AtomicUsize,
    pub canary: AtomicUsize,
    /// Canary operations that failed.
    pub failed: AtomicUsize,
    broke_nothing: Mutex<Vec<String>>,
}

/// One more.
pub fn count(counter: &AtomicUsize) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Tally {
    /// A plan broke nothing, in all of its runs.
    pub fn broke_nothing(&self, plan: String) {
        self.broke_nothing.lock().unwrap_or_else(PoisonError::into_inner).push(plan);
    }

    /// Whether nearly all plans broke something.
    pub fn says_enough(&self) -> bool {
        let nothing = self.broke_nothing.lock().unwrap_or_else(PoisonError::into_inner).len();
        nothing * MAY_BREAK_NOTHING <= self.run.load(Ordering::Relaxed)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [situations, run, converged, leaks, foreign, canary, failed] =
            [&self.situations, &self.run, &self.converged, &self.leaks, &self.foreign, &self.canary, &self.failed]
                .map(|counter| counter.load(Ordering::Relaxed));
        let nothing = self.broke_nothing.lock().unwrap_or_else(PoisonError::into_inner);
        write!(
            f,
            "fault plans: {run} run, {converged} converged, {} broke nothing, {leaks} leaks, {foreign} foreign touched, \
             {canary} canary operations, {failed} failed; {situations} situations",
            nothing.len()
        )?;
        for plan in nothing.iter() {
            write!(f, "\n  no fault of the operator: the call was not made, and the plan broke nothing: {plan}")?;
        }
        Ok(())
    }
}
