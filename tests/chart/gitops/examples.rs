//! The examples hold: what they point at is there, the API server takes what becomes of them, and targets become ready.
//!
//! The tools themselves do not run here, so of their own objects only what stands in them can be looked at.

use std::{fs, path::Path, sync::Arc};

use anyhow::{Context, Result, ensure};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use serde_json::Value;
use testbed::{
    install::{objects, try_to_apply},
    tests,
    tools::project,
};

use crate::{helm::Helm, kubectl::kubectl, world::World};

tests![
    the_objects_of_the_tools_point_at_what_is_there,
    argo_cd_installs_the_operator_with_a_store,
    flux_installs_the_operator_with_a_store,
    a_teams_folder_becomes_ready,
    the_quota_is_one_of_targets,
];

/// Objects of each tool, and where in them a path into this repository stands.
const PATHS: [(&str, &str, &str); 3] = [
    ("Application", "argocd", "/spec/source/path"),
    ("Kustomization", "flux", "/spec/path"),
    ("HelmRelease", "flux", "/spec/chart/spec/chart"),
];

async fn the_objects_of_the_tools_point_at_what_is_there(_: Arc<World>) -> Result<()> {
    for (kind, tool, at) in PATHS {
        let found = of_kind(tool, kind)?;
        ensure!(!found.is_empty(), "no {kind} in the examples");
        for object in found {
            let path = object.pointer(at).and_then(Value::as_str).with_context(|| format!("no {at} in {object}"))?;
            ensure!(project().join(path).is_dir(), "{} {}: there is no {path}", kind, object["metadata"]["name"]);
        }
    }
    Ok(())
}

async fn argo_cd_installs_the_operator_with_a_store(world: Arc<World>) -> Result<()> {
    let applications = of_kind("argocd", "Application")?;
    let helm = applications.iter().find_map(|one| one.pointer("/spec/source/helm")).context("no values")?;
    // What `Helm::render` says of the cluster.
    ensure!(helm["apiVersions"][0] == "backup-target.dev/v1alpha1/BackupStore");
    installs(&world, "argocd-controller", &helm["valuesObject"]).await
}

async fn flux_installs_the_operator_with_a_store(world: Arc<World>) -> Result<()> {
    let release = of_kind("flux", "HelmRelease")?.pop().context("no release")?;
    installs(&world, "helm", &release["spec"]["values"]).await
}

async fn installs(world: &World, manager: &str, values: &Value) -> Result<()> {
    let lab = world.lab().await?;
    let rendered = Helm::offline()?.render(values).await?;
    ensure!(rendered.iter().any(|object| object["kind"] == "BackupStore"), "the store of the values is not rendered");
    for object in rendered {
        try_to_apply(&lab.client, object, manager).await?;
    }
    Ok(())
}

async fn a_teams_folder_becomes_ready(world: Arc<World>) -> Result<()> {
    let lab = world.operated("backups").await?;
    let folder = ["-f", "examples/gitops/backups"];
    kubectl(lab, &[&["apply", "--server-side"], &folder[..]].concat()).await?.succeeded()?;
    let ready = ["wait", "--for=condition=Ready", "--timeout=60s", "-f", "examples/gitops/backups/target.yaml"];
    kubectl(lab, &ready).await?.succeeded()?;
    Ok(())
}

async fn the_quota_is_one_of_targets(world: Arc<World>) -> Result<()> {
    let lab = world.lab().await?;
    lab.create_namespace("backups").await?;
    let quota = read(&project().join("examples/quota.yaml"))?.pop().context("no quota")?;
    let definition =
        Api::<CustomResourceDefinition>::all(lab.client.clone()).get("backuptargets.backup-target.dev").await?;
    let counts = format!("count/{}", definition.metadata.name.unwrap_or_default());
    ensure!(quota["spec"]["hard"][&counts].is_string(), "{quota} does not limit {counts}");
    try_to_apply(&lab.client, quota, "kubectl").await
}

/// The objects of that kind in a tool's folder.
fn of_kind(tool: &str, kind: &str) -> Result<Vec<Value>> {
    let folder = project().join("examples/gitops").join(tool);
    let mut all = Vec::new();
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        if path.extension() == Some("yaml".as_ref()) {
            all.extend(read(&path)?);
        }
    }
    Ok(all.into_iter().filter(|object| object["kind"] == kind).collect())
}

fn read(path: &Path) -> Result<Vec<Value>> {
    objects(&fs::read_to_string(path)?).with_context(|| format!("failed to read {}", path.display()))
}
