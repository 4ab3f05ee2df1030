//! What a proof means for the target: whether the key may be published, and what each condition says. Pure.

use std::time::Duration;

use jiff::Timestamp;

use super::plan::PATIENCE;
use crate::{
    access::Access,
    api::{
        Capability, Reason, Tier,
        condition::{Conditions, LEAST_PRIVILEGE, Truth},
    },
    controller::retry::Retry,
    probe::{Finding, Limits, Proof, Standing, reading::Reading},
    provider::{Words, clock::Skew},
};

/// A key that the store does not know is nothing that a person could mend, so it is told as such only when it is out of all
/// proportion: AWS says that changes can take some minutes.
const KEY_PATIENCE: Duration = Duration::from_mins(10);

/// Why a key is not proven.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The word of conditions for it.
    pub reason: Reason,
    /// What is in the way, for people.
    pub message: String,
    /// Whether it may pass by itself.
    pub retry: Retry,
}

impl Failure {
    /// Whether the store said nothing at all about the key.
    #[must_use]
    pub fn is_silence(&self) -> bool {
        [Reason::StoreUnreachable, Reason::Throttled, Reason::ClockSkewed].contains(&self.reason)
    }

    /// A clock that is wrong is told with how wrong it is, where the store has shown that.
    #[must_use]
    pub fn with_skew(self, skew: Option<Skew>) -> Self {
        match skew.filter(|_| self.reason == Reason::ClockSkewed) {
            Some(skew) => Self { message: format!("the store takes no request of this operator: {skew}"), ..self },
            None => self,
        }
    }
}

/// What keeps a proof from being one. Before a key, or a Secret with other access, is published, base access has to work, and
/// what else was granted too, as long as it may only need time: rclone makes use of a tier at once. Of what is published
/// already, only that the store did not answer is a failure; all else is told by the conditions.
#[must_use]
pub fn failure(proof: &Proof, publishes: bool, age: Duration) -> Option<Failure> {
    let base = of_base(proof, age).filter(|failure| failure.is_silence() || publishes && !proof.publishable());
    // In a bucket that is not there nothing can be tried, and it comes only with the Secret.
    let tiers = Tier::ALL.into_iter().filter(|_| !proof.is_bucket_missing());
    base.or_else(|| tiers.into_iter().find_map(|tier| of_optional(&proof.tier(tier), publishes, age)))
}

fn of_base(proof: &Proof, age: Duration) -> Option<Failure> {
    match proof.tier(Tier::BaseAccess) {
        Standing::NotYet(finding) => Some(not_yet(finding, age)),
        Standing::Broken(finding) if finding.reading == Reading::BucketMissing => {
            Some(Failure { reason: Reason::BucketNotFound, message: finding.to_string(), retry: Retry::Stalled })
        }
        Standing::Broken(finding) | Standing::Unsupported(finding) => {
            Some(Failure { reason: Reason::NotWorking, message: finding.to_string(), retry: Retry::Stalled })
        }
        Standing::Unknown(finding) => {
            Some(Failure { reason: Reason::Inconclusive, message: finding.to_string(), retry: Retry::Stalled })
        }
        Standing::Works
        | Standing::WorksWithoutEffect(_)
        | Standing::Denied
        | Standing::Allowed(_)
        | Standing::Untried(_) => None,
    }
}

fn of_optional(standing: &Standing<'_>, publishes: bool, age: Duration) -> Option<Failure> {
    let Standing::NotYet(finding) = standing else { return None };
    let failure = not_yet(finding, age);
    (failure.is_silence() || publishes && failure.retry == Retry::Backoff).then_some(failure)
}

/// What has not come after some patience does not come by itself.
fn not_yet(finding: &Finding, age: Duration) -> Failure {
    let (reason, retry) = match finding.reading {
        Reading::Unreachable | Reading::NotTried(_) => (Reason::StoreUnreachable, Retry::Backoff),
        Reading::Throttled => (Reason::Throttled, Retry::Backoff),
        Reading::ClockSkewed => (Reason::ClockSkewed, Retry::Stalled),
        _ if age < patience(finding) => (Reason::Propagating, Retry::Backoff),
        _ => (Reason::NotWorking, Retry::Stalled),
    };
    Failure { reason, message: finding.to_string(), retry }
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
pub fn tell(conditions: &mut Conditions<'_>, access: &Access, proof: &Proof, age: Duration, words: &Words) {
    for tier in Tier::ALL {
        let granted = access.tiers().any(|granted| granted == tier);
        // That ACLs are switched off shows only where one is set.
        let keeps = conditions.before(tier.name()).and_then(Reason::of) == Some(Reason::AclsDisabled);
        if keeps && proof.is_quiet() && proof.tier(tier) == Standing::Works {
            conditions.confirm(tier.name());
            continue;
        }
        let waits_for_bucket = proof.is_bucket_missing() && proof.publishable() && granted;
        let (truth, reason, message) = if waits_for_bucket && tier != Tier::Optional(Capability::CreateBucket) {
            let message = "the bucket does not exist yet; rclone creates it with the first backup".to_owned();
            (Truth::Unknown, Reason::BucketNotFound, message)
        } else {
            of_tier(proof.tier(tier), granted, age, words)
        };
        conditions.set(tier.name(), truth, reason, message);
    }
    let (truth, reason, message) = of_limits(proof, age, words);
    conditions.set(LEAST_PRIVILEGE, truth, reason, message);
}

fn of_tier(standing: Standing<'_>, granted: bool, age: Duration, words: &Words) -> (Truth, Reason, String) {
    match standing {
        Standing::Works => (Truth::True, Reason::Verified, "tried with the key itself: it works".to_owned()),
        Standing::WorksWithoutEffect(finding) => (Truth::True, Reason::AclsDisabled, finding.to_string()),
        Standing::NotYet(finding) if age < patience(finding) => {
            (Truth::Unknown, Reason::Propagating, finding.to_string())
        }
        Standing::NotYet(finding) | Standing::Broken(finding) => {
            (Truth::False, Reason::NotWorking, finding.to_string())
        }
        Standing::Denied => (
            Truth::False,
            Reason::VerifiedDenied,
            "tried with the key itself: it is refused; add it to spec.capabilities to have it".to_owned(),
        ),
        Standing::Allowed(found) => {
            let found: Vec<String> = found.iter().map(ToString::to_string).collect();
            if age < PATIENCE {
                return (Truth::Unknown, Reason::Propagating, format!("old rights may linger: {}", found.join(", ")));
            }
            let message =
                format!("{}; it was not asked for, and something gives it: {}", found.join(", "), words.excess);
            (Truth::True, Reason::NotRequestedButAllowed, message)
        }
        Standing::Unknown(finding) => (Truth::Unknown, Reason::Inconclusive, finding.to_string()),
        Standing::Unsupported(finding) => (Truth::False, Reason::Unsupported, finding.to_string()),
        Standing::Untried(untested) if granted => {
            (Truth::True, Reason::Granted, format!("the policy allows it; not tried: {untested}"))
        }
        Standing::Untried(_) => {
            (Truth::False, Reason::NotRequested, "add it to spec.capabilities to have it".to_owned())
        }
    }
}

fn of_limits(proof: &Proof, age: Duration, words: &Words) -> (Truth, Reason, String) {
    let list = |items: Vec<String>| items.join("; ");
    let untested = list(proof.untested().iter().map(ToString::to_string).collect());
    match proof.limits() {
        Limits::Held => {
            let refused = list(proof.refused().map(|finding| finding.probe.to_string()).collect());
            let message = format!(
                "tried with the key itself, under names made up for it, and refused: {refused}. Not tried: {untested}"
            );
            (Truth::True, Reason::Verified, message)
        }
        Limits::Exceeded => {
            let excess = list(proof.excess().map(ToString::to_string).collect());
            if age < PATIENCE {
                return (Truth::Unknown, Reason::Propagating, format!("old rights may linger: {excess}"));
            }
            (Truth::False, Reason::ExcessAccess, format!("{excess}; {}", words.excess))
        }
        Limits::Unclear => {
            let unclear = list(proof.unclear().map(ToString::to_string).collect());
            (Truth::Unknown, Reason::NotVerified, format!("without a clear answer: {unclear}"))
        }
    }
}

#[cfg(test)]
mod tests;
