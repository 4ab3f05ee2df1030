//! What must hold after every plan.

use std::time::Duration;

use anyhow::{Result, ensure};
use backup_target_operator::api::{BackupStore, BackupTarget};
use k8s_openapi::api::events::v1::Event;
use kube::{Api, api::ListParams};
use serde_json::Value;
use testbed::{
    objects::{is_ready, option, principal, rclone_conf, record},
    proxy::{Call, Mark},
    wait::wait_patiently_until,
};
use tokio::time::sleep;

use crate::{
    corner::{Corner, SECRET, TARGET},
    end,
};

/// How soon a key that nobody has must be gone.
const ORPHANS_GO: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(300);
/// Part of the name of the object that proofs write.
const PROBE: &str = ".backup-target-probe";
const QUIET: Duration = Duration::from_mins(1);
const RESYNCS: u32 = 3;
const RESYNC: Duration = Duration::from_secs(1);
/// An answer of a proof that may change by itself is asked for again after 20 s, for two minutes.
const SETTLES: Duration = Duration::from_secs(150);

/// Live users are live targets, and live keys are keys in Secrets (or were, and are in their overlap).
pub async fn nothing_leaks(corner: &Corner) -> Result<()> {
    let target = corner.targets().get_opt(TARGET).await?;
    let users = corner.users().await?;
    let live: Vec<String> = target.iter().map(principal).filter(|user| users.contains(user)).collect();
    ensure!(users == live, "users {users:?}, and live targets have {live:?}");
    let ready = target.as_ref().is_some_and(is_ready);
    ensure!(!ready || !users.is_empty(), "a target is ready without a user");
    ensure!(!ready || corner.secrets().get_opt(SECRET).await?.is_some(), "a target is ready without a Secret");
    for user in &users {
        let keys = corner.keys_of(user).await?;
        let recorded: Vec<String> = target.iter().flat_map(|target| record(target).keys).map(|key| key.id).collect();
        ensure!(keys.iter().all(|key| recorded.contains(key)), "keys {keys:?}, and status knows {recorded:?}");
        let published = corner.secrets().get_opt(SECRET).await?.as_ref().and_then(rclone_conf);
        let published = published.as_deref().map(|conf| option(conf, "access_key_id"));
        ensure!(published.is_none_or(|id| keys.iter().any(|key| key == id)), "{keys:?} lacks {published:?}");
    }
    if target.is_none() {
        ensure!(corner.secrets().get_opt(SECRET).await?.is_none(), "the Secret is left");
        let policies = end::policies_of(corner).await?;
        ensure!(policies.len() == 2, "besides the two decoys there are {policies:?}");
    }
    Ok(())
}

/// A key that is neither in status nor in the Secret goes soon, without a person.
pub async fn orphans_go(corner: &Corner) -> Result<()> {
    wait_patiently_until("orphan keys to be gone", ORPHANS_GO, LOOK, async || {
        let Some(target) = corner.targets().get_opt(TARGET).await? else { return Ok(()) };
        let user = principal(&target);
        if !corner.users().await?.contains(&user) {
            return Ok(());
        }
        let keys = corner.keys_of(&user).await?;
        let conf = corner.secrets().get_opt(SECRET).await?.as_ref().and_then(rclone_conf).unwrap_or_default();
        let published = option(&conf, "access_key_id");
        let known = |id: &String| id == published || record(&target).keys.iter().any(|key| key.id == *id);
        ensure!(keys.iter().all(known), "{keys:?}");
        Ok(())
    })
    .await
}

/// The end state is that of the reference run.
pub async fn ends_as(corner: &Corner, reference: &Value) -> Result<()> {
    wait_patiently_until("the end state of the reference run", SETTLES, LOOK, async || {
        let mut differences = Vec::new();
        end::compare("", reference, &end::state(corner).await?, &mut differences);
        ensure!(differences.is_empty(), "{}", differences.join("\n"));
        Ok(())
    })
    .await
}

/// Once all is settled, nothing is written for three resyncs.
pub async fn is_quiet(corner: &Corner) -> Result<()> {
    // The first look may be of the reconcile that a fault broke, before that is told; the second tells that something works
    // again, and its events. The third begins after that.
    resyncs(corner, 3).await?;
    let (api, aws) = (corner.api.mark(), corner.aws.mark());
    resyncs(corner, RESYNCS).await?;
    ensure_no_writes(corner, api, aws)
}

/// Waits until the operator has looked at everything that often.
pub async fn resyncs(corner: &Corner, count: u32) -> Result<()> {
    let mark = corner.aws.mark();
    if corner.targets().get_opt(TARGET).await?.is_none() {
        // Nothing is looked at any more, so only time can tell.
        sleep(RESYNC * count).await;
        return Ok(());
    }
    wait_patiently_until("resyncs", QUIET, LOOK, async || {
        // One that got no answer, or not the right one, is no look.
        let is_look = |call: &Call| call.is("GetUser") && call.fault.is_none() && call.status.is_some();
        let looks = corner.aws.calls_since(mark, is_look).len();
        ensure!(looks >= count as usize, "{looks} looks");
        Ok(())
    })
    .await
}

fn ensure_no_writes(corner: &Corner, api: Mark, aws: Mark) -> Result<()> {
    // How many targets a store has is brought up to date at most every half minute, whatever else happens.
    let writes = corner.api.calls_since(api, |call| call.is_write() && !is_about_the_store(call));
    ensure!(writes.is_empty(), "{writes:#?}");
    let counts = corner.api.calls_since(api, |call| call.is_write() && is_about_the_store(call));
    ensure!(counts.len() <= 1, "{counts:#?}");
    let changes = corner.aws.calls_since(aws, Call::is_write);
    ensure!(changes.is_empty(), "{changes:#?}");
    Ok(())
}

fn is_about_the_store(call: &Call) -> bool {
    call.path.contains("/backupstores/")
}

/// What proofs write is gone again: their object, and their upload.
pub async fn nothing_lies_in_the_bucket(corner: &Corner) -> Result<()> {
    let (_, s3) = corner.world.aws.account(&corner.account);
    let objects = s3.list_objects_v2().bucket(&corner.bucket).send().await?.contents.unwrap_or_default();
    let left: Vec<String> = objects.into_iter().filter_map(|object| object.key).collect();
    ensure!(left.iter().all(|key| !key.contains(PROBE)), "{left:?}");
    let uploads = s3.list_multipart_uploads().bucket(&corner.bucket).send().await?.uploads.unwrap_or_default();
    ensure!(uploads.is_empty(), "{uploads:?}");
    Ok(())
}

/// No secret stands where it does not belong: in logs, events, targets and stores.
pub async fn nothing_is_told(corner: &Corner) -> Result<()> {
    let mut texts: Vec<String> = corner.operator.lock().await.printed().lines().map(str::to_owned).collect();
    let all = ListParams::default();
    for target in corner.targets().list(&all).await? as kube::core::ObjectList<BackupTarget> {
        texts.push(serde_json::to_string(&target)?);
    }
    let stores: Option<BackupStore> = corner.stores().get_opt(&corner.store).await?;
    texts.extend(stores.map(|store| serde_json::to_string(&store)).transpose()?);
    for event in Api::<Event>::namespaced(corner.client.clone(), &corner.namespace).list(&all).await? {
        texts.push(serde_json::to_string(&event)?);
    }
    for secret in corner.aws.secrets() {
        if let Some(text) = texts.iter().find(|text| text.contains(&secret)) {
            anyhow::bail!("a secret was told: {}", text.replace(&secret, "<SECRET>"));
        }
    }
    Ok(())
}

/// The operator runs, and never panicked.
pub async fn never_panicked(corner: &Corner) -> Result<()> {
    let mut operator = corner.operator.lock().await;
    ensure!(operator.is_running(), "the operator ended by itself");
    let printed = operator.printed();
    let panic = printed.lines().find(|line| line.contains("panicked at"));
    ensure!(panic.is_none(), "{panic:?}");
    Ok(())
}
