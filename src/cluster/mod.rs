//! The Kubernetes API: every read and write of the operator, each with a deadline. Nothing else calls it.

mod error;
mod events;
pub mod lean;
mod lease;
mod secret_state;
mod secrets;

pub use error::{Error, Kind};
pub use events::Note;
pub use lean::Lean;
pub use secret_state::{OtherEntries, OwnedSecret, SecretOwner, SecretState};
pub use secrets::{NewSecret, managed_selector, secret_manifest};

use std::{collections::HashSet, sync::Arc, time::Duration};

use k8s_openapi::{
    api::core::v1::{Namespace, Secret},
    apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta},
};
use kube::{
    Api, Client, Config, Resource, ResourceExt,
    api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams, WatchParams},
    runtime::events::{Recorder, Reporter},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use tokio::sync::Mutex;

use crate::{
    api::{
        BackupStore, BackupTarget,
        backup_store::BackupStoreStatus,
        backup_target::{BackupTargetStatus, KeyIntent},
    },
    leader::fence::Fence,
    names::{self, OPERATOR, ObjectName},
    store::connect::OperatorKey,
};

/// No call takes longer (design §6.6); kube itself sets no limit.
const CALL_DEADLINE: Duration = Duration::from_secs(10);
/// How long a connection may be silent; a watch lasts 45 s.
const SILENCE: Duration = Duration::from_secs(55);
/// How often a status is written anew when the object changes under our hands.
const STATUS_TRIES: usize = 4;

/// The Kubernetes API as the operator uses it.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    recorder: Recorder,
    namespace: String,
    fence: Fence,
    /// Labels of the stores that there are for this operator; `None` is all of them.
    selector: Option<String>,
    /// Held while an object is read as a whole: many may be large.
    whole: Arc<Mutex<()>>,
}

impl Cluster {
    /// Connects with the pod's ServiceAccount or the kubeconfig.
    ///
    /// # Errors
    /// When neither is there, or cannot be used.
    pub async fn connect(namespace: &str) -> Result<Self, String> {
        let mut config = Config::infer().await.map_err(|error| {
            format!("no way to reach Kubernetes: {error}; run in a pod with a ServiceAccount, or set KUBECONFIG")
        })?;
        // kube would retry one call for minutes on 429 and 5xx; retrying is the queue's work here, where it is told.
        config.default_retry = false;
        config.connect_timeout = Some(Duration::from_secs(5));
        // A watch that says nothing is ended by the server before; what is silent for longer is dead, also while it begins.
        config.read_timeout = Some(SILENCE);
        let client =
            Client::try_from(config).map_err(|error| format!("the Kubernetes client cannot start: {error}"))?;
        let recorder = Recorder::new(client.clone(), Reporter::from(OPERATOR));
        let namespace = namespace.to_owned();
        Ok(Self { client, recorder, namespace, fence: Fence::default(), selector: None, whole: Arc::default() })
    }

    /// The same for a replica that acts only while it leads.
    #[must_use]
    pub fn behind(&self, fence: Fence) -> Self {
        Self { fence, ..self.clone() }
    }

    /// The same for an operator that knows only the stores with these labels.
    #[must_use]
    pub fn selecting(&self, selector: Option<String>) -> Self {
        Self { selector, ..self.clone() }
    }

    /// Whether other operators may have stores of their own.
    #[must_use]
    pub fn is_one_of_several(&self) -> bool {
        self.selector.is_some()
    }

    /// The client, for watches.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The operator's own namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// UID of the `kube-system` namespace, which stands for the cluster.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn cluster_uid(&self) -> Result<String, Error> {
        let namespaces: Api<Namespace> = Api::all(self.client());
        let found = self.within("read namespace kube-system", namespaces.get_metadata("kube-system")).await?;
        Ok(found.uid().unwrap_or_default())
    }

    /// Asks the API server whether it takes a selector of labels: a watch with a wrong one would be tried for ever.
    ///
    /// # Errors
    /// When it does not. Being out of reach says nothing about the selector.
    pub async fn check_selector(&self, selector: &str) -> Result<(), String> {
        let some = ListParams::default().labels(selector).limit(1);
        match self.within("list BackupStores by label", self.stores().list_metadata(&some)).await {
            Err(error) if error.kind == Kind::Invalid => {
                Err(format!("`{selector}` is no selector of labels; write one such as shard=a or `shard in (a, b)`"))
            }
            _ => Ok(()),
        }
    }

    /// Whether the API server can send a list one object after the other, instead of in pages. Where that cannot be found out,
    /// it cannot.
    pub async fn streams_lists(&self) -> bool {
        let params = WatchParams { send_initial_events: true, ..WatchParams::default().timeout(1) };
        self.within("watch BackupStores from their list on", self.stores().watch(&params, "0")).await.is_ok()
    }

    /// Labels of a namespace.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn namespace_metadata(&self, name: &str) -> Result<ObjectMeta, Error> {
        let namespaces: Api<Namespace> = Api::all(self.client());
        Ok(self.within("read the target's namespace", namespaces.get_metadata(name)).await?.metadata)
    }

    /// The operator's credentials in a Secret of its own namespace.
    ///
    /// # Errors
    /// [`Kind::NotFound`] when the Secret or one of its keys is missing.
    pub async fn operator_key(&self, secret_name: &ObjectName) -> Result<OperatorKey, Error> {
        let secrets: Api<Secret> = Api::namespaced(self.client(), &self.namespace);
        let secret = self.within("read the store's credentials Secret", secrets.get(secret_name.as_str())).await?;
        let entry = |key: &str| {
            let bytes = secret.data.as_ref()?.get(key)?;
            let text = std::str::from_utf8(&bytes.0).ok()?.trim();
            (!text.is_empty()).then(|| text.to_owned().into())
        };
        let missing = || {
            Error::new(
                "read AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the store's credentials Secret",
                Kind::NotFound,
            )
        };
        Ok(OperatorKey {
            id: entry("AWS_ACCESS_KEY_ID").ok_or_else(missing)?,
            secret: entry("AWS_SECRET_ACCESS_KEY").ok_or_else(missing)?,
            session_token: entry("AWS_SESSION_TOKEN"),
        })
    }

    // === targets ===

    fn targets(&self, namespace: &str) -> Api<Lean<BackupTarget>> {
        Api::namespaced(self.client(), namespace)
    }

    /// The target as it is now, not as the watch saw it last.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn target(&self, namespace: &str, name: &str) -> Result<Option<BackupTarget>, Error> {
        let what = "read the BackupTarget";
        self.within(what, self.targets(namespace).get_opt(name)).await?.map(|found| open(what, found)).transpose()
    }

    /// The UIDs of all targets.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub async fn target_uids(&self) -> Result<HashSet<String>, Error> {
        let all: Api<BackupTarget> = Api::all(self.client());
        let listed = self.within("list the BackupTargets", all.list_metadata(&ListParams::default())).await?;
        Ok(listed.items.into_iter().filter_map(|target| target.metadata.uid).collect())
    }

    /// Puts finalizer and intent on a target in one write, unless somebody changed it since it was read.
    ///
    /// # Errors
    /// [`Kind::Conflict`] when the target changed meanwhile.
    pub async fn claim(&self, target: &BackupTarget, intent: &KeyIntent) -> Result<BackupTarget, Error> {
        let mut finalizers = target.finalizers().to_vec();
        finalizers.push(names::TARGET_FINALIZER.to_owned());
        let intent = serde_json::to_string(intent).unwrap_or_default();
        let patch = json!({ "metadata": {
            "resourceVersion": target.metadata.resource_version,
            "finalizers": finalizers,
            "annotations": { names::INTENT_ANNOTATION: intent },
        }});
        self.patch_target(target, "put the finalizer on the BackupTarget", &patch).await
    }

    /// Takes the finalizer off, so that the target can go.
    ///
    /// # Errors
    /// [`Kind::Conflict`] when the target changed meanwhile.
    pub async fn release(&self, target: &BackupTarget) -> Result<(), Error> {
        let finalizers: Vec<&String> =
            target.finalizers().iter().filter(|finalizer| *finalizer != names::TARGET_FINALIZER).collect();
        let patch = json!({ "metadata": {
            "resourceVersion": target.metadata.resource_version,
            "finalizers": finalizers,
        }});
        match self.patch_target(target, "take the finalizer off the BackupTarget", &patch).await {
            Err(error) if error.kind == Kind::NotFound => Ok(()),
            other => other.map(|_| ()),
        }
    }

    async fn patch_target(
        &self,
        target: &BackupTarget,
        what: &'static str,
        patch: &serde_json::Value,
    ) -> Result<BackupTarget, Error> {
        let api = self.targets(&target.namespace().unwrap_or_default());
        open(what, self.within(what, api.patch(&target.name_any(), &by_us(), &Patch::Merge(patch))).await?)
    }

    /// Writes a target's status, if nobody changed the target since it was read.
    ///
    /// # Errors
    /// [`Kind::Conflict`] when somebody did.
    pub async fn write_target_status(
        &self,
        target: &BackupTarget,
        status: &BackupTargetStatus,
    ) -> Result<BackupTarget, Error> {
        self.write_status(&self.targets(&target.namespace().unwrap_or_default()), target, status).await
    }

    /// Writes what a reconcile found out, also when the target changed meanwhile, as long as it is the same target and
    /// nobody else wrote its status: what was done must be remembered.
    ///
    /// # Errors
    /// [`Kind::Conflict`] when the status is another one, [`Kind::NotFound`] when the target is.
    pub async fn report_target_status(&self, target: &BackupTarget, status: &BackupTargetStatus) -> Result<(), Error> {
        let mut now = target.clone();
        for _ in 0..STATUS_TRIES {
            match self.write_target_status(&now, status).await {
                Err(error) if error.kind == Kind::Conflict => {}
                other => return other.map(|_| ()),
            }
            let found = self.target(&target.namespace().unwrap_or_default(), &target.name_any()).await?;
            // The API server does not compare the UID of a status.
            let same = found.filter(|found| found.metadata.uid == target.metadata.uid);
            now = same.ok_or(Error::new("write status", Kind::NotFound))?;
            if now.status != target.status {
                break;
            }
        }
        Err(Error::new("write status", Kind::Conflict))
    }

    // === stores ===

    fn stores(&self) -> Api<Lean<BackupStore>> {
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
        let others = store.finalizers().iter().filter(|finalizer| *finalizer != names::STORE_FINALIZER);
        let ours = hold.then(|| names::STORE_FINALIZER.to_owned());
        let finalizers: Vec<String> = others.cloned().chain(ours).collect();
        let patch = json!({ "metadata": {
            "resourceVersion": store.metadata.resource_version,
            "finalizers": finalizers,
        }});
        let stores = self.stores();
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

    // === any object ===

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

    async fn write_status<K, S>(&self, api: &Api<Lean<K>>, object: &K, status: &S) -> Result<K, Error>
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

    /// Makes a call, if this replica may, and bounds it.
    async fn within<T>(
        &self,
        what: &'static str,
        call: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, Error> {
        if !self.fence.is_open() {
            return Err(Error::new(what, Kind::NotLeading));
        }
        match tokio::time::timeout(CALL_DEADLINE, call).await {
            Ok(answer) => answer.map_err(|error| Error::from_kube(what, &error)),
            Err(_) => Err(Error::new(what, Kind::Unreachable)),
        }
    }
}

fn open<K>(what: &'static str, lean: Lean<K>) -> Result<K, Error> {
    lean.0.map_err(|unreadable| {
        tracing::debug!(what, error = unreadable.error, "an object cannot be read");
        Error::new(what, Kind::Unreadable)
    })
}

fn by_us() -> PatchParams {
    PatchParams { field_manager: Some(OPERATOR.to_owned()), ..PatchParams::default() }
}
