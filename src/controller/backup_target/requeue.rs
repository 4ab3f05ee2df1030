//! When to come back to a target. Pure: time, chance and what failed before are handed in.

use std::time::Duration;

use jiff::Timestamp;

use super::{
    error::Error,
    plan::{ASK_AGAIN, Plan, Waiting},
};
use crate::controller::retry::Retry;

/// How soon to look again for something that may still appear.
pub const LOOK_AGAIN: Duration = Duration::from_secs(20);

/// How a reconcile ended.
pub enum End<'a> {
    /// The target is gone, or never needed anything.
    Gone,
    /// It is being deleted, so a mere look was broken off.
    GaveWay,
    /// Its store is another operator's by now.
    Left,
    /// There is a plan with nothing left to do in it.
    Settled(&'a Plan),
    Failed {
        error: &'a Error,
        /// How long for this reason.
        failing: Duration,
        /// Whether it has done nothing else for a while.
        for_a_while: bool,
        /// What failures in a row say about the next try.
        backoff: Duration,
    },
}

/// How soon to look whether somebody moved what is in the way; most of it cannot be watched. With the tenth by which it varies,
/// it is a minute at least.
const STILL_BLOCKED: Duration = Duration::from_secs(67);

/// How often a target is looked at.
#[derive(Clone, Copy)]
pub struct Pace {
    /// How often it is compared with what the store has.
    pub resync: Duration,
    /// How soon to look whether what is in the way is gone.
    pub still_blocked: Duration,
    /// How many come before it in the line for a rule that serves only so many, or for a place in the store.
    pub in_line: Option<u32>,
    pub now: Timestamp,
    /// Varies a time, so that many targets do not come at the same moment for ever.
    pub jitter: fn(Duration) -> Duration,
}

impl Pace {
    /// As of a target whose store is not known.
    #[must_use]
    pub fn new(resync: Duration, jitter: fn(Duration) -> Duration) -> Self {
        Self { resync, still_blocked: STILL_BLOCKED, in_line: None, now: Timestamp::UNIX_EPOCH, jitter }
    }

    /// No more often than its store can bear. Of many that are blocked, each waits longer: looking at them must not take what
    /// others need.
    #[must_use]
    pub fn of_store(self, drift_interval: Duration, time_for_looks: Duration) -> Self {
        let resync = drift_interval.max(self.resync);
        let still_blocked = STILL_BLOCKED.max(time_for_looks).min(resync.max(STILL_BLOCKED));
        Self { resync, still_blocked, ..self }
    }

    /// How long to wait; `None` when only a change can matter.
    #[must_use]
    pub fn next(&self, end: &End<'_>) -> Option<Duration> {
        match end {
            End::Gone => None,
            End::GaveWay => Some(Duration::ZERO),
            // Once more, by when the watch of stores has seen that, too: the store may have come back in the meantime.
            End::Left => Some((self.jitter)(LOOK_AGAIN)),
            End::Settled(plan) => Some(self.settled(plan)),
            End::Failed { error, failing, for_a_while, backoff } => {
                Some(self.failed(error, *failing, *for_a_while, *backoff))
            }
        }
    }

    fn settled(&self, plan: &Plan) -> Duration {
        let appears = (plan.waiting == Some(Waiting::KeyMayAppear)).then_some(LOOK_AGAIN);
        let blocked = plan.blocked.as_ref().map(|_| (self.jitter)(self.still_blocked));
        // The first in the line looks soon whether there is room, and each behind it later.
        let line = self.in_line.map(|before| (self.jitter)(self.still_blocked.saturating_mul(before + 1)));
        let due = plan.due.map(|due| until(due, self.now));
        let sooner = [appears, blocked, line, due].into_iter().flatten();
        sooner.fold((self.jitter)(self.resync), Duration::min)
    }

    fn failed(&self, error: &Error, failing: Duration, for_a_while: bool, backoff: Duration) -> Duration {
        // What a person just mends is soon seen; what nobody mends costs little.
        let patience = (self.jitter)(if for_a_while { self.still_blocked } else { LOOK_AGAIN });
        match (error, error.retry().after(failing)) {
            (_, Retry::Stalled) => patience,
            // What is new at the store is soon known there, and until then it is to be seen when patience ends.
            _ if error.retry() == Retry::Patience => backoff.min(LOOK_AGAIN),
            // When the store comes or gets ready, that wakes its targets.
            (Error::StoreNotFound(_) | Error::StoreNotReady { .. }, _) => backoff.max(patience),
            // Sooner or later the key is known everywhere, and then it is to be published.
            (Error::NotProven(_), Retry::Backoff) => backoff.min(ASK_AGAIN),
            (_, Retry::Backoff | Retry::Patience) => backoff,
        }
    }
}

fn until(due: Timestamp, now: Timestamp) -> Duration {
    // A second more than due: both ends are whole seconds.
    Duration::try_from(due.duration_since(now)).unwrap_or(Duration::ZERO) + Duration::from_secs(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::Reason,
        cluster,
        controller::backup_target::{
            fixtures::{at, invalid},
            plan::{Blocked, PATIENCE},
            verification::Failure,
        },
        provider,
    };

    const RESYNC: Duration = Duration::from_mins(10);
    const BACKOFF: Duration = Duration::from_secs(40);

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn pace() -> Pace {
        Pace { resync: RESYNC, still_blocked: STILL_BLOCKED, in_line: None, now: at(1_000), jitter: |time| time }
    }

    fn settled(pace: &Pace, plan: &Plan) -> Duration {
        pace.next(&End::Settled(plan)).expect("it comes back")
    }

    fn failed(error: &Error, for_a_while: bool, backoff: Duration) -> Duration {
        let failing = if for_a_while { PATIENCE } else { Duration::ZERO };
        pace().next(&End::Failed { error, failing, for_a_while, backoff }).expect("it comes back")
    }

    fn waiting(waiting: Waiting) -> Plan {
        Plan { waiting: Some(waiting), ..Plan::default() }
    }

    fn due(second: i64) -> Plan {
        Plan { due: Some(at(second)), ..Plan::default() }
    }

    fn blocked() -> Plan {
        Plan { blocked: Some(Blocked::Suspended), ..Plan::default() }
    }

    #[test]
    fn what_is_gone_is_left_alone_and_what_gave_way_comes_at_once() {
        assert_eq!(pace().next(&End::Gone), None);
        assert_eq!(pace().next(&End::GaveWay), Some(Duration::ZERO));
        assert_eq!(pace().next(&End::Left), Some(LOOK_AGAIN));
    }

    #[test]
    fn what_is_settled_comes_back_for_what_is_soonest() {
        let (limit, fight) =
            (Waiting::ReissueLimit { until: at(1_300), keyless: false }, Waiting::Contested { until: at(1_300) });
        let table = [
            ("nothing", Plan::default(), RESYNC),
            ("a key may appear", waiting(Waiting::KeyMayAppear), LOOK_AGAIN),
            ("a limit says when by what is due", waiting(limit), RESYNC),
            ("so does a fight", waiting(fight), RESYNC),
            ("blocked", blocked(), STILL_BLOCKED),
            ("due, and a second", due(1_030), seconds(31)),
            ("overdue", due(900), seconds(1)),
            ("due after the resync", due(9_000), RESYNC),
            ("due before it is looked whether it is blocked", Plan { due: Some(at(1_005)), ..blocked() }, seconds(6)),
            ("blocked before it is due", Plan { due: Some(at(1_300)), ..blocked() }, STILL_BLOCKED),
        ];
        for (what, plan, wait) in table {
            assert_eq!(settled(&pace(), &plan), wait, "{what}");
        }
    }

    #[test]
    fn each_in_the_line_waits_longer_than_the_one_before_it() {
        let table = [(None, RESYNC), (Some(0), seconds(67)), (Some(1), seconds(134)), (Some(100), RESYNC)];
        for (in_line, wait) in table {
            assert_eq!(settled(&Pace { in_line, ..pace() }, &Plan::default()), wait, "{in_line:?}");
        }
    }

    #[test]
    fn a_failure_comes_back_by_what_may_end_it() {
        let store = |kind| Error::Store(provider::Error { kind, action: "iam:GetUser" });
        let cluster = |kind| Error::Cluster(cluster::Error { kind, what: "write it" });
        let not_ready = Error::StoreNotReady { name: "s".into(), why: String::new() };
        let proof = |retry| Error::NotProven(Failure { reason: Reason::Propagating, message: String::new(), retry });
        // Without a failure before, and after failures for a while.
        let table = [
            ("a person mends the spec", Error::Invalid(invalid()), LOOK_AGAIN, STILL_BLOCKED),
            ("… or a right", store(provider::Kind::Denied("allow it")), LOOK_AGAIN, STILL_BLOCKED),
            ("… or a quota", cluster(cluster::Kind::QuotaExceeded), LOOK_AGAIN, STILL_BLOCKED),
            ("… or what is in the way", Error::Blocked(Blocked::Suspended), LOOK_AGAIN, STILL_BLOCKED),
            ("… or what the proof found", proof(Retry::Stalled), LOOK_AGAIN, STILL_BLOCKED),
            ("a store wakes its targets", Error::StoreNotFound("s".into()), BACKOFF, STILL_BLOCKED),
            ("… once it is ready", not_ready, BACKOFF, STILL_BLOCKED),
            ("a new store is soon checked", Error::StorePending("s".into()), BACKOFF, BACKOFF),
            ("a key is soon known", proof(Retry::Backoff), ASK_AGAIN, ASK_AGAIN),
            ("a server comes back", store(provider::Kind::Unreachable), BACKOFF, BACKOFF),
            ("a conflict passes", cluster(cluster::Kind::Conflict), BACKOFF, BACKOFF),
            ("time passes", Error::TimedOut, BACKOFF, BACKOFF),
        ];
        for (what, error, first, later) in table {
            assert_eq!(failed(&error, false, BACKOFF), first, "{what}");
            assert_eq!(failed(&error, true, BACKOFF), later, "{what}, for a while");
        }
        assert_eq!(failed(&proof(Retry::Backoff), false, seconds(1)), seconds(1), "sooner where that was enough");
        assert_eq!(failed(&store(provider::Kind::Denied("allow it")), false, seconds(1)), seconds(1), "it may be new");
        assert_eq!(failed(&Error::StoreNotFound("s".into()), false, seconds(1)), LOOK_AGAIN, "no hurry");
    }

    /// What is due at some time of its own, or counts failures of its own, needs no chance.
    #[test]
    fn what_many_targets_wait_for_varies() {
        let pace = Pace { jitter: |time| time * 2, ..pace() };
        let line = Pace { in_line: Some(0), jitter: pace.jitter, ..self::pace() };
        let failed =
            |error: &Error| pace.next(&End::Failed { error, failing: PATIENCE, for_a_while: true, backoff: BACKOFF });
        assert_eq!(settled(&pace, &Plan::default()), RESYNC * 2);
        assert_eq!(settled(&pace, &blocked()), STILL_BLOCKED * 2);
        assert_eq!(settled(&line, &Plan::default()), STILL_BLOCKED * 2);
        assert_eq!(failed(&Error::Blocked(Blocked::Suspended)), Some(STILL_BLOCKED * 2));
        assert_eq!(pace.next(&End::Left), Some(LOOK_AGAIN * 2));
        assert_eq!(settled(&pace, &due(1_030)), seconds(31));
        assert_eq!(settled(&pace, &waiting(Waiting::KeyMayAppear)), LOOK_AGAIN);
        assert_eq!(failed(&Error::TimedOut), Some(BACKOFF));
    }
}
