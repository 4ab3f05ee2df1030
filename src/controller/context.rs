//! What reconciles share, and what they remember between runs. Losing the memory costs reads, never correctness.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Resource,
    runtime::reflector::{ObjectRef, Store},
};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::{
    census,
    departed::Departed,
    hand::Hand,
    memory::{Memories, Memory, Remembered},
    namespaces::Namespaces,
    now,
    rivals::rivals,
    rush::{Sight, rush},
    seen::{Seen, SeenStore, SeenTarget},
    slots::{Place, Pool, Slots},
    state::Absence,
};
use crate::{
    access::allow::{self, Namespace, Rival},
    api::{BackupTarget, backup_target::StoreRef},
    cluster::Cluster,
    fair::Urgency,
    store::connect::Connections,
    telemetry::{Telemetry, metrics::Census},
};

/// What stands for all stores that are not there.
const NO_STORE: &str = "";
/// How often a reconcile that waits looks whether it has become urgent.
const LOOK_WHETHER_URGENT: Duration = Duration::from_secs(1);
/// How long a reconcile waits for the first list of all targets; a list that is forbidden never comes.
const FIRST_LIST: Duration = Duration::from_secs(30);

/// Shared by all reconciles.
pub struct Context {
    /// The Kubernetes API.
    pub cluster: Cluster,
    /// The stores' APIs.
    pub connections: Connections,
    /// What the watches see.
    seen: Watched,
    /// Id of this cluster, in paths and tags.
    pub cluster_id: String,
    /// How often everything is compared with what the store has.
    pub resync: Duration,
    /// Keys that are created and not published yet.
    pub hand: Hand,
    /// What targets leave behind that go without being let go.
    pub departed: Departed,
    /// What is told to those who run the operator.
    pub telemetry: Arc<Telemetry>,
    listed: watch::Sender<bool>,
    per_store: usize,
    slots: Arc<Slots>,
    memories: Memories,
    counts: Mutex<HashMap<String, Instant>>,
}

/// What is kept of all objects, as the watches see them.
pub struct Watched {
    /// Of the BackupStores that this operator works on.
    pub stores: Store<SeenStore>,
    /// The labels of namespaces.
    pub namespaces: Arc<Namespaces>,
    /// Of all BackupTargets: once for each namespace that is watched, or once for all.
    pub targets: Vec<Store<SeenTarget>>,
}

impl Context {
    /// Starts with an empty memory.
    #[must_use]
    pub fn new(
        cluster: Cluster,
        connections: Connections,
        seen: Watched,
        cluster_id: String,
        resync: Duration,
        per_store: u16,
        telemetry: Arc<Telemetry>,
    ) -> Self {
        Self {
            cluster,
            connections,
            seen,
            cluster_id,
            resync,
            hand: Hand::default(),
            departed: Departed::default(),
            telemetry,
            listed: watch::Sender::new(false),
            per_store: usize::from(per_store),
            slots: Arc::default(),
            memories: Memories::default(),
            counts: Mutex::default(),
        }
    }

    /// How many targets use a store, those included that are gone and left something in it. One that cannot be read may use any: whether those count is for the caller to say.
    #[must_use]
    pub fn targets_of(&self, store: &str, with_unreadable: bool) -> usize {
        let uses = |target: &SeenTarget| {
            target.readable().map_or(with_unreadable, |target| target.spec.store_ref.resolved() == store)
        };
        let here: usize = self.seen.targets.iter().map(|targets| targets.state_filter(uses).len()).sum();
        here + self.departed.count(store, &self.seen_uids())
    }

    /// Whether a target is this operator's to work on. Where several operators share the stores, it goes by the store alone: its
    /// labels are an administrator's, and those of a target are a tenant's. Who has a store that there is not, nobody knows.
    #[must_use]
    pub fn is_ours(&self, target: &SeenTarget) -> bool {
        let is_known = |store: &StoreRef| self.seen.stores.get(&ObjectRef::new(&store.resolved())).is_some();
        !self.cluster.is_one_of_several() || target.store_ref().is_none_or(is_known)
    }

    /// The UIDs of all targets that the watches see.
    #[must_use]
    pub fn seen_uids(&self) -> HashSet<String> {
        self.seen.targets.iter().flat_map(Store::state).filter_map(|target| target.meta().uid.clone()).collect()
    }

    /// How many targets of a store have a principal: those that only wait, which anybody can make, cost no look at IAM.
    #[must_use]
    pub fn principals_of(&self, store: &str) -> usize {
        let has_one = |target: &SeenTarget| {
            let target = target.readable().filter(|target| target.spec.store_ref.resolved() == store);
            target.and_then(|target| target.status.as_ref()?.principal.as_ref()).is_some()
        };
        self.seen.targets.iter().map(|targets| targets.state_filter(has_one).len()).sum()
    }

    /// Who comes before a target, where a rule serves only so many.
    #[must_use]
    pub fn rivals(&self, target: &BackupTarget) -> Vec<Rival> {
        let all: Vec<_> = self.seen.targets.iter().flat_map(Store::state).collect();
        rivals(target, all.iter().filter_map(|other| other.readable()))
    }

    /// The target with that UID, as the watches see it.
    #[must_use]
    pub fn target_of(&self, uid: &str) -> Option<Arc<SeenTarget>> {
        let is_it = |target: &SeenTarget| target.meta().uid.as_deref() == Some(uid);
        self.seen.targets.iter().find_map(|targets| targets.find(is_it))
    }

    /// Counts everything that the watches see.
    #[must_use]
    pub fn census(&self) -> Census {
        let mut count = Census::default();
        for seen in self.seen.targets.iter().flat_map(Store::state).filter(|seen| self.is_ours(seen)) {
            match seen.readable() {
                Some(target) => {
                    let store = target.spec.store_ref.resolved();
                    census::count_target(&mut count, target, &seen.told, self.known(&store), now());
                }
                None => census::count_unreadable(&mut count),
            }
        }
        for store in self.seen.stores.state().iter().filter(|store| store.readable().is_some()) {
            census::count_store(&mut count, store.meta().name.as_deref().unwrap_or_default(), &store.told);
        }
        count
    }

    /// All targets and stores are known.
    pub fn everything_is_listed(&self) {
        self.listed.send_replace(true);
    }

    /// Waits until all targets and stores are known, and says whether they are. The reflector's own way to wait wakes only the last one
    /// of several who do, and the others wait for ever.
    pub async fn is_everything_listed(&self) -> bool {
        let mut listed = self.listed.subscribe();
        timeout(FIRST_LIST, listed.wait_for(|listed| *listed)).await.is_ok_and(|listed| listed.is_ok())
    }

    /// Waits until a target may be worked on; while it does, it looks now and then whether that has become more urgent. `None`
    /// when the operator stops, or when so many of that namespace wait already that it is to come again.
    pub async fn slot(&self, target: &SeenTarget) -> Option<Place> {
        let metadata = target.meta();
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        let mut pool = self.pool_of(target.readable()?);
        loop {
            let _waiting = self.telemetry.metrics.waiting(&pool.store);
            let mut place = self.slots.join(pool.clone(), namespace, self.slots_of(&pool)).ok()?;
            while pool == place.pool {
                if timeout(LOOK_WHETHER_URGENT, place.called()).await.is_ok() {
                    return Some(place);
                }
                if self.telemetry.health.is_stopping() {
                    return None;
                }
                let now = self.in_view(metadata);
                pool = now.as_deref().and_then(Seen::readable).map_or(pool, |now| self.pool_of(now));
            }
        }
    }

    /// Ends when the target is being deleted.
    pub async fn until_deleted(&self, target: &BackupTarget) {
        let is_deleted = |now: Arc<SeenTarget>| now.meta().deletion_timestamp.is_some();
        while !self.in_view(&target.metadata).is_some_and(is_deleted) {
            sleep(LOOK_WHETHER_URGENT).await;
        }
    }

    /// The target as the watches see it now.
    fn in_view(&self, target: &ObjectMeta) -> Option<Arc<SeenTarget>> {
        let object = ObjectRef::new(target.name.as_deref()?).within(target.namespace.as_deref()?);
        self.seen.targets.iter().find_map(|targets| targets.get(&object))
    }

    fn pool_of(&self, target: &BackupTarget) -> Pool {
        let store_name = target.spec.store_ref.resolved();
        let store = self.seen.stores.get(&ObjectRef::new(&store_name));
        let store = store.as_deref().and_then(Seen::readable);
        let name = target.metadata.namespace.clone().unwrap_or_default();
        let labels = match store {
            Some(store) if allow::need_namespace(&store.spec.allow) => self.seen.namespaces.labels_of(&name),
            _ => Some(BTreeMap::new()),
        };
        let (uid, cluster) = (self.seen.namespaces.uid_of(&name).unwrap_or_default(), self.cluster_id.clone());
        let namespace = labels.map(|labels| Namespace { name, labels, uid, cluster });
        let urgency = rush(Sight {
            target,
            rules: store.map(|store| store.spec.allow.as_slice()).zip(namespace.as_ref()),
            held_against: self.memories.held_against(target.metadata.uid.as_deref().unwrap_or_default()),
        });
        Pool { store: self.known(&store_name).to_owned(), urgency }
    }

    /// The name of a store that there is; all others, which tenants may invent as they like, count as one.
    #[must_use]
    pub fn known<'a>(&self, store: &'a str) -> &'a str {
        if self.seen.stores.get(&ObjectRef::new(store)).is_some() { store } else { NO_STORE }
    }

    /// No more than requests in a second: whoever has a slot must get on within the time that a reconcile has.
    fn slots_of(&self, pool: &Pool) -> usize {
        let known = self.seen.stores.get(&ObjectRef::new(&pool.store));
        let known = known.as_deref().and_then(Seen::readable);
        let rate = known.map_or(self.per_store, |known| usize::from(known.spec.iam.requests_per_second));
        let slots = self.per_store.min(rate).max(1);
        if pool.urgency == Urgency::Drift { slots.div_ceil(3) } else { slots }
    }

    /// What is remembered of the object with that UID.
    #[must_use]
    pub fn recall(&self, uid: &str) -> Memory {
        self.memories.of(uid)
    }

    /// Remembers what a success left.
    pub fn remember(&self, uid: &str, principal: Option<Remembered>, absence: Absence) {
        self.sweep();
        self.memories.change(uid, |memory| memory.succeeded(principal, absence));
    }

    /// What the target was given was held against these rules.
    pub fn held_against(&self, uid: &str, rules: u64) {
        self.memories.change(uid, |memory| memory.held(rules));
    }

    /// Somebody else's work was put right at that time of the store's clock.
    pub fn repaired(&self, uid: &str, at: Timestamp) {
        self.memories.change(uid, |memory| memory.repairs.one_more(at));
    }

    /// Forgets an object that is gone.
    pub fn forget(&self, uid: &str) {
        self.hand.let_go(uid);
        self.memories.forget(uid);
    }

    /// Leaves a target, and whatever becomes of it, to the operator that its store belongs to.
    pub fn leave(&self, uid: &str) {
        self.forget(uid);
        self.departed.let_go(uid);
    }

    /// Forgets a store that is gone.
    pub fn forget_store(&self, name: &str, uid: &str) {
        self.forget(uid);
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// Counts a failure, forgets the principal, and says how long to wait before the next try.
    pub fn failed(&self, uid: &str) -> Duration {
        self.sweep();
        jittered(self.memories.change(uid, Memory::failed))
    }

    /// Forgets what went without a word: nobody is told of an object that goes without a finalizer of ours.
    fn sweep(&self) {
        let objects = self.seen.stores.len() + self.seen.targets.iter().map(Store::len).sum::<usize>();
        if !self.memories.are_too_many_for(objects) {
            return;
        }
        let targets = self.seen.targets.iter().flat_map(Store::state);
        let targets = targets.filter_map(|target| target.meta().uid.clone());
        let stores = self.seen.stores.state().into_iter().filter_map(|store| store.meta().uid.clone());
        let living: HashSet<String> = targets.chain(stores).collect();
        self.memories.keep(&living);
        self.hand.keep(&living);
    }

    /// A store's status was written just now.
    pub fn count_written(&self, store: &str) {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).insert(store.to_owned(), Instant::now());
    }

    /// How long until a store's status has been left alone for that time; `None` when it has.
    #[must_use]
    pub fn count_written_within(&self, store: &str, time: Duration) -> Option<Duration> {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        time.checked_sub(counts.get(store)?.elapsed()).filter(|left| !left.is_zero())
    }
}

/// Within ten per cent, so that many objects do not come at the same moment for ever.
#[must_use]
pub fn jittered(duration: Duration) -> Duration {
    duration.mul_f64(0.9 + 0.2 * fastrand::f64())
}
