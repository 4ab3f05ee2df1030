//! What every call to one store passes: only who leads may call, no more often than the store bears, and all is counted.

use super::{
    Error, Kind,
    rate_limiter::{Throttle, TooLate, Turn},
};
use crate::{fence::Fence, telemetry::metrics::Meter};

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
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate").field("throttle", &self.throttle).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{Instant, advance};

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
}
