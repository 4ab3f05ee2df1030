//! What the story asks about targets.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{cluster::Cluster, wishes::BACKUPS};

/// Waits until a condition is true.
pub async fn until(cluster: &Cluster, name: &str, condition: &str) -> Result<()> {
    let (target, condition) = (format!("backuptarget/{name}"), format!("--for=condition={condition}"));
    cluster.kubectl.run(&["wait", &target, &condition, "--namespace", BACKUPS, "--timeout=1m"]).await?;
    Ok(())
}

/// What must not change while nobody asks for it: of each target its key, and since when it is ready or not.
pub async fn standing(cluster: &Cluster) -> Result<Vec<(String, String)>> {
    let targets = cluster.kubectl.get(&["backuptargets", "--namespace", BACKUPS]).await?;
    let targets = targets["items"].as_array().context("no list of targets")?;
    targets.iter().map(|target| Ok((text(&target["status"]["accessKeyId"])?, text(ready(target)?)?))).collect()
}

fn ready(target: &Value) -> Result<&Value> {
    let conditions = target["status"]["conditions"].as_array().context("a target without conditions")?;
    let ready = conditions.iter().find(|is| is["type"] == "Ready" && is["status"] == "True");
    Ok(&ready.with_context(|| format!("{} is not ready", target["metadata"]["name"]))?["lastTransitionTime"])
}

fn text(value: &Value) -> Result<String> {
    Ok(value.as_str().context("it is missing from the status")?.to_owned())
}
