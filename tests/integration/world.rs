//! The servers that all tests share, started once.

use std::{
    collections::BTreeSet,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::Result;
use kube::Client;

use crate::testbed::{
    aws::Aws,
    kubernetes::ControlPlane,
    operator::{Operator, Options},
    proxy::Proxy,
    run::Run,
};

/// Everything that runs while the tests do.
pub struct World {
    // In the order in which they end.
    pub operator: Operator,
    /// In front of the API server, for the operator alone.
    pub api: Proxy,
    pub aws: Aws,
    _control_plane: ControlPlane,
    /// The administrator's client.
    pub client: Client,
    secrets: Mutex<BTreeSet<String>>,
    spaces: AtomicU64,
}

impl World {
    pub async fn start() -> Result<Self> {
        let run = Run::begin("integration")?;
        let (control_plane, aws) = tokio::try_join!(ControlPlane::start(&run), Aws::start(&run))?;
        let api = Proxy::start(&control_plane.upstream()).await?;
        // The most talkative logs, so that a secret in any of them is seen.
        let options = Options { server: Some(api.url().to_owned()), ..Options::default() }
            .env("LOG_FILTER", "trace")
            .env("LOG_FORMAT", "json");
        let operator = Operator::start(&control_plane, options).await?;
        let client = control_plane.client()?;
        Ok(Self {
            operator,
            api,
            aws,
            _control_plane: control_plane,
            client,
            secrets: Mutex::default(),
            spaces: AtomicU64::new(1),
        })
    }

    /// A number that no other space of this world has.
    pub fn next_number(&self) -> u64 {
        self.spaces.fetch_add(1, Ordering::Relaxed)
    }

    /// Remembers a secret access key that must appear nowhere.
    pub fn keep_secret(&self, secret: &str) {
        self.secrets.lock().unwrap_or_else(PoisonError::into_inner).insert(secret.to_owned());
    }

    /// The secrets that the operator printed, and where; told without the secret itself.
    pub fn leaked_secrets(&self) -> Vec<String> {
        let printed = self.operator.printed();
        let secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        let line = |secret: &String| {
            let line = printed.lines().find(|line| line.contains(secret.as_str()))?;
            Some(line.replace(secret.as_str(), "…"))
        };
        secrets.iter().filter_map(line).collect()
    }
}
