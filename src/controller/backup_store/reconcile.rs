//! One reconcile of one BackupStore: do its credentials work, and for which account.

use std::{sync::Arc, time::Duration};

use kube::{Resource, ResourceExt, runtime::controller::Action};
use tracing::{info, warn};

use super::report::{Facts, Identity, report};
use crate::{
    api::{
        BackupStore, Reason,
        backup_store::BackupStoreStatus,
        condition::{self, READY},
    },
    cluster::{self, Note},
    controller::{
        absence::Absence,
        connection::{Error, connect},
        context::Context,
        seen::SeenStore,
        time::{jittered, now},
    },
    names::{self, ObjectName},
};

/// The number of targets alone is written no more often than this, so that a new target costs no write here.
const COUNT_EVERY: Duration = Duration::from_secs(30);
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
    let failing = answer.as_ref().err().map_or(Duration::ZERO, |error| context.failed_for(&uid, error.reason()));
    let facts = Facts {
        store: &store,
        cluster_id: &context.cluster_id,
        resync: context.resync,
        targets,
        principals: context.principals_of(&name),
        failing,
        now: now(),
    };
    let status = report(facts, answer.as_ref());
    let why = condition::find(&status.conditions, READY).map(|ready| ready.reason.as_str()).unwrap_or_default();
    context.telemetry.metrics.reconciled(&BackupStore::kind(&()), answer.is_ok(), why);
    let wait = tell(context, &store, &status).await;
    match &answer {
        // The count of targets may lag behind the event that the last one went.
        Ok(_) if deleting => Action::requeue(LAST_TARGET),
        Ok(_) => {
            context.remember(&uid, None, Absence::default());
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

async fn check(context: &Context, store: &BackupStore) -> Result<Identity, Error> {
    let connection = connect(context, store).await?;
    connection.terms(&store.spec)?;
    Ok(Identity { account_id: connection.identity.account.clone(), skew: connection.provider.clock().skew() })
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
    let well = new.status == "True" && Reason::of(&new) != Some(Reason::ClockSkewed);
    if well {
        info!(store = store.name_any(), reason = new.reason, "{}", new.message);
    } else {
        warn!(store = store.name_any(), reason = new.reason, "{}", new.message);
    }
    let Some(reason) = Reason::of(&new) else { return };
    context.cluster.publish(store, &Note { warning: !well, reason, message: new.message }).await;
}
