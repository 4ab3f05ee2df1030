//! What every call to one store passes: only who leads may call, no more often than the store bears, and all is counted.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{
    Error, Kind,
    rate_limiter::{Throttle, TooLate, Turn},
};
use crate::{fence::Fence, telemetry::metrics::Meter};

/// How long to wait before a second and a third try, give or take a half.
const PAUSES: [Duration; 2] = [Duration::from_millis(250), Duration::from_millis(750)];
/// A call that has waited and tried for so long is the caller's to make again (docs/decisions/time-limits.md).
const NO_RETRY_AFTER: Duration = Duration::from_secs(5);

/// The way to one store.
pub struct Gate {
    throttle: Throttle,
    meter: Meter,
    fence: Fence,
}

impl Gate {
    /// A gate that lets so many calls through in a second.
    #[must_use]
    pub fn new(per_second: u16, meter: Meter, fence: Fence) -> Self {
        Self { throttle: Throttle::new(per_second), meter, fence }
    }

    /// What says whether this replica may act.
    #[must_use]
    pub fn fence(&self) -> &Fence {
        &self.fence
    }

    /// Waits for the turn of a call, makes it, and counts what came of it.
    ///
    /// # Errors
    /// That of the call; [`Kind::NotLeading`] or [`Kind::Overdue`] when it is not made.
    pub async fn pass<T>(
        &self,
        action: &'static str,
        turn: &Turn,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        self.throttle.take(turn).await.map_err(|TooLate| Error::new(action, Kind::Overdue))?;
        if !self.fence.is_open() {
            return Err(Error::new(action, Kind::NotLeading));
        }
        let answer = call.await;
        self.meter.called(action, answer.as_ref().map_or_else(|error| error.kind.name(), |_| "OK"));
        answer
    }

    /// The same for a call that may be made more than once: what may pass soon is tried again, and each try waits for its turn.
    ///
    /// # Errors
    /// That of the last try, or of one before it that may have done something all the same.
    pub async fn pass_again<T, Q: Future<Output = Result<T, Error>>>(
        &self,
        action: &'static str,
        turn: &Turn,
        mut call: impl FnMut() -> Q,
    ) -> Result<T, Error> {
        let (begun, mut pauses) = (Instant::now(), PAUSES.into_iter());
        let mut in_doubt = None;
        loop {
            let error = match self.pass(action, turn, call()).await {
                Err(error) if error.may_pass_soon() => error,
                answer => return answer,
            };
            // What one try may have done is not undone by a refusal of the next.
            let told = in_doubt.get_or_insert_with(|| error.clone());
            if told.is_definite() {
                *told = error;
            }
            let Some(pause) = pauses.next().filter(|_| begun.elapsed() < NO_RETRY_AFTER) else {
                return Err(told.clone());
            };
            sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
        }
    }
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate").field("throttle", &self.throttle).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_lost_the_lead_makes_no_call() {
        let fence = Fence::default();
        let gate = Gate::new(10, Meter::default(), fence.clone());
        let mut calls = 0;
        let mut pass = async || {
            let call = async {
                calls += 1;
                Ok(())
            };
            gate.pass("iam:GetUser", &Turn::default(), call).await
        };
        assert_eq!(pass().await, Ok(()), "without other replicas it is always open");
        fence.open_until(Instant::now() + Duration::from_secs(10));
        assert_eq!(pass().await, Ok(()));
        advance(Duration::from_secs(11)).await;
        assert_eq!(pass().await, Err(Error::new("iam:GetUser", Kind::NotLeading)));
        assert_eq!(calls, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_whose_turn_comes_too_late_is_not_made_and_certainly_changed_nothing() {
        let gate = Gate::new(1, Meter::default(), Fence::default());
        let turn = Turn { end: Some(Instant::now() + Duration::from_millis(100)), ..Turn::default() };
        let mut calls = 0;
        let mut pass = async || {
            let call = async {
                calls += 1;
                Ok(())
            };
            gate.pass("iam:CreateAccessKey", &turn, call).await
        };
        assert_eq!(pass().await, Ok(()));
        let late = pass().await.expect_err("the next turn is in a second");
        assert_eq!((late.kind.clone(), late.is_definite()), (Kind::Overdue, true));
        assert_eq!(calls, 1);
    }

    fn failure(kind: Kind) -> Result<(), Error> {
        Err(Error::new("iam:GetUser", kind))
    }

    #[tokio::test(start_paused = true)]
    async fn each_try_takes_a_token() {
        let gate = Gate::new(1, Meter::default(), Fence::default());
        let (begun, mut tries) = (Instant::now(), 0);
        let call = || {
            tries += 1;
            async { failure(Kind::Throttled) }
        };
        assert_eq!(gate.pass_again("iam:GetUser", &Turn::default(), call).await, failure(Kind::Throttled));
        assert_eq!(tries, 3);
        assert!(begun.elapsed() >= Duration::from_secs(2), "one at once, and one a second: {:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_pass_soon_is_not_tried_again() {
        for kind in [Kind::Denied("allow it"), Kind::NotFound, Kind::AlreadyExists, Kind::InvalidCredentials] {
            let gate = Gate::new(10, Meter::default(), Fence::default());
            let mut tries = 0;
            let call = || {
                tries += 1;
                let kind = kind.clone();
                async { failure(kind) }
            };
            assert_eq!(gate.pass_again("iam:GetUser", &Turn::default(), call).await, failure(kind.clone()));
            assert_eq!(tries, 1, "{kind:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_one_try_may_have_done_the_next_does_not_undo() {
        let gate = Gate::new(10, Meter::default(), Fence::default());
        let mut answers = [Kind::Throttled, Kind::Unreachable, Kind::Throttled].into_iter();
        let call = || {
            let kind = answers.next().expect("three tries");
            async { failure(kind) }
        };
        let told = gate.pass_again("iam:PutUserPolicy", &Turn::default(), call).await.expect_err("it failed");
        assert!(told.kind == Kind::Unreachable && !told.is_definite(), "{told}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_took_long_is_not_made_again() {
        let gate = Gate::new(10, Meter::default(), Fence::default());
        let mut tries = 0;
        let call = || {
            tries += 1;
            async {
                sleep(Duration::from_secs(5)).await;
                failure(Kind::Unreachable)
            }
        };
        assert_eq!(gate.pass_again("iam:GetUser", &Turn::default(), call).await, failure(Kind::Unreachable));
        assert_eq!(tries, 1);
    }
}
