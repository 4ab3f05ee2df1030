//! One reconcile of one BackupStore: do its credentials work, and for which account.

use std::{sync::Arc, time::Duration};

use kube::{Resource, ResourceExt, runtime::controller::Action};
use tracing::{info, warn};

use super::{
    context::{Context, jittered},
    error::{Error, Retry},
    now,
    seen::SeenStore,
};
use crate::{
    access::{claim::object_name, meeting::meetings},
    api::{
        self, BackupStore,
        backup_store::BackupStoreStatus,
        condition::{self, BOUNDED, Conditions, FOLDERS_APART, READY, RECONCILING, STALLED, Truth, reason},
    },
    cluster::{self, Note},
    names::{self, ObjectName},
    store::connect::{Connection, Settings},
};

/// The number of targets alone is written no more often than this, so that a new target costs no write here.
const COUNT_EVERY: Duration = Duration::from_secs(30);
/// Requests to IAM that one look at a principal takes.
const READS_PER_LOOK: u64 = 6;
/// How much of a store's rate looks may take.
const DRIFT_SHARE_TENTHS: u64 = 3;
/// How soon a store that is being deleted looks whether its last target is gone.
const LAST_TARGET: Duration = Duration::from_secs(2);
/// How soon credentials that do not work are tried again, at the latest.
const TRY_AGAIN: Duration = Duration::from_mins(1);

/// Reconciles a store. Never fails: every outcome is in the store's status.
pub async fn reconcile(seen: Arc<SeenStore>, context: Arc<Context>) -> Action {
    Box::pin(work_on(&seen, &context)).await
}

async fn work_on(seen: &SeenStore, context: &Context) -> Action {
    let uid = seen.uid().unwrap_or_default();
    let name = seen.name_any();
    // As it is now: a status that is computed from an old one could forget the account that the store is pinned to.
    // The API server gives no object another kind of name.
    let Ok(object_name) = ObjectName::parse(&name) else { return Action::await_change() };
    let store = match context.cluster.store(&object_name).await {
        Ok(Some(store)) => store,
        Ok(None) => return Action::await_change(),
        Err(error) => {
            warn!(store = name, %error, "the store could not be read");
            return Action::requeue(context.failed(&uid).min(TRY_AGAIN));
        }
    };
    // A count that is not whole must let no store go.
    if !context.is_everything_listed().await {
        warn!(
            store = name,
            "the BackupTargets are not listed yet, and the store waits for that; if it lasts, check the operator's rights \
             (the chart's rbac.yaml) and the CRDs"
        );
        return Action::requeue(context.failed(&uid).min(TRY_AGAIN));
    }
    let held = store.finalizers().iter().any(|finalizer| finalizer == names::STORE_FINALIZER);
    let deleting = store.metadata.deletion_timestamp.is_some();
    // One that cannot be read must not lose the store that it may use.
    let targets = context.targets_of(&name, deleting);

    if deleting && targets == 0 {
        context.forget_store(&name, &uid);
        context.connections.forget(&name).await;
        return if held {
            settle(context, &uid, context.cluster.hold_store(&store, false).await)
        } else {
            Action::await_change()
        };
    }
    if !held && !deleting {
        // The write comes back as a change of this store.
        return settle(context, &uid, context.cluster.hold_store(&store, true).await);
    }
    let answer = check(context, &store).await;
    let status = status(&store, context, answer.as_ref(), i64::try_from(targets).unwrap_or(i64::MAX));
    let why = condition::find(&status.conditions, READY).map(|ready| ready.reason.as_str()).unwrap_or_default();
    context.telemetry.metrics.reconciled(&BackupStore::kind(&()), answer.is_ok(), why);
    let wait = tell(context, &store, &status).await;
    match &answer {
        // The count of targets may lag behind the event that the last one went.
        Ok(_) if deleting => Action::requeue(LAST_TARGET),
        Ok(_) => {
            context.remember(&uid, None, super::state::Absence::default());
            Action::requeue(wait.unwrap_or_else(|| jittered(context.resync)))
        }
        Err(_) => Action::requeue(context.failed(&uid).min(TRY_AGAIN)),
    }
}

fn settle(context: &Context, uid: &str, written: Result<(), cluster::Error>) -> Action {
    match written {
        Ok(()) => Action::await_change(),
        Err(error) => {
            warn!(%error, "the store's finalizer could not be set");
            Action::requeue(context.failed(uid))
        }
    }
}

/// The connection to a store whose account is the one it is pinned to, for others than the store itself.
///
/// # Errors
/// When the store is not ready, or its credentials are missing, do not work, or belong to another account.
pub async fn pinned_connection(context: &Context, store: &BackupStore) -> Result<Arc<Connection>, Error> {
    let name = store.name_any();
    if store.status.as_ref().is_none_or(|status| status.account_id.is_none()) {
        let ready = store.status.as_ref().and_then(|status| condition::find(&status.conditions, READY));
        return Err(match ready {
            Some(ready) => Error::StoreNotReady { name, why: ready.reason.clone() },
            None => Error::StorePending(name),
        });
    }
    connect(context, store).await.map_err(|error| match error {
        Error::Invalid(_) => Error::StoreNotReady { name, why: reason::INVALID_SPEC.to_owned() },
        error => error,
    })
}

async fn check(context: &Context, store: &BackupStore) -> Result<Arc<Connection>, Error> {
    let connection = connect(context, store).await?;
    connection.terms(&store.spec)?;
    Ok(connection)
}

/// The connection to a store, if it leads to the account that the store is pinned to, or if it is not pinned yet.
async fn connect(context: &Context, store: &BackupStore) -> Result<Arc<Connection>, Error> {
    let settings = Settings::parse(&store.spec)?;
    let settings = match &store.spec.credentials {
        None => settings,
        Some(credentials) => {
            let name = object_name("spec.credentials.secretRef.name", &credentials.secret_ref.name)?;
            let key = context.cluster.operator_key(&name).await.map_err(|error| match error.kind {
                cluster::Kind::NotFound => Error::CredentialsNotFound {
                    namespace: context.cluster.namespace().to_owned(),
                    name: name.to_string(),
                },
                _ => error.into(),
            })?;
            settings.with_key(key)
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

fn status(
    store: &BackupStore,
    context: &Context,
    answer: Result<&Arc<Connection>, &Error>,
    targets: i64,
) -> BackupStoreStatus {
    let before = store.status.clone().unwrap_or_default();
    let mut conditions = Conditions::new(&before.conditions, store.metadata.generation, now());
    let mut account_id = before.account_id.clone();
    match answer {
        Ok(_) if store.metadata.deletion_timestamp.is_some() => {
            // How many they are, the status says elsewhere: a count in here would be written with each that comes or goes.
            let message =
                "being deleted; BackupTargets still use this store (status.targets): delete them, and it goes";
            conditions.set(READY, Truth::False, reason::IN_USE, message);
            conditions.set(RECONCILING, Truth::True, reason::IN_USE, message);
        }
        Ok(connection) => {
            account_id.get_or_insert_with(|| connection.account_id.clone());
            let message = format!("the credentials work, in AWS account {}", connection.account_id);
            match connection.iam.clock().skew() {
                None => conditions.set(READY, Truth::True, reason::CREDENTIALS_VALID, message),
                // Decisions go by the store's clock, so nothing is wrong yet.
                Some(skew) => {
                    let message =
                        format!("{message}; {skew}: AWS refuses requests from clocks that differ by some minutes");
                    conditions.set(READY, Truth::True, reason::CLOCK_SKEWED, message);
                }
            }
        }
        Err(error) => {
            let abnormal = if error.retry() == Retry::Stalled { STALLED } else { RECONCILING };
            conditions.set(READY, Truth::False, error.reason(), error.to_string());
            conditions.set(abnormal, Truth::True, error.reason(), error.to_string());
        }
    }
    bounded(&mut conditions, store, context);
    apart(&mut conditions, store, context);
    BackupStoreStatus {
        observed_generation: store.metadata.generation,
        conditions: conditions.finish(),
        account_id,
        iam_path: Some(iam_path(store, context)),
        drift_interval: Some(drift_interval(store, context)),
        targets: Some(targets),
    }
}

/// The resync, stretched so that comparing all targets takes no more than its share of the store's rate. In whole minutes
/// beyond the resync itself, so that one principal more or less changes nothing.
fn drift_interval(store: &BackupStore, context: &Context) -> api::duration::Duration {
    let time = time_for_looks(store, context.principals_of(&store.name_any()));
    let stretched = Duration::from_mins(time.as_secs().div_ceil(60));
    let interval = if time > context.resync { stretched } else { context.resync };
    interval.into()
}

/// How long it takes to look at so many principals once with the share of the store's rate that looks may take.
#[must_use]
pub fn time_for_looks(store: &BackupStore, principals: usize) -> Duration {
    let requests = u64::try_from(principals).unwrap_or(u64::MAX).saturating_mul(READS_PER_LOOK * 10);
    Duration::from_secs(requests.div_ceil(u64::from(store.spec.iam.requests_per_second.max(1)) * DRIFT_SHARE_TENTHS))
}

/// Whether anything limits what the principals can do, and with them whoever has the operator's credentials.
fn bounded(conditions: &mut Conditions<'_>, store: &BackupStore, context: &Context) {
    let Some(boundary) = store.spec.iam.permissions_boundary.as_deref() else {
        let message = "the store names no permissions boundary, so whoever has the operator's credentials can give any right \
                       to its principals; `backup-target-operator render -o boundary` prints one for spec.iam";
        return conditions.set(BOUNDED, Truth::False, reason::NO_PERMISSIONS_BOUNDARY, message);
    };
    let path = iam_path(store, context);
    if boundary.contains(&format!(":policy{path}")) {
        let message = format!(
            "the permissions boundary lies under {path}, where the operator may change policies; move it to another path"
        );
        return conditions.set(BOUNDED, Truth::False, reason::BOUNDARY_WITHIN_PATH, message);
    }
    let message = format!("every principal has the permissions boundary {boundary}");
    conditions.set(BOUNDED, Truth::True, reason::PERMISSIONS_BOUNDARY, message);
}

/// Whether somebody who may create namespaces can reach what a rule keeps for others.
fn apart(conditions: &mut Conditions<'_>, store: &BackupStore, context: &Context) {
    let meetings = meetings(&store.spec.allow, Some(&context.cluster_id));
    if let Some(first) = meetings.first() {
        let more = if meetings.len() > 1 { format!("; and {} more", meetings.len() - 1) } else { String::new() };
        return conditions.set(FOLDERS_APART, Truth::False, reason::FOLDERS_MEET, format!("{first}{more}"));
    }
    let message = "no name of a namespace makes a folder of one rule that of another";
    conditions.set(FOLDERS_APART, Truth::True, reason::FOLDERS_APART, message);
}

fn iam_path(store: &BackupStore, context: &Context) -> String {
    store.spec.iam.path.clone().unwrap_or_else(|| names::default_path(&context.cluster_id))
}

/// Writes status, if it says something new. Some time is returned when the count has to wait for its turn.
async fn tell(context: &Context, store: &BackupStore, status: &BackupStoreStatus) -> Option<Duration> {
    let before = store.status.clone().unwrap_or_default();
    if *status == before {
        return None;
    }
    let uncounted =
        BackupStoreStatus { targets: before.targets, drift_interval: before.drift_interval, ..status.clone() };
    let only_count = uncounted == before && before.drift_interval.is_some();
    if only_count && let Some(wait) = context.count_written_within(&store.name_any(), COUNT_EVERY) {
        return Some(wait);
    }
    match context.cluster.write_store_status(store, status).await {
        Ok(()) => context.count_written(&store.name_any()),
        Err(error) => warn!(store = store.name_any(), %error, "status could not be written"),
    }
    note_change(context, store, &before, status).await;
    None
}

async fn note_change(context: &Context, store: &BackupStore, before: &BackupStoreStatus, after: &BackupStoreStatus) {
    let ready = |status: &BackupStoreStatus| condition::find(&status.conditions, READY).cloned();
    let (old, new) = (ready(before), ready(after));
    let Some(new) = new.filter(|new| old.is_none_or(|old| old.reason != new.reason)) else { return };
    let well = new.status == "True" && new.reason != reason::CLOCK_SKEWED;
    if well {
        info!(store = store.name_any(), reason = new.reason, "{}", new.message);
    } else {
        warn!(store = store.name_any(), reason = new.reason, "{}", new.message);
    }
    context.cluster.publish(store, &Note { warning: !well, reason: new.reason, message: new.message }).await;
}
