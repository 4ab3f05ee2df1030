//! What a proof means for the target: whether the key may be published, and what each condition says. Pure.

use std::time::Duration;

use jiff::Timestamp;

use super::{error::Retry, plan::PATIENCE, state::at_least};
use crate::{
    access::Access,
    api::{
        Tier,
        condition::{Conditions, LEAST_PRIVILEGE, Truth, reason},
    },
    probe::{Finding, Limits, Proof, Standing, reading::Reading},
};

/// A key that the store does not know is nothing that a person could mend, so it is told as such only when it is out of all
/// proportion: AWS says that changes can take some minutes.
const KEY_PATIENCE: Duration = Duration::from_mins(10);

/// Why a key is not proven.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// One of [`reason`]'s words.
    pub reason: &'static str,
    /// What is in the way, for people.
    pub message: String,
    /// Whether it may pass by itself.
    pub retry: Retry,
    /// For how long it may.
    patience: Duration,
}

impl Failure {
    /// Whether the store said nothing at all.
    #[must_use]
    pub fn is_silence(&self) -> bool {
        [reason::STORE_UNREACHABLE, reason::THROTTLED].contains(&self.reason)
    }

    /// What has not come after some patience does not come by itself.
    #[must_use]
    pub fn after(self, since: Option<Timestamp>, now: Timestamp) -> Self {
        let late = since.is_some_and(|since| at_least(self.patience, since, now));
        if late && self.reason == reason::PROPAGATING {
            return Self { reason: reason::NOT_WORKING, retry: Retry::Stalled, ..self };
        }
        self
    }
}

/// What keeps a proof from being one: of a key that is to be published anything but working base access, of a published
/// one only that nobody answered.
#[must_use]
pub fn failure(proof: &Proof, publishes: bool) -> Option<Failure> {
    if publishes && proof.publishable() {
        return None;
    }
    let (finding, reason, retry) = match proof.tier(Tier::BaseAccess) {
        Standing::NotYet(finding) => {
            let reason = match finding.reading {
                Reading::Unreachable | Reading::NotTried(_) => reason::STORE_UNREACHABLE,
                Reading::Throttled => reason::THROTTLED,
                _ => reason::PROPAGATING,
            };
            (finding, reason, Retry::Backoff)
        }
        Standing::Broken(finding) if finding.reading == Reading::BucketMissing => {
            (finding, reason::BUCKET_NOT_FOUND, Retry::Stalled)
        }
        Standing::Broken(finding) | Standing::Unsupported(finding) => (finding, reason::NOT_WORKING, Retry::Stalled),
        Standing::Unknown(finding) => (finding, reason::INCONCLUSIVE, Retry::Stalled),
        Standing::Works
        | Standing::WorksWithoutEffect(_)
        | Standing::Denied
        | Standing::Allowed(_)
        | Standing::Untried(_) => return None,
    };
    let failure = Failure { reason, message: finding.to_string(), retry, patience: patience(finding) };
    (publishes || failure.is_silence()).then_some(failure)
}

/// How long it may take until a grant works.
fn patience(finding: &Finding) -> Duration {
    if finding.reading == Reading::KeyUnknownYet { KEY_PATIENCE } else { PATIENCE }
}

/// How long this key has had this policy.
#[must_use]
pub fn age(since: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or(Duration::ZERO)
}

/// Sets the condition of each tier, and [`LEAST_PRIVILEGE`], from a proof of a key that has had its access for that long.
pub fn tell(conditions: &mut Conditions<'_>, access: &Access, proof: &Proof, age: Duration) {
    for tier in Tier::ALL {
        let granted = access.tiers().any(|granted| granted == tier);
        let (truth, reason, message) = if proof.is_bucket_missing() && proof.publishable() && tier == Tier::BaseAccess {
            let message = "the bucket does not exist yet; rclone creates it with the first backup".to_owned();
            (Truth::Unknown, reason::BUCKET_NOT_FOUND, message)
        } else {
            of_tier(proof.tier(tier), granted, age)
        };
        conditions.set(tier.name(), truth, reason, message);
    }
    let (truth, reason, message) = of_limits(proof, age);
    conditions.set(LEAST_PRIVILEGE, truth, reason, message);
}

fn of_tier(standing: Standing<'_>, granted: bool, age: Duration) -> (Truth, &'static str, String) {
    match standing {
        Standing::Works => (Truth::True, reason::VERIFIED, "tried with the key itself: it works".to_owned()),
        Standing::WorksWithoutEffect(finding) => (Truth::True, reason::ACLS_DISABLED, finding.to_string()),
        Standing::NotYet(finding) if age < patience(finding) => {
            (Truth::Unknown, reason::PROPAGATING, finding.to_string())
        }
        Standing::NotYet(finding) | Standing::Broken(finding) => {
            (Truth::False, reason::NOT_WORKING, finding.to_string())
        }
        Standing::Denied => (
            Truth::False,
            reason::VERIFIED_DENIED,
            "tried with the key itself: it is refused; add it to spec.capabilities to have it".to_owned(),
        ),
        Standing::Allowed(found) => {
            let found: Vec<String> = found.iter().map(ToString::to_string).collect();
            if age < PATIENCE {
                return (Truth::Unknown, reason::PROPAGATING, format!("old rights may linger: {}", found.join(", ")));
            }
            let message = format!(
                "{}; something else than the target's policy gives it: look at the bucket's policy and ACLs",
                found.join(", ")
            );
            (Truth::True, reason::NOT_REQUESTED_BUT_ALLOWED, message)
        }
        Standing::Unknown(finding) => (Truth::Unknown, reason::INCONCLUSIVE, finding.to_string()),
        Standing::Unsupported(finding) => (Truth::False, reason::UNSUPPORTED, finding.to_string()),
        Standing::Untried(untested) if granted => {
            (Truth::True, reason::GRANTED, format!("the policy allows it; not tried: {untested}"))
        }
        Standing::Untried(_) => {
            (Truth::False, reason::NOT_REQUESTED, "add it to spec.capabilities to have it".to_owned())
        }
    }
}

fn of_limits(proof: &Proof, age: Duration) -> (Truth, &'static str, String) {
    let list = |items: Vec<String>| items.join("; ");
    let untested = list(proof.untested().iter().map(ToString::to_string).collect());
    match proof.limits() {
        Limits::Held => {
            let refused = list(proof.refused().map(|finding| finding.probe.to_string()).collect());
            let message = format!("tried with the key itself and refused: {refused}. Not tried: {untested}");
            (Truth::True, reason::VERIFIED, message)
        }
        Limits::Exceeded => {
            let excess = list(proof.excess().map(ToString::to_string).collect());
            if age < PATIENCE {
                return (Truth::Unknown, reason::PROPAGATING, format!("old rights may linger: {excess}"));
            }
            let message = format!("{excess}; look at the bucket's policy, its ACLs, and what else the IAM user has");
            (Truth::False, reason::EXCESS_ACCESS, message)
        }
        Limits::Unclear => {
            let unclear = list(proof.unclear().map(ToString::to_string).collect());
            (Truth::Unknown, reason::NOT_VERIFIED, format!("without a clear answer: {unclear}"))
        }
    }
}
