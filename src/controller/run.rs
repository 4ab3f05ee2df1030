//! Wiring: two controllers, what wakes them, and how they end.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::{
    Api, Client, Resource, ResourceExt,
    core::{DeserializeGuard, NamespaceResourceScope, PartialObjectMeta},
    runtime::{
        Controller,
        controller::{self, Action},
        reflector::{self, ObjectRef},
        watcher,
    },
};
use tokio::sync::watch;
use tracing::{debug, info};

use super::{
    context::{Context, Seen},
    departed, farewell, guard,
    namespaces::Namespaces,
    stores, targets,
};
use crate::{
    api::{BackupStore, BackupTarget, condition},
    cluster::{Cluster, managed_selector},
    leader::fence::Fence,
    names::TARGET_LABEL,
    store::connect::Connections,
    telemetry::{Telemetry, health::Phase},
};

/// The server ends a watch after this time and the client notices a dead one soon after; kube's default is five minutes.
const WATCH_SECONDS: u32 = 45;
/// A BackupStore's reconcile is one call, and those of stores that do not answer keep no other waiting.
const STORES_AT_ONCE: u16 = 64;

/// What is watched; one that cannot be read does not break the watch of all others.
type Target = DeserializeGuard<BackupTarget>;
type Store = DeserializeGuard<BackupStore>;

/// What the operator needs to know to run.
pub struct Settings {
    /// Id of the cluster in IAM paths and tags; `None` derives it from the `kube-system` namespace.
    pub cluster_id: Option<String>,
    /// How often everything is compared with what the store has.
    pub resync: Duration,
    /// How many targets of one store are worked on at once.
    pub concurrency: u16,
    /// Labels of the targets and stores that are worked on; `None` is all of them.
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
    let cluster = cluster.behind(fence.clone());
    let cluster_id = match settings.cluster_id {
        Some(id) => id,
        None => cluster.cluster_uid().await.map_err(|error| error.to_string())?,
    };
    if let Some(selector) = &settings.selector {
        cluster.check_selector(selector).await?;
    }
    let ours = || settings.selector.iter().fold(watched(), |config, selector| config.labels(selector));
    let client = cluster.client();
    let scopes = Scope::of(&settings.namespaces);
    let target_controllers: Vec<_> = scopes
        .iter()
        // How many are worked on at once, the slots of their stores say: a number for all would let one store hold up others.
        .map(|scope| Controller::new(scope.api::<Target>(client.clone()), ours()))
        .collect();
    let store_controller = Controller::new(Api::<Store>::all(client.clone()), ours())
        .with_config(controller::Config::default().concurrency(STORES_AT_ONCE));
    let all_targets: Vec<_> = target_controllers.iter().map(Controller::store).collect();
    let all_stores = store_controller.store();
    let namespaces = Arc::<Namespaces>::default();
    let context = Arc::new(Context::new(
        cluster.clone(),
        Connections::new(telemetry.metrics.clone(), fence)?,
        Seen { stores: all_stores.clone(), namespaces: namespaces.clone(), targets: all_targets.clone() },
        cluster_id.clone(),
        settings.resync,
        settings.concurrency,
        telemetry.clone(),
    ));
    let counted = context.clone();
    telemetry.count_with(Box::new(move || counted.census()));

    // A controller for each namespace, or one for all.
    let targets = scopes.iter().zip(target_controllers).map(|(scope, controller)| {
        let known = controller.store();
        let secrets = settings.watch_secrets.then(|| scope.api::<PartialObjectMeta<Secret>>(client.clone()));
        let ours_only = || watched().labels(&managed_selector());
        secrets
            .into_iter()
            .fold(controller, |controller, secrets| {
                controller.watches(secrets, ours_only(), |secret| targets_of_secret(&secret))
            })
            .watches(Api::<Store>::all(client.clone()), ours(), targets_of_store(known.clone(), all_stores.clone()))
            .watches(
                Api::<PartialObjectMeta<Namespace>>::all(client.clone()),
                scope.namespace_itself(),
                targets_of_namespace(known, namespaces.clone()),
            )
            .graceful_shutdown_on(stopped(stop.clone()))
            .run(
                |target, context| async {
                    let work = |target, context| Box::pin(targets::reconcile(target, context));
                    Ok::<Action, Never>(guard::reconcile(target, context, work).await)
                },
                |_, never, _| match *never {},
                context.clone(),
            )
            .for_each(|finished| async move { log(finished) })
    });
    let targets = futures::future::join_all(targets);
    let secrets = Api::<PartialObjectMeta<Secret>>::namespaced(client.clone(), cluster.namespace());
    let store_controller = store_controller.watches(secrets, watched(), stores_of_secret(all_stores.clone()));
    let stores = scopes
        .iter()
        .fold(store_controller, |controller, scope| {
            controller.watches(scope.api(client.clone()), ours(), |target: Target| {
                target.0.ok().map(|target| ObjectRef::<Store>::new(&target.spec.store_ref.resolved()))
            })
        })
        .graceful_shutdown_on(stopped(stop.clone()))
        .run(
            |store, context| async { Ok::<Action, Never>(guard::reconcile(store, context, stores::reconcile).await) },
            |_, never, _| match *never {},
            context.clone(),
        )
        .for_each(|finished| async move { log(finished) });
    let ready = async {
        let targets = futures::future::try_join_all(all_targets.iter().map(reflector::Store::wait_until_ready));
        if let (Ok(()), Ok(_)) = futures::future::join(all_stores.wait_until_ready(), targets).await {
            context.targets_are_listed();
            telemetry.health.is_now(Phase::Working);
            let targets: usize = all_targets.iter().map(reflector::Store::len).sum();
            info!(cluster_id, targets, stores = all_stores.len(), namespaces = ?settings.namespaces, "watching");
        }
    };
    futures::future::join4(targets, stores, ready, departed::tend(&context, stop)).await;
    farewell::put_away(&context).await;
    Ok(())
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
    fn namespace_itself(&self) -> watcher::Config {
        match self {
            Self::Everywhere => watched(),
            Self::Namespace(name) => watched().fields(&format!("metadata.name={name}")),
        }
    }
}

/// Reconciles report to status and never fail.
#[derive(Debug, thiserror::Error)]
enum Never {}

fn watched() -> watcher::Config {
    watcher::Config::default().timeout(WATCH_SECONDS)
}

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
        Err(error) => tracing::warn!(kind = %K::kind(&()), %error, "a watch failed; it is taken up again"),
    }
}

/// A store's targets, when its rules changed, or whether it is ready: status writes wake nobody.
fn targets_of_store(
    all: reflector::Store<Target>,
    stores: reflector::Store<Store>,
) -> impl Fn(Store) -> Vec<ObjectRef<Target>> {
    let seen: Mutex<HashMap<String, _>> = Mutex::default();
    let changed = move |store: &BackupStore| {
        let status = store.status.clone().unwrap_or_default();
        let ready = condition::find(&status.conditions, condition::READY).map(|ready| ready.status.clone());
        let now = Some((store.metadata.generation, store.metadata.uid.clone(), status.account_id, ready));
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        // What is gone is forgotten; this one may not be listed yet.
        seen.retain(|name, _| stores.get(&ObjectRef::new(name)).is_some());
        seen.insert(store.name_any(), now.clone()).flatten() != now
    };
    move |store| match store.0 {
        Ok(store) if changed(&store) => refs(&all, |target| target.spec.store_ref.resolved() == store.name_any()),
        _ => Vec::new(),
    }
}

/// A namespace's targets, when its labels changed.
fn targets_of_namespace(
    all: reflector::Store<Target>,
    namespaces: Arc<Namespaces>,
) -> impl Fn(PartialObjectMeta<Namespace>) -> Vec<ObjectRef<Target>> {
    move |namespace| {
        let within = |target: &BackupTarget| target.namespace() == Some(namespace.name_any());
        if namespaces.saw(&namespace.metadata) { refs(&all, within) } else { Vec::new() }
    }
}

/// Whose Secret it is: by its owner, by its label should somebody have taken the owner off, and by its name should the
/// label have been too short for the target's.
fn targets_of_secret(secret: &PartialObjectMeta<Secret>) -> Vec<ObjectRef<Target>> {
    let kind = BackupTarget::kind(&());
    let owners = secret.owner_references().iter().filter(|owner| owner.kind == kind).map(|owner| owner.name.clone());
    let label = secret.labels().get(TARGET_LABEL).cloned();
    let names: BTreeSet<String> = owners.chain(label).chain([secret.name_any()]).collect();
    let namespace = secret.namespace().unwrap_or_default();
    names.iter().map(|name| ObjectRef::new(name).within(&namespace)).collect()
}

fn stores_of_secret(all: reflector::Store<Store>) -> impl Fn(PartialObjectMeta<Secret>) -> Vec<ObjectRef<Store>> {
    move |secret| {
        refs(&all, |store: &BackupStore| {
            store.spec.credentials.as_ref().is_some_and(|credentials| credentials.secret_ref.name == secret.name_any())
        })
    }
}

/// Of all that can be read, those that are wanted.
fn refs<K>(
    all: &reflector::Store<DeserializeGuard<K>>,
    wanted: impl Fn(&K) -> bool,
) -> Vec<ObjectRef<DeserializeGuard<K>>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let state = all.state();
    let wanted = state.iter().filter(|object| object.0.as_ref().is_ok_and(&wanted));
    wanted.map(|object| ObjectRef::from_obj(object.as_ref())).collect()
}
