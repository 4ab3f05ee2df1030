//! Reasons: a bounded set, used for conditions, events and metrics alike. docs/reasons.md has a row for each.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// Writes each name once: as a variant, as the text that it is stored as, and in the list of all.
macro_rules! reasons {
    ($($(#[$doc:meta])+ $name:ident,)+) => {
        /// Why something is as it is, in one word.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason {
            $($(#[$doc])+ $name,)+
        }

        impl Reason {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// As it is stored.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)+
                }
            }
        }
    };
}

reasons! {
    /// Everything is in place.
    Provisioned,
    /// `spec.suspend` is set and everything is in place.
    Suspended,
    /// `spec.suspend` is set and holds back a change.
    ChangeSuspended,
    /// The tier is in the policy.
    Granted,
    /// It was tried with the key itself, and works.
    Verified,
    /// It was tried with the key itself, and refused, as it should be.
    VerifiedDenied,
    /// It was tried with the key itself, and does not work.
    NotWorking,
    /// It works, but the bucket has ACLs switched off.
    AclsDisabled,
    /// It was not asked for, and something else than the policy allows it.
    NotRequestedButAllowed,
    /// It was tried, and the answer says nothing.
    Inconclusive,
    /// The store has no such thing.
    Unsupported,
    /// New keys and rights take a while to be known everywhere.
    Propagating,
    /// The bucket does not exist.
    BucketNotFound,
    /// The tier was not asked for and is not in the policy.
    NotRequested,
    /// The tier was asked for and granted, and there is nothing to use it for.
    NotNeeded,
    /// The claim, or this part of it, is covered by no rule of the store.
    NotAllowed,
    /// Not known yet.
    Pending,
    /// The limits of the key have not been tried with the key itself.
    NotVerified,
    /// The spec breaks a rule that the API server could not check.
    InvalidSpec,
    /// This version of the operator does not know the object's fields.
    Unreadable,
    /// The operator itself has a fault.
    InternalError,
    /// The BackupStore that `spec.storeRef` names does not exist.
    StoreNotFound,
    /// The BackupStore exists, but its credentials do not work yet.
    StoreNotReady,
    /// The store's credentials answer for another AWS account than the one the store is pinned to.
    AccountChanged,
    /// A Secret of the wanted name exists and is not this target's.
    SecretConflict,
    /// An IAM user of the target's name exists and is not this target's.
    PrincipalConflict,
    /// Somebody in AWS contains the IAM user or its key, and the operator leaves that so.
    OnHold,
    /// Something on the IAM user was not made by this operator and is in the way.
    UnknownKey,
    /// AWS says that an access key was found in public.
    KeyCompromised,
    /// Somebody else undoes the operator's work again and again.
    Contested,
    /// The key can do what was not asked for.
    ExcessAccess,
    /// Somebody gave the principal other policies than the operator's, or groups that have some.
    OtherPolicies,
    /// The policy does not fit the store's size limit.
    PolicyTooLarge,
    /// A lost Secret is replaced at most once in ten minutes.
    ReissueLimited,
    /// A key whose creation was interrupted may still appear.
    KeyUncertain,
    /// Deletion is on its way.
    Deleting,
    /// The operator's AWS credentials may not do what is needed.
    AccessDenied,
    /// The operator's AWS credentials are not valid.
    InvalidCredentials,
    /// The operator's clock and the store's differ.
    ClockSkewed,
    /// The Secret with the operator's AWS credentials is missing or incomplete.
    CredentialsNotFound,
    /// The store's administrator has brought no key for what is claimed, or none that can be read.
    KeyNotBrought,
    /// The store's API does not answer, or not in time.
    StoreUnreachable,
    /// The store asks for fewer requests.
    Throttled,
    /// A quota of the AWS account is used up.
    LimitExceeded,
    /// The store answered something that the operator does not understand.
    StoreError,
    /// The Kubernetes API refused or failed.
    KubernetesError,
    /// The Kubernetes API forbids what is needed.
    Forbidden,
    /// A ResourceQuota of the namespace is used up.
    QuotaExceeded,
    /// A webhook or policy of the cluster does not let pass what is written.
    NotAdmitted,
    /// The reconcile took longer than it may.
    TimedOut,
    /// The store's credentials work.
    CredentialsValid,
    /// Every principal of the store has the permissions boundary.
    PermissionsBoundary,
    /// The operator has no credentials of its own for the store.
    NoCredentials,
    /// The store names no permissions boundary.
    NoPermissionsBoundary,
    /// The permissions boundary lies under the IAM path that the operator may write to.
    BoundaryWithinPath,
    /// Each rule's folders are its own, whatever namespaces are called.
    FoldersApart,
    /// With a namespace of the right name, the folder of one rule is that of another.
    FoldersMeet,
    /// The store is being deleted and targets still use it.
    InUse,
    /// Event: a lost Secret was replaced by one with a new key.
    KeyReissued,
    /// Event: the store's administrator brought another key, and the Secret has it.
    KeyFollowed,
    /// Event: other targets have the same key.
    KeyShared,
    /// Event: what somebody else changed was put right.
    DriftRepaired,
    /// Event: what somebody else changed is left, because repairs are paused.
    DriftLeft,
    /// Event: principal, key and Secret were left in place.
    Retained,
    /// Event: principal, key and Secret are gone.
    Deleted,
    /// Event: something that only the operator could have left behind was removed.
    OrphanDeleted,
    /// Event: a replaced key reached the end of its overlap, or had to make room.
    KeyRevoked,
}

impl Reason {
    /// That of a condition; none, where another version has written it.
    #[must_use]
    pub fn of(condition: &Condition) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.as_str() == condition.reason)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
