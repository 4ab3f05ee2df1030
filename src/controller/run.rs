//! Wiring: two controllers, what wakes them, and how they end.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::{
    Stream, StreamExt,
    channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded},
    future::{join_all, join4, ready, try_join_all},
    stream,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    core::NamespaceResourceScope,
    runtime::{
        Controller, WatchStreamExt,
        controller::{self, Action},
        reflector::{self, ObjectRef, Store, reflector, store::Writer},
        watcher::{self, Event},
    },
};
use tokio::sync::watch;
use tracing::{debug, info};

use super::{
    context::{Context, Watched},
    departed, farewell, guard,
    namespaces::Namespaces,
    seen::{SeenNamespace, SeenSecret, SeenStore, SeenTarget},
    stores, targets,
    watches::{Changes, touched, watch, watched},
};
use crate::{
    cluster::{Cluster, managed_selector},
    leader::fence::Fence,
    store::connect::Connections,
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
        Connections::new(telemetry.metrics.clone(), fence)?,
        Watched { stores: seen_stores.clone(), namespaces: labels.clone(), targets: seen_targets.clone() },
        cluster_id.clone(),
        settings.resync,
        settings.concurrency,
        telemetry.clone(),
    ));
    let counted = context.clone();
    telemetry.count_with(Box::new(move || counted.census()));

    let (wake_stores, stores_woken) = unbounded();
    let (wake_targets, targets_woken): (Vec<_>, Vec<_>) = scopes.iter().map(|_| unbounded()).unzip();
    // A controller for each namespace, or one for all.
    let kept = seen_targets.iter().cloned().zip(keep_targets).zip(targets_woken);
    let targets = scopes.iter().zip(kept).map(|(scope, ((known, keep), woken))| {
        let events = watch(scope.api(client.clone()), all.clone());
        let ours_only = all.clone().labels(&managed_selector());
        let secrets = settings.watch_secrets.then(|| watch(scope.api(client.clone()), ours_only));
        let namespaces = watch(Api::all(client.clone()), scope.namespace_itself(all.clone()));
        let controller = Controller::for_stream(kept_targets(events, keep, wake_stores.clone()), known.clone());
        secrets
            .into_iter()
            .fold(controller, |controller, secrets| controller.reconcile_on(targets_of_secrets(secrets, known.clone())))
            // How many are worked on at once, the slots of their stores say: a number for all would let one hold up others.
            .reconcile_on(targets_of_stores(woken, known.clone()))
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
    let stores =
        Controller::for_stream(kept_stores(events, keep_stores, context.clone(), wake_targets), seen_stores.clone())
            .with_config(controller::Config::default().concurrency(STORES_AT_ONCE))
            .reconcile_on(stores_of_secrets(secrets, seen_stores.clone()))
            .reconcile_on(stores_woken.map(|name: String| ObjectRef::new(&name)))
            .graceful_shutdown_on(stopped(stop.clone()))
            .run(
                |store, context| async {
                    Ok::<Action, Never>(guard::reconcile(store, context, stores::reconcile).await)
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
    join4(targets, stores, ready, departed::tend(&context, stop)).await;
    farewell::put_away(&context).await;
    Ok(())
}

/// Works on a target, unless that is for another operator.
async fn take_on(target: Arc<SeenTarget>, context: Arc<Context>) -> Action {
    if !context.is_ours(&target) {
        // When its store becomes this operator's, that wakes it.
        context.leave(&target.uid().unwrap_or_default());
        return Action::await_change();
    }
    guard::reconcile(target, context, reconcile_target).await
}

/// Boxed, since thousands may wait for their turn.
async fn reconcile_target(target: Arc<SeenTarget>, context: Arc<Context>) -> Action {
    Box::pin(targets::reconcile(target, context)).await
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

/// Keeps what is seen of targets, and wakes their stores.
fn kept_targets(
    events: impl Stream<Item = Event<SeenTarget>> + Send + 'static,
    keep: Writer<SeenTarget>,
    wake: UnboundedSender<String>,
) -> impl Stream<Item = Result<SeenTarget, watcher::Error>> + Send {
    let kept = reflector(keep, events.map(Ok)).inspect(move |event| {
        let Ok(event) = event else { return };
        if let Event::Apply(target) | Event::InitApply(target) | Event::Delete(target) = event
            && let Some(target) = target.readable()
        {
            // Nobody listens any more when the operator ends.
            let _ = wake.unbounded_send(target.spec.store_ref.resolved().into_owned());
        }
    });
    kept.applied_objects()
}

/// Keeps what is seen of stores, and wakes their targets when a store came or went, when its rules changed, whether it is ready, or
/// what its administrator says about keys.
fn kept_stores(
    events: impl Stream<Item = Event<SeenStore>> + Send + 'static,
    keep: Writer<SeenStore>,
    context: Arc<Context>,
    wake: Vec<UnboundedSender<String>>,
) -> impl Stream<Item = Result<SeenStore, watcher::Error>> + Send {
    let (mut changes, mut due) = (Changes::default(), Vec::new());
    let view = |store: &SeenStore| {
        let account = store.readable().and_then(|store| store.status.as_ref()?.account_id.clone());
        let ready = store.told.ready.as_ref().map(|(status, _)| status.clone());
        (store.meta().generation, store.meta().uid.clone(), account, ready, store.told.reactivate_at)
    };
    let kept = reflector(keep, events.map(Ok)).then(move |event: watcher::Result<Event<SeenStore>>| {
        if let Ok(event) = &event {
            if changes.are_in(event, view)
                && let Some(store) = touched(event.clone())
            {
                due.push(store.name_any());
            }
            // Stores of a list are kept when the whole list is there; before, a target would be woken to find no store.
            if !matches!(event, Event::Init | Event::InitApply(_)) {
                for store in due.drain(..) {
                    for wake in &wake {
                        let _ = wake.unbounded_send(store.clone());
                    }
                }
            }
        }
        let context = context.clone();
        async move {
            if let Ok(Event::Delete(store)) = &event {
                context.connections.forget(&store.name_any()).await;
            }
            event
        }
    });
    kept.applied_objects()
}

fn targets_of_stores(
    woken: UnboundedReceiver<String>,
    all: Store<SeenTarget>,
) -> impl Stream<Item = ObjectRef<SeenTarget>> + Send {
    woken.flat_map(move |store| {
        let uses = |target: &SeenTarget| target.store_ref().is_some_and(|named| named.resolved() == store);
        stream::iter(refs(&all, uses))
    })
}

/// A namespace's targets, when its labels changed.
fn targets_of_namespaces(
    events: impl Stream<Item = Event<SeenNamespace>> + Send + 'static,
    labels: Arc<Namespaces>,
    all: Store<SeenTarget>,
) -> impl Stream<Item = ObjectRef<SeenTarget>> + Send {
    events.filter_map(|event| ready(touched(event))).flat_map(move |namespace| {
        let within = |target: &SeenTarget| target.meta().namespace == namespace.metadata.name;
        stream::iter(if labels.saw(&namespace.metadata) { refs(&all, within) } else { Vec::new() })
    })
}

/// Anybody may write Secrets that name targets as they like: only those that there are need to know.
fn targets_of_secrets(
    events: impl Stream<Item = Event<SeenSecret>> + Send + 'static,
    all: Store<SeenTarget>,
) -> impl Stream<Item = ObjectRef<SeenTarget>> + Send {
    events.filter_map(|event| ready(touched(event))).flat_map(move |secret| {
        let there: Vec<_> = secret.targets().filter(|target| all.get(target).is_some()).collect();
        stream::iter(there)
    })
}

fn stores_of_secrets(
    events: impl Stream<Item = Event<SeenSecret>> + Send + 'static,
    all: Store<SeenStore>,
) -> impl Stream<Item = ObjectRef<SeenStore>> + Send {
    events.filter_map(|event| ready(touched(event))).flat_map(move |secret| {
        let uses = |store: &SeenStore| {
            store
                .readable()
                .and_then(|store| store.spec.credentials.as_ref())
                .is_some_and(|key| key.secret_ref.name == secret.name())
        };
        stream::iter(refs(&all, uses))
    })
}

/// Those that are wanted.
fn refs<K>(all: &Store<K>, wanted: impl Fn(&K) -> bool) -> Vec<ObjectRef<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    all.state_filter(wanted).iter().map(|object| ObjectRef::from_obj(object.as_ref())).collect()
}
