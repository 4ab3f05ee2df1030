//! BackupStores: those that are this operator's, read as they are now.

use kube::{
    Api, Resource, ResourceExt,
    api::{ListParams, Patch},
};
use serde_json::json;

use super::{Cluster, Error, Lean, by_us, status::open};
use crate::{
    api::{BackupStore, backup_store::BackupStoreStatus},
    names::{self, ObjectName},
};

impl Cluster {
    pub(super) fn stores(&self) -> Api<Lean<BackupStore>> {
        Api::all(self.client())
    }

    /// All stores with these labels, as they are now.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn all_stores(&self, selector: Option<&str>) -> Result<Vec<BackupStore>, Error> {
        let these = selector.map_or_else(ListParams::default, |selector| ListParams::default().labels(selector));
        let what = "list the BackupStores";
        self.within(what, self.stores().list(&these)).await?.items.into_iter().map(|found| open(what, found)).collect()
    }

    /// The store of that very name as it is now, not as the watch saw it last. One that belongs to another operator by its labels
    /// is none here, and only the API server says for sure what a selector means.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn store(&self, name: &ObjectName) -> Result<Option<BackupStore>, Error> {
        let what = "read the BackupStore";
        let stores = self.stores();
        let found = match &self.selector {
            None => self.within(what, stores.get_opt(name.as_str())).await?,
            Some(selector) => {
                let it = ListParams::default().fields(&format!("metadata.name={}", name.as_str())).labels(selector);
                self.within(what, stores.list(&it)).await?.items.pop()
            }
        };
        let found = found.filter(|found| found.meta().name.as_deref() == Some(name.as_str()));
        found.map(|found| open(what, found)).transpose()
    }

    /// Whether there is a store of that name whose labels make it another operator's, when [`Self::store`] found none.
    ///
    /// # Errors
    /// When that cannot be found out.
    pub async fn is_store_of_another(&self, name: &ObjectName) -> Result<bool, Error> {
        if !self.is_one_of_several() {
            return Ok(false);
        }
        let stores = self.stores();
        Ok(self.within("look for the BackupStore", stores.get_metadata_opt(name.as_str())).await?.is_some())
    }

    /// Sets or clears a store's finalizer.
    ///
    /// # Errors
    /// [`Kind::Conflict`] when the store changed meanwhile.
    pub async fn hold_store(&self, store: &BackupStore, hold: bool) -> Result<(), Error> {
        let stores = self.stores();
        let others = self.other_finalizers(&stores, store, names::STORE_FINALIZER).await?;
        let patch = json!({ "metadata": {
            "resourceVersion": store.metadata.resource_version,
            "finalizers": others.and(hold.then_some(names::STORE_FINALIZER)),
        }});
        self.within(
            "set the finalizer of the BackupStore",
            stores.patch(&store.name_any(), &by_us(), &Patch::Merge(&patch)),
        )
        .await
        .map(|_| ())
    }

    /// Writes a store's status.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn write_store_status(&self, store: &BackupStore, status: &BackupStoreStatus) -> Result<(), Error> {
        self.write_status(&self.stores(), store, status).await.map(|_| ())
    }
}
