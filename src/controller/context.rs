//! What reconciles share, and what they remember between runs. Losing the memory costs reads, never correctness.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use kube::{
    core::DeserializeGuard,
    runtime::reflector::{ObjectRef, Store},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::timeout,
};

use super::{census, hand::Hand, now, state::Absence};
use crate::{
    api::{BackupStore, BackupTarget},
    cluster::Cluster,
    store::{Principal, connect::Connections, throttle::Urgency},
    telemetry::{Telemetry, metrics::Census},
};

/// What stands for all stores that are not there.
const NO_STORE: &str = "";
/// How long a reconcile waits for the first list of all targets; a list that is forbidden never comes.
const FIRST_LIST: Duration = Duration::from_secs(30);
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_mins(5);
/// This many repairs …
const FIGHT: usize = 4;
/// … within this time are a fight.
const FIGHT_WINDOW: Duration = Duration::from_mins(10);

/// Shared by all reconciles.
pub struct Context {
    /// The Kubernetes API.
    pub cluster: Cluster,
    /// The stores' APIs.
    pub connections: Connections,
    /// What the watches see.
    seen: Seen,
    /// Id of this cluster, in paths and tags.
    pub cluster_id: String,
    /// How often everything is compared with what the store has.
    pub resync: Duration,
    /// Keys that are created and not published yet.
    pub hand: Hand,
    /// What is told to those who run the operator.
    pub telemetry: Arc<Telemetry>,
    listed: watch::Sender<bool>,
    per_store: usize,
    slots: Mutex<HashMap<(String, Urgency), Arc<Semaphore>>>,
    memory: Mutex<HashMap<String, Memory>>,
    counts: Mutex<HashMap<String, Instant>>,
}

/// Copies of all objects, as the watches see them.
pub struct Seen {
    /// All BackupStores.
    pub stores: Store<DeserializeGuard<BackupStore>>,
    /// All BackupTargets: one copy for each namespace that is watched, or one for all.
    pub targets: Vec<Store<DeserializeGuard<BackupTarget>>>,
}

/// What is remembered of one object.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// The principal as this process saw or left it, and when it was last read or created.
    pub principal: Option<(Principal, Instant)>,
    /// Looks that did not show what may still appear.
    pub absence: Absence,
    /// When somebody else's work was put right lately.
    repairs: Vec<Instant>,
    /// Failures in a row.
    failures: u32,
}

impl Context {
    /// Starts with an empty memory.
    #[must_use]
    pub fn new(
        cluster: Cluster,
        connections: Connections,
        seen: Seen,
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
            telemetry,
            listed: watch::Sender::new(false),
            per_store: usize::from(per_store),
            slots: Mutex::default(),
            memory: Mutex::default(),
            counts: Mutex::default(),
        }
    }

    /// How many targets use a store. One that cannot be read may use any: whether those count is for the caller to say.
    #[must_use]
    pub fn targets_of(&self, store: &str, with_unreadable: bool) -> usize {
        let uses = |target: &DeserializeGuard<BackupTarget>| match &target.0 {
            Ok(target) => target.spec.store_ref.resolved() == store,
            Err(_) => with_unreadable,
        };
        self.seen.targets.iter().flat_map(Store::state).filter(|target| uses(target)).count()
    }

    /// The target with that UID, as the watches see it.
    #[must_use]
    pub fn target_of(&self, uid: &str) -> Option<BackupTarget> {
        let mut all = self.seen.targets.iter().flat_map(Store::state);
        all.find_map(|target| {
            target.0.as_ref().ok().filter(|target| target.metadata.uid.as_deref() == Some(uid)).cloned()
        })
    }

    /// Counts everything that the watches see.
    #[must_use]
    pub fn census(&self) -> Census {
        let mut count = Census::default();
        for target in self.seen.targets.iter().flat_map(Store::state) {
            match &target.0 {
                Ok(target) => {
                    let store = target.spec.store_ref.resolved();
                    census::count_target(&mut count, target, self.known(&store), now());
                }
                Err(_) => census::count_unreadable(&mut count),
            }
        }
        for store in self.seen.stores.state().iter().filter_map(|store| store.0.as_ref().ok()) {
            census::count_store(&mut count, store);
        }
        count
    }

    /// All targets are known.
    pub fn targets_are_listed(&self) {
        self.listed.send_replace(true);
    }

    /// Waits until all targets are known, and says whether they are. The reflector's own way to wait wakes only the last one
    /// of several who do, and the others wait for ever.
    pub async fn are_targets_listed(&self) -> bool {
        let mut listed = self.listed.subscribe();
        timeout(FIRST_LIST, listed.wait_for(|listed| *listed)).await.is_ok_and(|listed| listed.is_ok())
    }

    /// Waits until a target of that store may be worked on: each store has so many slots of its own, so that one that does
    /// not answer keeps nobody else waiting, and so has each urgency, so that looks at what is well keep no change waiting.
    pub async fn slot(&self, store: &str, urgency: Urgency) -> Option<OwnedSemaphorePermit> {
        let store = self.known(store);
        let slots = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            let new = || Arc::new(Semaphore::new(self.slots_of(store, urgency)));
            slots.entry((store.to_owned(), urgency)).or_insert_with(new).clone()
        };
        let _waiting = self.telemetry.metrics.waiting(store);
        // Never closed, so there always is one.
        slots.acquire_owned().await.ok()
    }

    /// The name of a store that there is; all others, which tenants may invent as they like, count as one.
    #[must_use]
    pub fn known<'a>(&self, store: &'a str) -> &'a str {
        if self.seen.stores.get(&ObjectRef::new(store)).is_some() { store } else { NO_STORE }
    }

    /// No more than requests in a second: whoever has a slot must get on within the time that a reconcile has.
    fn slots_of(&self, store: &str, urgency: Urgency) -> usize {
        let known = self.seen.stores.get(&ObjectRef::new(store));
        let known = known.as_ref().and_then(|known| known.0.as_ref().ok());
        let rate = known.map_or(self.per_store, |known| usize::from(known.spec.iam.requests_per_second));
        let slots = self.per_store.min(rate).max(1);
        if urgency == Urgency::Drift { slots.div_ceil(3) } else { slots }
    }

    /// What is remembered of the object with that UID.
    #[must_use]
    pub fn recall(&self, uid: &str) -> Memory {
        self.lock().get(uid).cloned().unwrap_or_default()
    }

    /// Remembers what a success left.
    pub fn remember(&self, uid: &str, principal: Option<(Principal, Instant)>, absence: Absence) {
        let mut memory = self.lock();
        let memory = memory.entry(uid.to_owned()).or_default();
        (memory.principal, memory.absence, memory.failures) = (principal, absence, 0);
    }

    /// Somebody else's work was put right just now.
    pub fn repaired(&self, uid: &str) {
        let mut memory = self.lock();
        let repairs = &mut memory.entry(uid.to_owned()).or_default().repairs;
        repairs.retain(|at| at.elapsed() < FIGHT_WINDOW);
        repairs.push(Instant::now());
    }

    /// Forgets an object that is gone.
    pub fn forget(&self, uid: &str) {
        self.hand.let_go(uid);
        self.lock().remove(uid);
    }

    /// Counts a failure, forgets the principal, and says how long to wait before the next try.
    pub fn failed(&self, uid: &str) -> Duration {
        let mut memory = self.lock();
        let memory = memory.entry(uid.to_owned()).or_default();
        memory.principal = None;
        let wait = FIRST_RETRY.saturating_mul(1 << memory.failures.min(9)).min(LONGEST_RETRY);
        memory.failures = memory.failures.saturating_add(1);
        jittered(wait)
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

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Memory>> {
        // The map is whole after every line that holds the lock, so a panic elsewhere cannot have broken it.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    /// How long nothing is put right, because somebody else undoes it again and again.
    #[must_use]
    pub fn contested_for(&self) -> Option<Duration> {
        let first = self.repairs.len().checked_sub(FIGHT).map(|at| self.repairs[at])?;
        FIGHT_WINDOW.checked_sub(first.elapsed()).filter(|left| !left.is_zero())
    }
}

/// Within ten per cent, so that many objects do not come at the same moment for ever.
#[must_use]
pub fn jittered(duration: Duration) -> Duration {
    duration.mul_f64(0.9 + 0.2 * fastrand::f64())
}
