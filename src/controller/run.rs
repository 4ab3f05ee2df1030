//! Wiring: two controllers, what wakes them, and how they end.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::{
    StreamExt,
    channel::mpsc::unbounded,
    future::{join_all, join4, try_join_all},
};
use kube::{
    Api, Client, Resource, ResourceExt,
    core::NamespaceResourceScope,
    runtime::{
        Controller,
        controller::{self, Action},
        reflector::{self, ObjectRef, Store},
        watcher,
    },
};
use tokio::sync::watch;
use tracing::{debug, info};

use super::{
    backup_store, backup_target,
    context::Context,
    guard,
    namespaces::Namespaces,
    seen::{SeenStore, SeenTarget},
    shutdown,
    wake::{
        kept_stores, kept_targets, next_in_line, stores_of_secrets, targets_of_namespaces, targets_of_secrets,
        targets_of_stores,
    },
    watched::Watched,
    watches::{watch, watched},
};
use crate::{
    cluster::{Cluster, managed_selector},
    fence::Fence,
    provider::connections::Connections,
    telemetry::{Telemetry, health::Phase},
};

/// A BackupStore's reconcile is one call, and those of stores that do not answer keep no other waiting.
const STORES_AT_ONCE: u16 = 64;

/// What the operator needs to know to run.
pub struct Settings {
    /// Id of the cluster in IAM paths and tags; `None` derives it from the `kube-system` namespace.
    pub cluster_id: Option<String>,
    /// How often everything is compared with what the store has.
    pub resync: Duration,
    /// How many targets of one store are worked on at once.
    pub concurrency: u16,
    /// Labels of the stores that are worked on, and all targets in them; `None` is all of them.
    pub selector: Option<String>,
    /// Namespaces of the targets that are worked on; none named is all of them.
    pub namespaces: Vec<String>,
    /// Whether the Secrets of targets are watched; if not, what becomes of them is seen with the next resync.
    pub watch_secrets: bool,
}

/// Runs until `stop` says so, and acts only while the fence is open.
///
/// # Errors
/// When the operator cannot start.
pub async fn run(
    cluster: Cluster,
    settings: Settings,
    telemetry: Arc<Telemetry>,
    fence: Fence,
    stop: watch::Receiver<bool>,
) -> Result<(), String> {
    let cluster = cluster.behind(fence.clone()).selecting(settings.selector.clone());
    let cluster_id = match settings.cluster_id {
        Some(id) => id,
        None => cluster.cluster_uid().await.map_err(|error| error.to_string())?,
    };
    if let Some(selector) = &settings.selector {
        cluster.check_selector(selector).await?;
    }
    let client = cluster.client();
    let all = watched(cluster.streams_lists().await);
    let ours = settings.selector.iter().fold(all.clone(), |config, selector| config.labels(selector));
    let scopes = Scope::of(&settings.namespaces);
    let (seen_stores, keep_stores) = reflector::store::<SeenStore>();
    let (seen_targets, keep_targets): (Vec<_>, Vec<_>) =
        scopes.iter().map(|_| reflector::store::<SeenTarget>()).unzip();
    let labels = Arc::<Namespaces>::default();
    let context = Arc::new(Context::new(
        cluster.clone(),
        Connections::new(telemetry.metrics.clone(), fence)?.reading(cluster.clone()),
        Watched {
            stores: seen_stores.clone(),
            namespaces: labels.clone(),
            targets: seen_targets.clone(),
            is_one_of_several: cluster.is_one_of_several(),
        },
        cluster_id.clone(),
        settings.resync,
        settings.concurrency,
        telemetry.clone(),
    ));
    let counted = context.clone();
    telemetry.count_with(Box::new(move || counted.seen.census()));

    let (wake_stores, stores_woken) = unbounded();
    let (wake_targets, targets_woken): (Vec<_>, Vec<_>) = scopes.iter().map(|_| unbounded()).unzip();
    let (free_places, places_freed): (Vec<_>, Vec<_>) = scopes.iter().map(|_| unbounded()).unzip();
    // A controller for each namespace, or one for all.
    let kept = seen_targets.iter().cloned().zip(keep_targets).zip(targets_woken.into_iter().zip(places_freed));
    let targets = scopes.iter().zip(kept).map(|(scope, ((known, keep), (woken, freed)))| {
        let events = watch(scope.api(client.clone()), all.clone());
        let ours_only = all.clone().labels(&managed_selector());
        let secrets = settings.watch_secrets.then(|| watch(scope.api(client.clone()), ours_only));
        let namespaces = watch(Api::all(client.clone()), scope.namespace_itself(all.clone()));
        let events = kept_targets(events, keep, wake_stores.clone(), free_places.clone());
        let controller = Controller::for_stream(events, known.clone());
        secrets
            .into_iter()
            .fold(controller, |controller, secrets| controller.reconcile_on(targets_of_secrets(secrets, known.clone())))
            // How many are worked on at once, the slots of their stores say: a number for all would let one hold up others.
            .reconcile_on(targets_of_stores(woken, known.clone()))
            .reconcile_on(next_in_line(freed, context.clone(), known.clone()))
            .reconcile_on(targets_of_namespaces(namespaces, labels.clone(), known))
            .graceful_shutdown_on(stopped(stop.clone()))
            .run(
                |target, context| async { Ok::<Action, Never>(take_on(target, context).await) },
                |_, never, _| match *never {},
                context.clone(),
            )
            .for_each(|finished| async move { log(finished) })
    });
    let targets = join_all(targets);
    let events = watch(Api::all(client.clone()), ours);
    let secrets = watch(Api::namespaced(client, cluster.namespace()), all);
    let stores = Controller::for_stream(
        kept_stores(events, keep_stores, context.clone(), wake_targets.clone()),
        seen_stores.clone(),
    )
    .with_config(controller::Config::default().concurrency(STORES_AT_ONCE))
    .reconcile_on(stores_of_secrets(secrets, seen_stores.clone(), wake_targets))
    .reconcile_on(stores_woken.map(|name: String| ObjectRef::new(&name)))
    .graceful_shutdown_on(stopped(stop.clone()))
    .run(
        |store, context| async {
            Ok::<Action, Never>(guard::reconcile(store, context, backup_store::reconcile::reconcile).await)
        },
        |_, never, _| match *never {},
        context.clone(),
    )
    .for_each(|finished| async move { log(finished) });
    let ready = async {
        let targets = try_join_all(seen_targets.iter().map(Store::wait_until_ready));
        if let (Ok(()), Ok(_)) = futures::future::join(seen_stores.wait_until_ready(), targets).await {
            context.everything_is_listed();
            telemetry.health.is_now(Phase::Working);
            let targets: usize = seen_targets.iter().map(Store::len).sum();
            info!(cluster_id, targets, stores = seen_stores.len(), namespaces = ?settings.namespaces, "watching");
        }
    };
    join4(targets, stores, ready, backup_target::collect::tend(&context, stop)).await;
    shutdown::revoke_unpublished_keys(&context).await;
    Ok(())
}

/// Works on a target, unless that is for another operator.
async fn take_on(target: Arc<SeenTarget>, context: Arc<Context>) -> Action {
    if !context.seen.is_ours(&target) {
        // When its store becomes this operator's, that wakes it.
        context.leave(&target.uid().unwrap_or_default());
        return Action::await_change();
    }
    guard::reconcile(target, context, reconcile_target).await
}

/// Boxed, since thousands may wait for their turn.
async fn reconcile_target(target: Arc<SeenTarget>, context: Arc<Context>) -> Action {
    Box::pin(backup_target::reconcile::reconcile(target, context)).await
}

/// Where targets are watched.
enum Scope {
    Everywhere,
    Namespace(String),
}

impl Scope {
    fn of(namespaces: &[String]) -> Vec<Self> {
        if namespaces.is_empty() {
            return vec![Self::Everywhere];
        }
        // Two controllers for one namespace would work against each other.
        let once: BTreeSet<&String> = namespaces.iter().collect();
        once.into_iter().cloned().map(Self::Namespace).collect()
    }

    fn api<K>(&self, client: Client) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        match self {
            Self::Everywhere => Api::all(client),
            Self::Namespace(name) => Api::namespaced(client, name),
        }
    }

    /// The namespaces of which the labels matter.
    fn namespace_itself(&self, all: watcher::Config) -> watcher::Config {
        match self {
            Self::Everywhere => all,
            Self::Namespace(name) => all.fields(&format!("metadata.name={name}")),
        }
    }
}

/// Reconciles report to status and never fail.
#[derive(Debug, thiserror::Error)]
enum Never {}

async fn stopped(mut stop: watch::Receiver<bool>) {
    // An error means that the sender is gone, which is a reason to stop as well.
    let _ = stop.wait_for(|stop| *stop).await;
}

fn log<K: Resource<DynamicType = ()>>(
    finished: Result<(ObjectRef<K>, Action), controller::Error<Never, watcher::Error>>,
) {
    match finished {
        Ok((object, action)) => debug!(%object, ?action, "reconciled"),
        // The object went away before its turn, or other labels are watched than it has.
        Err(controller::Error::ObjectNotFound(object)) => debug!(%object, "gone"),
        Err(error) => debug!(kind = %K::kind(&()), %error, "nothing was reconciled"),
    }
}
