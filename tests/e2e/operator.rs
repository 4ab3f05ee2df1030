//! The operator's pods, of which one leads.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use testbed::{install::NAMESPACE, kubectl::Kubectl, wait::wait_until};

use crate::helm::RELEASE;

const PATIENCE: Duration = Duration::from_mins(1);
/// What it logs once it does its work.
const RUNNING: &str = "watching";
/// Where it is in the image.
const PROGRAM: &str = "/backup-target-operator";

pub struct Operator<'a>(&'a Kubectl);

impl<'a> Operator<'a> {
    pub fn new(kubectl: &'a Kubectl) -> Self {
        Self(kubectl)
    }

    /// The pod that does the work: the holder of the Lease, or the only one where there is no Lease.
    pub async fn leader(&self) -> Result<Value> {
        let pods = self.pods().await?;
        let lease = self.0.get(&["lease", RELEASE, "--namespace", NAMESPACE, "--ignore-not-found"]).await.ok();
        let Some(lease) = lease.filter(Value::is_object) else {
            ensure!(pods.len() == 1, "there are {} pods and no Lease says which one leads", pods.len());
            return Ok(pods[0].clone());
        };
        let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default();
        let leads = |pod: &&Value| pod["metadata"]["name"].as_str().is_some_and(|name| holder.contains(name));
        pods.iter().find(leads).cloned().with_context(|| format!("the Lease is held by `{holder}`"))
    }

    /// Waits until a pod leads that is none of those, and does its work. Returns its name.
    pub async fn until_led_by_another_than(&self, others: &[String]) -> Result<String> {
        wait_until("a pod of the operator to lead", PATIENCE, async || {
            let name = name(&self.leader().await?);
            ensure!(!others.contains(&name), "it is {name} still");
            let log = self.0.run(&["logs", "--namespace", NAMESPACE, &name]).await?;
            ensure!(log.contains(RUNNING), "{name} leads and has not begun to work");
            Ok(name)
        })
        .await
    }

    /// All of its pods that are not on their way out.
    pub async fn pods(&self) -> Result<Vec<Value>> {
        // The pod of `helm test` has another name.
        let selector = format!("--selector=app.kubernetes.io/instance={RELEASE},app.kubernetes.io/name={RELEASE}");
        let pods = self.0.get(&["pods", "--namespace", NAMESPACE, &selector]).await?;
        let pods = pods["items"].as_array().cloned().unwrap_or_default();
        Ok(pods.into_iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).collect())
    }
}

/// What each of its processes takes of the node's memory, and took at most.
pub fn memory() -> Result<Vec<String>> {
    let mut found = Vec::new();
    for process in fs::read_dir("/proc")? {
        let process = process?.path();
        // As the process sees it: from the root of its container.
        if fs::read_link(process.join("exe")).is_ok_and(|exe| exe == Path::new(PROGRAM)) {
            let status = fs::read_to_string(process.join("status"))?;
            let field = |name: &str| status.lines().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()));
            let (now, peak) = (field("VmRSS:").unwrap_or_default(), field("VmHWM:").unwrap_or_default());
            found.push(format!("{now}, at most {peak}"));
        }
    }
    Ok(found)
}

pub fn name(pod: &Value) -> String {
    pod["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

/// By which containerd knows its only container.
pub fn container(pod: &Value) -> Result<String> {
    let id = pod["status"]["containerStatuses"][0]["containerID"].as_str();
    Ok(id.with_context(|| format!("the pod {} has no container yet", name(pod)))?.to_owned())
}
