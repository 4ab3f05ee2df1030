//! The words of status: condition types, reasons, and how a condition keeps its transition time.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::Tier;

/// Summary: the published credentials are in place and carry what the spec asks for.
pub const READY: &str = "Ready";
/// Abnormal-true: the operator is working on it or waiting for something (kstatus: in progress).
pub const RECONCILING: &str = "Reconciling";
/// Abnormal-true: only a person can go on from here (kstatus: failed).
pub const STALLED: &str = "Stalled";
/// BackupStore: whether a permissions boundary limits what its principals can ever do.
pub const BOUNDED: &str = "Bounded";
/// BackupStore: whether nobody can reach the folder of others by the name of a namespace.
pub const FOLDERS_APART: &str = "FoldersApart";
/// Everything outside the request was tried with the key and refused.
pub const LEAST_PRIVILEGE: &str = "LeastPrivilege";

/// Reasons: a bounded set, used for conditions, events and metrics alike.
pub mod reason {
    /// Everything is in place.
    pub const PROVISIONED: &str = "Provisioned";
    /// `spec.suspend` is set and everything is in place.
    pub const SUSPENDED: &str = "Suspended";
    /// `spec.suspend` is set and holds back a change.
    pub const CHANGE_SUSPENDED: &str = "ChangeSuspended";
    /// The tier is in the policy.
    pub const GRANTED: &str = "Granted";
    /// It was tried with the key itself, and works.
    pub const VERIFIED: &str = "Verified";
    /// It was tried with the key itself, and refused, as it should be.
    pub const VERIFIED_DENIED: &str = "VerifiedDenied";
    /// It was tried with the key itself, and does not work.
    pub const NOT_WORKING: &str = "NotWorking";
    /// It works, but the bucket has ACLs switched off.
    pub const ACLS_DISABLED: &str = "AclsDisabled";
    /// It was not asked for, and something else than the policy allows it.
    pub const NOT_REQUESTED_BUT_ALLOWED: &str = "NotRequestedButAllowed";
    /// It was tried, and the answer says nothing.
    pub const INCONCLUSIVE: &str = "Inconclusive";
    /// The store has no such thing.
    pub const UNSUPPORTED: &str = "Unsupported";
    /// New keys and rights take a while to be known everywhere.
    pub const PROPAGATING: &str = "Propagating";
    /// The bucket does not exist.
    pub const BUCKET_NOT_FOUND: &str = "BucketNotFound";
    /// The tier was not asked for and is not in the policy.
    pub const NOT_REQUESTED: &str = "NotRequested";
    /// The tier was asked for and granted, and there is nothing to use it for.
    pub const NOT_NEEDED: &str = "NotNeeded";
    /// The claim, or this part of it, is covered by no rule of the store.
    pub const NOT_ALLOWED: &str = "NotAllowed";
    /// Not known yet.
    pub const PENDING: &str = "Pending";
    /// The limits of the key have not been tried with the key itself.
    pub const NOT_VERIFIED: &str = "NotVerified";
    /// The spec breaks a rule that the API server could not check.
    pub const INVALID_SPEC: &str = "InvalidSpec";
    /// This version of the operator does not know the object's fields.
    pub const UNREADABLE: &str = "Unreadable";
    /// The operator itself has a fault.
    pub const INTERNAL_ERROR: &str = "InternalError";
    /// The BackupStore that `spec.storeRef` names does not exist.
    pub const STORE_NOT_FOUND: &str = "StoreNotFound";
    /// The BackupStore exists, but its credentials do not work yet.
    pub const STORE_NOT_READY: &str = "StoreNotReady";
    /// The store's credentials answer for another AWS account than the one the store is pinned to.
    pub const ACCOUNT_CHANGED: &str = "AccountChanged";
    /// A Secret of the wanted name exists and is not this target's.
    pub const SECRET_CONFLICT: &str = "SecretConflict";
    /// An IAM user of the target's name exists and is not this target's.
    pub const PRINCIPAL_CONFLICT: &str = "PrincipalConflict";
    /// Somebody in AWS contains the IAM user or its key, and the operator leaves that so.
    pub const ON_HOLD: &str = "OnHold";
    /// Something on the IAM user was not made by this operator and is in the way.
    pub const UNKNOWN_KEY: &str = "UnknownKey";
    /// AWS says that an access key was found in public.
    pub const KEY_COMPROMISED: &str = "KeyCompromised";
    /// Somebody else undoes the operator's work again and again.
    pub const CONTESTED: &str = "Contested";
    /// The key can do what was not asked for.
    pub const EXCESS_ACCESS: &str = "ExcessAccess";
    /// The policy does not fit the store's size limit.
    pub const POLICY_TOO_LARGE: &str = "PolicyTooLarge";
    /// A lost Secret is replaced at most once in ten minutes.
    pub const REISSUE_LIMITED: &str = "ReissueLimited";
    /// A key whose creation was interrupted may still appear.
    pub const KEY_UNCERTAIN: &str = "KeyUncertain";
    /// Deletion is on its way.
    pub const DELETING: &str = "Deleting";
    /// The operator's AWS credentials may not do what is needed.
    pub const ACCESS_DENIED: &str = "AccessDenied";
    /// The operator's AWS credentials are not valid.
    pub const INVALID_CREDENTIALS: &str = "InvalidCredentials";
    /// The operator's clock and the store's differ.
    pub const CLOCK_SKEWED: &str = "ClockSkewed";
    /// The Secret with the operator's AWS credentials is missing or incomplete.
    pub const CREDENTIALS_NOT_FOUND: &str = "CredentialsNotFound";
    /// The store's API does not answer, or not in time.
    pub const STORE_UNREACHABLE: &str = "StoreUnreachable";
    /// The store asks for fewer requests.
    pub const THROTTLED: &str = "Throttled";
    /// A quota of the AWS account is used up.
    pub const LIMIT_EXCEEDED: &str = "LimitExceeded";
    /// The store answered something that the operator does not understand.
    pub const STORE_ERROR: &str = "StoreError";
    /// The Kubernetes API refused or failed.
    pub const KUBERNETES_ERROR: &str = "KubernetesError";
    /// The Kubernetes API forbids what is needed.
    pub const FORBIDDEN: &str = "Forbidden";
    /// A ResourceQuota of the namespace is used up.
    pub const QUOTA_EXCEEDED: &str = "QuotaExceeded";
    /// A webhook or policy of the cluster does not let pass what is written.
    pub const NOT_ADMITTED: &str = "NotAdmitted";
    /// The reconcile took longer than it may.
    pub const TIMED_OUT: &str = "TimedOut";
    /// The store's credentials work.
    pub const CREDENTIALS_VALID: &str = "CredentialsValid";
    /// Every principal of the store has the permissions boundary.
    pub const PERMISSIONS_BOUNDARY: &str = "PermissionsBoundary";
    /// The store names no permissions boundary.
    pub const NO_PERMISSIONS_BOUNDARY: &str = "NoPermissionsBoundary";
    /// The permissions boundary lies under the IAM path that the operator may write to.
    pub const BOUNDARY_WITHIN_PATH: &str = "BoundaryWithinPath";
    /// Each rule's folders are its own, whatever namespaces are called.
    pub const FOLDERS_APART: &str = "FoldersApart";
    /// With a namespace of the right name, the folder of one rule is that of another.
    pub const FOLDERS_MEET: &str = "FoldersMeet";
    /// The store is being deleted and targets still use it.
    pub const IN_USE: &str = "InUse";
    /// Event: a lost Secret was replaced by one with a new key.
    pub const KEY_REISSUED: &str = "KeyReissued";
    /// Event: what somebody else changed was put right.
    pub const DRIFT_REPAIRED: &str = "DriftRepaired";
    /// Event: what somebody else changed is left, because repairs are paused.
    pub const DRIFT_LEFT: &str = "DriftLeft";
    /// Event: principal, key and Secret were left in place.
    pub const RETAINED: &str = "Retained";
    /// Event: principal, key and Secret are gone.
    pub const DELETED: &str = "Deleted";
    /// Event: something that only the operator could have left behind was removed.
    pub const ORPHAN_DELETED: &str = "OrphanDeleted";
    /// Event: a replaced key reached the end of its overlap, or had to make room.
    pub const KEY_REVOKED: &str = "KeyRevoked";
}

/// `True`, `False` or `Unknown`, as Kubernetes writes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// It is so.
    True,
    /// It is not so.
    False,
    /// It could not be found out.
    Unknown,
}

impl Truth {
    /// What a condition says.
    #[must_use]
    pub fn of(condition: &Condition) -> Self {
        match condition.status.as_str() {
            "True" => Self::True,
            "False" => Self::False,
            _ => Self::Unknown,
        }
    }

    /// As a condition's status.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// Collects the conditions of one reconcile; what is not set again is gone.
pub struct Conditions<'a> {
    before: &'a [Condition],
    generation: Option<i64>,
    now: Timestamp,
    after: Vec<Condition>,
}

impl<'a> Conditions<'a> {
    /// Starts from the conditions that the object has.
    #[must_use]
    pub fn new(before: &'a [Condition], generation: Option<i64>, now: Timestamp) -> Self {
        Self { before, generation, now, after: Vec::new() }
    }

    /// What was set so far.
    #[must_use]
    pub fn find(&self, type_: &str) -> Option<&Condition> {
        find(&self.after, type_)
    }

    /// What the object's condition of that type says.
    #[must_use]
    pub fn before(&self, type_: &str) -> Option<&Condition> {
        find(self.before, type_)
    }

    /// Sets one condition, also anew; its transition time moves only when its status does.
    pub fn set(&mut self, type_: &str, truth: Truth, reason: &str, message: impl Into<String>) {
        let status = truth.as_str();
        let since = self
            .before
            .iter()
            .find(|old| old.type_ == type_ && old.status == status)
            .map_or(Time(self.now), |old| old.last_transition_time.clone());
        self.after.retain(|set| set.type_ != type_);
        self.after.push(Condition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: message.into(),
            observed_generation: self.generation,
            last_transition_time: since,
        });
    }

    /// Keeps what a condition says, for the present generation.
    pub fn confirm(&mut self, type_: &str) -> bool {
        let old = find(self.before, type_).cloned();
        let found = old.is_some();
        self.after.extend(old.map(|old| Condition { observed_generation: self.generation, ..old }));
        found
    }

    /// Keeps a condition that the object has, when nothing new was learnt about it.
    pub fn keep(&mut self, type_: &str) -> bool {
        let old = find(self.before, type_).cloned();
        let found = old.is_some();
        self.after.extend(old);
        found
    }

    /// The finished list, always in the same order: one that only looks different would be written for nothing.
    #[must_use]
    pub fn finish(mut self) -> Vec<Condition> {
        self.after.sort_by_key(|condition| rank(&condition.type_));
        self.after
    }
}

/// What a person wants to know first comes first.
fn rank(type_: &str) -> usize {
    let first = [READY, RECONCILING, STALLED, BOUNDED, FOLDERS_APART, LEAST_PRIVILEGE];
    let tiers = Tier::ALL.into_iter().map(Tier::name);
    first.into_iter().chain(tiers).position(|known| known == type_).unwrap_or(usize::MAX)
}

/// The condition of that type, if there is one.
#[must_use]
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transition_time_moves_only_with_the_status() {
        let then = Timestamp::UNIX_EPOCH;
        let now = Timestamp::from_second(1_000).expect("a valid time");
        let mut first = Conditions::new(&[], Some(1), then);
        first.set(READY, Truth::False, reason::PENDING, "not yet");
        let first = first.finish();

        let mut same = Conditions::new(&first, Some(2), now);
        same.set(READY, Truth::False, reason::DELETING, "going");
        assert_eq!(same.finish()[0].last_transition_time.0, then);

        let mut flipped = Conditions::new(&first, Some(2), now);
        flipped.set(READY, Truth::True, reason::PROVISIONED, "there");
        assert_eq!(flipped.finish()[0].last_transition_time.0, now);
    }
}
