//! A token bucket towards one store, whose tokens are given out in fair turns.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use crate::fair::Line;
pub use crate::fair::Urgency;

/// Whose request it is.
#[derive(Clone, Debug, Default)]
pub struct Turn {
    /// How urgent it is.
    pub urgency: Urgency,
    /// The namespace that it is for; namespaces take turns. Empty for the operator itself.
    pub namespace: Arc<str>,
    /// When it is of no use any more.
    pub end: Option<Instant>,
}

/// What clocks of the runtime can tell apart.
const MOMENT: Duration = Duration::from_millis(1);

/// The turn did not come in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLate;

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
    line: Line<u64>,
    /// Who was given a token and has not noticed yet.
    served: BTreeSet<u64>,
    last: u64,
}

impl Throttle {
    /// Lets that many requests through in a second, and as many at once after a rest.
    #[must_use]
    pub fn new(per_second: u16) -> Self {
        let per_second = f64::from(per_second.max(1));
        let state = State {
            tokens: per_second,
            filled: Instant::now(),
            line: Line::default(),
            served: BTreeSet::new(),
            last: 0,
        };
        Self { per_second, state: Mutex::new(state) }
    }

    /// Waits for the turn of one request.
    ///
    /// # Errors
    /// When it does not come before the turn's end.
    pub async fn take(&self, turn: &Turn) -> Result<(), TooLate> {
        let is_late = |now: Instant| turn.end.is_some_and(|end| end <= now);
        let place = Place::new(self, turn);
        while !is_late(Instant::now()) {
            let Some(wait) = place.wait() else { return Ok(()) };
            let left = turn.end.map_or(wait, |end| end.duration_since(Instant::now()));
            sleep(wait.min(left)).await;
        }
        Err(TooLate)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The numbers are whole after every line that holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Gives out the tokens that have come by now.
    fn serve(&mut self, per_second: f64) {
        let now = Instant::now();
        let filled = self.tokens + now.duration_since(self.filled).as_secs_f64() * per_second;
        (self.tokens, self.filled) = (filled.min(per_second), now);
        while self.tokens >= 1.0 {
            let Some(next) = self.line.pop() else { return };
            self.served.insert(next);
            self.tokens -= 1.0;
        }
    }
}

/// A place in the line, left also when the request is given up.
struct Place<'a> {
    throttle: &'a Throttle,
    turn: &'a Turn,
    number: u64,
}

impl<'a> Place<'a> {
    fn new(throttle: &'a Throttle, turn: &'a Turn) -> Self {
        let mut state = throttle.lock();
        state.last += 1;
        let number = state.last;
        state.line.push(turn.urgency, &turn.namespace, number);
        drop(state);
        Self { throttle, turn, number }
    }

    /// How long until the next token comes; `None` when one is there, and this place's.
    fn wait(&self) -> Option<Duration> {
        let mut state = self.throttle.lock();
        state.serve(self.throttle.per_second);
        if state.served.remove(&self.number) {
            return None;
        }
        // A token that is all but there takes a moment, too.
        Some(Duration::from_secs_f64((1.0 - state.tokens).max(0.0) / self.throttle.per_second).max(MOMENT))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.throttle.lock();
        state.line.remove(self.turn.urgency, &self.turn.namespace, |number| *number == self.number);
        if state.served.remove(&self.number) {
            // Nobody made use of it.
            state.tokens += 1.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::{task::JoinSet, time::timeout};

    use super::*;

    fn turn(urgency: Urgency, namespace: &str) -> Turn {
        Turn { urgency, namespace: namespace.into(), end: None }
    }

    /// Endless requests, so many at once.
    fn flood(tasks: &mut JoinSet<()>, throttle: &Arc<Throttle>, urgency: Urgency, namespace: &'static str) {
        for _ in 0..16 {
            let throttle = throttle.clone();
            tasks.spawn(async move { while throttle.take(&turn(urgency, namespace)).await.is_ok() {} });
        }
    }

    async fn time_for(throttle: &Throttle, turn: &Turn, requests: usize) -> Duration {
        let start = Instant::now();
        for _ in 0..requests {
            throttle.take(turn).await.expect("it has no end");
        }
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_pass_than_may() {
        let took = time_for(&Throttle::new(10), &turn(Urgency::Change, "a"), 50).await;
        // Ten at once, the others a tenth of a second apart.
        assert!((Duration::from_millis(3_950)..Duration::from_millis(4_200)).contains(&took), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn endless_revocations_leave_a_change_and_a_look_their_share() {
        let throttle = Arc::new(Throttle::new(10));
        let mut tasks = JoinSet::new();
        flood(&mut tasks, &throttle, Urgency::Revocation, "flood");
        tokio::task::yield_now().await;
        let took = time_for(&throttle, &turn(Urgency::Change, "b"), 10).await;
        assert!(took < Duration::from_secs(4), "a third of the turns: {took:?}");
        flood(&mut tasks, &throttle, Urgency::Change, "flood");
        tokio::task::yield_now().await;
        let took = time_for(&throttle, &turn(Urgency::Drift, "b"), 6).await;
        assert!(took < Duration::from_secs(8), "a tenth of the turns: {took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_namespace_that_floods_slows_one_revocation_of_another_by_no_more_than_a_half() {
        let throttle = Arc::new(Throttle::new(10));
        let mut tasks = JoinSet::new();
        for urgency in Urgency::ALL {
            flood(&mut tasks, &throttle, urgency, "flood");
        }
        tokio::task::yield_now().await;
        // Every other one of six turns in ten.
        let took = time_for(&throttle, &turn(Urgency::Revocation, "b"), 9).await;
        assert!(took < Duration::from_secs(4), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_gives_up_holds_nobody_back() {
        let throttle = Throttle::new(1);
        time_for(&throttle, &turn(Urgency::Change, "a"), 1).await;
        let urgent = turn(Urgency::Revocation, "a");
        assert!(timeout(Duration::from_millis(10), throttle.take(&urgent)).await.is_err());
        let took = time_for(&throttle, &turn(Urgency::Drift, "a"), 1).await;
        assert!(took < Duration::from_millis(1_100), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_comes_too_late_is_not_taken() {
        let throttle = Throttle::new(1);
        let start = Instant::now();
        time_for(&throttle, &turn(Urgency::Change, "a"), 1).await;
        let short = Turn { end: Some(start + Duration::from_millis(500)), ..turn(Urgency::Change, "a") };
        assert_eq!(throttle.take(&short).await, Err(TooLate));
        assert!(start.elapsed() < Duration::from_millis(510), "{:?}", start.elapsed());
        // The token that it did not get is there for the next.
        time_for(&throttle, &turn(Urgency::Drift, "b"), 1).await;
        assert!(start.elapsed() < Duration::from_millis(1_010), "{:?}", start.elapsed());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whoever comes, and whoever gives up: the rate is never passed, and no token is left while somebody waits.
        #[test]
        fn the_rate_is_used_and_never_passed(
            rate in 1..50_u16,
            arrivals in proptest::collection::vec((0..400_u64, 0..3_usize, 0..4_usize, any::<bool>()), 1..120),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
            let (served, all) = runtime.expect("a runtime").block_on(served(rate, &arrivals));
            let per_second = f64::from(rate);
            for (first, from) in served.iter().enumerate() {
                for (count, at) in served[first..].iter().enumerate() {
                    let most = per_second + (at - from) * per_second + 1.1;
                    prop_assert!(f64::from(u32::try_from(count + 1).expect("few")) <= most, "{served:?}");
                }
            }
            // The last of those that stay is served when all before it are.
            let needed = (f64::from(u32::try_from(all).expect("few")) / per_second).max(0.0);
            let last_arrival = arrivals.iter().map(|(wait, ..)| wait).sum::<u64>();
            let latest = Duration::from_millis(last_arrival).as_secs_f64() + needed + 1.0;
            prop_assert!(served.iter().all(|at| *at <= latest), "{served:?} later than {latest}");
        }
    }

    /// When each was served, in seconds, and how many came.
    async fn served(rate: u16, arrivals: &[(u64, usize, usize, bool)]) -> (Vec<f64>, usize) {
        let (throttle, start, mut tasks) = (Arc::new(Throttle::new(rate)), Instant::now(), JoinSet::new());
        for (wait, urgency, namespace, gives_up) in arrivals.iter().copied() {
            sleep(Duration::from_millis(wait)).await;
            let throttle = throttle.clone();
            tasks.spawn(async move {
                let mut turn = turn(Urgency::ALL[urgency], &namespace.to_string());
                turn.end = gives_up.then(|| Instant::now() + Duration::from_millis(30));
                throttle.take(&turn).await.ok().map(|()| start.elapsed().as_secs_f64())
            });
        }
        let mut served: Vec<f64> = tasks.join_all().await.into_iter().flatten().collect();
        served.sort_by(f64::total_cmp);
        (served, arrivals.len())
    }
}
