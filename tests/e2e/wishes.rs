//! What is applied: the project's own examples, changed only where this cluster is another one than its readers'.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use testbed::{
    aws::{REGION, ROOT_KEY},
    manifests::credentials,
    tools::project,
};

/// As in the examples.
pub const BACKUPS: &str = "backups";
pub const BUCKET: &str = "my-backups";
pub const TARGET: &str = "dataset-1";
pub const PREFIX: &str = "clusters/prod/backups/dataset-1/";
const RCLONE: &str = "localhost/rclone:e2e";

/// The administrator's half. `url` is where IAM, STS and S3 are.
pub fn store(url: &str) -> Result<Vec<Value>> {
    let mut objects = example("store.yaml")?;
    objects.push(credentials("aws-credentials", ROOT_KEY, ROOT_KEY));
    let store =
        objects.iter_mut().find(|object| object["kind"] == "BackupStore").context("the example has no BackupStore")?;
    store["spec"]["region"] = json!(REGION);
    store["spec"]["endpoint"] = json!(url);
    store["spec"]["allowInsecure"] = json!(true);
    store["spec"]["aws"] = json!({"iamEndpoint": url, "stsEndpoint": url});
    store["spec"]["allow"][0]["capabilities"] = json!(["MultipartUploads", "ObjectAcls"]);
    Ok(objects)
}

/// The user's half.
pub fn target() -> Result<Value> {
    one("target.yaml")
}

/// The same, for another folder.
pub fn another_target(name: &str) -> Result<Value> {
    let mut target = target()?;
    target["metadata"]["name"] = json!(name);
    target["spec"]["prefix"] = json!(format!("clusters/prod/{BACKUPS}/{name}/"));
    Ok(target)
}

/// The backup, every minute.
pub fn cronjob() -> Result<Value> {
    let mut cronjob = one("cronjob.yaml")?;
    cronjob["spec"]["schedule"] = json!("* * * * *");
    // The next chapters have Jobs of their own.
    cronjob["spec"]["successfulJobsHistoryLimit"] = json!(5);
    let container = &mut cronjob["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0];
    ensure!(container["name"] == "rclone", "the example's container has another name");
    container["image"] = json!(RCLONE);
    container["imagePullPolicy"] = json!("Never");
    Ok(cronjob)
}

/// What the CronJob starts, by hand and with other arguments.
pub fn job(name: &str, arguments: &[&str]) -> Result<Value> {
    let mut spec = cronjob()?["spec"]["jobTemplate"]["spec"].clone();
    spec["template"]["spec"]["containers"][0]["args"] = json!(arguments);
    spec["backoffLimit"] = json!(0);
    Ok(json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": BACKUPS}, "spec": spec,
    }))
}

/// Restores into a second volume, and only then compares it with the first, byte by byte.
pub fn restore(name: &str, volume: &str) -> Result<Value> {
    let mut job = job(name, &["check", "--download", "/data", "/restored"])?;
    let pod = &mut job["spec"]["template"]["spec"];
    pod["volumes"]
        .as_array_mut()
        .context("the example has no volumes")?
        .push(json!({"name": "restored", "persistentVolumeClaim": {"claimName": volume}}));
    let container = &mut pod["containers"][0];
    let mounts = container["volumeMounts"].as_array_mut().context("the example mounts nothing")?;
    mounts.push(json!({"name": "restored", "mountPath": "/restored"}));
    let mut first = container.clone();
    first["name"] = json!("restore");
    first["args"] = json!(["copy", "backup:", "/restored"]);
    pod["initContainers"] = json!([first]);
    Ok(job)
}

/// A pod that goes on running with the Secret mounted.
pub fn reader(name: &str) -> Result<Value> {
    let template = job(name, &["rcd", "--rc-addr=127.0.0.1:5572"])?["spec"]["template"]["spec"].clone();
    Ok(json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": BACKUPS}, "spec": template,
    }))
}

/// A volume whose content is a folder of the node, and a claim of the same name for it.
pub fn volume(name: &str, folder: &Path) -> [Value; 2] {
    let common = json!({"accessModes": ["ReadWriteOnce"], "storageClassName": ""});
    let mut volume = json!({
        "capacity": {"storage": "1Gi"}, "hostPath": {"path": folder, "type": "Directory"},
        "claimRef": {"name": name, "namespace": BACKUPS},
    });
    let mut claim = json!({"resources": {"requests": {"storage": "1Gi"}}, "volumeName": name});
    for spec in [&mut volume, &mut claim] {
        testbed::objects::merge(spec, common.clone());
    }
    [
        json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": volume}),
        json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": BACKUPS}, "spec": claim,
        }),
    ]
}

fn one(file: &str) -> Result<Value> {
    let mut objects = example(file)?;
    ensure!(objects.len() == 1, "examples/{file} has {} objects", objects.len());
    Ok(objects.remove(0))
}

fn example(file: &str) -> Result<Vec<Value>> {
    let path = project().join("examples").join(file);
    let text = fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
    serde_saphyr::from_multiple(&text).with_context(|| format!("failed to read {}", path.display()))
}
