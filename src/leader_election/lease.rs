//! Who holds the Lease, and whether it may be taken. Pure.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use tokio::time::Instant;

/// How long a Lease lasts after it was renewed: others wait that long before they take over from one that says nothing.
pub const LEASE_DURATION: Duration = Duration::from_secs(15);

/// What a Lease is to a replica that does not hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseState {
    /// Nobody has it, or who has it has been silent for too long.
    Available,
    /// Somebody has it until then, if it is not renewed.
    HeldUntil(Instant),
}

/// A Lease as it was last seen to change. Clocks of different machines are never compared: what counts is for how long this
/// one has seen no change.
#[derive(Clone, Debug, Default)]
pub struct Observer {
    version: Option<String>,
    since: Option<Instant>,
}

impl Observer {
    /// Takes a look at the Lease.
    pub fn state(&mut self, lease: Option<&Lease>, now: Instant) -> LeaseState {
        let Some(spec) = lease.and_then(|lease| lease.spec.as_ref()) else { return LeaseState::Available };
        if spec.holder_identity.as_deref().unwrap_or_default().is_empty() {
            return LeaseState::Available;
        }
        let version = lease.and_then(|lease| lease.metadata.resource_version.clone());
        if self.version != version {
            (self.version, self.since) = (version, Some(now));
        }
        let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        let end = self.since.unwrap_or(now) + seconds.map_or(LEASE_DURATION, Duration::from_secs);
        if now < end { LeaseState::HeldUntil(end) } else { LeaseState::Available }
    }
}

/// The Lease as its new or present holder writes it.
#[must_use]
pub fn held_by(identity: &str, before: Option<&LeaseSpec>, now: Timestamp) -> LeaseSpec {
    let mine = before.filter(|spec| spec.holder_identity.as_deref() == Some(identity));
    let transitions = before.and_then(|spec| spec.lease_transitions).unwrap_or(0);
    LeaseSpec {
        holder_identity: Some(identity.to_owned()),
        lease_duration_seconds: i32::try_from(LEASE_DURATION.as_secs()).ok(),
        acquire_time: mine.and_then(|spec| spec.acquire_time.clone()).or(Some(MicroTime(now))),
        renew_time: Some(MicroTime(now)),
        lease_transitions: Some(if mine.is_some() { transitions } else { transitions.saturating_add(1) }),
        ..LeaseSpec::default()
    }
}

/// The Lease as one that goes leaves it: the next need not wait.
#[must_use]
pub fn released(before: &LeaseSpec) -> LeaseSpec {
    LeaseSpec { holder_identity: None, ..before.clone() }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    use super::*;

    fn lease(holder: &str, version: &str) -> Lease {
        let metadata = ObjectMeta { resource_version: Some(version.to_owned()), ..ObjectMeta::default() };
        Lease { metadata, spec: Some(held_by(holder, None, Timestamp::UNIX_EPOCH)) }
    }

    #[test]
    fn whoever_renews_keeps_it_and_whoever_is_silent_loses_it() {
        let (mut observer, start) = (Observer::default(), Instant::now());
        assert_eq!(observer.state(Some(&lease("other", "1")), start), LeaseState::HeldUntil(start + LEASE_DURATION));
        let later = start + LEASE_DURATION - Duration::from_secs(1);
        assert_eq!(
            observer.state(Some(&lease("other", "2")), later),
            LeaseState::HeldUntil(later + LEASE_DURATION),
            "it was renewed"
        );
        assert_eq!(
            observer.state(Some(&lease("other", "2")), later + LEASE_DURATION),
            LeaseState::Available,
            "it was not"
        );
    }

    #[test]
    fn what_nobody_has_is_free_at_once() {
        let now = Instant::now();
        assert_eq!(Observer::default().state(None, now), LeaseState::Available);
        let mut free = lease("other", "1");
        free.spec = free.spec.as_ref().map(released);
        assert_eq!(Observer::default().state(Some(&free), now), LeaseState::Available);
    }

    #[test]
    fn changes_of_the_holder_are_counted() {
        let then = held_by("a", None, Timestamp::UNIX_EPOCH);
        let now = Timestamp::from_second(9).expect("a time");
        let renewed = held_by("a", Some(&then), now);
        assert_eq!((renewed.lease_transitions, &renewed.acquire_time), (then.lease_transitions, &then.acquire_time));
        let taken = held_by("b", Some(&renewed), now);
        assert_eq!((taken.lease_transitions, taken.acquire_time), (Some(2), Some(MicroTime(now))));
    }
}
