//! One error for a reconcile; it answers everywhere the same three questions: reason, retry, message.

use super::{plan::Blocked, verification::Failure};
use crate::{
    access::Invalid,
    api::Reason,
    cluster::{self, SecretOwner},
    controller::{
        connection::{self, cluster_reason, store_reason},
        retry::Retry,
    },
    names::{self, REACTIVATE_KEYS_ANNOTATION, tag::HOLD},
    provider::{self, ForeignOwner},
};

/// Why a reconcile could not go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The spec breaks a rule.
    #[error("{0}")]
    Invalid(#[from] Invalid),
    /// The BackupStore does not exist.
    #[error("BackupStore {0} does not exist; create it, or name another one in spec.storeRef")]
    StoreNotFound(String),
    /// The BackupStore is so new that its credentials were not checked yet.
    #[error("the credentials of BackupStore {0} are being checked")]
    StorePending(String),
    /// The BackupStore exists and is not ready.
    #[error("BackupStore {name} is not ready: {why}; its own conditions tell its administrator more")]
    StoreNotReady {
        name: String,
        /// The reason that its own status gives. Not its message: that is for its administrator, and anybody may name a store.
        why: String,
    },
    /// What keeps a store from working, without what is none of its users' business.
    #[error("BackupStore {name} is not ready: {}; its own conditions tell its administrator more", cause.reason())]
    OfStore { name: String, cause: Box<connection::Error> },
    /// A call to the store failed.
    #[error(transparent)]
    Store(#[from] provider::Error),
    /// A call to Kubernetes failed.
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    /// Something is in the way.
    #[error("{}", blocked_message(.0))]
    Blocked(Blocked),
    /// The key is not proven.
    #[error(transparent)]
    NotProven(Failure),
    /// What was planned for is not there any more.
    #[error("the access key that was to be published is gone; looking again")]
    Overtaken,
    /// Something in the cluster's admission changes what is written.
    #[error(
        "Secret {name} is changed on its way by something in the cluster's admission, such as a mutating webhook or policy: what is \
         stored differs in {what}; find it (kubectl get mutatingwebhookconfigurations,mutatingadmissionpolicies) and except Secrets \
         with the label {}={}",
        names::MANAGED_BY_LABEL,
        names::OPERATOR
    )]
    Altered {
        /// Name of the Secret.
        name: String,
        /// Where the difference is.
        what: &'static str,
    },
    /// It took too long.
    #[error("the reconcile did not end in time and was cut off; trying again")]
    TimedOut,
}

impl Error {
    /// What keeps a store from working, as its users are told: account ids, and where its credentials are, are for its
    /// administrator.
    #[must_use]
    pub fn of_store(error: connection::Error, name: &str) -> Self {
        let name = name.to_owned();
        match error {
            connection::Error::Pending => Self::StorePending(name),
            connection::Error::NotReady(why) => Self::StoreNotReady { name, why },
            connection::Error::Invalid(_) => Self::StoreNotReady { name, why: Reason::InvalidSpec.to_string() },
            connection::Error::Store(error) => Self::Store(error),
            cause => Self::OfStore { name, cause: Box::new(cause) },
        }
    }

    /// The word of conditions for it.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Invalid(_) => Reason::InvalidSpec,
            Self::StoreNotFound(_) => Reason::StoreNotFound,
            Self::StorePending(_) | Self::Overtaken => Reason::Pending,
            Self::StoreNotReady { .. } => Reason::StoreNotReady,
            Self::OfStore { cause, .. } => cause.reason(),
            Self::Store(error) => store_reason(&error.kind),
            Self::Cluster(error) => cluster_reason(error.kind),
            Self::Blocked(blocked) => blocked_reason(blocked),
            Self::NotProven(failure) => failure.reason,
            Self::Altered { .. } => Reason::Contested,
            Self::TimedOut => Reason::TimedOut,
        }
    }

    /// When to try again.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::Store(error) => connection::store_retry(&error.kind),
            Self::NotProven(failure) => failure.retry,
            Self::OfStore { cause, .. } => cause.retry(),
            Self::Cluster(error) if error.needs_a_person() => Retry::Stalled,
            Self::Invalid(_) | Self::Altered { .. } | Self::Blocked(_) => Retry::Stalled,
            // A store may arrive a moment after its targets, out of the same chart.
            Self::StoreNotFound(_)
            | Self::StorePending(_)
            | Self::StoreNotReady { .. }
            | Self::Cluster(_)
            | Self::Overtaken
            | Self::TimedOut => Retry::Backoff,
        }
    }

    /// Whether the step that failed certainly changed nothing.
    #[must_use]
    pub fn is_definite(&self) -> bool {
        match self {
            // It may have been tried before, and what is told now may come of that.
            Self::Store(error) if error.kind == provider::Kind::AlreadyExists => false,
            Self::Store(error) => error.is_definite(),
            Self::Cluster(error) => error.is_definite(),
            _ => true,
        }
    }

    /// Whether the store says that what was to be created is there already.
    #[must_use]
    pub fn is_there_already(&self) -> bool {
        matches!(self, Self::Store(error) if error.kind == provider::Kind::AlreadyExists)
    }

    /// Whether a write to Kubernetes found what it did not expect: perhaps an earlier one of our own that took effect late.
    #[must_use]
    pub fn came_in_between(&self) -> bool {
        use cluster::Kind;
        matches!(self, Self::Cluster(error) if matches!(error.kind, Kind::AlreadyExists | Kind::Conflict))
    }

    /// Whether what was published before still stands: the operator could not look, and nothing says that it changed.
    #[must_use]
    pub fn leaves_ready(&self) -> bool {
        !matches!(self, Self::Invalid(_) | Self::Blocked(_))
    }
}

fn blocked_reason(blocked: &Blocked) -> Reason {
    match blocked {
        Blocked::ForeignSecret { .. } => Reason::SecretConflict,
        Blocked::ForeignPrincipal { .. } | Blocked::ForeignPolicy { .. } => Reason::PrincipalConflict,
        Blocked::UnknownKeys { .. } => Reason::UnknownKey,
        Blocked::PolicyTooLarge { .. } => Reason::PolicyTooLarge,
        Blocked::Compromised { .. } => Reason::KeyCompromised,
        Blocked::Suspended => Reason::ChangeSuspended,
        Blocked::Invalid(_) => Reason::InvalidSpec,
        Blocked::OnHold { .. } | Blocked::SwitchedOff { .. } => Reason::OnHold,
    }
}

fn foreign_secret(name: &str, owner: &SecretOwner) -> String {
    let another_name = "set spec.secret.name to another name";
    let advice = match owner {
        SecretOwner::Other(owner) => {
            format!(
                "(it belongs to {owner}); it is left untouched: {another_name}, or remove the Secret if nobody needs it"
            )
        }
        SecretOwner::Nobody => format!(
            "(it belongs to no object that it names as its owner); it is left untouched: {another_name}, or remove the Secret if \
             nobody needs it"
        ),
        SecretOwner::Retained => format!(
            "(a former target of this name left it with deletionPolicy Retain, and backups may use it); it is left untouched: \
             {another_name}, or remove the Secret once nobody uses it"
        ),
        SecretOwner::Restored => format!(
            "(it has this target's labels and no owner, as tools restore it from a backup); it is left untouched: delete it, and it \
             comes anew with a new key (kubectl delete secret {name}; all of a restored namespace: kubectl delete secrets -l \
             {}={}), or {another_name}",
            names::MANAGED_BY_LABEL,
            names::OPERATOR
        ),
    };
    format!("Secret {name} exists and is not this target's {advice}; it is looked at again by itself")
}

fn blocked_message(blocked: &Blocked) -> String {
    match blocked {
        Blocked::ForeignSecret { name, owner } => foreign_secret(name, owner),
        Blocked::ForeignPrincipal { principal, whose: ForeignOwner::Cluster { id, path } } => format!(
            "{principal} belongs to cluster {id} (path {path}); it is left to it: delete this target and create it again to \
             get a user of its own, or, if this is the same cluster, give the operator its id back (clusterId: {id})"
        ),
        Blocked::ForeignPrincipal { principal, whose: ForeignOwner::Other(why) } => format!(
            "{principal} exists and is not this target's ({why}); it is left untouched: remove it if nobody needs it, or \
             create another target, which gets another name; it is looked at again by itself"
        ),
        Blocked::ForeignPolicy { name, why } => format!(
            "the policy goes where {name} is, which exists and is not this target's ({why}); it is left untouched: remove \
             it, or recreate this target to get another name; it is looked at again by itself"
        ),
        Blocked::UnknownKeys { ids, principal } => format!(
            "access key {} of {principal} was not made by this operator and is in the way; delete it if nobody \
             needs it: {}; it is looked at again by itself",
            ids.join(", "),
            principal.command(principal.words.delete_key, ids.first().map_or("ID", String::as_str))
        ),
        Blocked::PolicyTooLarge { size, limit } => format!(
            "the policy has {size} characters, and it may have {limit}; shorten the prefix, set \
             ancestorListing: Deny, or keyOverlap: 0s to leave a former folder at once"
        ),
        Blocked::Compromised { alarm, principal } => format!(
            "the store attached {alarm} to {principal}: it found an access key of it in public. Find out where it leaked, delete \
             the keys ({}), then detach the policy; the operator makes a new key",
            principal.command(principal.words.delete_key, "…")
        ),
        Blocked::Suspended => "spec.suspend holds back a change or repair; set it to false to go on".to_owned(),
        Blocked::Invalid(invalid) => invalid.to_string(),
        Blocked::OnHold { principal } => format!(
            "{principal} has the tag {HOLD}: nothing is given to it or put right, and what the rules, the end of an overlap or \
             a deletion take away still goes. Find out who holds it, and why; when that is over: {}; it is looked at again by itself",
            principal.command(principal.words.end_hold, "")
        ),
        Blocked::SwitchedOff { id, principal } => format!(
            "somebody made access key {id} of {principal} inactive, and it stays so: find out who, and why. It works again \
             after {}, or when the store's administrator sets the annotation {REACTIVATE_KEYS_ANNOTATION} of the BackupStore to \
             the time of that decision",
            principal.command(principal.words.activate_key, id)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::backup_target::fixtures::{in_the_way, invalid};

    const STAYS: Retry = Retry::Stalled;
    const PASSES: Retry = Retry::Backoff;

    fn store(kind: provider::Kind) -> Error {
        provider::Error { kind, action: "iam:PutUserPolicy" }.into()
    }

    fn cluster(kind: cluster::Kind) -> Error {
        cluster::Error { kind, what: "write the Secret" }.into()
    }

    fn of_store(cause: connection::Error) -> Error {
        Error::of_store(cause, "default")
    }

    #[test]
    fn each_error_has_a_reason_and_knows_whether_it_passes() {
        let proof = Failure { reason: Reason::Propagating, message: String::new(), retry: PASSES };
        let table = [
            (Error::Invalid(invalid()), Reason::InvalidSpec, STAYS),
            (Error::StoreNotFound("default".into()), Reason::StoreNotFound, PASSES),
            (Error::NotProven(proof.clone()), proof.reason, PASSES),
            (Error::NotProven(Failure { retry: STAYS, ..proof }), Reason::Propagating, STAYS),
            (Error::Overtaken, Reason::Pending, PASSES),
            (Error::Altered { name: "s".into(), what: "its labels" }, Reason::Contested, STAYS),
            (Error::TimedOut, Reason::TimedOut, PASSES),
            (store(provider::Kind::Denied("allow it")), Reason::AccessDenied, Retry::Patience),
            (store(provider::Kind::Unreachable), Reason::StoreUnreachable, PASSES),
            (cluster(cluster::Kind::QuotaExceeded), Reason::QuotaExceeded, STAYS),
            (cluster(cluster::Kind::NotAdmitted), Reason::NotAdmitted, STAYS),
            (cluster(cluster::Kind::Forbidden), Reason::Forbidden, PASSES),
        ];
        let blocked = in_the_way().map(|(blocked, reason)| (Error::Blocked(blocked), reason, STAYS));
        for (error, reason, retry) in table.into_iter().chain(blocked) {
            assert_eq!((error.reason(), error.retry()), (reason, retry), "{error:?}");
        }
    }

    /// Account ids, and where its credentials are, are for the store's administrator.
    #[test]
    fn users_are_told_no_more_of_a_store_than_its_reason() {
        let changed = connection::Error::AccountChanged {
            store: "default".into(),
            pinned: "111111111111".into(),
            found: "222222222222".into(),
        };
        let missing = connection::Error::CredentialsNotFound { namespace: "operator".into(), name: "keys".into() };
        let table = [
            (connection::Error::Pending, Reason::Pending, PASSES),
            (connection::Error::NotReady(Reason::AccessDenied.to_string()), Reason::StoreNotReady, PASSES),
            (connection::Error::Invalid(invalid()), Reason::StoreNotReady, PASSES),
            (changed, Reason::AccountChanged, STAYS),
            (missing, Reason::CredentialsNotFound, STAYS),
        ];
        for (cause, reason, retry) in table {
            let error = of_store(cause);
            assert_eq!((error.reason(), error.retry()), (reason, retry), "{error:?}");
            let told = error.to_string();
            assert!(["1111", "operator", "keys", "it is none"].iter().all(|secret| !told.contains(secret)), "{told}");
        }
        assert!(of_store(connection::Error::Pending).to_string().contains("BackupStore default"));
    }

    #[test]
    fn what_may_have_been_done_is_not_taken_for_undone() {
        use provider::Kind::{AlreadyExists, Denied, Throttled, Unreachable, Unreadable};
        for kind in [AlreadyExists, Unreachable, Unreadable] {
            assert!(!store(kind.clone()).is_definite(), "{kind:?}");
        }
        assert!(
            store(Denied("allow it")).is_definite() && store(Throttled).is_definite() && Error::TimedOut.is_definite()
        );
        assert!(cluster(cluster::Kind::Conflict).is_definite() && !cluster(cluster::Kind::Unreachable).is_definite());
    }

    #[test]
    fn only_what_is_the_targets_own_says_that_it_does_not_stand() {
        assert!(!Error::Invalid(invalid()).leaves_ready() && !Error::Blocked(Blocked::Suspended).leaves_ready());
        assert!(store(provider::Kind::Denied("allow it")).leaves_ready() && Error::TimedOut.leaves_ready());
    }
}
