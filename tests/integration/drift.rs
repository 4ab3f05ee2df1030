//! What somebody changes by hand on what is the operator's own: put right, told, and never fought at full speed.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use aws_sdk_iam::types::StatusType;
use backup_target_operator::{
    api::{
        BackupStore, BackupTarget,
        condition::{LEAST_PRIVILEGE, READY},
    },
    names::PAUSED_REPAIR_ANNOTATION,
};
use k8s_openapi::api::{core::v1::Secret, events::v1::Event};
use kube::{
    Api,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::json;

use crate::{
    restart::{Lab, root_in_environment},
    space::{Space, create, has, is, is_ready, message, principal, stalled_with, status},
    testbed::{aws::Aws, wait::wait_until},
    tests,
    world::World,
};

tests![
    what_is_changed_in_iam_is_put_right_within_a_resync,
    a_boundary_that_was_taken_off_comes_back,
    a_deleted_user_comes_back_with_a_new_key,
    paused_repairs_are_told_and_left,
    a_fight_over_a_secret_is_not_fought_at_full_speed,
    drift_reads_leave_most_of_the_rate_to_others,
];

const SOON: Duration = Duration::from_secs(40);
const NAME: &str = "a";

/// A lab whose operator compares with IAM every second, with one ready target.
async fn lab(name: &str) -> Result<(Lab, String)> {
    let lab = Lab::start(name, |aws, options| {
        let mut options = root_in_environment(aws, options);
        options.args = ["--resync", "1s"].map(str::to_owned).to_vec();
        options
    })
    .await?;
    lab.create_store(lab.aws.url()).await?;
    lab.create_target(NAME).await?;
    lab.until_all_ready(1).await?;
    let user = principal(&lab.targets()?.get(NAME).await?);
    Ok((lab, user))
}

async fn events(lab: &Lab, reason: &str) -> Result<Vec<String>> {
    let events = Api::<Event>::namespaced(lab.control_plane.client()?, "default").list(&ListParams::default()).await?;
    let wanted = events.into_iter().filter(|event| event.reason.as_deref() == Some(reason));
    Ok(wanted.filter_map(|event| event.note).collect())
}

/// Everything of a user that somebody may have changed.
async fn picture(aws: &Aws, user: &str) -> Result<BTreeMap<&'static str, String>> {
    let found = aws.iam.get_user().user_name(user).send().await?.user.context("a user")?;
    let mut tags: Vec<String> = found.tags().iter().map(|tag| format!("{}={}", tag.key(), tag.value())).collect();
    tags.sort();
    let keys = aws.keys_of(user).await?;
    let active = keys.iter().filter(|key| key.status == Some(StatusType::Active)).count();
    Ok(BTreeMap::from([
        ("policies", format!("{:?}", aws.policies_of(user).await?)),
        ("keys", format!("{active} of {}", keys.len())),
        ("tags", tags.join(",")),
    ]))
}

async fn what_is_changed_in_iam_is_put_right_within_a_resync(_: Arc<World>) -> Result<()> {
    let (lab, user) = lab("drift").await?;
    let aws = lab.administrator();
    let before = picture(aws, &user).await?;
    let put_right = async |what: &str| -> Result<()> {
        wait_until(&format!("{what} to be put right"), SOON, async || {
            let now = picture(aws, &user).await?;
            ensure!(now == before, "{now:#?}");
            let told = events(&lab, "DriftRepaired").await?;
            ensure!(told.iter().any(|note| note.contains(what)), "{told:#?}");
            Ok(())
        })
        .await
    };
    let iam = &aws.iam;
    let admin = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]});

    let more = iam.put_user_policy().user_name(&user).policy_name("more").policy_document(admin.to_string());
    more.send().await?;
    put_right("an inline policy more").await?;

    let attached = iam.create_policy().policy_name("admin").policy_document(admin.to_string()).send().await?;
    let arn = attached.policy.and_then(|policy| policy.arn).context("an ARN")?;
    iam.attach_user_policy().user_name(&user).policy_arn(&arn).send().await?;
    put_right(&arn).await?;
    iam.get_policy().policy_arn(&arn).send().await.context("the policy itself is not ours and stays")?;

    let key = aws.keys_of(&user).await?[0].access_key_id.clone().context("a key")?;
    iam.update_access_key().user_name(&user).access_key_id(&key).status(StatusType::Inactive).send().await?;
    put_right(&key).await?;

    // Known again by its unique id: without tags its name alone would prove nothing.
    for tag in ["backup-target.dev/uid", "backup-target.dev/cluster", "backup-target.dev/name"] {
        iam.untag_user().user_name(&user).tag_keys(tag).send().await?;
    }
    put_right("its tags").await?;

    iam.create_group().group_name("admins").send().await?;
    iam.add_user_to_group().group_name("admins").user_name(&user).send().await?;
    wait_until("the group to be told", SOON, async || {
        let target = lab.targets()?.get(NAME).await?;
        ensure!(has(&target, LEAST_PRIVILEGE, "False", "ExcessAccess"), "{:?}", target.status);
        ensure!(message(&target, LEAST_PRIVILEGE)?.contains("admins") && is(&target, READY, "True"));
        Ok(())
    })
    .await
}

async fn a_boundary_that_was_taken_off_comes_back(_: Arc<World>) -> Result<()> {
    let (lab, user) = lab("boundary").await?;
    let iam = &lab.administrator().iam;
    let nothing =
        json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]});
    let made = iam.create_policy().policy_name("backup-boundary").policy_document(nothing.to_string()).send().await?;
    let arn = made.policy.and_then(|policy| policy.arn).context("an ARN")?;
    let stores = Api::<BackupStore>::all(lab.control_plane.client()?);
    let bound = json!({"spec": {"iam": {"permissionsBoundary": arn}}});
    stores.patch("default", &PatchParams::default(), &Patch::Merge(bound)).await?;
    let until_bound = async || {
        wait_until("the user to be bound", SOON, async || {
            let found = iam.get_user().user_name(&user).send().await?.user.context("a user")?;
            let has = found.permissions_boundary.and_then(|boundary| boundary.permissions_boundary_arn);
            ensure!(has.as_ref() == Some(&arn), "{has:?}");
            let applied = status(&lab.targets()?.get(NAME).await?).applied.context("applied")?;
            ensure!(applied.boundary.as_ref() == Some(&arn), "{applied:?}");
            Ok(())
        })
        .await
    };
    until_bound().await?;
    ensure!(events(&lab, "DriftRepaired").await?.is_empty(), "that was asked for");
    iam.delete_user_permissions_boundary().user_name(&user).send().await?;
    until_bound().await?;
    wait_until("that to be told", SOON, async || {
        let told = events(&lab, "DriftRepaired").await?;
        ensure!(told.iter().any(|note| note.contains("its permissions boundary")), "{told:?}");
        Ok(())
    })
    .await
}

async fn a_deleted_user_comes_back_with_a_new_key(_: Arc<World>) -> Result<()> {
    let (lab, user) = lab("deleted-user").await?;
    let aws = lab.administrator();
    let key = delete_user(&lab, &user).await?;
    wait_until("the user to come back", SOON, async || {
        let target = lab.targets()?.get(NAME).await?;
        ensure!(is_ready(&target) && status(&target).access_key_id.is_some_and(|id| id != key), "{:?}", target.status);
        ensure!(aws.keys_of(&user).await?.len() == 1);
        Ok(())
    })
    .await?;
    let told = events(&lab, "KeyReissued").await?;
    ensure!(told.iter().any(|note| note.contains(&format!("IAM user {user} was deleted"))), "{told:?}");

    // Once more: a new key has to wait, and nothing is said of one that is gone.
    delete_user(&lab, &user).await?;
    wait_until("the limit to be told", SOON, async || {
        let target = lab.targets()?.get(NAME).await?;
        ensure!(has(&target, READY, "False", "ReissueLimited"), "{:?}", target.status);
        ensure!(message(&target, READY)?.contains("the IAM user or its access key was deleted"));
        ensure!(has(&target, "BaseAccess", "Unknown", "Pending"), "{:?}", target.status);
        ensure!(has(&target, LEAST_PRIVILEGE, "Unknown", "Pending"), "{:?}", target.status);
        Ok(())
    })
    .await
}

/// Deletes the user with all that the operator gave it; returns its key.
async fn delete_user(lab: &Lab, user: &str) -> Result<String> {
    let aws = lab.administrator();
    let key = status(&lab.targets()?.get(NAME).await?).access_key_id.context("a key")?;
    aws.iam.delete_access_key().user_name(user).access_key_id(&key).send().await?;
    aws.iam.delete_user_policy().user_name(user).policy_name("backup-target").send().await?;
    aws.iam.delete_user().user_name(user).send().await?;
    Ok(key)
}

async fn annotate(lab: &Lab, value: Option<&str>) -> Result<()> {
    let patch = json!({"metadata": {"annotations": {PAUSED_REPAIR_ANNOTATION: value}}});
    lab.targets()?.patch(NAME, &PatchParams::default(), &Patch::Merge(patch)).await?;
    Ok(())
}

async fn paused_repairs_are_told_and_left(_: Arc<World>) -> Result<()> {
    let (lab, user) = lab("paused-repair").await?;
    annotate(&lab, Some("true")).await?;
    // A reconcile that began before the annotation may end with a repair.
    let mark = lab.aws.mark();
    wait_until("two looks", SOON, async || {
        ensure!(lab.aws.calls_since(mark, |call| call.is("GetUserPolicy")).len() >= 2);
        Ok(())
    })
    .await?;
    let iam = &lab.administrator().iam;
    iam.delete_user_policy().user_name(&user).policy_name("backup-target").send().await?;
    wait_until("the drift to be told", SOON, async || {
        let target = lab.targets()?.get(NAME).await?;
        ensure!(is_ready(&target) && message(&target, READY)?.contains("its policy"), "{:?}", target.status);
        ensure!(!events(&lab, "DriftLeft").await?.is_empty());
        Ok(())
    })
    .await?;
    let mark = lab.aws.mark();
    wait_until("two more looks", SOON, async || {
        ensure!(lab.aws.calls_since(mark, |call| call.is("GetUserPolicy")).len() >= 2);
        Ok(())
    })
    .await?;
    ensure!(lab.aws.calls_since(mark, |call| call.is("PutUserPolicy")).is_empty(), "it was put right");
    ensure!(events(&lab, "DriftLeft").await?.len() == 1, "told once");
    annotate(&lab, None).await?;
    wait_until("it to be put right", SOON, async || {
        let put = lab.aws.calls_since(mark, |call| call.is("PutUserPolicy") && call.succeeded());
        ensure!(!put.is_empty());
        Ok(())
    })
    .await
}

async fn a_fight_over_a_secret_is_not_fought_at_full_speed(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    space.create_target("dataset-1", json!({})).await?;
    space.until_ready("dataset-1").await?;
    let mark = world.api.mark();
    let contested = |target: &BackupTarget| stalled_with(target, "Contested");
    wait_until("the fight to be told", SOON, async || {
        let other = json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": "another"}}});
        space.secrets().patch("dataset-1", &PatchParams::default(), &Patch::Merge(other)).await?;
        space.poke("dataset-1").await?;
        ensure!(contested(&space.targets().get("dataset-1").await?), "not told yet");
        Ok(())
    })
    .await?;
    let secrets = |call: &crate::testbed::proxy::Call| {
        call.method == "PUT" && call.path.ends_with(&format!("/namespaces/{}/secrets/dataset-1", space.namespace))
    };
    let repairs = world.api.calls_since(mark, secrets).len();
    ensure!(repairs == 4, "it was put right {repairs} times");
    let told = message(&space.targets().get("dataset-1").await?, READY)?;
    ensure!(told.contains("again and again") && told.contains(PAUSED_REPAIR_ANNOTATION), "{told}");
    // A change that is asked for is no part of the fight.
    space.patch_target("dataset-1", json!({"capabilities": ["ObjectAcls"]})).await?;
    space.until_ready("dataset-1").await?;
    ensure!(space.rclone_conf("dataset-1").await?.contains("\nacl = "));
    Ok(())
}

async fn drift_reads_leave_most_of_the_rate_to_others(_: Arc<World>) -> Result<()> {
    let lab = Lab::start("drift-rate", |aws, options| {
        let mut options = root_in_environment(aws, options);
        options.args = ["--resync", "1s"].map(str::to_owned).to_vec();
        options
    })
    .await?;
    lab.create_store(lab.aws.url()).await?;
    let stores = Api::<backup_target_operator::api::BackupStore>::all(lab.control_plane.client()?);
    let slow = json!({"spec": {"iam": {"requestsPerSecond": 5}}});
    stores.patch("default", &PatchParams::default(), &Patch::Merge(slow)).await?;
    for number in 0..3 {
        lab.create_target(&format!("target-{number}")).await?;
    }
    lab.until_all_ready(3).await?;
    wait_until("the interval to be stretched", SOON, async || {
        let store = stores.get("default").await?;
        let interval = store.status.and_then(|status| status.drift_interval).map(|interval| interval.to_string());
        // 3 targets × 6 reads / (5/s × 30 %) = 12 s, in whole minutes.
        ensure!(interval.as_deref() == Some("60s"), "{interval:?}");
        Ok(())
    })
    .await?;
    // Deletions do not wait for looks.
    create(&Api::<Secret>::namespaced(lab.control_plane.client()?, "default"), json!({"metadata": {"name": "other"}}))
        .await?;
    for target in lab.targets()?.list(&ListParams::default()).await? {
        let name = target.metadata.name.context("a name")?;
        lab.targets()?.delete(&name, &kube::api::DeleteParams::default()).await?;
    }
    wait_until("all to be gone", SOON, async || {
        let left = lab.targets()?.list(&ListParams::default()).await?.items.len();
        ensure!(left == 0, "{left} are left");
        Ok(())
    })
    .await
}
