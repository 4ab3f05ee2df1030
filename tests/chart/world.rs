//! What tests share; started by the first test that needs it.

use anyhow::Result;
use backup_target_operator::api::BackupStore;
use kube::Api;
use serde_json::json;
use testbed::{
    objects::create,
    operator::{Operator, Options},
};
use tokio::sync::OnceCell;

use crate::lab::Lab;

#[derive(Default)]
pub struct World {
    // Ends before its servers.
    operator: OnceCell<Operator>,
    lab: OnceCell<Lab>,
}

impl World {
    /// A cluster in which the chart is installed as it is.
    pub async fn lab(&self) -> Result<&Lab> {
        self.lab
            .get_or_try_init(async || {
                let lab = Lab::start("chart").await?;
                lab.install(&[]).await?;
                Ok(lab)
            })
            .await
    }

    /// The same with the operator at work, a store in which each namespace of these tests has a folder, and this namespace.
    pub async fn operated(&self, namespace: &str) -> Result<&Lab> {
        let lab = self.lab().await?;
        self.operator
            .get_or_try_init(async || {
                lab.write_credentials().await?;
                let stores = Api::<BackupStore>::all(lab.client.clone());
                let spec = lab.store_spec(&NAMESPACES);
                create(&stores, json!({"metadata": {"name": "default"}, "spec": spec})).await?;
                lab.operator(Options::default()).await
            })
            .await?;
        lab.create_namespace(namespace).await?;
        Ok(lab)
    }
}

/// Those of the tests that have the operator at work.
const NAMESPACES: [&str; 5] = ["life", "backups", "argocd", "flux", "helm"];
