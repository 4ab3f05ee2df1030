//! A target's whole life, as everybody who watches sees it: at no moment may a tool read what is not so.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use backup_target_operator::api::BackupTarget;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use testbed::{objects::create, tests, wait::wait_until};

use super::health::{Seen, look};
use crate::{
    lab::{BUCKET, LATER},
    life::Life,
    world::World,
};

tests![no_moment_of_a_targets_life_reads_wrong];

const PATIENCE: Duration = Duration::from_mins(1);
const NAMESPACE: &str = "life";

async fn no_moment_of_a_targets_life_reads_wrong(world: Arc<World>) -> Result<()> {
    let lab = world.operated(NAMESPACE).await?;
    let targets = Api::<BackupTarget>::namespaced(lab.client.clone(), NAMESPACE);
    let life = Life::record(&lab.client, NAMESPACE, "dataset-1");
    let change = async |spec: Value| {
        let patch = json!({"spec": spec});
        targets.patch("dataset-1", &PatchParams::default(), &Patch::Merge(patch)).await
    };

    let spec = json!({"bucket": BUCKET, "prefix": "life/dataset-1/", "keyOverlap": "1s"});
    create(&targets, json!({"metadata": {"name": "dataset-1"}, "spec": spec})).await?;
    until(&life, "Current", 1).await?;
    change(json!({"capabilities": ["MultipartUploads"]})).await?;
    until(&life, "Current", 2).await?;
    change(json!({"prefix": "elsewhere/"})).await?;
    until(&life, "Failed", 3).await?;
    change(json!({"prefix": "life/dataset-1/"})).await?;
    until(&life, "Current", 4).await?;
    change(json!({"bucket": LATER})).await?;
    let waits =
        |seen: &Seen, state: &Value| seen.kstatus.status != "Current" && state["status"]["observedGeneration"] == 5;
    until_seen(&life, waits).await.context("without its bucket")?;
    lab.aws.create_bucket(LATER).await?;
    until(&life, "Current", 5).await?;
    targets.delete("dataset-1", &DeleteParams::default()).await?;
    wait_until("the target to be gone", PATIENCE, async || {
        ensure!(targets.get_opt("dataset-1").await?.is_none(), "it is there");
        Ok(())
    })
    .await?;

    let states = life.states();
    for (state, seen) in states.iter().zip(look("BackupTarget", &states).await?) {
        let (kstatus, argo) = expected(state);
        let right = seen.kstatus.status == kstatus && seen.argo.status == argo;
        ensure!(right, "expected {kstatus} and {argo}, and it reads {seen:?}: {state}");
        ensure!(!seen.argo.message.is_empty(), "{seen:?}");
        ensure!(kstatus != "Current" || is_published(state), "nothing of that kind was published: {state}");
    }
    ensure!(states.iter().any(|state| expected(state).0 == "Terminating"), "nobody could see it go");
    Ok(())
}

/// What is so, told from the object by other means than the tools': what was published for which spec, and whether the
/// operator says that it goes on by itself.
fn expected(state: &Value) -> (&'static str, &'static str) {
    let condition = |name: &str| {
        let all = state["status"]["conditions"].as_array().into_iter().flatten();
        all.filter(|condition| condition["type"] == name).find(|condition| condition["status"] == "True")
    };
    let about_this_spec = |condition: &Value| condition["observedGeneration"] == state["metadata"]["generation"];
    if !state["metadata"]["deletionTimestamp"].is_null() {
        ("Terminating", "Progressing")
    } else if condition("Stalled").is_some_and(about_this_spec) {
        ("Failed", "Degraded")
    } else if condition("Reconciling").is_none() && condition("Ready").is_some_and(about_this_spec) {
        ("Current", "Healthy")
    } else {
        ("InProgress", "Progressing")
    }
}

/// Whether there is a key for exactly what the spec asks for.
fn is_published(state: &Value) -> bool {
    let (spec, access) = (&state["spec"], &state["status"]["access"]);
    let same = ["bucket", "prefix", "capabilities"].iter().all(|field| spec[field] == access[field]);
    same && state["status"]["accessKeyId"].is_string() && state["status"]["secretName"] == "dataset-1"
}

/// Waits until a state of that generation reads so.
async fn until(life: &Life, status: &str, wanted: i64) -> Result<()> {
    until_seen(life, |seen, state| seen.kstatus.status == status && generation(state) == Some(wanted))
        .await
        .with_context(|| format!("the change {wanted} was to read {status}"))
}

async fn until_seen(life: &Life, wanted: impl Fn(&Seen, &Value) -> bool) -> Result<()> {
    wait_until("the target's state", PATIENCE, async || {
        let states = life.states();
        let last = states.last().context("nothing was seen")?;
        let seen = look("BackupTarget", std::slice::from_ref(last)).await?;
        ensure!(wanted(&seen[0], last), "{:?}: {}", seen[0], last["status"]);
        Ok(())
    })
    .await
}

fn generation(state: &Value) -> Option<i64> {
    state["metadata"]["generation"].as_i64()
}
