//! What the watches see of all objects: good enough to count and to tell what is urgent, never to decide what is allowed.

use std::{collections::HashSet, sync::Arc};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Resource,
    runtime::reflector::{ObjectRef, Store},
};

use super::{
    brief, census,
    namespaces::Namespaces,
    rivals::rivals,
    seen::{SeenStore, SeenTarget},
    time::now,
};
use crate::{access::allow::Rival, api::BackupTarget, telemetry::metrics::Census};

/// What stands for all stores that are not there.
const NO_STORE: &str = "";

/// What is kept of all objects, as the watches see them.
pub struct Watched {
    /// Of the BackupStores that this operator works on.
    pub stores: Store<SeenStore>,
    /// The labels of namespaces.
    pub namespaces: Arc<Namespaces>,
    /// Of all BackupTargets: once for each namespace that is watched, or once for all.
    pub targets: Vec<Store<SeenTarget>>,
    /// Whether other operators may have stores of their own.
    pub is_one_of_several: bool,
}

impl Watched {
    /// The target as the watches see it now.
    #[must_use]
    pub fn in_view(&self, target: &ObjectMeta) -> Option<Arc<SeenTarget>> {
        let object = ObjectRef::new(target.name.as_deref()?).within(target.namespace.as_deref()?);
        self.targets.iter().find_map(|targets| targets.get(&object))
    }

    /// The target with that UID, as the watches see it.
    #[must_use]
    pub fn target_of(&self, uid: &str) -> Option<Arc<SeenTarget>> {
        let is_it = |target: &SeenTarget| target.meta().uid.as_deref() == Some(uid);
        self.targets.iter().find_map(|targets| targets.find(is_it))
    }

    /// The store of that name, if it can be read.
    #[must_use]
    pub fn store(&self, name: &str) -> Option<Arc<SeenStore>> {
        self.stores.get(&ObjectRef::new(name)).filter(|store| store.readable().is_some())
    }

    /// The name of a store that there is; all others, which tenants may invent as they like, count as one.
    #[must_use]
    pub fn known<'a>(&self, store: &'a str) -> &'a str {
        if self.stores.get(&ObjectRef::new(store)).is_some() { store } else { NO_STORE }
    }

    /// The UIDs of all targets that the watches see.
    #[must_use]
    pub fn uids(&self) -> HashSet<String> {
        self.targets.iter().flat_map(Store::state).filter_map(|target| target.meta().uid.clone()).collect()
    }

    /// UIDs of all targets and stores.
    #[must_use]
    pub fn all_uids(&self) -> HashSet<String> {
        let stores = self.stores.state().into_iter().filter_map(|store| store.meta().uid.clone());
        self.uids().into_iter().chain(stores).collect()
    }

    /// How many targets and stores there are.
    #[must_use]
    pub fn objects(&self) -> usize {
        self.stores.len() + self.targets.iter().map(Store::len).sum::<usize>()
    }

    /// How many targets use a store. One that cannot be read may use any: whether those count is for the caller to say.
    #[must_use]
    pub fn targets_of(&self, store: &str, with_unreadable: bool) -> usize {
        let uses = |target: &SeenTarget| target.readable().map_or(with_unreadable, |target| *target.store == *store);
        self.targets.iter().map(|targets| targets.state_filter(uses).len()).sum()
    }

    /// Whether a target is this operator's to work on. Where several operators share the stores, it goes by the store alone: its
    /// labels are an administrator's, and those of a target are a tenant's. Who has a store that there is not, nobody knows.
    #[must_use]
    pub fn is_ours(&self, target: &SeenTarget) -> bool {
        let is_known = |store: &str| self.stores.get(&ObjectRef::new(store)).is_some();
        !self.is_one_of_several || target.store().is_none_or(|store| is_known(&store))
    }

    /// How many targets of a store have a principal: those that only wait, which anybody can make, cost no look at IAM.
    #[must_use]
    pub fn principals_of(&self, store: &str) -> usize {
        let has_one = |target: &SeenTarget| {
            target.readable().is_some_and(|target| *target.store == *store && target.has_principal)
        };
        self.targets.iter().map(|targets| targets.state_filter(has_one).len()).sum()
    }

    /// All targets of a store that can be read.
    #[must_use]
    pub fn all_of(&self, store: &str) -> Vec<Arc<SeenTarget>> {
        let uses = |target: &SeenTarget| target.readable().is_some_and(|target| *target.store == *store);
        self.targets.iter().flat_map(|targets| targets.state_filter(uses)).collect()
    }

    /// Other targets whose Secret has that key.
    #[must_use]
    pub fn others_with_key(&self, target: &BackupTarget, key_id: &str) -> Vec<Arc<SeenTarget>> {
        let key = Some(brief::in_short(key_id));
        let has = |seen: &SeenTarget| {
            let other = seen.meta().uid != target.metadata.uid;
            other && seen.readable().is_some_and(|brief| brief.key == key)
        };
        self.targets.iter().flat_map(|targets| targets.state_filter(has)).collect()
    }

    /// Who comes before a target, where a rule serves only so many.
    #[must_use]
    pub fn rivals(&self, target: &BackupTarget) -> Vec<Rival> {
        let all: Vec<_> = self.targets.iter().flat_map(Store::state).collect();
        rivals(target, all.iter().filter_map(|other| Some((other.meta(), other.readable()?))))
    }

    /// Counts everything that the watches see.
    #[must_use]
    pub fn census(&self) -> Census {
        let mut count = Census::default();
        for seen in self.targets.iter().flat_map(Store::state).filter(|seen| self.is_ours(seen)) {
            match seen.readable() {
                Some(target) => census::count_target(&mut count, target, self.known(&target.store), now()),
                None => census::count_unreadable(&mut count),
            }
        }
        for seen in self.stores.state() {
            if let Some(store) = seen.readable() {
                census::count_store(&mut count, seen.meta().name.as_deref().unwrap_or_default(), store);
            }
        }
        count
    }
}
