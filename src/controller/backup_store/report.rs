//! What a store's status says: whether its credentials work and for whom, and how safe what it allows is. Pure.

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    access::meeting::meetings,
    api::{
        BackupStore, Reason,
        backup_store::BackupStoreStatus,
        condition::{BOUNDED, Conditions, FOLDERS_APART, READY, RECONCILING, STALLED, Truth},
    },
    controller::{connection::Error, looks::drift_interval, retry::Retry},
    provider::{self, Bound, clock::Skew},
};

/// What the store's credentials answered with.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The account that they belong to.
    pub account_id: String,
    /// By how much the store's clock differs from this machine's, when that matters.
    pub skew: Option<Skew>,
}

/// What a status depends on, beside the answer.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The store, with the status before.
    pub store: &'a BackupStore,
    /// Id of the cluster.
    pub cluster_id: &'a str,
    /// How often everything is compared with what the store has.
    pub resync: Duration,
    /// How many targets use it.
    pub targets: usize,
    /// How many of them have a principal.
    pub principals: usize,
    /// How long its credentials have failed for the same reason.
    pub failing: Duration,
    pub now: Timestamp,
}

/// The status of a store whose credentials gave that answer.
#[must_use]
pub fn report(facts: Facts<'_>, answer: Result<&Identity, &Error>) -> BackupStoreStatus {
    let Facts { store, cluster_id, .. } = facts;
    let limits = provider::limits(store.spec.provider);
    let before = store.status.clone().unwrap_or_default();
    let mut conditions = Conditions::new(&before.conditions, store.metadata.generation, facts.now);
    let mut account_id = before.account_id.clone();
    match answer {
        Ok(_) if store.metadata.deletion_timestamp.is_some() => {
            // How many they are, the status says elsewhere: a count in here would be written with each that comes or goes.
            let message =
                "being deleted; BackupTargets still use this store (status.targets): delete them, and it goes";
            conditions.set(READY, Truth::False, Reason::InUse, message);
            conditions.set(RECONCILING, Truth::True, Reason::InUse, message);
        }
        Ok(identity) => {
            account_id.get_or_insert_with(|| identity.account_id.clone());
            let message = limits.words.connected.replace("{account}", &identity.account_id);
            match &identity.skew {
                None => conditions.set(READY, Truth::True, Reason::CredentialsValid, message),
                // Decisions go by the store's clock, so nothing is wrong yet.
                Some(skew) => {
                    let message =
                        format!("{message}; {skew}: stores refuse requests from clocks that differ by some minutes");
                    conditions.set(READY, Truth::True, Reason::ClockSkewed, message);
                }
            }
        }
        Err(error) => {
            // A process that has just started does not know for how long, and status does.
            let was_stalled = conditions.before(STALLED).and_then(Reason::of) == Some(error.reason());
            let retry = error.retry().after(if was_stalled { Duration::MAX } else { facts.failing });
            let abnormal = if retry == Retry::Stalled { STALLED } else { RECONCILING };
            conditions.set(READY, Truth::False, error.reason(), error.to_string());
            conditions.set(abnormal, Truth::True, error.reason(), error.to_string());
        }
    }
    bounded(&mut conditions, store, cluster_id);
    apart(&mut conditions, store, cluster_id);
    BackupStoreStatus {
        observed_generation: store.metadata.generation,
        conditions: conditions.finish(),
        account_id,
        iam_path: Some(place(store, cluster_id)),
        drift_interval: Some(drift_interval(store, facts.principals, facts.resync).into()),
        targets: Some(i64::try_from(facts.targets).unwrap_or(i64::MAX)),
    }
}

/// Where the principals are: where they were made, as long as the spec does not lead there.
fn place(store: &BackupStore, cluster_id: &str) -> String {
    let pinned = store.status.as_ref().and_then(|status| status.iam_path.clone());
    let moved = |pinned: &String| provider::moved(&store.spec, cluster_id, pinned).is_some();
    pinned.filter(moved).unwrap_or_else(|| provider::place(&store.spec, cluster_id))
}

/// Whether anything limits what the principals can do, and with them whoever has the operator's credentials.
fn bounded(conditions: &mut Conditions<'_>, store: &BackupStore, cluster_id: &str) {
    let (truth, reason, message) = match provider::bound(&store.spec, cluster_id) {
        Bound::Holds(message) => (Truth::True, Reason::PermissionsBoundary, message),
        Bound::None(message) => (Truth::False, Reason::NoPermissionsBoundary, message),
        Bound::NoCredentials => {
            let message = "the operator has no credentials of its own for this store, and can reach there what the keys can that were \
                           brought, and nothing else";
            (Truth::True, Reason::NoCredentials, message.to_owned())
        }
        Bound::CanBeChanged(message) => (Truth::False, Reason::BoundaryWithinPath, message),
    };
    conditions.set(BOUNDED, truth, reason, message);
}

/// Whether somebody who may create namespaces can reach what a rule keeps for others.
fn apart(conditions: &mut Conditions<'_>, store: &BackupStore, cluster_id: &str) {
    let meetings = meetings(&store.spec.allow, Some(cluster_id));
    if let Some(first) = meetings.first() {
        let more = if meetings.len() > 1 { format!("; and {} more", meetings.len() - 1) } else { String::new() };
        return conditions.set(FOLDERS_APART, Truth::False, Reason::FoldersMeet, format!("{first}{more}"));
    }
    let message = "no name of a namespace makes a folder of one rule that of another";
    conditions.set(FOLDERS_APART, Truth::True, Reason::FoldersApart, message);
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::{Value, json};

    use super::*;
    use crate::{api::condition, controller::retry::PATIENCE, names, provider as access};

    const ACCOUNT: &str = "111111111111";
    const RESYNC: Duration = Duration::from_mins(10);

    /// A store, but for what is said of its spec.
    fn store(fields: &Value) -> BackupStore {
        let mut spec = json!({"region": "r"});
        spec.as_object_mut().expect("a spec").extend(fields.as_object().expect("fields").clone());
        serde_json::from_value(json!({
            "apiVersion": "backup-target.dev/v1alpha1", "kind": "BackupStore",
            "metadata": {"name": "default", "generation": 3}, "spec": spec,
        }))
        .expect("a store")
    }

    fn told(store: &BackupStore, answer: Result<&Identity, &Error>) -> BackupStoreStatus {
        let facts = Facts {
            store,
            cluster_id: "prod",
            resync: RESYNC,
            targets: 7,
            principals: 400,
            failing: PATIENCE,
            now: Timestamp::UNIX_EPOCH,
        };
        report(facts, answer)
    }

    #[test]
    fn credentials_that_do_not_work_may_be_new() {
        let error =
            Error::Store(access::Error { kind: access::Kind::InvalidCredentials, action: "sts:GetCallerIdentity" });
        let mut store = store(&json!({}));
        let young = |store: &BackupStore| {
            let (principals, targets, resync, now) = (0, 0, RESYNC, Timestamp::UNIX_EPOCH);
            report(
                Facts { store, cluster_id: "prod", resync, targets, principals, failing: PATIENCE / 2, now },
                Err(&error),
            )
        };
        assert_eq!(says(&young(&store), RECONCILING), Some(("True", Reason::InvalidCredentials)));
        store.status = Some(told(&store, Err(&error)));
        let restarted = young(&store);
        assert_eq!(says(&restarted, STALLED), Some(("True", Reason::InvalidCredentials)), "that is known already");
        assert_eq!(says(&restarted, RECONCILING), None);
    }

    fn says<'a>(status: &'a BackupStoreStatus, type_: &str) -> Option<(&'a str, Reason)> {
        condition::find(&status.conditions, type_)
            .map(|told| (told.status.as_str(), Reason::of(told).expect("a reason of ours")))
    }

    fn identity(skew: Option<Skew>) -> Identity {
        Identity { account_id: ACCOUNT.to_owned(), skew }
    }

    #[test]
    fn credentials_that_work_make_a_store_ready() {
        let skew = Skew { minutes_ahead: 3, too_much: false };
        for (skew, reason) in [(None, Reason::CredentialsValid), (Some(skew), Reason::ClockSkewed)] {
            let told = told(&store(&json!({})), Ok(&identity(skew)));
            assert_eq!(says(&told, READY), Some(("True", reason)));
            assert_eq!((says(&told, RECONCILING), says(&told, STALLED)), (None, None));
            assert_eq!((told.account_id.as_deref(), told.targets), (Some(ACCOUNT), Some(7)));
            assert_eq!(told.observed_generation, Some(3));
            assert_eq!(told.drift_interval.map(Duration::from), Some(drift_interval(&store(&json!({})), 400, RESYNC)));
        }
    }

    #[test]
    fn credentials_that_do_not_work_keep_the_account_that_the_store_is_pinned_to() {
        let of_store = |kind| Error::Store(access::Error { kind, action: "sts:GetCallerIdentity" });
        let missing = Error::CredentialsNotFound { namespace: "operator".into(), name: "keys".into() };
        let table = [
            (of_store(access::Kind::Unreachable), Reason::StoreUnreachable, RECONCILING, STALLED),
            (of_store(access::Kind::InvalidCredentials), Reason::InvalidCredentials, STALLED, RECONCILING),
            (missing, Reason::CredentialsNotFound, STALLED, RECONCILING),
        ];
        for (error, reason, is, is_not) in table {
            let mut store = store(&json!({}));
            assert_eq!(told(&store, Err(&error)).account_id, None, "nothing is pinned yet");
            store.status = Some(told(&store, Ok(&identity(None))));
            let told = told(&store, Err(&error));
            assert_eq!((says(&told, READY), says(&told, is)), (Some(("False", reason)), Some(("True", reason))));
            assert_eq!(says(&told, is_not), None);
            assert_eq!(told.account_id.as_deref(), Some(ACCOUNT));
        }
    }

    #[test]
    fn a_store_that_is_deleted_waits_for_its_targets() {
        let mut going = store(&json!({}));
        going.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        let told = told(&going, Ok(&identity(None)));
        assert_eq!(says(&told, READY), Some(("False", Reason::InUse)));
        assert_eq!(says(&told, RECONCILING), Some(("True", Reason::InUse)));
        assert_eq!(told.account_id, None, "nothing is pinned any more");
    }

    #[test]
    fn a_boundary_counts_where_the_operator_cannot_change_it() {
        let aws = |fields: Value| store(&json!({"aws": fields}));
        let boundary = |path: &str| format!("arn:aws:iam::{ACCOUNT}:policy{path}limits");
        let own = names::default_path("prod");
        let table = [
            (aws(json!({})), "False", Reason::NoPermissionsBoundary),
            (aws(json!({"permissionsBoundary": boundary("/")})), "True", Reason::PermissionsBoundary),
            (aws(json!({"permissionsBoundary": boundary(&own)})), "False", Reason::BoundaryWithinPath),
            (
                aws(json!({"permissionsBoundary": boundary("/a/"), "iamPath": "/a/"})),
                "False",
                Reason::BoundaryWithinPath,
            ),
            (
                aws(json!({"permissionsBoundary": boundary(&own), "iamPath": "/a/"})),
                "True",
                Reason::PermissionsBoundary,
            ),
        ];
        for (store, status, reason) in table {
            let told = told(&store, Ok(&identity(None)));
            assert_eq!(says(&told, BOUNDED), Some((status, reason)));
            assert_eq!(told.iam_path.as_deref(), Some(store.spec.aws.iam_path.as_deref().unwrap_or(&own)));
        }
    }

    #[test]
    fn folders_of_which_one_is_the_way_to_the_other_are_told() {
        let rules = |folder: &str| {
            json!({"allow": [
                {"namespaces": {"matchLabels": {"tenant": "true"}}, "buckets": ["b-1"], "prefixes": [folder]},
                {"namespaces": {"names": ["infra"]}, "buckets": ["b-1"], "prefixes": ["platform/", "platform/x/"]},
            ]})
        };
        let apart = told(&store(&rules("tenants/{namespace}/")), Ok(&identity(None)));
        assert_eq!(says(&apart, FOLDERS_APART), Some(("True", Reason::FoldersApart)));
        let meet = told(&store(&rules("{namespace}/")), Ok(&identity(None)));
        assert_eq!(says(&meet, FOLDERS_APART), Some(("False", Reason::FoldersMeet)));
        let message = condition::find(&meet.conditions, FOLDERS_APART).map(|told| told.message.as_str());
        assert!(message.is_some_and(|message| message.ends_with("; and 1 more")), "{message:?}");
    }
}
