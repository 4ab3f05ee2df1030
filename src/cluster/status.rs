//! The status of any object: applied as a whole, unless the object changed since it was read.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use kube::{
    Api, Resource,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

use super::{Cluster, Error, Kind, Lean, lean};
use crate::names::OPERATOR;

impl Cluster {
    /// Writes other conditions into the status of an object, if they are others. All else in it stays, also what this version
    /// of the operator cannot read.
    ///
    /// # Errors
    /// When the object cannot be read or its status cannot be written.
    pub async fn rewrite_conditions<K>(
        &self,
        meta: &ObjectMeta,
        rewrite: impl Fn(&[Condition]) -> Vec<Condition>,
    ) -> Result<(), Error>
    where
        K: Resource<DynamicType = ()>,
    {
        let resource = ApiResource::erase::<K>(&());
        let api: Api<DynamicObject> = match &meta.namespace {
            Some(namespace) => Api::namespaced_with(self.client(), namespace, &resource),
            None => Api::all_with(self.client(), &resource),
        };
        let name = meta.name.as_deref().unwrap_or_default();
        let _one_at_a_time = self.whole.lock().await;
        let object = self.within("read an object that cannot be worked on", api.get(name)).await?;
        let mut status = object.data["status"].clone();
        let before: Vec<Condition> = serde_json::from_value(status["conditions"].clone()).unwrap_or_default();
        let after = rewrite(&before);
        if after == before {
            return Ok(());
        }
        status["conditions"] = json!(after);
        status["observedGeneration"] = json!(meta.generation);
        self.apply_status(&api, &resource, &object.metadata, &status).await.map(|_| ())
    }

    pub(super) async fn write_status<K, S>(&self, api: &Api<Lean<K>>, object: &K, status: &S) -> Result<K, Error>
    where
        K: lean::Kind + Clone + std::fmt::Debug,
        S: Serialize,
    {
        open("write status", self.apply_status(api, &ApiResource::erase::<K>(&()), object.meta(), status).await?)
    }

    /// Applies a whole status, unless the object changed since it was read: what is not in it is gone, and what is the same
    /// writes nothing.
    async fn apply_status<K, S>(
        &self,
        api: &Api<K>,
        resource: &ApiResource,
        meta: &ObjectMeta,
        status: &S,
    ) -> Result<K, Error>
    where
        K: Clone + DeserializeOwned + std::fmt::Debug,
        S: Serialize,
    {
        let name = meta.name.as_deref().unwrap_or_default();
        let apply = json!({
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": { "name": name, "uid": meta.uid, "resourceVersion": meta.resource_version },
            "status": status,
        });
        let params = PatchParams::apply(OPERATOR).force();
        self.within("write status", api.patch_status(name, &params, &Patch::Apply(&apply))).await
    }
}

/// The object, if it can be read.
pub(super) fn open<K: lean::Kind>(what: &'static str, lean: Lean<K>) -> Result<K, Error> {
    lean.open().map_err(|unreadable| {
        tracing::debug!(what, error = unreadable.error, "an object cannot be read");
        Error::new(what, Kind::Unreadable)
    })
}
