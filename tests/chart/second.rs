//! A second operator in the same cluster, as docs/administrator.md tells it.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use backup_target_operator::api::{BackupStore, BackupTarget};
use k8s_openapi::{
    api::{admissionregistration::v1::ValidatingAdmissionPolicy, rbac::v1::ClusterRole},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api,
    api::{DeleteParams, ListParams},
};
use serde_json::json;
use testbed::{
    install::RELEASE,
    objects::{create, is_ready},
    operator::Options,
    program::Ran,
    rights::until_may,
    tests,
    wait::wait_until,
};

use crate::{
    helm::{WITH_IMAGE, chart, text},
    lab::{BUCKET, Lab},
    world::World,
};

tests![a_second_release_works_beside_the_first];

const PATIENCE: Duration = Duration::from_mins(1);
const SECOND: &str = "second";
/// Its namespace.
const ELSEWHERE: &str = "elsewhere";
/// What docs/administrator.md says a second release needs.
const BESIDE: [&str; 4] = ["--set", "crds.enabled=false,aggregatedRoles=false", "--set-json", SHARD_B];
const SHARD_B: &str = r#"env=[{"name": "WATCH_LABEL_SELECTOR", "value": "shard=b"}]"#;

async fn a_second_release_works_beside_the_first(_: Arc<World>) -> Result<()> {
    let lab = Lab::start("chart-second").await?;
    lab.create_namespace("default").await?;
    lab.create_namespace("team-a").await?;
    let common = ["--set", "leaderElection.flowSchema=true,namespaces={team-a}"];
    lab.install(&common).await?;

    let refused = install_second(&lab, &[]).await?;
    ensure!(
        refused.stderr.contains("CustomResourceDefinition"),
        "the first release's definitions were taken: {refused:?}"
    );
    install_second(&lab, &[&BESIDE[..], &common].concat()).await?.succeeded()?;
    let account = format!("system:serviceaccount:{ELSEWHERE}:{SECOND}-backup-target-operator");
    for (verb, group, resource, namespace) in [
        ("create", "coordination.k8s.io", "leases", ELSEWHERE),
        ("get", "", "secrets", ELSEWHERE),
        ("create", "", "secrets", "team-a"),
        ("update", "backup-target.dev", "backuptargets/finalizers", "team-a"),
        ("create", "events.k8s.io", "events", "default"),
        ("patch", "backup-target.dev", "backupstores/status", ""),
    ] {
        until_may(&lab.client, &account, verb, group, resource, namespace).await?;
    }
    let policies = Api::<ValidatingAdmissionPolicy>::all(lab.client.clone());
    for release in [SECOND, RELEASE] {
        let own = policies.list(&of(release)).await?.items.len();
        ensure!(own == 5, "the release {release} has {own} admission policies");
    }
    the_first_one_works(&lab).await?;
    lab.helm.run_as_written_in("docs/administrator.md", "helm upgrade --install shard-b").await?.succeeded()?;

    lab.helm.run_in(ELSEWHERE, &["uninstall", SECOND]).await?.succeeded()?;
    let roles = Api::<ClusterRole>::all(lab.client.clone());
    ensure!(roles.list(&of(SECOND)).await?.items.is_empty(), "its rights are left");
    ensure!(!roles.list(&of(RELEASE)).await?.items.is_empty(), "the first one's rights went, too");
    let definitions = Api::<CustomResourceDefinition>::all(lab.client.clone());
    ensure!(definitions.list(&of(RELEASE)).await?.items.len() == 2, "the definitions went");
    Ok(())
}

/// What belongs to a release.
fn of(release: &str) -> ListParams {
    ListParams::default().labels(&format!("app.kubernetes.io/instance={release}"))
}

async fn install_second(lab: &Lab, arguments: &[&str]) -> Result<Ran> {
    let chart = chart();
    let install = ["install", SECOND, text(&chart)?, "--create-namespace"];
    lab.helm.run_in(ELSEWHERE, &[&install[..], &WITH_IMAGE, arguments].concat()).await
}

/// From a target that is made to one that is gone, under both admission policies.
async fn the_first_one_works(lab: &Lab) -> Result<()> {
    lab.write_credentials().await?;
    let options = Options::default().env("WATCH_NAMESPACES", "team-a").env("WATCH_LABEL_SELECTOR", "shard=a");
    let _operator = lab.operator(options).await?;
    let stores = Api::<BackupStore>::all(lab.client.clone());
    let store = json!({"metadata": {"name": "default", "labels": {"shard": "a"}}, "spec": lab.store_spec(&["team-a"])});
    create(&stores, store).await?;
    let targets = Api::<BackupTarget>::namespaced(lab.client.clone(), "team-a");
    let spec = json!({"bucket": BUCKET, "prefix": "team-a/dataset-1/"});
    create(&targets, json!({"metadata": {"name": "dataset-1"}, "spec": spec})).await?;
    wait_until("the target to be ready", PATIENCE, async || {
        let target = targets.get("dataset-1").await?;
        ensure!(is_ready(&target), "{:?}", target.status);
        Ok(())
    })
    .await?;
    targets.delete("dataset-1", &DeleteParams::default()).await?;
    wait_until("the target to be gone", PATIENCE, async || {
        ensure!(targets.get_opt("dataset-1").await?.is_none(), "it is there");
        Ok(())
    })
    .await
    .context("the second release's admission policy is in the way")
}
