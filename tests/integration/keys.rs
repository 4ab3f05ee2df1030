//! Keys: none is lost, none is left behind, and there is never a third.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use backup_target_operator::api::condition::READY;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;
use testbed::{
    proxy::{Call, Fault},
    rclone::Rclone,
    tests,
    wait::wait_until,
};

use crate::{
    space::{SOON, Space, has, is_ready, labels, message, principal, record},
    world::World,
};

tests![
    a_deleted_secret_comes_back_and_the_old_key_lives_for_the_overlap,
    a_secret_deleted_again_and_again_makes_no_flood,
    an_edited_secret_is_put_right_with_the_same_key,
    an_entry_beside_the_rclone_conf_is_somebody_elses,
    a_damaged_secret_gets_a_new_key,
    an_immutable_secret_is_made_anew_with_the_same_key,
    an_unknown_key_is_reported_and_left,
    a_key_whose_secret_could_not_be_written_is_deleted_at_once,
    the_creation_of_a_key_is_never_retried_blindly,
    a_key_that_spreads_costs_no_looks,
    a_throttled_creation_of_a_key_made_none,
];

async fn a_deleted_secret_comes_back_and_the_old_key_lives_for_the_overlap(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    space.create_target("dataset-1", json!({"keyOverlap": "8s"})).await?;
    let before = space.until_ready("dataset-1").await?;
    let running = space.rclone("dataset-1").await?;
    let old = record(&before).access_key_id.context("a key")?;

    space.secrets().delete("dataset-1", &DeleteParams::default()).await?;
    let after = space
        .until("dataset-1", "ready with a new key", |target| {
            is_ready(target) && record(target).access_key_id.is_some_and(|id| id != old)
        })
        .await?;
    ensure!(record(&after).keys.len() == 2, "both keys are on record: {:?}", record(&after).keys);
    running.run(&["lsf", "backup:"]).await?.succeeded().context("a running backup was broken")?;
    space.rclone("dataset-1").await?.run(&["lsf", "backup:"]).await?.succeeded()?;

    wait_until("the old key to stop working", SOON, async || {
        let active = space.active_keys(&principal(&after)).await?;
        ensure!(active.len() == 1 && active[0] != old, "{active:?}");
        Ok(())
    })
    .await?;
    space.until("dataset-1", "left with one key", |target| record(target).keys.len() == 1).await?;
    ensure!(space.keys(&principal(&after)).await?.len() == 1, "the old key is deleted");
    space.rclone("dataset-1").await?.run(&["lsf", "backup:"]).await?.succeeded()?;
    Ok(())
}

async fn a_secret_deleted_again_and_again_makes_no_flood(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    space.create_target("dataset-1", json!({})).await?;
    let first = record(&space.until_ready("dataset-1").await?).access_key_id;
    space.secrets().delete("dataset-1", &DeleteParams::default()).await?;
    let with_new_key = |target: &_| is_ready(target) && record(target).access_key_id != first;
    space.until("dataset-1", "ready with a new key", with_new_key).await?;
    for _ in 1..20 {
        let deleted = space.secrets().delete("dataset-1", &DeleteParams::default()).await;
        ensure!(deleted.is_ok() || deleted.is_err_and(|error| matches!(error, kube::Error::Api(s) if s.code == 404)));
        space.poke("dataset-1").await?;
    }
    let limited = space.until_reconciling("dataset-1", "ReissueLimited").await?;
    ensure!(record(&limited).keys.len() == 2, "one new key, and the one before: {:?}", record(&limited).keys);
    ensure!(space.active_keys(&principal(&limited)).await?.len() == 2, "no key was lost");
    let created = space.iam_calls().iter().filter(|action| *action == "CreateAccessKey").count();
    ensure!(created == 2, "{created} keys were created");
    Ok(())
}

async fn an_edited_secret_is_put_right_with_the_same_key(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    space.create_target("dataset-1", json!({})).await?;
    let target = space.until_ready("dataset-1").await?;
    let good = space.rclone_conf("dataset-1").await?;
    let id = record(&target).access_key_id.context("a key")?;

    let edits = [
        json!({"stringData": {"rclone.conf": good.replace(&id, "AKIAEDITEDBYSOMEBODY")}}),
        json!({"stringData": {"rclone.conf": good.replace("no_check_bucket = true\n", "")}}),
        json!({"metadata": {"labels": {"backup-target.dev/target": "another"}}}),
    ];
    for edit in edits {
        space.secrets().patch("dataset-1", &PatchParams::default(), &Patch::Merge(&edit)).await?;
        wait_until("the Secret to be put right", SOON, async || {
            let secret = space.secrets().get("dataset-1").await?;
            ensure!(space.rclone_conf("dataset-1").await? == good, "the content differs");
            ensure!(labels(&secret)["backup-target.dev/target"] == "dataset-1", "a label differs");
            Ok(())
        })
        .await?;
    }
    ensure!(space.keys(&principal(&target)).await?.len() == 1, "no key was lost, none was made");
    Ok(())
}

async fn an_entry_beside_the_rclone_conf_is_somebody_elses(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    space.create_target("dataset-1", json!({})).await?;
    space.until_ready("dataset-1").await?;
    let edit = json!({"stringData": {"more": "entries"}});
    space.secrets().patch("dataset-1", &PatchParams::default(), &Patch::Merge(&edit)).await?;
    space.poke("dataset-1").await?;
    // What the operator has to write anew keeps it.
    let good = space.rclone_conf("dataset-1").await?;
    let edit = json!({"stringData": {"rclone.conf": good.replace("no_check_bucket = true\n", "")}});
    space.secrets().patch("dataset-1", &PatchParams::default(), &Patch::Merge(&edit)).await?;
    wait_until("the Secret to be put right", SOON, async || {
        ensure!(space.rclone_conf("dataset-1").await? == good, "the content differs");
        Ok(())
    })
    .await?;
    let data = space.secrets().get("dataset-1").await?.data.unwrap_or_default();
    ensure!(data.keys().eq(["more", "rclone.conf"]), "{:?}", data.keys());
    Ok(())
}

async fn a_damaged_secret_gets_a_new_key(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    space.create_target("dataset-1", json!({})).await?;
    let target = space.until_ready("dataset-1").await?;
    let old = record(&target).access_key_id.context("a key")?;
    let edit = json!({"stringData": {"rclone.conf": "[backup]\nsecret_access_key = guessed\n"}});
    space.secrets().patch("dataset-1", &PatchParams::default(), &Patch::Merge(&edit)).await?;
    let with_new_key = |target: &_| is_ready(target) && record(target).access_key_id.is_some_and(|id| id != old);
    space.until("dataset-1", "ready with a new key", with_new_key).await?;
    space.rclone("dataset-1").await?.run(&["lsf", "backup:"]).await?.succeeded()?;
    Ok(())
}

async fn an_immutable_secret_is_made_anew_with_the_same_key(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    space.create_target("dataset-1", json!({})).await?;
    let before = space.until_ready("dataset-1").await?;
    let frozen = json!({"immutable": true});
    space.secrets().patch("dataset-1", &PatchParams::default(), &Patch::Merge(&frozen)).await?;
    wait_until("the Secret to be made anew", SOON, async || {
        let secret = space.secrets().get("dataset-1").await?;
        ensure!(secret.immutable.is_none(), "it is immutable");
        Ok(())
    })
    .await?;
    let after = space.until_ready("dataset-1").await?;
    ensure!(record(&after).access_key_id == record(&before).access_key_id, "the same key");
    Ok(())
}

async fn an_unknown_key_is_reported_and_left(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    space.create_target("dataset-1", json!({})).await?;
    let target = space.until_ready("dataset-1").await?;
    let by_hand = space.aws.iam.create_access_key().user_name(principal(&target)).send().await?;
    let by_hand = by_hand.access_key.context("a key")?.access_key_id;

    space.patch_target("dataset-1", json!({"capabilities": ["ObjectAcls"]})).await?;
    let ready = space.until_ready("dataset-1").await?;
    let told = message(&ready, READY)?;
    ensure!(told.contains(&by_hand) && told.contains("left alone"), "{told}");

    // Both slots are taken, one by a key that is nobody's business: a lost Secret cannot be replaced.
    space.secrets().delete("dataset-1", &DeleteParams::default()).await?;
    let stalled = space.until_stalled("dataset-1", "UnknownKey").await?;
    let told = message(&stalled, READY)?;
    ensure!(told.contains(&by_hand) && told.contains("delete-access-key"), "{told}");
    ensure!(space.active_keys(&principal(&target)).await?.len() == 2, "both keys are left");

    space.delete_target("dataset-1").await?;
    let stalled = space.until_stalled("dataset-1", "UnknownKey").await?;
    ensure!(space.active_keys(&principal(&stalled)).await? == [by_hand.clone()], "only ours is gone");
    space.aws.iam.delete_access_key().user_name(principal(&target)).access_key_id(by_hand).send().await?;
    space.poke("dataset-1").await.ok();
    space.until_gone("dataset-1").await?;
    ensure!(space.users().await?.is_empty());
    Ok(())
}

async fn a_key_whose_secret_could_not_be_written_is_deleted_at_once(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    let path = format!("/api/v1/namespaces/{}/secrets", space.namespace);
    let is_written = move |call: &Call| call.method == "POST" && call.path == path && !call.query.contains("dryRun");
    let refused = world.api.fault(Fault::Status(403), is_written);
    space.create_target("dataset-1", json!({})).await?;
    wait_until("the Secret to be refused", SOON, async || {
        ensure!(refused.hits() > 0, "it was not tried");
        Ok(())
    })
    .await?;
    let failing = space.until_reconciling("dataset-1", "Forbidden").await?;
    ensure!(space.keys(&principal(&failing)).await?.is_empty(), "the key that nobody got is gone");
    drop(refused);
    let ready = space.until_ready("dataset-1").await?;
    ensure!(space.keys(&principal(&ready)).await?.len() == 1);
    Ok(())
}

async fn the_creation_of_a_key_is_never_retried_blindly(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    let failing = space.aws_proxy.fault(Fault::Status(500), |call| call.is("CreateAccessKey"));
    space.create_target("dataset-1", json!({})).await?;
    space.until_reconciling("dataset-1", "KeyUncertain").await?;
    ensure!(failing.hits() == 1, "it was tried {} times", failing.hits());
    drop(failing);
    // After three looks within a minute the creation is believed not to have happened.
    let patience = Duration::from_mins(2);
    let ready = space.until_within(patience, "dataset-1", "ready", is_ready).await?;
    ensure!(has(&ready, READY, "True", "Provisioned"));
    ensure!(space.keys(&principal(&ready)).await?.len() == 1);
    Rclone::new(&space.rclone_conf("dataset-1").await?)?.run(&["lsf", "backup:"]).await?.succeeded()?;
    Ok(())
}

/// On AWS a new key is not known for 5 to 15 seconds.
async fn a_key_that_spreads_costs_no_looks(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    let account = space.account.clone();
    let with_new_key = move |call: &Call| call.action.is_none() && call.access_key.as_ref() != Some(&account);
    let unknown = space.aws_proxy.fault(Fault::S3Error(403, "InvalidAccessKeyId"), with_new_key);
    space.create_target("dataset-1", json!({})).await?;
    space.until_reconciling("dataset-1", "Propagating").await?;
    wait_until("the key to be tried four times", SOON, async || {
        ensure!(unknown.hits() >= 4, "it was tried {} times", unknown.hits());
        Ok(())
    })
    .await?;
    drop(unknown);
    space.until_ready("dataset-1").await?;
    let calls = space.iam_calls();
    ensure!(calls == ["CreateUser", "PutUserPolicy", "CreateAccessKey"], "{calls:?}");
    Ok(())
}

/// As during a roll-out of many targets: IAM refuses with 400 before it does anything.
async fn a_throttled_creation_of_a_key_made_none(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    let throttled = space.aws_proxy.fault_some(Fault::Throttle, 0..1, |call: &Call| call.is("CreateAccessKey"));
    space.create_target("dataset-1", json!({})).await?;
    space.until_without_a_stall(SOON / 3, "dataset-1", |target| target.is_some_and(is_ready)).await?;
    let calls = space.iam_calls();
    ensure!(throttled.hits() == 1 && calls.len() <= 11, "{calls:?}");
    Ok(())
}
