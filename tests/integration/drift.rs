//! What somebody changes by hand on what is the operator's own: put right, told, and never fought at full speed.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use aws_sdk_iam::types::{StatusType, Tag};
use backup_target_operator::{
    api::{
        BackupStore, BackupTarget,
        condition::{LEAST_PRIVILEGE, READY},
    },
    names::{PAUSED_REPAIR_ANNOTATION, REACTIVATE_KEYS_ANNOTATION, VERIFY_AT_ANNOTATION, tag},
};
use k8s_openapi::api::{core::v1::Secret, events::v1::Event};
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::json;
use testbed::{aws::Aws, proxy::Call, tests, wait::wait_until};

use crate::{
    restart::{Lab, root_in_environment},
    space::{Space, create, has, is, is_ready, message, principal, record, stalled_with},
    world::World,
};

tests![
    what_is_changed_in_iam_is_put_right_within_a_resync,
    what_contains_a_principal_is_left_and_told,
    a_key_that_somebody_switched_off_stays_off,
    a_hold_stops_all_but_what_takes_away,
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
    put_right("inline policy more, which was added").await?;

    let attached = iam.create_policy().policy_name("admin").policy_document(admin.to_string()).send().await?;
    let arn = attached.policy.and_then(|policy| policy.arn).context("an ARN")?;
    iam.attach_user_policy().user_name(&user).policy_arn(&arn).send().await?;
    put_right(&arn).await?;
    iam.get_policy().policy_arn(&arn).send().await.context("the policy itself is not ours and stays")?;

    // Known again by its unique id: without tags its name alone would prove nothing.
    for tag in ["backup-target.dev/uid", "backup-target.dev/cluster", "backup-target.dev/name"] {
        iam.untag_user().user_name(&user).tag_keys(tag).send().await?;
    }
    put_right("its tags").await?;

    iam.create_group().group_name("admins").send().await?;
    iam.add_user_to_group().group_name("admins").user_name(&user).send().await?;
    wait_until("the group to be told", SOON, async || {
        let target = lab.targets()?.get(NAME).await?;
        ensure!(has(&target, LEAST_PRIVILEGE, "False", "OtherPolicies"), "{:?}", target.status);
        ensure!(message(&target, LEAST_PRIVILEGE)?.contains("admins") && is(&target, READY, "True"));
        Ok(())
    })
    .await
}

/// As runbooks for a leaked key say: a policy that denies everything, inline or attached. A tenant has no say in it.
async fn what_contains_a_principal_is_left_and_told(_: Arc<World>) -> Result<()> {
    let (lab, user) = lab("containment").await?;
    let iam = &lab.administrator().iam;
    let nothing = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "*", "Resource": "*"}]});
    let inline = iam.put_user_policy().user_name(&user).policy_name("incident-7").policy_document(nothing.to_string());
    inline.send().await?;
    let attached = iam.create_policy().policy_name("deny-all").policy_document(nothing.to_string()).send().await?;
    let arn = attached.policy.and_then(|policy| policy.arn).context("an ARN")?;
    let mark = lab.aws.mark();
    iam.attach_user_policy().user_name(&user).policy_arn(&arn).send().await?;
    verify_now(&lab).await?;
    wait_until("it to be told", SOON, async || {
        let told = events(&lab, "OnHold").await?;
        ensure!(told.iter().any(|note| note.contains(&arn) && note.contains("incident-7")), "{told:#?}");
        let looks = lab.aws.calls_since(mark, |call| call.is("GetPolicyVersion")).len();
        ensure!(looks >= 3, "{looks} looks at it");
        Ok(())
    })
    .await?;
    let undone = lab.aws.calls_since(mark, |call| call.is("DetachUserPolicy") || call.is("DeleteUserPolicy"));
    ensure!(undone.is_empty(), "{undone:#?}");
    lab.targets()?.delete(NAME, &DeleteParams::default()).await?;
    until_gone(&lab).await
}

async fn a_key_that_somebody_switched_off_stays_off(_: Arc<World>) -> Result<()> {
    let (lab, user) = lab("switched-off").await?;
    let aws = lab.administrator();
    let key = aws.keys_of(&user).await?[0].access_key_id.clone().context("a key")?;
    let mark = lab.aws.mark();
    aws.iam.update_access_key().user_name(&user).access_key_id(&key).status(StatusType::Inactive).send().await?;
    verify_now(&lab).await?;
    wait_until("it to be told", SOON, async || {
        let target = lab.targets()?.get(NAME).await?;
        ensure!(stalled_with(&target, "OnHold") && message(&target, READY)?.contains(&key), "{:?}", target.status);
        Ok(())
    })
    .await?;
    // What a tenant can do to get another key, or this one back.
    let secrets = Api::<Secret>::namespaced(lab.control_plane.client()?, "default");
    secrets.delete(NAME, &DeleteParams::default()).await?;
    wait_until("three more looks", SOON, async || {
        verify_now(&lab).await?;
        ensure!(lab.aws.calls_since(mark, |call| call.is("ListAccessKeys")).len() >= 4);
        Ok(())
    })
    .await?;
    let given = lab.aws.calls_since(mark, |call| call.is("CreateAccessKey"));
    let keys = aws.keys_of(&user).await?;
    ensure!(given.is_empty() && keys.len() == 1 && keys[0].status == Some(StatusType::Inactive), "{keys:?}");

    let said = json!({"metadata": {"annotations": {REACTIVATE_KEYS_ANNOTATION: jiff::Timestamp::now().to_string()}}});
    let stores = Api::<BackupStore>::all(lab.control_plane.client()?);
    stores.patch("default", &PatchParams::default(), &Patch::Merge(said)).await?;
    wait_until("the key to work again", SOON, async || {
        let keys = aws.keys_of(&user).await?;
        let works =
            |id: &str| keys.iter().any(|key| key.access_key_id() == Some(id) && key.status == Some(StatusType::Active));
        ensure!(works(&key) && is_ready(&lab.targets()?.get(NAME).await?), "{keys:?}");
        Ok(())
    })
    .await
}

async fn a_hold_stops_all_but_what_takes_away(_: Arc<World>) -> Result<()> {
    let (lab, user) = lab("hold").await?;
    let (aws, targets) = (lab.administrator(), lab.targets()?);
    let hold = Tag::builder().key(tag::HOLD).value("incident 7").build()?;
    aws.iam.tag_user().user_name(&user).tags(hold).send().await?;
    wait_until("it to be told", SOON, async || {
        let target = targets.get(NAME).await?;
        ensure!(has(&target, READY, "True", "OnHold") && message(&target, READY)?.contains(tag::HOLD));
        Ok(())
    })
    .await?;
    let mark = lab.aws.mark();
    aws.iam.delete_user_policy().user_name(&user).policy_name("backup-target").send().await?;
    let wider = json!({"spec": {"capabilities": ["ObjectAcls"]}});
    targets.patch(NAME, &PatchParams::default(), &Patch::Merge(wider)).await?;
    let secrets = Api::<Secret>::namespaced(lab.control_plane.client()?, "default");
    secrets.delete(NAME, &DeleteParams::default()).await?;
    wait_until("it to stall", SOON, async || {
        verify_now(&lab).await?;
        let target = targets.get(NAME).await?;
        ensure!(
            stalled_with(&target, "OnHold") && message(&target, READY)?.contains("untag-user"),
            "{:?}",
            target.status
        );
        ensure!(lab.aws.calls_since(mark, |call| call.is("ListAccessKeys")).len() >= 3);
        Ok(())
    })
    .await?;
    let given = |call: &Call| ["PutUserPolicy", "CreateAccessKey", "TagUser"].iter().any(|action| call.is(action));
    ensure!(lab.aws.calls_since(mark, given).is_empty());
    targets.delete(NAME, &DeleteParams::default()).await?;
    until_gone(&lab).await?;
    ensure!(aws.users_under("/").await?.iter().all(|found| found.user_name() != user), "its key works on");
    Ok(())
}

async fn verify_now(lab: &Lab) -> Result<()> {
    let at = json!({"metadata": {"annotations": {VERIFY_AT_ANNOTATION: jiff::Timestamp::now().to_string()}}});
    lab.targets()?.patch(NAME, &PatchParams::default(), &Patch::Merge(at)).await?;
    Ok(())
}

async fn until_gone(lab: &Lab) -> Result<()> {
    wait_until("the target to be gone", SOON, async || {
        ensure!(lab.targets()?.get_opt(NAME).await?.is_none(), "it is there");
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
    let bound = json!({"spec": {"aws": {"permissionsBoundary": arn}}});
    let mut spec = serde_json::to_value(stores.get("default").await?.spec)?;
    spec["aws"]["permissionsBoundary"] = json!(arn);
    lab.give_rights(&spec).await?;
    stores.patch("default", &PatchParams::default(), &Patch::Merge(bound)).await?;
    let until_bound = async || {
        wait_until("the user to be bound", SOON, async || {
            let found = iam.get_user().user_name(&user).send().await?.user.context("a user")?;
            let has = found.permissions_boundary.and_then(|boundary| boundary.permissions_boundary_arn);
            ensure!(has.as_ref() == Some(&arn), "{has:?}");
            let applied = record(&lab.targets()?.get(NAME).await?).applied.context("applied")?;
            ensure!(applied.bound.as_ref() == Some(&arn), "{applied:?}");
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
        ensure!(is_ready(&target) && record(&target).access_key_id.is_some_and(|id| id != key), "{:?}", target.status);
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
        ensure!(message(&target, READY)?.contains("the principal or its access key was deleted"));
        ensure!(has(&target, "BaseAccess", "Unknown", "Pending"), "{:?}", target.status);
        ensure!(has(&target, LEAST_PRIVILEGE, "Unknown", "Pending"), "{:?}", target.status);
        Ok(())
    })
    .await
}

/// Deletes the user with all that the operator gave it; returns its key.
async fn delete_user(lab: &Lab, user: &str) -> Result<String> {
    let aws = lab.administrator();
    let key = record(&lab.targets()?.get(NAME).await?).access_key_id.context("a key")?;
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
    let secrets = |call: &testbed::proxy::Call| {
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
    let slow = json!({"spec": {"requestsPerSecond": 5}});
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
        lab.targets()?.delete(&name, &DeleteParams::default()).await?;
    }
    wait_until("all to be gone", SOON, async || {
        let left = lab.targets()?.list(&ListParams::default()).await?.items.len();
        ensure!(left == 0, "{left} are left");
        Ok(())
    })
    .await
}
