//! What no broken call can show: lagging IAM, watches that fail, and servers, definitions and clocks that go astray.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use backup_target_operator::{
    api::{BackupTarget, condition::RECONCILING},
    names::{INTENT_ANNOTATION, OPERATOR, TARGET_FINALIZER, VERIFY_AT_ANNOTATION},
};
use k8s_openapi::{
    api::core::v1::Namespace, apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, CustomResourceExt,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use testbed::{
    harness::Test,
    install,
    objects::{create, has, is_ready, merge, principal, record, status},
    operator::{Operator, Options},
    proxy::{Call, Fault},
    tools::project,
    wait::wait_until,
};
use tokio::time::{Instant, sleep_until};

use crate::{
    corner::{Corner, SECRET, TARGET},
    oracles, run,
    scenario::Phase,
    world::World,
};

const SOON: Duration = Duration::from_secs(30);
/// A watch ends after 45 s by itself.
const A_WATCH: Duration = Duration::from_secs(65);
/// A key in doubt takes a minute.
const IN_DOUBT: Duration = Duration::from_secs(150);

/// Names the tests here.
macro_rules! tests {
    ($($name:ident),+ $(,)?) => {
        pub const TESTS: &[Test<World>] = &[$((concat!("situation: ", stringify!($name)), |world| Box::pin($name(world)))),+];
    };
}

tests![
    iam_shows_old_lists_for_a_while,
    iam_does_not_show_the_user_of_a_key_that_spreads,
    the_api_server_restarts_while_a_key_is_made,
    the_namespace_is_being_terminated,
    the_definition_is_deleted_with_live_targets,
    targets_are_deleted_while_the_operator_is_away,
    a_watch_is_told_that_its_events_are_gone,
    a_watch_swallows_the_loss_of_a_secret,
    a_watch_swallows_a_new_target,
    a_watch_hangs_while_it_begins,
    all_connections_are_cut,
    the_clock_was_a_day_ahead,
    the_clock_was_a_day_behind,
    a_key_is_known_after_five_seconds,
    a_key_is_known_after_a_minute,
    a_key_is_known_after_three_minutes,
    a_target_with_forged_metadata_lives_and_goes_as_any_other,
    targets_of_stores_with_other_labels_are_left_alone,
    a_selector_that_is_none_is_refused_at_the_start,
];

async fn prepared(world: &Arc<World>, phase: Phase) -> Result<Corner> {
    let corner = Corner::start(world).await?;
    phase.prepare(&corner).await?;
    Ok(corner)
}

async fn iam_shows_old_lists_for_a_while(world: Arc<World>) -> Result<()> {
    for phase in [Phase::SecretLost, Phase::Grow] {
        let corner = prepared(&world, phase).await?;
        corner.aws.freeze();
        let old = corner.aws.fault_some(Fault::Stale, 0..12, |call| call.action.is_some() && !call.is_write());
        let before = phase.begin(&corner).await?;
        phase.until_over(&corner, &before, IN_DOUBT).await?;
        wait_until("all old lists to be shown", SOON, async || {
            ensure!(old.hits() == 12, "{}", old.hits());
            Ok(())
        })
        .await?;
        run::settled(&corner, phase).await?;
    }
    Ok(())
}

async fn iam_does_not_show_the_user_of_a_key_that_spreads(world: Arc<World>) -> Result<()> {
    let corner = prepared(&world, Phase::Create).await?;
    let with_its_key = |call: &Call| call.action.is_none() && call.access_key.is_some();
    let unknown = corner.aws.fault(Fault::S3Error(403, "InvalidAccessKeyId"), with_its_key);
    corner.aws.freeze();
    corner.create_target(json!({})).await?;
    let propagating = |target: &BackupTarget| has(target, RECONCILING, "True", "Propagating");
    corner.until(SOON, "told to wait for its key", propagating).await?;
    let hidden = corner.aws.fault_some(Fault::Stale, 0..1, |call| call.is("GetUser"));
    hidden.happened().await;
    drop(unknown);
    let ready = corner.until(IN_DOUBT, "ready", is_ready).await?;
    let made = corner.aws.calls(|call| call.is("CreateAccessKey")).len();
    ensure!(made == 1, "{made} keys were made");
    ensure!(corner.keys_of(&principal(&ready)).await?.len() == 1, "one of them is known to nobody");
    run::settled(&corner, Phase::Create).await
}

async fn the_api_server_restarts_while_a_key_is_made(_: Arc<World>) -> Result<()> {
    let world = Arc::new(World::start("faults-outage").await?);
    let phase = Phase::SecretLost;
    let corner = prepared(&world, phase).await?;
    let slow = corner.aws.fault_some(Fault::Delay(Duration::from_secs(2)), 0..1, |call| call.is("CreateAccessKey"));
    let before = phase.begin(&corner).await?;
    wait_until("a key to be made", SOON, async || {
        ensure!(slow.hits() == 1, "not yet");
        Ok(())
    })
    .await?;
    world.control_plane.kill_apiserver();
    slow.happened().await;
    world.control_plane.start_apiserver().await?;
    phase.until_over(&corner, &before, IN_DOUBT).await?;
    run::settled(&corner, phase).await
}

/// The testbed has no namespace controller, so what that would delete is deleted here: first the Secret, then the target.
async fn the_namespace_is_being_terminated(world: Arc<World>) -> Result<()> {
    let corner = prepared(&world, Phase::Widen).await?;
    let namespaces = Api::<Namespace>::all(corner.client.clone());
    namespaces.delete(&corner.namespace, &DeleteParams::default()).await?;
    let mark = corner.aws.mark();
    corner.secrets().delete(SECRET, &DeleteParams::default()).await?;
    let refused = |target: &BackupTarget| !is_ready(target);
    corner.until(SOON, "not ready", refused).await?;
    ensure!(corner.aws.calls_since(mark, |call| call.is("CreateAccessKey")).is_empty(), "no key for a lost cause");
    corner.delete_target().await?;
    corner.until_gone(SOON).await?;
    ensure!(corner.users().await?.is_empty(), "{:?}", corner.users().await?);
    run::settled(&corner, Phase::Delete).await
}

async fn the_definition_is_deleted_with_live_targets(_: Arc<World>) -> Result<()> {
    let world = Arc::new(World::start("faults-definition").await?);
    let corner = prepared(&world, Phase::Widen).await?;
    let definitions = Api::<CustomResourceDefinition>::all(corner.client.clone());
    let name = BackupTarget::crd_name();
    definitions.delete(name, &DeleteParams::default()).await?;
    wait_until("the definition to be gone, and all targets with it", A_WATCH, async || {
        let found = definitions.get_opt(name).await?;
        ensure!(found.is_none(), "{:?}", found.and_then(|found| found.status));
        Ok(())
    })
    .await?;
    ensure!(corner.users().await?.is_empty(), "{:?}", corner.users().await?);
    Box::pin(install::crds(&corner.client, &project().join("crds"))).await?;
    corner.create_target(json!({})).await?;
    corner.until(A_WATCH, "ready again", is_ready).await?;
    run::settled(&corner, Phase::Widen).await
}

async fn targets_are_deleted_while_the_operator_is_away(world: Arc<World>) -> Result<()> {
    let corner = prepared(&world, Phase::Delete).await?;
    corner.operator.lock().await.kill();
    corner.delete_target().await?;
    corner.operator.lock().await.restart().await?;
    corner.until_gone(SOON).await?;
    run::settled(&corner, Phase::Delete).await
}

fn watches(resource: &'static str) -> impl Fn(&Call) -> bool {
    move |call| call.is_watch() && call.path.ends_with(resource)
}

async fn a_watch_is_told_that_its_events_are_gone(world: Arc<World>) -> Result<()> {
    let corner = prepared(&world, Phase::Create).await?;
    let gone = corner.api.fault_some(Fault::Gone, 0..2, watches("/backuptargets"));
    corner.api.cut();
    corner.create_target(json!({})).await?;
    corner.until(SOON, "ready", is_ready).await?;
    ensure!(gone.hits() > 0, "it was told");
    run::settled(&corner, Phase::Create).await
}

async fn a_watch_swallows_the_loss_of_a_secret(world: Arc<World>) -> Result<()> {
    let corner = prepared(&world, Phase::SecretLost).await?;
    let silent = corner.api.fault_some(Fault::Silence, 0..1, watches("/secrets"));
    corner.api.cut();
    silent.happened().await;
    let before = Phase::SecretLost.begin(&corner).await?;
    Phase::SecretLost.until_over(&corner, &before, SOON).await?;
    run::settled(&corner, Phase::SecretLost).await
}

async fn a_watch_swallows_a_new_target(world: Arc<World>) -> Result<()> {
    let corner = prepared(&world, Phase::Create).await?;
    let silent = corner.api.fault_some(Fault::Silence, 0..1, watches("/backuptargets"));
    corner.api.cut();
    wait_until("silence", SOON, async || {
        ensure!(silent.hits() == 1, "{}", silent.hits());
        Ok(())
    })
    .await?;
    corner.create_target(json!({})).await?;
    corner.until(A_WATCH, "ready", is_ready).await?;
    run::settled(&corner, Phase::Create).await
}

async fn a_watch_hangs_while_it_begins(world: Arc<World>) -> Result<()> {
    let corner = prepared(&world, Phase::Create).await?;
    let about_targets = |call: &Call| call.method == "GET" && call.path.ends_with("/backuptargets");
    let hung = corner.api.fault_some(Fault::Hang, 0..1, about_targets);
    corner.api.cut();
    wait_until("it to hang", SOON, async || {
        let calls = corner.api.calls(|call| call.fault == Some(Fault::Hang)).len();
        ensure!(calls == 1, "{calls}");
        Ok(())
    })
    .await?;
    corner.create_target(json!({})).await?;
    corner.until(A_WATCH, "ready", is_ready).await?;
    drop(hung);
    run::settled(&corner, Phase::Create).await
}

async fn all_connections_are_cut(world: Arc<World>) -> Result<()> {
    let corner = prepared(&world, Phase::Widen).await?;
    let down = [&corner.api, &corner.aws].map(|proxy| {
        let fault = proxy.fault(Fault::Refuse, |_| true);
        proxy.cut();
        fault
    });
    let before = Phase::Widen.begin(&corner).await?;
    wait_until("the operator to notice", SOON, async || {
        ensure!(down[0].hits() > 3, "{}", down[0].hits());
        Ok(())
    })
    .await?;
    drop(down);
    Phase::Widen.until_over(&corner, &before, A_WATCH).await?;
    run::settled(&corner, Phase::Widen).await
}

// A clock cannot be moved here without being root of the machine, so its traces are: status holds what an operator whose
// clock was wrong would have written.

/// Writes into the target's status in the operator's own name.
async fn write_status(corner: &Corner, fields: &[(&str, Value)]) -> Result<()> {
    let mut whole = serde_json::to_value(status(&corner.target().await?))?;
    for (name, value) in fields {
        whole[name] = value.clone();
    }
    corner.write_status(whole).await
}

fn in_hours(hours: i64) -> String {
    let now = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second()).expect("now");
    now.checked_add(jiff::SignedDuration::from_hours(hours)).expect("near").to_string()
}

async fn the_clock_was_a_day_ahead(world: Arc<World>) -> Result<()> {
    let corner = prepared(&world, Phase::SecretLost).await?;
    write_status(&corner, &[("lastReissue", json!(in_hours(24)))]).await?;
    let before = Phase::SecretLost.begin(&corner).await?;
    Phase::SecretLost.until_over(&corner, &before, SOON).await?;
    run::settled(&corner, Phase::SecretLost).await
}

async fn the_clock_was_a_day_behind(world: Arc<World>) -> Result<()> {
    let corner = prepared(&world, Phase::SecretLost).await?;
    write_status(&corner, &[("lastReissue", json!(in_hours(-24)))]).await?;
    let before = Phase::SecretLost.begin(&corner).await?;
    Phase::SecretLost.until_over(&corner, &before, SOON).await?;
    run::settled(&corner, Phase::SecretLost).await
}

async fn a_key_is_known_after_five_seconds(world: Arc<World>) -> Result<()> {
    a_key_is_known_after(&world, Duration::from_secs(5)).await
}

async fn a_key_is_known_after_a_minute(world: Arc<World>) -> Result<()> {
    a_key_is_known_after(&world, Duration::from_mins(1)).await
}

async fn a_key_is_known_after_three_minutes(world: Arc<World>) -> Result<()> {
    a_key_is_known_after(&world, Duration::from_mins(3)).await
}

/// It is waited for and told, and there is never a second one.
async fn a_key_is_known_after(world: &Arc<World>, time: Duration) -> Result<()> {
    let corner = prepared(world, Phase::Create).await?;
    let with_its_key = |call: &Call| call.action.is_none() && call.access_key.is_some();
    let unknown = corner.aws.fault(Fault::S3Error(403, "InvalidAccessKeyId"), with_its_key);
    let begun = Instant::now();
    corner.create_target(json!({})).await?;
    let propagating = |target: &BackupTarget| has(target, RECONCILING, "True", "Propagating");
    corner.until(SOON, "told to wait for its key", propagating).await?;
    sleep_until(begun + time).await;
    ensure!(propagating(&corner.target().await?), "{:?}", corner.target().await?.status);
    ensure!(corner.secrets().get_opt(SECRET).await?.is_none(), "published before it works");
    drop(unknown);
    corner.until(SOON, "ready", is_ready).await?;
    let created = corner.aws.calls(|call| call.is("CreateAccessKey")).len();
    ensure!(created == 1, "{created} keys were made");
    run::settled(&corner, Phase::Create).await
}

/// Words of the operator's own, written by a tenant, and as much of others as the API server takes.
async fn a_target_with_forged_metadata_lives_and_goes_as_any_other(world: Arc<World>) -> Result<()> {
    let corner = prepared(&world, Phase::Create).await?;
    let intent = json!({"nonce": "0", "startedAt": in_hours(-24), "existing": [], "secret": "dataset-10"});
    let mut labels = corner.labels();
    merge(&mut labels, json!({"app.kubernetes.io/managed-by": OPERATOR, "backup-target.dev/target": "dataset-10"}));
    let annotations = json!({
        INTENT_ANNOTATION: intent.to_string(), VERIFY_AT_ANNOTATION: in_hours(-1), "example.com/large": "x".repeat(200_000),
    });
    let finalizers = json!([TARGET_FINALIZER, "example.com/mine"]);
    let metadata = json!({"name": TARGET, "labels": labels, "annotations": annotations, "finalizers": finalizers});
    let spec = json!({"storeRef": {"name": corner.store}, "bucket": corner.bucket, "prefix": "backups/dataset-1/"});
    create(&corner.targets(), json!({"metadata": metadata, "spec": spec})).await?;
    let target = corner.until(IN_DOUBT, "ready", is_ready).await?;
    ensure!(corner.keys_of(&principal(&target)).await?.len() == 1, "one key is made, and no more");
    let before = Phase::SecretLost.begin(&corner).await?;
    Phase::SecretLost.until_over(&corner, &before, SOON).await?;
    corner.delete_target().await?;
    wait_until("all but the tenant's own finalizer to be gone", SOON, async || {
        let left = corner.targets().get(TARGET).await?.metadata.finalizers.unwrap_or_default();
        ensure!(left == ["example.com/mine"], "{left:?}");
        Ok(())
    })
    .await?;
    ensure!(corner.users().await?.is_empty(), "{:?}", corner.users().await?);
    let none = json!({"metadata": {"finalizers": null}});
    corner.targets().patch(TARGET, &PatchParams::default(), &Patch::Merge(none)).await?;
    run::settled(&corner, Phase::Delete).await
}

async fn targets_of_stores_with_other_labels_are_left_alone(world: Arc<World>) -> Result<()> {
    let corner = prepared(&world, Phase::Widen).await?;
    let (name, store) = (format!("{}-of-another", corner.store), corner.stores().get(&corner.store).await?);
    let metadata = json!({"name": name, "labels": {"corner": "another"}});
    create(&corner.stores(), json!({"metadata": metadata, "spec": store.spec})).await?;
    let spec = json!({"storeRef": {"name": name}, "bucket": corner.bucket, "prefix": "other/"});
    // Its own labels count for nothing.
    let body = json!({"metadata": {"name": "other", "labels": corner.labels()}, "spec": spec});
    create(&corner.targets(), body).await?;
    oracles::is_quiet(&corner).await?;
    let other = corner.targets().get("other").await?;
    ensure!(other.metadata.finalizers.is_none() && record(&other).principal.is_none(), "{:?}", other.status);
    ensure!(corner.users().await?.len() == 1, "{:?}", corner.users().await?);

    let ours = json!({"metadata": {"labels": corner.labels()}});
    corner.stores().patch(&name, &PatchParams::default(), &Patch::Merge(ours)).await?;
    wait_until("the target to be taken on", SOON, async || {
        let other = corner.targets().get("other").await?;
        ensure!(is_ready(&other), "{:?}", other.status);
        Ok(())
    })
    .await
}

async fn a_selector_that_is_none_is_refused_at_the_start(world: Arc<World>) -> Result<()> {
    let args = ["--watch-label-selector", "a = = b"].map(str::to_owned).into();
    let started = Operator::start(&world.control_plane, Options { args, ..Options::default() }).await;
    let told = format!("{:#}", started.err().context("it started")?);
    ensure!(told.contains("is no selector of labels"), "{told}");
    Ok(())
}
