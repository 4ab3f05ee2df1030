//! A chart of an application with a target in it: `helm --wait` waits for the target.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Result, ensure};
use backup_target_operator::api::BackupTarget;
use kube::Api;
use testbed::{
    objects::{is_ready, principal, status},
    program::Ran,
    tests,
    tools::project,
};
use tokio::time::Instant;

use crate::{helm::text, lab::Lab, world::World};

tests![helm_waits_until_a_target_is_ready, helm_gives_up_at_once_on_what_only_a_person_can_mend];

/// What Helm may wait at most; nothing here takes that long unless Helm does not see how things are.
const TIMEOUT: Duration = Duration::from_mins(5);
const AT_ONCE: Duration = Duration::from_mins(1);

async fn helm_waits_until_a_target_is_ready(world: Arc<World>) -> Result<()> {
    let lab = world.operated("helm").await?;
    let targets = Api::<BackupTarget>::namespaced(lab.client.clone(), "helm");
    helm(lab, &["install", "dataset-1", text(&chart())?]).await?.succeeded()?;
    let target = targets.get("dataset-1").await?;
    ensure!(is_ready(&target), "Helm did not wait: {:?}", target.status);

    helm(lab, &["upgrade", "dataset-1", text(&chart())?, "--set", "capabilities={MultipartUploads}"])
        .await?
        .succeeded()?;
    let target = targets.get("dataset-1").await?;
    let current = status(&target).observed_generation == target.metadata.generation;
    ensure!(current && is_ready(&target), "Helm did not wait for the change: {:?}", target.status);

    helm(lab, &["uninstall", "dataset-1"]).await?.succeeded()?;
    ensure!(targets.get_opt("dataset-1").await?.is_none(), "Helm did not wait for the target to go");
    ensure!(lab.aws.iam.get_user().user_name(principal(&target)).send().await.is_err(), "the IAM user is left");
    Ok(())
}

async fn helm_gives_up_at_once_on_what_only_a_person_can_mend(world: Arc<World>) -> Result<()> {
    let lab = world.operated("helm").await?;
    let start = Instant::now();
    let ran = helm(lab, &["install", "forbidden", text(&chart())?, "--set", "bucket=somebody-elses"]).await?;
    ensure!(ran.code != Some(0), "Helm takes a target that is stalled for one that is ready");
    ensure!(start.elapsed() < AT_ONCE, "Helm waited for {:?}", start.elapsed());
    // The condition's own words, which say what to do.
    ensure!(ran.stderr.contains("status: Failed") && ran.stderr.contains("allow"), "{}", ran.stderr);
    helm(lab, &["uninstall", "forbidden"]).await?.succeeded()?;
    Ok(())
}

async fn helm(lab: &Lab, arguments: &[&str]) -> Result<Ran> {
    let timeout = format!("--timeout={}s", TIMEOUT.as_secs());
    lab.helm.run_in("helm", &[arguments, &["--wait", &timeout]].concat()).await
}

fn chart() -> PathBuf {
    project().join("examples/gitops/helm")
}
