//! The servers that all tests share, started once.

use std::{
    collections::BTreeSet,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::Result;
use backup_target_operator::api::{BackupStore, BackupTarget};
use k8s_openapi::api::events::v1::Event;
use kube::{
    Api, Client,
    api::{ListParams, ObjectList},
};
use testbed::{
    aws::Aws,
    kubernetes::ControlPlane,
    operator::{Operator, Options},
    operator_policy,
    proxy::Proxy,
    run::Run,
    seaweedfs::SeaweedFs,
};

/// Everything that runs while the tests do.
pub struct World {
    // In the order in which they end.
    pub operator: Operator,
    /// In front of the API server, for the operator alone.
    pub api: Proxy,
    pub aws: Aws,
    pub seaweedfs: SeaweedFs,
    pub control_plane: ControlPlane,
    /// The administrator's client.
    pub client: Client,
    /// The id that the operator gives the cluster.
    pub cluster_id: String,
    secrets: Mutex<BTreeSet<String>>,
    spaces: AtomicU64,
}

impl World {
    pub async fn start() -> Result<Self> {
        let run = Run::begin("integration")?;
        let (control_plane, aws, seaweedfs) =
            tokio::try_join!(ControlPlane::start(&run), Aws::start(&run), SeaweedFs::start(&run))?;
        let api = Proxy::start(&control_plane.upstream()).await?;
        // The most talkative logs, so that a secret in any of them is seen.
        let options = Options { server: Some(api.url().to_owned()), ..Options::default() }
            .env("LOG_FILTER", "trace")
            .env("LOG_FORMAT", "json");
        let operator = Operator::start(&control_plane, options).await?;
        let client = control_plane.client()?;
        let cluster_id = operator_policy::cluster_id(&client).await?;
        let (secrets, spaces) = (Mutex::default(), AtomicU64::new(1));
        Ok(Self { operator, api, aws, seaweedfs, control_plane, client, cluster_id, secrets, spaces })
    }

    /// A number that no other space of this world has.
    pub fn next_number(&self) -> u64 {
        self.spaces.fetch_add(1, Ordering::Relaxed)
    }

    /// Remembers a secret access key that must appear nowhere.
    pub fn keep_secret(&self, secret: &str) {
        self.secrets.lock().unwrap_or_else(PoisonError::into_inner).insert(secret.to_owned());
    }

    /// How many secrets must appear nowhere.
    pub fn kept_secrets(&self) -> usize {
        self.secrets.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Where a secret stands that belongs in a Secret alone: what the operator printed, and what it wrote into objects.
    /// Told without the secret itself.
    pub async fn leaked_secrets(&self) -> Result<Vec<String>> {
        let mut texts: Vec<String> = self.operator.printed().lines().map(str::to_owned).collect();
        let all = ListParams::default();
        texts.extend(as_json(&Api::<BackupTarget>::all(self.client.clone()).list(&all).await?)?);
        texts.extend(as_json(&Api::<BackupStore>::all(self.client.clone()).list(&all).await?)?);
        texts.extend(as_json(&Api::<Event>::all(self.client.clone()).list(&all).await?)?);
        let secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        let found = |secret: &String| {
            let text = texts.iter().find(|text| text.contains(secret.as_str()))?;
            Some(text.replace(secret.as_str(), "…"))
        };
        Ok(secrets.iter().filter_map(found).collect())
    }
}

fn as_json<K: Clone + serde::Serialize>(list: &ObjectList<K>) -> Result<Vec<String>> {
    list.items.iter().map(|object| Ok(serde_json::to_string(object)?)).collect()
}
