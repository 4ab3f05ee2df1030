//! The Kubernetes API: every read and write of the operator, each with a deadline. Nothing else calls it.

mod error;
mod events;
mod finalizers;
pub mod lean;
mod lease;
mod own_secret;
mod secret_state;
mod secrets;
mod status;
mod stores;
mod targets;

pub use error::{Error, Kind};
pub use events::Note;
use events::Published;
pub use lean::Lean;
pub use secret_state::{OtherEntries, OwnedSecret, SecretOwner, SecretState};
pub use secrets::{NewSecret, managed_selector, secret_manifest};

use std::{sync::Arc, time::Duration};

use k8s_openapi::{api::core::v1::Namespace, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{
    Api, Client, Config, ResourceExt,
    api::{ListParams, PatchParams, WatchParams},
    runtime::events::Reporter,
};
use tokio::sync::Mutex;

use crate::{fence::Fence, names::OPERATOR};

/// No call takes longer (docs/decisions/time-limits.md); kube itself sets no limit.
const CALL_DEADLINE: Duration = Duration::from_secs(10);
/// How long a connection may be silent; a watch lasts 45 s.
const SILENCE: Duration = Duration::from_secs(55);
/// The Kubernetes API as the operator uses it.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    namespace: String,
    /// The name of the host, for those who read events.
    replica: String,
    fence: Fence,
    /// Labels of the stores that there are for this operator; `None` is all of them.
    selector: Option<String>,
    published: Arc<Published>,
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
        let replica = Reporter::from(OPERATOR).instance.unwrap_or_else(|| OPERATOR.to_owned());
        let namespace = namespace.to_owned();
        Ok(Self {
            client,
            namespace,
            replica,
            fence: Fence::default(),
            selector: None,
            published: Arc::default(),
            whole: Arc::default(),
        })
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

fn by_us() -> PatchParams {
    PatchParams { field_manager: Some(OPERATOR.to_owned()), ..PatchParams::default() }
}
