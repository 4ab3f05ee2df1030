//! A benchmark: many new targets at once, beside Secrets that pretend to be the operator's and objects as large as they can be.
//! It measures and judges nothing; machines differ.

use std::{
    fs,
    ops::Range,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use backup_target_operator::api::{BackupTarget, condition};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Map, Value, json};
use testbed::{
    aws::Aws,
    install,
    kubernetes::ControlPlane,
    operator::{Operator, Options},
    proxy::Proxy,
    run::Run,
    wait::wait_patiently_until,
};
use tokio::time::sleep;

use crate::sample;

const PATIENCE: Duration = Duration::from_hours(1);
/// How often all targets are looked at.
const LOOK: Duration = Duration::from_secs(2);
/// Memory that does not grow for this long is at rest.
const REST: Duration = Duration::from_secs(10);
/// Requests of the benchmark itself that are under way at once.
const AT_ONCE: usize = 16;

/// How much of what there is.
pub struct Scale {
    /// Targets of a rule that allows them.
    pub targets: usize,
    /// Small Secrets with the operator's label that belong to no target.
    pub decoys: usize,
    /// Secrets with that label and a megabyte of others.
    pub big: usize,
}

/// Creates all that and says what it took.
pub async fn scale(Scale { targets, decoys, big }: Scale) -> Result<()> {
    let run = Run::begin("scale")?;
    let (control_plane, aws) = tokio::try_join!(ControlPlane::start(&run), Aws::start(&run))?;
    let (api, iam) = (Proxy::start(&control_plane.upstream()).await?, Proxy::start(&aws.upstream()).await?);
    let options = Options { server: Some(api.url().to_owned()), ..Options::default() };
    let mut operator = Operator::start(&control_plane, options).await?;
    aws.create_bucket(sample::BUCKET).await?;
    let client = control_plane.client()?;
    for object in sample::store(iam.url()) {
        install::apply(&client, object).await?;
    }
    at_rest("idle", &operator).await?;
    create_secrets(&client, decoys, big).await?;
    at_rest(&format!("with {decoys} decoys and {big} big Secrets"), &operator).await?;

    let all = Api::<BackupTarget>::namespaced(client, sample::BACKUPS);
    let start = Instant::now();
    create(&all, 0..targets).await?;
    println!("{targets} targets created in {:.1} s", start.elapsed().as_secs_f32());
    until_ready(&all, targets).await?;
    println!("all ready {:.1} s after the first was created", start.elapsed().as_secs_f32());
    at_rest(&format!("with {targets} targets as well"), &operator).await?;

    let here = |path: &str| path.contains("/namespaces/backups/") && !path.contains("/events");
    let writes = api.calls(|call| call.is_write() && here(&call.path)).len();
    let changes = iam.calls(|call| call.action.is_some() && !call.is("GetCallerIdentity")).len();
    #[expect(clippy::cast_precision_loss, reason = "a ratio to look at")]
    let per_target = |calls: usize| calls as f64 / targets as f64;
    println!("for each target: {:.2} Kubernetes writes, {:.2} IAM calls", per_target(writes), per_target(changes));

    operator.kill();
    operator.restart().await?;
    // When a new target is ready, all lists have been read.
    create(&all, targets..targets + 1).await?;
    until_ready(&all, targets + 1).await?;
    at_rest("after a restart beside all of them", &operator).await
}

async fn create_secrets(client: &Client, decoys: usize, big: usize) -> Result<()> {
    let all = Api::<Secret>::namespaced(client.clone(), sample::BACKUPS);
    let ours = json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": "backup-target-operator"}}});
    let (post, patch) = (PostParams::default(), PatchParams::default());
    let one = async |number: usize| {
        // The admission policy refuses a large one with the operator's label; one that is there before gets the label.
        let labels = if number < big { many_labels() } else { Map::new() };
        let name = format!("decoy-{number}");
        let secret = json!({"metadata": {"name": name, "labels": labels}});
        all.create(&post, &serde_json::from_value(secret)?).await?;
        all.patch_metadata(&name, &patch, &Patch::Merge(&ours)).await?;
        Ok::<_, anyhow::Error>(())
    };
    stream::iter(0..big + decoys).map(one).buffer_unordered(AT_ONCE).try_collect().await
}

/// A megabyte of them.
fn many_labels() -> Map<String, Value> {
    (0..14_000).map(|number| (format!("key-{number}"), "v".repeat(60).into())).collect()
}

async fn create(all: &Api<BackupTarget>, numbers: Range<usize>) -> Result<()> {
    let post = PostParams::default();
    stream::iter(numbers)
        .map(|number| {
            let mut target = sample::target();
            target["metadata"]["name"] = format!("target-{number}").into();
            target["spec"]["prefix"] = format!("clusters/prod/backups/target-{number}/").into();
            target["spec"]["verification"] = "None".into();
            let post = &post;
            async move { Ok::<_, anyhow::Error>(all.create(post, &serde_json::from_value(target)?).await?) }
        })
        .buffer_unordered(AT_ONCE)
        .try_for_each(async |_| Ok(()))
        .await
}

async fn until_ready(all: &Api<BackupTarget>, targets: usize) -> Result<()> {
    wait_patiently_until("all targets to be ready", PATIENCE, LOOK, async || {
        let list = all.list(&ListParams::default()).await?;
        let ready = |target: &&BackupTarget| {
            let conditions = target.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
            condition::find(conditions, condition::READY).is_some_and(|ready| ready.status == "True")
        };
        let ready = list.iter().filter(ready).count();
        ensure!(ready == targets, "{ready} of {targets} are");
        Ok(())
    })
    .await
}

/// Says how much memory the operator has once that does not grow any more, and how much it had at most.
async fn at_rest(when: &str, operator: &Operator) -> Result<()> {
    let mut before = u64::MAX;
    loop {
        let now = memory(operator.pid(), "VmRSS")?;
        if now.abs_diff(before) <= before / 100 {
            break;
        }
        before = now;
        sleep(REST).await;
    }
    let most = memory(operator.pid(), "VmHWM")?;
    println!("{when}: {} MiB resident, {} MiB at most", before >> 10, most >> 10);
    Ok(())
}

/// A line about the memory of a process, in KiB, as the kernel tells it.
fn memory(pid: u32, name: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .with_context(|| format!("no {name}"))?;
    line.trim().trim_end_matches(" kB").parse().with_context(|| format!("{name}:{line}"))
}
