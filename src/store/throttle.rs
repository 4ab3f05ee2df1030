//! A token bucket towards one store, in which what is urgent goes first.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep};

/// How urgent a request is; the first goes before all others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Urgency {
    /// Something that must no longer work: a deletion, or a right that no rule allows any more.
    Revocation,
    /// A new target, or a changed one.
    #[default]
    Change,
    /// A look whether everything is still as it should be.
    Drift,
}

/// The requests that a store gets in one second, and who waits for their turn.
#[derive(Debug)]
pub struct Throttle {
    per_second: f64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    tokens: f64,
    filled: Instant,
    waiting: [usize; 3],
}

impl Throttle {
    /// Lets that many requests through in a second, and as many at once after a rest.
    #[must_use]
    pub fn new(per_second: u16) -> Self {
        let per_second = f64::from(per_second.max(1));
        Self { per_second, state: Mutex::new(State { tokens: per_second, filled: Instant::now(), waiting: [0; 3] }) }
    }

    /// Waits for the turn of one request.
    pub async fn take(&self, urgency: Urgency) {
        let _place = Place::new(self, urgency);
        while let Some(wait) = self.wait(urgency) {
            sleep(wait).await;
        }
    }

    /// Takes a token, or says how long until there may be one.
    fn wait(&self, urgency: Urgency) -> Option<Duration> {
        let mut state = self.lock();
        let now = Instant::now();
        let filled = state.tokens + now.duration_since(state.filled).as_secs_f64() * self.per_second;
        (state.tokens, state.filled) = (filled.min(self.per_second), now);
        // Each of those before takes a token of its own.
        let before: usize = state.waiting[..urgency as usize].iter().sum();
        let missing = f64::from(u32::try_from(before).unwrap_or(u32::MAX)) + 1.0 - state.tokens;
        if missing > 0.0 {
            return Some(Duration::from_secs_f64(missing / self.per_second));
        }
        state.tokens -= 1.0;
        None
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The numbers are whole after every line that holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the queue, left also when the request is given up.
struct Place<'a> {
    throttle: &'a Throttle,
    urgency: Urgency,
}

impl<'a> Place<'a> {
    fn new(throttle: &'a Throttle, urgency: Urgency) -> Self {
        throttle.lock().waiting[urgency as usize] += 1;
        Self { throttle, urgency }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.throttle.lock().waiting[self.urgency as usize] -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test(start_paused = true)]
    async fn no_more_pass_than_may() {
        let throttle = Throttle::new(10);
        let start = Instant::now();
        for _ in 0..50 {
            throttle.take(Urgency::Change).await;
        }
        let took = start.elapsed();
        // Ten at once, the others a tenth of a second apart.
        assert!((Duration::from_millis(3_950)..Duration::from_millis(4_200)).contains(&took), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_urgent_goes_first() {
        let throttle = Arc::new(Throttle::new(1));
        throttle.take(Urgency::Change).await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let urgencies = [Urgency::Drift, Urgency::Drift, Urgency::Change, Urgency::Revocation, Urgency::Change];
        let mut tasks = Vec::new();
        for urgency in urgencies {
            let (throttle, order) = (throttle.clone(), order.clone());
            tasks.push(tokio::spawn(async move {
                throttle.take(urgency).await;
                order.lock().expect("whole").push(urgency);
            }));
            tokio::task::yield_now().await;
        }
        for task in tasks {
            task.await.expect("it ends");
        }
        let order = order.lock().expect("whole").clone();
        assert!(order.is_sorted(), "{order:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_gives_up_holds_nobody_back() {
        let throttle = Throttle::new(1);
        throttle.take(Urgency::Change).await;
        let given_up = tokio::time::timeout(Duration::from_millis(10), throttle.take(Urgency::Revocation)).await;
        assert!(given_up.is_err());
        let start = Instant::now();
        throttle.take(Urgency::Drift).await;
        assert!(start.elapsed() < Duration::from_millis(1_100), "{:?}", start.elapsed());
    }
}
