//! The way to a store: with the credentials that it names, to the account that it is pinned to.

use std::sync::Arc;

use kube::ResourceExt;

use super::{context::Context, retry::Retry};
use crate::{
    access::{Invalid, claim::object_name},
    api::{
        BackupStore,
        condition::{self, READY, reason},
    },
    cluster,
    names::ObjectName,
    store::{
        self,
        connect::{Connection, OperatorKey, Settings},
    },
};

/// Why there is no connection to a store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The store's spec breaks a rule.
    #[error("{0}")]
    Invalid(#[from] Invalid),
    /// The store is so new that its credentials were not checked yet.
    #[error("its credentials are being checked")]
    Pending,
    /// The store is not ready, for the reason that its own status gives.
    #[error("it is not ready: {0}")]
    NotReady(String),
    /// The credentials answer for another account.
    #[error(
        "the credentials of BackupStore {store} belong to AWS account {found}, but its principals live in {pinned}; \
         nothing is changed or deleted until they belong to {pinned} again"
    )]
    AccountChanged {
        /// Name of the store.
        store: String,
        /// The account that the store is pinned to.
        pinned: String,
        /// The account that answered.
        found: String,
    },
    /// The Secret with the operator's credentials is missing or incomplete.
    #[error(
        "the Secret {namespace}/{name} with the store's credentials is missing or lacks AWS_ACCESS_KEY_ID or \
         AWS_SECRET_ACCESS_KEY; create it"
    )]
    CredentialsNotFound {
        /// The operator's namespace.
        namespace: String,
        /// Name of the Secret.
        name: String,
    },
    /// A call to the store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A call to Kubernetes failed.
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
}

impl Error {
    /// One of [`reason`]'s words.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Invalid(_) => reason::INVALID_SPEC,
            Self::Pending => reason::PENDING,
            Self::NotReady(_) => reason::STORE_NOT_READY,
            Self::AccountChanged { .. } => reason::ACCOUNT_CHANGED,
            Self::CredentialsNotFound { .. } => reason::CREDENTIALS_NOT_FOUND,
            Self::Store(error) => store_reason(&error.kind),
            Self::Cluster(error) => cluster_reason(error.kind),
        }
    }

    /// When to try again.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::Invalid(_) | Self::AccountChanged { .. } | Self::CredentialsNotFound { .. } => Retry::Stalled,
            Self::Store(error) => store_retry(&error.kind),
            Self::Cluster(error) if error.needs_a_person() => Retry::Stalled,
            Self::Pending | Self::NotReady(_) | Self::Cluster(_) => Retry::Backoff,
        }
    }
}

/// The connection to a store whose account is the one it is pinned to, for others than the store itself.
///
/// # Errors
/// When the store is not ready, or its credentials are missing, do not work, or belong to another account.
pub async fn pinned(context: &Context, store: &BackupStore) -> Result<Arc<Connection>, Error> {
    if store.status.as_ref().is_none_or(|status| status.account_id.is_none()) {
        let ready = store.status.as_ref().and_then(|status| condition::find(&status.conditions, READY));
        return Err(match ready {
            Some(ready) => Error::NotReady(ready.reason.clone()),
            None => Error::Pending,
        });
    }
    connect(context, store).await
}

/// The connection to a store, if it leads to the account that the store is pinned to, or if it is not pinned yet.
///
/// # Errors
/// When its credentials are missing, do not work, or belong to another account, or its spec breaks a rule.
pub async fn connect(context: &Context, store: &BackupStore) -> Result<Arc<Connection>, Error> {
    let settings = Settings::parse(&store.spec)?;
    let settings = match &store.spec.credentials {
        None => settings,
        Some(credentials) => {
            let name = object_name("spec.credentials.secretRef.name", &credentials.secret_ref.name)?;
            settings.with_key(key_in(context, &name).await?)
        }
    };
    let connection = context.connections.connect(&store.name_any(), settings).await?;
    match store.status.as_ref().and_then(|status| status.account_id.as_ref()) {
        Some(pinned) if *pinned != connection.account_id => Err(Error::AccountChanged {
            store: store.name_any(),
            pinned: pinned.clone(),
            found: connection.account_id.clone(),
        }),
        _ => Ok(connection),
    }
}

async fn key_in(context: &Context, secret: &ObjectName) -> Result<OperatorKey, Error> {
    let entries = context.cluster.own_secret(secret).await?;
    entries.and_then(|entries| OperatorKey::read(|entry| entries.text(entry))).ok_or_else(|| {
        Error::CredentialsNotFound { namespace: context.cluster.namespace().to_owned(), name: secret.to_string() }
    })
}

/// When to ask a store again that failed so.
#[must_use]
pub fn store_retry(kind: &store::Kind) -> Retry {
    use store::Kind;
    match kind {
        Kind::Denied
        | Kind::InvalidCredentials
        | Kind::ClockSkewed(_)
        | Kind::LimitExceeded
        | Kind::DeleteConflict(_)
        | Kind::Refused(_) => Retry::Stalled,
        _ => Retry::Backoff,
    }
}

/// The word of conditions for a store that failed so.
#[must_use]
pub fn store_reason(kind: &store::Kind) -> &'static str {
    use store::Kind;
    match kind {
        Kind::Denied => reason::ACCESS_DENIED,
        Kind::InvalidCredentials => reason::INVALID_CREDENTIALS,
        Kind::ClockSkewed(_) => reason::CLOCK_SKEWED,
        Kind::Throttled => reason::THROTTLED,
        Kind::Unreachable => reason::STORE_UNREACHABLE,
        Kind::LimitExceeded => reason::LIMIT_EXCEEDED,
        Kind::Unreadable | Kind::AlreadyExists | Kind::NotFound | Kind::Busy | Kind::NotLeading | Kind::Refused(_) => {
            reason::STORE_ERROR
        }
        Kind::DeleteConflict(_) => reason::PRINCIPAL_CONFLICT,
        Kind::Overdue => reason::TIMED_OUT,
    }
}

/// The word of conditions for a Kubernetes API that failed so.
#[must_use]
pub fn cluster_reason(kind: cluster::Kind) -> &'static str {
    use cluster::Kind;
    match kind {
        Kind::Forbidden => reason::FORBIDDEN,
        Kind::QuotaExceeded => reason::QUOTA_EXCEEDED,
        Kind::NotAdmitted => reason::NOT_ADMITTED,
        _ => reason::KUBERNETES_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{clock::Skew, error::Hanging};

    const STAYS: Retry = Retry::Stalled;
    const PASSES: Retry = Retry::Backoff;

    #[test]
    fn each_failure_of_a_store_has_a_reason_and_may_pass_or_not() {
        use store::Kind;
        let skew = Skew { minutes_ahead: 9, too_much: true };
        let table = [
            (Kind::Denied, reason::ACCESS_DENIED, STAYS),
            (Kind::InvalidCredentials, reason::INVALID_CREDENTIALS, STAYS),
            (Kind::ClockSkewed(skew), reason::CLOCK_SKEWED, STAYS),
            (Kind::LimitExceeded, reason::LIMIT_EXCEEDED, STAYS),
            (Kind::DeleteConflict(Hanging::Login), reason::PRINCIPAL_CONFLICT, STAYS),
            (Kind::Refused("Odd".into()), reason::STORE_ERROR, STAYS),
            (Kind::Throttled, reason::THROTTLED, PASSES),
            (Kind::Unreachable, reason::STORE_UNREACHABLE, PASSES),
            (Kind::Unreadable, reason::STORE_ERROR, PASSES),
            (Kind::AlreadyExists, reason::STORE_ERROR, PASSES),
            (Kind::NotFound, reason::STORE_ERROR, PASSES),
            (Kind::Busy, reason::STORE_ERROR, PASSES),
            (Kind::NotLeading, reason::STORE_ERROR, PASSES),
            (Kind::Overdue, reason::TIMED_OUT, PASSES),
        ];
        for (kind, reason, retry) in table {
            let error = Error::Store(store::Error { kind, action: "sts:GetCallerIdentity" });
            assert_eq!((error.reason(), error.retry()), (reason, retry), "{error:?}");
        }
    }

    #[test]
    fn each_failure_of_kubernetes_has_a_reason_and_may_pass_or_not() {
        use cluster::Kind;
        let table = [
            (Kind::Forbidden, reason::FORBIDDEN, PASSES),
            (Kind::QuotaExceeded, reason::QUOTA_EXCEEDED, STAYS),
            (Kind::NotAdmitted, reason::NOT_ADMITTED, STAYS),
            (Kind::Conflict, reason::KUBERNETES_ERROR, PASSES),
            (Kind::Unreachable, reason::KUBERNETES_ERROR, PASSES),
        ];
        for (kind, reason, retry) in table {
            let error = Error::Cluster(cluster::Error { kind, what: "read the Secret" });
            assert_eq!((error.reason(), error.retry()), (reason, retry), "{error:?}");
        }
    }

    #[test]
    fn what_the_administrator_writes_stays_until_it_is_mended() {
        let invalid = Invalid { field: "spec.region", problem: "it is none".into() };
        let text = || "x".to_owned();
        let table = [
            (Error::Invalid(invalid), reason::INVALID_SPEC, STAYS),
            (Error::AccountChanged { store: text(), pinned: text(), found: text() }, reason::ACCOUNT_CHANGED, STAYS),
            (Error::CredentialsNotFound { namespace: text(), name: text() }, reason::CREDENTIALS_NOT_FOUND, STAYS),
            (Error::Pending, reason::PENDING, PASSES),
            (Error::NotReady(text()), reason::STORE_NOT_READY, PASSES),
        ];
        for (error, reason, retry) in table {
            assert_eq!((error.reason(), error.retry()), (reason, retry), "{error:?}");
        }
    }
}
