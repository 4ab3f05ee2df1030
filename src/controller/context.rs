//! What reconciles share, and what they remember between runs. Losing the memory costs reads, never correctness.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource, ResourceExt, runtime::reflector::ObjectRef};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::{
    absence::Absence,
    brief::Brief,
    cache::{Memories, Memory, Remembered},
    departed::Departed,
    places::{self, Full},
    seen::{Seen, SeenTarget},
    slots::{Place, Pool, Slots},
    time::jittered,
    unpublished_keys::UnpublishedKeys,
    urgency::{Sight, urgency},
    watched::Watched,
};
use crate::{
    access::{
        Claim, Verdict,
        allow::{self, Namespace},
    },
    api::{BackupStore, BackupTarget, Reason, backup_store::AllowRule},
    cluster::Cluster,
    fair::Urgency,
    provider::connections::Connections,
    telemetry::Telemetry,
};

/// How often a reconcile that waits looks whether it has become urgent.
const LOOK_WHETHER_URGENT: Duration = Duration::from_secs(1);
/// How long a reconcile waits for the first list of all targets; a list that is forbidden never comes.
const FIRST_LIST: Duration = Duration::from_secs(30);

/// Shared by all reconciles.
pub struct Context {
    pub cluster: Cluster,
    pub connections: Connections,
    /// What the watches see.
    pub seen: Watched,
    /// Id of this cluster, in paths and tags.
    pub cluster_id: String,
    /// How often everything is compared with what the store has.
    pub resync: Duration,
    /// Keys that are created and not published yet.
    pub unpublished_keys: UnpublishedKeys,
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
            unpublished_keys: UnpublishedKeys::default(),
            departed: Departed::default(),
            telemetry,
            listed: watch::Sender::new(false),
            per_store: usize::from(per_store),
            slots: Arc::default(),
            memories: Memories::default(),
            counts: Mutex::default(),
        }
    }

    /// How many targets use a store, those included that are gone and left something in it. Whether those count that cannot be
    /// read is for the caller to say.
    #[must_use]
    pub fn targets_of(&self, store: &str, with_unreadable: bool) -> usize {
        self.seen.targets_of(store, with_unreadable) + self.departed.count(store, &self.seen.uids())
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
        let mut pool = self.pool_of(metadata, target.readable()?);
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
                let now = self.seen.in_view(metadata);
                pool = now.as_deref().and_then(Seen::readable).map_or(pool, |now| self.pool_of(metadata, now));
            }
        }
    }

    /// Ends when the target is being deleted.
    pub async fn until_deleted(&self, target: &BackupTarget) {
        let is_deleted = |now: Arc<SeenTarget>| now.meta().deletion_timestamp.is_some();
        while !self.seen.in_view(&target.metadata).is_some_and(is_deleted) {
            sleep(LOOK_WHETHER_URGENT).await;
        }
    }

    fn pool_of(&self, metadata: &ObjectMeta, target: &Brief) -> Pool {
        let store = self.seen.store(&target.store);
        let store = store.as_deref().and_then(Seen::readable);
        let rules = store.map(|store| store.spec.allow.as_slice());
        let namespace = self.namespace_of(metadata, rules.unwrap_or_default());
        let urgency = urgency(Sight {
            target,
            rules: rules.zip(namespace.as_ref()),
            held_against: self.memories.held_against(metadata.uid.as_deref().unwrap_or_default()),
        });
        Pool { store: self.seen.known(&target.store).to_owned(), urgency }
    }

    /// The namespace of a target, when what those rules look at is known.
    fn namespace_of(&self, target: &ObjectMeta, rules: &[AllowRule]) -> Option<Namespace> {
        let name = target.namespace.clone().unwrap_or_default();
        let labels =
            if allow::need_namespace(rules) { self.seen.namespaces.labels_of(&name)? } else { BTreeMap::new() };
        let (uid, cluster) = (self.seen.namespaces.uid_of(&name).unwrap_or_default(), self.cluster_id.clone());
        Some(Namespace { name, labels, uid, cluster })
    }

    /// Whether a store has no place for the principal of a target that has none.
    #[must_use]
    pub fn full_for(&self, target: &BackupTarget, store: &BackupStore) -> Option<Full> {
        let most = store.spec.max_principals?;
        let (name, rules) = (store.name_any(), store.spec.allow.as_slice());
        // Where that is not known, the place is kept for it: the limit is firm.
        let is_served = |other: &ObjectMeta, claim: &Claim| {
            let namespace = self.namespace_of(other, rules);
            namespace
                .is_none_or(|namespace| matches!(allow::decide(claim, &namespace, rules, &[]), Verdict::Allowed(_)))
        };
        let all = self.seen.all_of(&name);
        places::full(&target.metadata, all.iter().map(AsRef::as_ref), self.principals_of(&name), most, is_served)
    }

    /// The targets of a store that were told to wait for a place, and for which there is one now.
    #[must_use]
    pub fn next_in_line(&self, store: &str) -> Vec<ObjectRef<SeenTarget>> {
        let known = self.seen.store(store);
        let most = known.as_deref().and_then(Seen::readable).and_then(|store| store.spec.max_principals);
        let Some(most) = most else { return Vec::new() };
        let all = self.seen.all_of(store);
        let next = places::next(all.iter().map(AsRef::as_ref), self.principals_of(store), most);
        next.iter().map(|target| ObjectRef::from_obj(*target)).collect()
    }

    /// How many principals a store has, those included whose targets are gone.
    #[must_use]
    pub fn principals_of(&self, store: &str) -> usize {
        self.seen.principals_of(store) + self.departed.count(store, &self.seen.uids())
    }

    /// No more than requests in a second: whoever has a slot must get on within the time that a reconcile has.
    fn slots_of(&self, pool: &Pool) -> usize {
        let known = self.seen.store(&pool.store);
        let known = known.as_deref().and_then(Seen::readable);
        let rate = known.map_or(self.per_store, |known| usize::from(known.spec.requests_per_second));
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

    /// Remembers what a reconcile left that waits for nothing but its key. Nothing was learnt about it that would have to be looked at.
    pub fn remember_underway(&self, uid: &str, principal: Remembered) {
        self.memories.change(uid, |memory| memory.waits(principal));
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
        self.unpublished_keys.remove(uid);
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

    /// An object failed for that reason: how long it has failed for no other.
    pub fn failed_for(&self, uid: &str, reason: Reason) -> Duration {
        self.memories.change(uid, |memory| memory.failed_for(reason))
    }

    /// Forgets what went without a word: nobody is told of an object that goes without a finalizer of ours.
    fn sweep(&self) {
        if !self.memories.are_too_many_for(self.seen.objects()) {
            return;
        }
        let living = self.seen.all_uids();
        self.memories.keep(&living);
        self.unpublished_keys.keep(&living);
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
