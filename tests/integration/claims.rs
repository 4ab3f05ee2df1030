//! Who may claim what: rules decide when a target is made, and whenever they change.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use backup_target_operator::api::condition::READY;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use testbed::{tests, wait::wait_until};

use crate::{
    space::{SOON, Space, has, is, is_ready, message, principal, record},
    world::World,
};

tests![
    no_rule_no_claim,
    a_claim_that_is_only_partly_covered_creates_nothing,
    a_rule_may_name_the_namespace_or_its_labels,
    a_narrowed_rule_takes_a_capability_away_at_once,
    a_withdrawn_rule_stops_the_key_and_its_return_restores_it,
    a_suspended_target_does_not_outlive_its_rule,
    a_former_folder_does_not_outlive_its_rule,
    what_stands_in_the_way_of_a_change_saves_no_right,
    a_slip_in_a_spec_breaks_no_running_backup,
    an_overlap_ends_whatever_is_in_the_way,
    rules_bound_overlap_and_retention,
];

async fn no_rule_no_claim(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    let denied = [
        ("buckets", json!(["another-bucket"]), "has bucket"),
        ("prefixes", json!(["backups/dataset-10/"]), "covers backups/dataset-1/"),
        ("prefixes", json!([]), "covers backups/dataset-1/"),
        ("namespaces", json!({"names": ["elsewhere"]}), "speaks of namespace"),
    ];
    for (number, (field, value, why)) in denied.into_iter().enumerate() {
        space.patch_rule(field, value).await?;
        let name = format!("target-{number}");
        space.create_target(&name, json!({"secret": {"name": name}})).await?;
        let stalled = space.until_stalled(&name, "NotAllowed").await?;
        let told = message(&stalled, READY)?;
        ensure!(told.contains(why) && told.contains("spec.allow"), "{told}");
        ensure!(is(&stalled, "BaseAccess", "False"));
        space.delete_target(&name).await?;
        space.until_gone(&name).await?;
    }
    space.patch_store(json!({"allow": null})).await?;
    space.create_target("no-rules", json!({})).await?;
    space.until_stalled("no-rules", "NotAllowed").await?;
    ensure!(space.users().await?.is_empty() && space.iam_calls().is_empty(), "AWS was not asked for anything");
    Ok(())
}

async fn a_claim_that_is_only_partly_covered_creates_nothing(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    space.patch_rule("capabilities", json!(["MultipartUploads"])).await?;
    space.create_target("dataset-1", json!({"capabilities": ["MultipartUploads", "CreateBucket"]})).await?;
    let stalled = space.until_stalled("dataset-1", "NotAllowed").await?;
    ensure!(message(&stalled, READY)?.contains("CreateBucket"), "{}", message(&stalled, READY)?);
    ensure!(space.users().await?.is_empty());
    space.patch_target("dataset-1", json!({"capabilities": ["MultipartUploads"]})).await?;
    space.until_ready("dataset-1").await?;
    Ok(())
}

async fn a_rule_may_name_the_namespace_or_its_labels(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    let rule = json!([{
        "namespaces": {"matchLabels": {"team": "blue"}}, "buckets": [space.bucket], "prefixes": ["{namespace}/"],
    }]);
    space.patch_store(json!({"allow": rule})).await?;
    let own = format!("{}/dataset-1", space.namespace);
    space.create_target("own", json!({"prefix": own})).await?;
    space.until_stalled("own", "NotAllowed").await?;

    let labelled = json!({"metadata": {"labels": {"team": "blue"}}});
    let namespaces = Api::<k8s_openapi::api::core::v1::Namespace>::all(space.client.clone());
    namespaces.patch(&space.namespace, &PatchParams::default(), &Patch::Merge(labelled)).await?;
    let ready = space.until_ready("own").await?;
    ensure!(
        !space.policy(&principal(&ready)).await?.to_string().contains("s3:delimiter"),
        "rules deny listing by default"
    );

    space.create_target("other", json!({"prefix": "team-0/dataset-1"})).await?;
    space.until_stalled("other", "NotAllowed").await?;
    let unlabelled = json!({"metadata": {"labels": {"team": null}}});
    namespaces.patch(&space.namespace, &PatchParams::default(), &Patch::Merge(unlabelled)).await?;
    space.until_stalled("own", "NotAllowed").await?;
    ensure!(space.active_keys(&principal(&ready)).await?.is_empty());
    Ok(())
}

async fn a_narrowed_rule_takes_a_capability_away_at_once(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    space.create_target("dataset-1", json!({"capabilities": ["ObjectAcls", "MultipartUploads"]})).await?;
    let before = space.until_ready("dataset-1").await?;

    space.patch_rule("capabilities", json!(["MultipartUploads"])).await?;
    let stalled = space.until_stalled("dataset-1", "NotAllowed").await?;
    ensure!(has(&stalled, "ObjectAcls", "False", "NotAllowed") && is(&stalled, "MultipartUploads", "True"));
    let policy = space.policy(&principal(&before)).await?.to_string();
    ensure!(!policy.contains("PutObjectAcl") && policy.contains("AbortMultipartUpload"), "{policy}");
    space.rclone("dataset-1").await?.run(&["lsf", "backup:"]).await?.succeeded().context("the rest stays")?;

    space.patch_rule("capabilities", json!(["MultipartUploads", "ObjectAcls"])).await?;
    let restored = space.until_ready("dataset-1").await?;
    ensure!(is(&restored, "ObjectAcls", "True"));
    ensure!(record(&restored).access_key_id == record(&before).access_key_id, "the same key");
    Ok(())
}

async fn a_withdrawn_rule_stops_the_key_and_its_return_restores_it(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    space.create_target("dataset-1", json!({})).await?;
    let before = space.until_ready("dataset-1").await?;
    withdraw_and_restore(&space, &before).await?;
    let after = space.until_ready("dataset-1").await?;
    ensure!(record(&after).access_key_id == record(&before).access_key_id, "the same key");
    Ok(())
}

async fn withdraw_and_restore(space: &Space, before: &backup_target_operator::api::BackupTarget) -> Result<()> {
    let rclone = space.rclone("dataset-1").await?;
    rclone.run(&["lsf", "backup:"]).await?.succeeded()?;

    space.patch_rule("prefixes", json!(["elsewhere/"])).await?;
    let stalled = space.until_stalled("dataset-1", "NotAllowed").await?;
    ensure!(message(&stalled, READY)?.contains("inactive"), "{}", message(&stalled, READY)?);
    ensure!(space.keys(&principal(before)).await?.len() == 1, "the key is not deleted");
    ensure!(space.active_keys(&principal(before)).await?.is_empty(), "and does not work");
    ensure!(rclone.run(&["lsf", "backup:"]).await?.code != Some(0), "the key still works");
    ensure!(space.secrets().get_opt("dataset-1").await?.is_some(), "the Secret stays");

    space.patch_rule("prefixes", json!([""])).await?;
    space.until("dataset-1", "restored", is_ready).await?;
    rclone.run(&["lsf", "backup:"]).await?.succeeded()?;
    Ok(())
}

async fn a_suspended_target_does_not_outlive_its_rule(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    space.create_target("dataset-1", json!({"capabilities": ["ObjectAcls"]})).await?;
    space.until_ready("dataset-1").await?;
    let before = space.patch_target("dataset-1", json!({"suspend": true})).await?;
    space.until_ready("dataset-1").await?;

    space.patch_rule("capabilities", json!([])).await?;
    space.until_stalled("dataset-1", "NotAllowed").await?;
    ensure!(!space.policy(&principal(&before)).await?.to_string().contains("PutObjectAcl"), "the right is gone");
    space.patch_rule("capabilities", json!(["ObjectAcls"])).await?;
    space.until_ready("dataset-1").await?;
    ensure!(space.policy(&principal(&before)).await?.to_string().contains("PutObjectAcl"), "and back");
    withdraw_and_restore(&space, &before).await
}

async fn a_former_folder_does_not_outlive_its_rule(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    space.create_target("dataset-1", json!({})).await?;
    let target = space.until_ready("dataset-1").await?;
    space.patch_target("dataset-1", json!({"prefix": "backups/dataset-2"})).await?;
    space.until_ready("dataset-1").await?;
    let covers_old = |policy: Value| policy.to_string().contains("backups/dataset-1/");
    ensure!(covers_old(space.policy(&principal(&target)).await?), "the overlap is 24 h");

    space.patch_rule("prefixes", json!(["backups/dataset-2/"])).await?;
    wait_until("the former folder to leave the policy", SOON, async || {
        ensure!(!covers_old(space.policy(&principal(&target)).await?), "it is there");
        Ok(())
    })
    .await?;
    space.until_ready("dataset-1").await?;
    Ok(())
}

async fn rules_bound_overlap_and_retention(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    space.patch_rule("maxKeyOverlap", json!("2h")).await?;
    space.create_target("too-long", json!({"keyOverlap": "3h"})).await?;
    let stalled = space.until_stalled("too-long", "NotAllowed").await?;
    ensure!(message(&stalled, READY)?.contains("keyOverlap"), "{}", message(&stalled, READY)?);

    space.patch_rule("retain", json!(false)).await?;
    space.create_target("retained", json!({"deletionPolicy": "Retain"})).await?;
    let stalled = space.until_stalled("retained", "NotAllowed").await?;
    ensure!(message(&stalled, READY)?.contains("Retain"), "{}", message(&stalled, READY)?);
    Ok(())
}

async fn what_stands_in_the_way_of_a_change_saves_no_right(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    space.create_target("dataset-1", json!({"capabilities": ["ObjectAcls"]})).await?;
    let target = space.until_ready("dataset-1").await?;
    space.create_secret(json!({"metadata": {"name": "foreign"}, "stringData": {"mine": "mine"}})).await?;
    space.patch_target("dataset-1", json!({"secret": {"name": "foreign"}})).await?;
    space.until_stalled("dataset-1", "SecretConflict").await?;

    space.patch_rule("capabilities", json!([])).await?;
    wait_until("the right to leave the policy", SOON, async || {
        ensure!(!space.policy(&principal(&target)).await?.to_string().contains("PutObjectAcl"), "it is there");
        Ok(())
    })
    .await?;
    space.rclone("dataset-1").await?.run(&["lsf", "backup:"]).await?.succeeded().context("the rest stays")?;
    Ok(())
}

async fn a_slip_in_a_spec_breaks_no_running_backup(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    space.patch_rule("prefixes", json!(["backups/"])).await?;
    space.create_target("dataset-1", json!({})).await?;
    let before = space.until_ready("dataset-1").await?;
    space.patch_target("dataset-1", json!({"prefix": "somebody-else/"})).await?;
    let stalled = space.until_stalled("dataset-1", "NotAllowed").await?;
    ensure!(message(&stalled, READY)?.contains("somebody-else/"), "{}", message(&stalled, READY)?);
    ensure!(is(&stalled, "BaseAccess", "True"), "what was given is still there");
    space.rclone("dataset-1").await?.run(&["lsf", "backup:"]).await?.succeeded()?;

    space.patch_rule("prefixes", json!(["elsewhere/"])).await?;
    space.until("dataset-1", "without access", |target| is(target, "BaseAccess", "False")).await?;
    ensure!(space.active_keys(&principal(&before)).await?.is_empty(), "the rule for it is gone, and so is it");
    Ok(())
}

async fn an_overlap_ends_whatever_is_in_the_way(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    space.create_secret(json!({"metadata": {"name": "foreign"}, "stringData": {"mine": "mine"}})).await?;
    for (name, in_the_way) in [("blocked", json!({"secret": {"name": "foreign"}})), ("held", json!({"suspend": true}))]
    {
        let prefix = |folder: &str| json!({"prefix": format!("{name}/{folder}"), "keyOverlap": "5s"});
        space.create_target(name, prefix("old")).await?;
        let target = space.until_ready(name).await?;
        space.patch_target(name, prefix("new")).await?;
        space.until_ready(name).await?;
        space.patch_target(name, in_the_way).await?;
        wait_until("the former folder to leave the policy", SOON, async || {
            let policy = space.policy(&principal(&target)).await?.to_string();
            ensure!(policy.contains(&format!("{name}/new/*")), "the new folder is not in it: {policy}");
            ensure!(!policy.contains(&format!("{name}/old/")), "it is there");
            Ok(())
        })
        .await?;
    }
    Ok(())
}
