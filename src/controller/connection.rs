//! The way to a store: with the credentials that it names, to the account that it is pinned to.

use std::sync::Arc;

use kube::ResourceExt;

use super::{context::Context, retry::Retry};
use crate::{
    access::{Invalid, claim::object_name},
    api::{
        BackupStore, Reason,
        condition::{self, READY},
    },
    cluster,
    names::ObjectName,
    provider::{
        self,
        connections::{Connection, OperatorKey, Settings},
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
        "the credentials of BackupStore {store} belong to account {found}, but its principals live in {pinned}; \
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
        namespace: String,
        /// Name of the Secret.
        name: String,
    },
    /// A call to the store failed.
    #[error(transparent)]
    Store(#[from] provider::Error),
    /// A call to Kubernetes failed.
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
}

impl Error {
    /// The word of conditions for it.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Invalid(_) => Reason::InvalidSpec,
            Self::Pending => Reason::Pending,
            Self::NotReady(_) => Reason::StoreNotReady,
            Self::AccountChanged { .. } => Reason::AccountChanged,
            Self::CredentialsNotFound { .. } => Reason::CredentialsNotFound,
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
    let pinned = store.status.as_ref().and_then(|status| status.iam_path.as_deref());
    if let Some(moved) = pinned.and_then(|pinned| provider::moved(&store.spec, &context.cluster_id, pinned)) {
        return Err(moved.into());
    }
    let settings = match &store.spec.credentials {
        None => settings,
        Some(credentials) => {
            let name = object_name("spec.credentials.secretRef.name", &credentials.secret_ref.name)?;
            settings.with_key(key_in(context, &name).await?)
        }
    };
    let connection = context.connections.connect(&store.name_any(), settings).await?;
    match store.status.as_ref().and_then(|status| status.account_id.as_ref()) {
        Some(pinned) if *pinned != connection.identity.account => Err(Error::AccountChanged {
            store: store.name_any(),
            pinned: pinned.clone(),
            found: connection.identity.account.clone(),
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
pub fn store_retry(kind: &provider::Kind) -> Retry {
    use provider::Kind;
    match kind {
        // What somebody has just allowed or made is not known everywhere at once.
        Kind::Denied(_) | Kind::InvalidCredentials | Kind::NoCredentials(_) => Retry::Patience,
        Kind::ClockSkewed(_)
        | Kind::SignedElsewhere
        | Kind::LimitExceeded
        | Kind::DeleteConflict(_)
        | Kind::Unsupported
        | Kind::NotBrought(_)
        | Kind::Refused(_) => Retry::Stalled,
        Kind::Unread(error) if error.needs_a_person() => Retry::Stalled,
        _ => Retry::Backoff,
    }
}

/// The word of conditions for a store that failed so.
#[must_use]
pub fn store_reason(kind: &provider::Kind) -> Reason {
    use provider::Kind;
    match kind {
        Kind::Denied(_) => Reason::AccessDenied,
        Kind::InvalidCredentials | Kind::NoCredentials(_) => Reason::InvalidCredentials,
        Kind::ClockSkewed(_) => Reason::ClockSkewed,
        Kind::Throttled => Reason::Throttled,
        Kind::Unreachable | Kind::CredentialsUnreachable(_) => Reason::StoreUnreachable,
        Kind::LimitExceeded => Reason::LimitExceeded,
        Kind::NotBrought(_) => Reason::KeyNotBrought,
        Kind::Unread(error) => cluster_reason(error.kind),
        Kind::Unreadable
        | Kind::AlreadyExists
        | Kind::NotFound
        | Kind::Busy
        | Kind::NotLeading
        | Kind::SignedElsewhere
        | Kind::Unsupported
        | Kind::Refused(_) => Reason::StoreError,
        Kind::DeleteConflict(_) => Reason::PrincipalConflict,
        Kind::Overdue => Reason::TimedOut,
    }
}

/// The word of conditions for a Kubernetes API that failed so.
#[must_use]
pub fn cluster_reason(kind: cluster::Kind) -> Reason {
    use cluster::Kind;
    match kind {
        Kind::Forbidden => Reason::Forbidden,
        Kind::QuotaExceeded => Reason::QuotaExceeded,
        Kind::NotAdmitted => Reason::NotAdmitted,
        _ => Reason::KubernetesError,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::clock::Skew;

    const STAYS: Retry = Retry::Stalled;
    const PASSES: Retry = Retry::Backoff;
    const SPREADS: Retry = Retry::Patience;

    #[test]
    fn each_failure_of_a_store_has_a_reason_and_may_pass_or_not() {
        use provider::Kind;
        let skew = Skew { minutes_ahead: 9, too_much: true };
        let table = [
            (Kind::Denied("allow it"), Reason::AccessDenied, SPREADS),
            (Kind::InvalidCredentials, Reason::InvalidCredentials, SPREADS),
            (Kind::NoCredentials("name some"), Reason::InvalidCredentials, SPREADS),
            (Kind::CredentialsUnreachable("look for them"), Reason::StoreUnreachable, PASSES),
            (Kind::SignedElsewhere, Reason::StoreError, STAYS),
            (Kind::ClockSkewed(skew), Reason::ClockSkewed, STAYS),
            (Kind::LimitExceeded, Reason::LimitExceeded, STAYS),
            (Kind::DeleteConflict("a password hangs on it"), Reason::PrincipalConflict, STAYS),
            (Kind::Unsupported, Reason::StoreError, STAYS),
            (Kind::Refused("Odd".into()), Reason::StoreError, STAYS),
            (Kind::NotBrought("there is no key"), Reason::KeyNotBrought, STAYS),
            (
                Kind::Unread(cluster::Error { kind: cluster::Kind::Unreachable, what: "read it" }),
                Reason::KubernetesError,
                PASSES,
            ),
            (Kind::Throttled, Reason::Throttled, PASSES),
            (Kind::Unreachable, Reason::StoreUnreachable, PASSES),
            (Kind::Unreadable, Reason::StoreError, PASSES),
            (Kind::AlreadyExists, Reason::StoreError, PASSES),
            (Kind::NotFound, Reason::StoreError, PASSES),
            (Kind::Busy, Reason::StoreError, PASSES),
            (Kind::NotLeading, Reason::StoreError, PASSES),
            (Kind::Overdue, Reason::TimedOut, PASSES),
        ];
        for (kind, reason, retry) in table {
            let error = Error::Store(provider::Error { kind, action: "sts:GetCallerIdentity" });
            assert_eq!((error.reason(), error.retry()), (reason, retry), "{error:?}");
        }
    }

    #[test]
    fn each_failure_of_kubernetes_has_a_reason_and_may_pass_or_not() {
        use cluster::Kind;
        let table = [
            (Kind::Forbidden, Reason::Forbidden, PASSES),
            (Kind::QuotaExceeded, Reason::QuotaExceeded, STAYS),
            (Kind::NotAdmitted, Reason::NotAdmitted, STAYS),
            (Kind::Conflict, Reason::KubernetesError, PASSES),
            (Kind::Unreachable, Reason::KubernetesError, PASSES),
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
            (Error::Invalid(invalid), Reason::InvalidSpec, STAYS),
            (Error::AccountChanged { store: text(), pinned: text(), found: text() }, Reason::AccountChanged, STAYS),
            (Error::CredentialsNotFound { namespace: text(), name: text() }, Reason::CredentialsNotFound, STAYS),
            (Error::Pending, Reason::Pending, PASSES),
            (Error::NotReady(text()), Reason::StoreNotReady, PASSES),
        ];
        for (error, reason, retry) in table {
            assert_eq!((error.reason(), error.retry()), (reason, retry), "{error:?}");
        }
    }
}
