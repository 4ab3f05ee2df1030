//! Whether the operator is ready, and whether it gets on with its work.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// A reconcile ends within two minutes, whatever happens; of many that wait for their turn, some end all the time.
const STUCK: Duration = Duration::from_mins(3);

/// What the probes of a pod ask.
#[derive(Debug, Default)]
pub struct Health(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    phase: Phase,
    under_way: usize,
    moved: Option<Instant>,
}

/// What the operator is at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// It is being set up, or hears from its watches for the first time.
    #[default]
    Starting,
    /// It does not know whether another one leads.
    Joining,
    /// Another one leads, and it waits to take over.
    StandingBy,
    /// It works.
    Working,
    /// It finishes what it has begun.
    Stopping,
}

impl Health {
    /// Says what the operator is at now. After a stop comes nothing else.
    pub fn is_now(&self, phase: Phase) {
        let mut state = self.lock();
        if state.phase != Phase::Stopping {
            state.phase = phase;
        }
    }

    /// Whether it only finishes what it has begun.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.lock().phase == Phase::Stopping
    }

    /// Whether it does, or would do, its work.
    ///
    /// # Errors
    /// What it does instead.
    pub fn ready(&self) -> Result<&'static str, &'static str> {
        match self.lock().phase {
            Phase::Working => Ok("working"),
            Phase::StandingBy => Ok("standing by: another replica leads"),
            Phase::Joining => Err("joining: the Lease, which says who leads, has not been read"),
            Phase::Starting => Err("starting: the first lists of all objects are not complete"),
            Phase::Stopping => Err("stopping: what has begun is finished"),
        }
    }

    /// Whether this is the replica that works.
    #[must_use]
    pub fn works(&self) -> bool {
        self.lock().phase == Phase::Working
    }

    /// Whether its work moves on.
    ///
    /// # Errors
    /// When there is work and none of it ends.
    pub fn live(&self) -> Result<&'static str, &'static str> {
        let state = self.lock();
        let still = state.moved.is_some_and(|moved| moved.elapsed() > STUCK);
        if state.under_way > 0 && still { Err("stuck: no reconcile ended for three minutes") } else { Ok("alive") }
    }

    /// A reconcile begins; it ends when what is returned is dropped.
    #[must_use]
    pub fn begin(&self) -> Work<'_> {
        let mut state = self.lock();
        if state.under_way == 0 {
            state.moved = Some(Instant::now());
        }
        state.under_way += 1;
        Work(self)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Whole after every line that holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A reconcile that is under way, however it ends.
pub struct Work<'a>(&'a Health);

impl Drop for Work<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.under_way -= 1;
        state.moved = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[test]
    fn only_who_works_or_stands_by_is_ready() {
        let health = Health::default();
        assert!(health.ready().is_err());
        let phases =
            [(Phase::Joining, false), (Phase::StandingBy, true), (Phase::Working, true), (Phase::Stopping, false)];
        for (phase, ready) in phases {
            health.is_now(phase);
            assert_eq!(health.ready().is_ok(), ready, "{phase:?}");
        }
        health.is_now(Phase::Working);
        assert!(health.ready().is_err(), "who stops does not begin anew");
    }

    #[tokio::test(start_paused = true)]
    async fn stuck_is_who_has_work_that_does_not_move() {
        let health = Health::default();
        let first = health.begin();
        advance(STUCK).await;
        assert!(health.live().is_ok());
        let second = health.begin();
        advance(Duration::from_secs(1)).await;
        assert!(health.live().is_err(), "new work does not hide that none ends");
        drop(first);
        assert!(health.live().is_ok(), "some of it ended");
        advance(STUCK + Duration::from_secs(1)).await;
        assert!(health.live().is_err());
        drop(second);
        advance(STUCK * 100).await;
        assert!(health.live().is_ok(), "there is nothing to do");
        let _third = health.begin();
        assert!(health.live().is_ok(), "it has only just begun");
    }
}
