//! The policy that administrators give the operator, as `render -o operator-policy` prints it.

use anyhow::{Context, Result};
use backup_target_operator::{
    access::Terms,
    api::backup_store::BackupStoreSpec,
    provider::aws::{
        operator_policy::{OperatorPolicy, Place},
        settings::Settings,
    },
};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, ResourceExt};
use serde_json::Value;

/// The statements for a store.
pub fn printed(spec: &Value, cluster: &str) -> Result<Vec<Value>> {
    let spec: BackupStoreSpec = serde_json::from_value(spec.clone())?;
    let (terms, settings) = (Terms::parse(&spec, None)?, Settings::parse(&spec)?);
    let path = settings.path_in(cluster);
    let place = Place { terms: &terms, boundary: settings.boundary.as_ref(), account: "*", path: &path };
    let policy: Value = serde_json::from_str(&OperatorPolicy::new(place).to_pretty_json())?;
    Ok(policy["Statement"].as_array().context("statements")?.clone())
}

/// The id of a cluster that was given none.
pub async fn cluster_id(client: &Client) -> Result<String> {
    Api::<Namespace>::all(client.clone()).get("kube-system").await?.uid().context("a namespace without a UID")
}
