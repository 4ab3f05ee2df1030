//! The end of a target: nothing remains in IAM, nothing in the bucket is touched, and nothing is deleted on a guess.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use backup_target_operator::{
    api::{BackupTarget, condition::READY},
    names::TARGET_FINALIZER,
};
use k8s_openapi::api::{
    events::v1::Event,
    rbac::v1::{Role, RoleBinding},
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::json;
use testbed::{aws::ROOT_KEY, proxy::Fault, rights::until_may, tests, wait::wait_until};

use crate::{
    space::{SOON, Space, create, labels, message, principal, record},
    world::World,
};

tests![
    a_deleted_target_leaves_nothing_but_its_objects,
    a_retained_target_leaves_credentials_that_work,
    retention_ends_with_its_rule,
    a_target_that_never_had_anything_just_goes,
    deletion_waits_for_an_unreachable_store,
    nothing_is_deleted_in_another_account,
    a_target_recreated_at_once_is_another_one,
    a_store_stays_while_targets_use_it,
    a_finalizer_that_is_taken_off_comes_back,
    a_tenant_cannot_take_the_finalizer_off,
    finalizers_of_others_stay_as_they_are,
];

async fn a_deleted_target_leaves_nothing_but_its_objects(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    space.create_target("dataset-1", json!({})).await?;
    space.create_target("dataset-2", json!({"prefix": "backups/dataset-2"})).await?;
    space.until_ready("dataset-1").await?;
    let other = space.until_ready("dataset-2").await?;
    space.put_object("backups/dataset-1/file").await?;

    space.delete_target("dataset-1").await?;
    space.until_gone("dataset-1").await?;
    ensure!(space.users().await?.len() == 1, "the user is gone, the other target's is not");
    ensure!(space.secrets().get_opt("dataset-1").await?.is_none(), "the Secret is gone");
    ensure!(space.objects().await? == ["backups/dataset-1/file"], "the objects are there");
    let deleted: Vec<String> = space.iam_calls().into_iter().filter(|action| action.starts_with("Delete")).collect();
    ensure!(deleted == ["DeleteAccessKey", "DeleteUserPolicy", "DeleteUser"], "{deleted:?}");
    space.rclone("dataset-2").await?.run(&["lsf", "backup:"]).await?.succeeded()?;
    ensure!(space.active_keys(&principal(&other)).await?.len() == 1);
    Ok(())
}

async fn a_retained_target_leaves_credentials_that_work(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    space.create_target("dataset-1", json!({"deletionPolicy": "Retain"})).await?;
    let target = space.until_ready("dataset-1").await?;
    space.delete_target("dataset-1").await?;
    space.until_gone("dataset-1").await?;

    let secret = space.secrets().get("dataset-1").await?;
    ensure!(secret.owner_references().is_empty(), "nobody owns the Secret");
    ensure!(labels(&secret).get("backup-target.dev/retained").is_some_and(|value| value == "true"));
    space.rclone("dataset-1").await?.run(&["lsf", "backup:"]).await?.succeeded()?;
    let tags = space.aws.iam.list_user_tags().user_name(principal(&target)).send().await?.tags;
    ensure!(tags.iter().any(|tag| tag.key() == "backup-target.dev/retained"), "{tags:?}");
    let events = Api::<Event>::namespaced(space.client.clone(), &space.namespace).list(&ListParams::default()).await?;
    ensure!(events.iter().any(|event| event.reason.as_deref() == Some("Retained")), "an Event says so");

    // The name once more: it is said whose the Secret was, and another name helps at once.
    space.create_target("dataset-1", json!({})).await?;
    let stalled = space.until_stalled("dataset-1", "SecretConflict").await?;
    let told = message(&stalled, READY)?;
    ensure!(told.contains("a former target of this name left it"), "{told}");
    space.patch_target("dataset-1", json!({"secret": {"name": "another"}})).await?;
    space.until_ready("dataset-1").await?;
    ensure!(space.secrets().get("dataset-1").await? == secret, "what was retained is untouched");
    Ok(())
}

async fn retention_ends_with_its_rule(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    space.create_target("dataset-1", json!({"deletionPolicy": "Retain"})).await?;
    space.until_ready("dataset-1").await?;
    space.patch_rule("retain", json!(false)).await?;
    space.until_stalled("dataset-1", "NotAllowed").await?;
    space.delete_target("dataset-1").await?;
    space.until_gone("dataset-1").await?;
    ensure!(space.users().await?.is_empty(), "a tenant leaves no live key behind at will");
    Ok(())
}

async fn a_target_that_never_had_anything_just_goes(world: Arc<World>) -> Result<()> {
    let space = Space::without_store(&world).await?;
    space.create_target("dataset-1", json!({})).await?;
    let waiting = space.until_reconciling("dataset-1", "StoreNotFound").await?;
    ensure!(waiting.finalizers().is_empty(), "nothing holds it");
    space.delete_target("dataset-1").await?;
    space.until_gone("dataset-1").await
}

async fn deletion_waits_for_an_unreachable_store(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    space.create_target("dataset-1", json!({})).await?;
    space.until_ready("dataset-1").await?;
    let down = space.aws_proxy.fault(Fault::Refuse, |_| true);
    space.delete_target("dataset-1").await?;
    let waiting = space.until_reconciling("dataset-1", "StoreUnreachable").await?;
    ensure!(message(&waiting, READY)?.contains("endpoints"), "{}", message(&waiting, READY)?);
    ensure!(!waiting.finalizers().is_empty(), "it is not let go");
    drop(down);
    space.until_gone("dataset-1").await?;
    ensure!(space.users().await?.is_empty());
    Ok(())
}

async fn nothing_is_deleted_in_another_account(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    space.create_target("dataset-1", json!({})).await?;
    let target = space.until_ready("dataset-1").await?;

    space.write_credentials("999999999999", ROOT_KEY).await?;
    space.delete_target("dataset-1").await?;
    let stalled = space.until_stalled("dataset-1", "AccountChanged").await?;
    let told = message(&stalled, READY)?;
    ensure!(
        !told.contains("999999999999") && !told.contains(&space.account),
        "account ids are the administrator's: {told}"
    );
    space
        .until_store("stalled", |store| {
            let ready =
                store.status.as_ref().and_then(|status| status.conditions.iter().find(|c| c.type_ == "Stalled"));
            ready.is_some_and(|condition| condition.reason == "AccountChanged")
        })
        .await?;
    ensure!(space.active_keys(&principal(&target)).await?.len() == 1, "nothing is deleted");
    let asked = space
        .aws_proxy
        .calls(|call| call.access_key.as_deref() == Some("999999999999") && !call.is("GetCallerIdentity"));
    ensure!(asked.is_empty(), "{asked:#?}");

    space.write_credentials(&space.account, ROOT_KEY).await?;
    space.until_gone("dataset-1").await?;
    ensure!(space.users().await?.is_empty());
    Ok(())
}

async fn a_target_recreated_at_once_is_another_one(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    space.create_target("dataset-1", json!({})).await?;
    let first = space.until_ready("dataset-1").await?;
    for _ in 0..3 {
        space.delete_target("dataset-1").await?;
        wait_until("the name to be free", SOON, async || Ok(space.create_target("dataset-1", json!({})).await?))
            .await?;
    }
    let last = space.until_ready("dataset-1").await?;
    ensure!(principal(&first) != principal(&last));
    let users = space.users().await?;
    ensure!(users.len() == 1 && users[0].user_name == principal(&last), "{users:?}");
    ensure!(space.keys(&principal(&last)).await?.len() == 1);
    let key = record(&last).access_key_id.context("a key")?;
    ensure!(space.rclone_conf("dataset-1").await?.contains(&key), "the Secret is the last target's");
    Ok(())
}

async fn a_store_stays_while_targets_use_it(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    space.create_target("dataset-1", json!({})).await?;
    space.until_ready("dataset-1").await?;
    space.stores().delete(&space.store, &DeleteParams::default()).await?;
    let held = space
        .until_store("held", |store| {
            store.status.as_ref().is_some_and(|status| status.conditions.iter().any(|c| c.reason == "InUse"))
        })
        .await?;
    ensure!(!held.finalizers().is_empty());
    space.delete_target("dataset-1").await?;
    space.until_gone("dataset-1").await?;
    wait_until("the store to go", SOON, async || {
        ensure!(space.stores().get_opt(&space.store).await?.is_none(), "it is there");
        Ok(())
    })
    .await?;
    ensure!(space.users().await?.is_empty());
    Ok(())
}

async fn a_finalizer_that_is_taken_off_comes_back(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    space.create_target("dataset-1", json!({})).await?;
    let before = space.until_ready("dataset-1").await?;
    let patch = json!({"metadata": {"finalizers": null}, "spec": {"suspend": true}});
    space.targets().patch("dataset-1", &PatchParams::default(), &Patch::Merge(patch)).await?;
    let after =
        space.until("dataset-1", "held again", |target| !target.finalizers().is_empty() && target.spec.suspend).await?;
    ensure!(record(&after).keys == record(&before).keys, "what it knows of its keys is kept");
    space.delete_target("dataset-1").await?;
    space.until_gone("dataset-1").await?;
    ensure!(space.users().await?.is_empty());
    Ok(())
}

/// The operator keeps none of them, and writes them all.
async fn finalizers_of_others_stay_as_they_are(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    let others: Vec<String> = (0..300).map(|number| format!("example.com/held-{number}")).collect();
    let metadata = json!({"name": "dataset-1", "finalizers": others});
    create(&space.targets(), json!({"metadata": metadata, "spec": space.target_spec(json!({}))})).await?;
    let held = space.until_ready("dataset-1").await?;
    let with_ours = [others.as_slice(), &[TARGET_FINALIZER.to_owned()]].concat();
    ensure!(held.finalizers() == with_ours, "{:?}", held.finalizers());
    space.delete_target("dataset-1").await?;
    space.until("dataset-1", "let go", |target| target.finalizers() == others).await?;
    let patch = json!({"metadata": {"finalizers": null}});
    space.targets().patch("dataset-1", &PatchParams::default(), &Patch::Merge(patch)).await?;
    space.until_gone("dataset-1").await?;
    ensure!(space.users().await?.is_empty());
    Ok(())
}

async fn a_tenant_cannot_take_the_finalizer_off(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    space.create_target("dataset-1", json!({})).await?;
    space.until_ready("dataset-1").await?;
    let tenant = format!("tenant-of-{}", space.namespace);
    let rules = json!([{"apiGroups": ["backup-target.dev"], "resources": ["backuptargets"], "verbs": ["*"]}]);
    let role = json!({"metadata": {"name": "tenant"}, "rules": rules});
    create(&Api::<Role>::namespaced(space.client.clone(), &space.namespace), role).await?;
    let binding = json!({
        "metadata": {"name": "tenant"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "tenant"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": tenant}],
    });
    create(&Api::<RoleBinding>::namespaced(space.client.clone(), &space.namespace), binding).await?;
    until_may(&space.client, &tenant, "delete", "backup-target.dev", "backuptargets", &space.namespace).await?;

    let targets = Api::<BackupTarget>::namespaced(world.control_plane.client_as(&tenant)?, &space.namespace);
    let patch = |body: serde_json::Value| {
        let targets = targets.clone();
        async move { targets.patch("dataset-1", &PatchParams::default(), &Patch::Merge(body)).await }
    };
    patch(json!({"metadata": {"labels": {"mine": "yes"}}})).await.context("a tenant may change its target")?;
    let refused =
        patch(json!({"metadata": {"finalizers": null}})).await.err().context("the finalizer was taken off")?;
    ensure!(refused.to_string().contains("until its IAM user is gone"), "{refused}");
    targets.delete("dataset-1", &DeleteParams::default()).await.context("and delete it")?;
    space.until_gone("dataset-1").await?;
    ensure!(space.users().await?.is_empty());
    Ok(())
}
