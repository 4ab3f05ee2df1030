//! What the story asks about Jobs.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use testbed::wait::wait_until;

use crate::{cluster::Cluster, wishes::BACKUPS};

/// A minute until a CronJob's next turn, and what it does then.
const PATIENCE: Duration = Duration::from_mins(2);

/// Waits until a Job has completed that `is_it`; when it fails, that is the end, with what its pod printed.
pub async fn until_complete(cluster: &Cluster, is_it: impl Fn(&Value) -> bool) -> Result<()> {
    let failed = wait_until("a Job to complete", PATIENCE, async || {
        let jobs = cluster.kubectl.get(&["jobs", "--namespace", BACKUPS]).await?;
        let job = jobs["items"].as_array().and_then(|jobs| jobs.iter().find(|job| is_it(job)).cloned());
        let job = job.context("there is none yet")?;
        if has(&job, "Failed") {
            return Ok(Some(job));
        }
        ensure!(has(&job, "Complete"), "{}", job["status"]);
        Ok(None)
    })
    .await?;
    let Some(job) = failed else { return Ok(()) };
    let name = name(&job);
    let log = ["logs", "--namespace", BACKUPS, &format!("job/{name}"), "--all-containers", "--prefix"];
    bail!("{name} failed: {}", cluster.kubectl.run(&log).await?)
}

pub async fn until_complete_by_name(cluster: &Cluster, wanted: &str) -> Result<()> {
    until_complete(cluster, |job| name(job) == wanted).await
}

/// Whether a CronJob made it.
pub fn by_schedule(job: &Value) -> bool {
    job["metadata"]["ownerReferences"][0]["kind"] == "CronJob"
}

pub async fn is_running(cluster: &Cluster, name: &str) -> Result<()> {
    let pods = cluster.kubectl.get(&["pods", "--namespace", BACKUPS, &format!("--selector=job-name={name}")]).await?;
    let phase = &pods["items"][0]["status"]["phase"];
    ensure!(phase == "Running", "its pod is {phase}");
    Ok(())
}

fn name(job: &Value) -> String {
    job["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

fn has(job: &Value, condition: &str) -> bool {
    let conditions = job["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|is| is["type"] == condition && is["status"] == "True"))
}
