//! Which requests to break, and what became of it.

use std::{
    ops::Range,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::watch;

use super::{fault::Fault, ledger::Call};

/// A fault in force; it ends when this is dropped.
pub struct Active {
    rule: Arc<Rule>,
}

impl Active {
    /// How many requests it has broken.
    pub fn hits(&self) -> usize {
        self.rule.hits.load(Ordering::Relaxed)
    }

    /// Waits until it has broken a request, and whatever that still brings about has come about.
    pub async fn happened(&self) {
        // The sender lives as long as the rule, which lives as long as this.
        let _ = self.rule.happened.subscribe().wait_for(|happened| *happened).await;
    }
}

/// One fault, and the requests it is for.
pub(super) struct Rule {
    pub(super) fault: Fault,
    matches: Box<dyn Fn(&Call) -> bool + Send + Sync>,
    /// Which of the matching requests, counted from 0.
    which: Range<usize>,
    seen: AtomicUsize,
    hits: AtomicUsize,
    happened: watch::Sender<bool>,
}

impl Rule {
    /// All that the fault brings about has come about.
    pub(super) fn has_happened(&self) {
        self.happened.send_replace(true);
    }

    fn takes(&self, call: &Call) -> bool {
        let takes = (self.matches)(call) && self.which.contains(&self.seen.fetch_add(1, Ordering::Relaxed));
        if takes {
            self.hits.fetch_add(1, Ordering::Relaxed);
        }
        takes
    }
}

#[derive(Default)]
pub(super) struct Rules {
    rules: Mutex<Vec<Weak<Rule>>>,
}

impl Rules {
    pub(super) fn add(
        &self,
        fault: Fault,
        which: Range<usize>,
        matches: impl Fn(&Call) -> bool + Send + Sync + 'static,
    ) -> Active {
        let (matches, happened) = (Box::new(matches), watch::Sender::new(false));
        let (seen, hits) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let rule = Arc::new(Rule { fault, matches, which, seen, hits, happened });
        self.rules.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&rule));
        Active { rule }
    }

    /// The rule for a request, if one is in force; the newest wins.
    pub(super) fn of(&self, call: &Call) -> Option<Arc<Rule>> {
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        rules.retain(|rule| rule.strong_count() > 0);
        rules.iter().rev().filter_map(Weak::upgrade).find(|rule| rule.takes(call))
    }
}
