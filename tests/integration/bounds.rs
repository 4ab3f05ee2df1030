//! Nobody stops anybody else: not an object that cannot be read, and not a store that does not answer.

use std::{sync::Arc, time::Duration};

use anyhow::{Result, ensure};
use backup_target_operator::api::{
    BackupStore, BackupTarget,
    condition::{self, READY, STALLED},
};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, CustomResourceExt,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
};
use serde_json::{Value, json};
use testbed::{
    aws::REGION,
    proxy::{Call, Fault, Proxy},
    tests,
    wait::wait_until,
};
use tokio::time::Instant;

use crate::{
    restart::{Lab, root_in_environment},
    space::{create, is_ready, record, status},
    world::World,
};

tests![
    one_that_cannot_be_read_stops_nobody_else,
    a_status_beyond_all_measure_stops_nobody_else,
    nothing_is_sent_without_tls_unless_the_store_says_so,
    a_store_that_does_not_answer_keeps_no_other_waiting,
    after_a_restart_a_new_target_goes_before_looks_at_old_ones,
];

const PATIENCE: Duration = Duration::from_mins(1);
/// What a later version of the operator may know.
const FROM_THE_FUTURE: &str = "Teleport";

/// The definitions of a later version know more than this one does.
async fn of_a_later_version<K: CustomResourceExt>(lab: &Lab, field: &str) -> Result<()> {
    let definitions = Api::<CustomResourceDefinition>::all(lab.control_plane.client()?);
    let path = format!("/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/{field}/enum/-");
    let one_more = serde_json::from_value(json!([{"op": "add", "path": path, "value": FROM_THE_FUTURE}]))?;
    definitions.patch(K::crd_name(), &PatchParams::default(), &Patch::<()>::Json(one_more)).await?;
    Ok(())
}

fn conditions_of(object: &DynamicObject) -> Vec<k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition> {
    serde_json::from_value(object.data["status"]["conditions"].clone()).unwrap_or_default()
}

async fn until_unreadable(api: &Api<DynamicObject>, name: &str, why: &str) -> Result<DynamicObject> {
    wait_until(&format!("{name} to be told as unreadable"), PATIENCE, async || {
        let object = api.get(name).await?;
        let told = conditions_of(&object);
        let stalled = condition::find(&told, STALLED).filter(|is| is.status == "True" && is.reason == "Unreadable");
        ensure!(stalled.is_some_and(|stalled| stalled.message.contains(why)), "{told:?}");
        ensure!(condition::find(&told, READY).is_some_and(|ready| ready.status == "Unknown"), "{told:?}");
        Ok(object)
    })
    .await
}

async fn one_that_cannot_be_read_stops_nobody_else(_: Arc<World>) -> Result<()> {
    let mut lab = Lab::start("unreadable", root_in_environment).await?;
    let endpoint = lab.aws.url().to_owned();
    lab.create_store(&endpoint).await?;
    lab.create_target("first").await?;
    lab.until_all_ready(1).await?;
    of_a_later_version::<BackupTarget>(&lab, "capabilities/items").await?;
    of_a_later_version::<BackupStore>(&lab, "provider").await?;

    let client = lab.control_plane.client()?;
    let targets: Api<DynamicObject> =
        Api::namespaced_with(client.clone(), "default", &ApiResource::erase::<BackupTarget>(&()));
    let stores: Api<DynamicObject> = Api::all_with(client.clone(), &ApiResource::erase::<BackupStore>(&()));
    let before = targets.get("first").await?.data["status"].clone();
    // The schema of a field takes a moment to count after a definition has changed.
    wait_until("the API server to take the field", PATIENCE, async || {
        patch(&targets, "first", json!({"capabilities": [FROM_THE_FUTURE]})).await
    })
    .await?;
    wait_until("the API server to take the other", PATIENCE, async || {
        let spec = json!({"provider": FROM_THE_FUTURE, "endpoint": "https://s3.example.com", "region": REGION, "allow": []});
        let object = json!({
            "apiVersion": "backup-target.dev/v1alpha1", "kind": "BackupStore", "metadata": {"name": "later"}, "spec": spec,
        });
        stores.patch("later", &PatchParams::apply("test"), &Patch::Apply(object)).await?;
        Ok(())
    })
    .await?;

    let unreadable = until_unreadable(&targets, "first", FROM_THE_FUTURE).await?;
    let kept = |field: &str| unreadable.data["status"][field] == before[field];
    ensure!(kept("keys") && kept("principal") && kept("accessKeyId"), "{:?}", unreadable.data["status"]);
    until_unreadable(&stores, "later", FROM_THE_FUTURE).await?;
    for restarted in [false, true] {
        if restarted {
            lab.operator.kill();
            lab.operator.restart().await?;
        }
        let name = format!("other-{restarted}");
        lab.create_target(&name).await?;
        wait_until("another target to be ready", PATIENCE, async || {
            let other = targets.get(&name).await?;
            let told = conditions_of(&other);
            ensure!(condition::find(&told, READY).is_some_and(|ready| ready.status == "True"), "{told:?}");
            Ok(())
        })
        .await?;
    }
    let body = json!({"metadata": {"name": "its"}, "spec": {"storeRef": {"name": "later"}, "bucket": "my-backups"}});
    create(&lab.targets()?, body).await?;
    wait_until("a target of an unreadable store to say so", PATIENCE, async || {
        let told = conditions_of(&targets.get("its").await?);
        let ready = condition::find(&told, READY).map(|ready| ready.message.clone()).unwrap_or_default();
        ensure!(ready.contains("does not know its fields"), "{told:?}");
        Ok(())
    })
    .await?;

    patch(&targets, "first", json!({"capabilities": ["MultipartUploads"]})).await?;
    patch(&targets, "first", json!({"capabilities": []})).await?;
    let api = lab.targets()?;
    let mended = wait_until("the mended target to be ready", PATIENCE, async || {
        let mended = api.get("first").await?;
        let observed = status(&mended).observed_generation == mended.metadata.generation;
        ensure!(observed && is_ready(&mended), "{:?}", mended.status);
        Ok(mended)
    })
    .await?;
    ensure!(json!(record(&mended).access_key_id) == before["accessKeyId"], "it keeps its key");
    Ok(())
}

/// Some 10^16 years.
const BEYOND_ALL_MEASURE: &str = "99999999999999999999h";

/// The definitions of an earlier version, which knew no rules for a field of a store.
async fn without_rules_for(lab: &Lab, field: &str) -> Result<()> {
    let definitions = Api::<CustomResourceDefinition>::all(lab.control_plane.client()?);
    let rules = format!("/spec/versions/0/schema/openAPIV3Schema/properties/{field}/x-kubernetes-validations");
    let no_rules = serde_json::from_value(json!([{"op": "remove", "path": rules}]))?;
    definitions.patch(BackupStore::crd_name(), &PatchParams::default(), &Patch::<()>::Json(no_rules)).await?;
    Ok(())
}

async fn write_drift_interval(stores: &Api<DynamicObject>, name: &str, value: Value) -> Result<()> {
    let status = Patch::Merge(json!({"status": {"driftInterval": value}}));
    stores.patch_status(name, &PatchParams::default(), &status).await?;
    Ok(())
}

/// Whoever may write the status of one store (the operator's own account may) ends no operator with it, and none that starts.
async fn a_status_beyond_all_measure_stops_nobody_else(_: Arc<World>) -> Result<()> {
    let mut lab = Lab::start("poisoned-status", root_in_environment).await?;
    let endpoint = lab.aws.url().to_owned();
    lab.create_store(&endpoint).await?;
    create_store(&lab, "poisoned", &endpoint).await?;
    let stores: Api<DynamicObject> =
        Api::all_with(lab.control_plane.client()?, &ApiResource::erase::<BackupStore>(&()));
    let refused = write_drift_interval(&stores, "poisoned", json!(BEYOND_ALL_MEASURE)).await;
    ensure!(refused.is_err_and(|error| format!("{error:#}").contains("driftInterval")), "the definitions took it");

    without_rules_for(&lab, "status/properties/driftInterval").await?;
    wait_until("the API server to take the status", PATIENCE, async || {
        write_drift_interval(&stores, "poisoned", json!(BEYOND_ALL_MEASURE)).await
    })
    .await?;
    for count in [1, 2] {
        until_unreadable(&stores, "poisoned", "status.driftInterval: the duration is longer than can be counted")
            .await?;
        lab.create_target(&format!("target-{count}")).await?;
        lab.until_all_ready(count).await?;
        ensure!(lab.operator.is_running(), "{}", lab.operator.printed());
        lab.operator.kill();
        lab.operator.restart().await?;
    }
    let poisoned = stores.get("poisoned").await?;
    ensure!(poisoned.data["status"]["driftInterval"] == BEYOND_ALL_MEASURE, "the test shows nothing: {poisoned:?}");

    write_drift_interval(&stores, "poisoned", Value::Null).await?;
    until_store_ready(&lab, "poisoned").await
}

async fn nothing_is_sent_without_tls_unless_the_store_says_so(_: Arc<World>) -> Result<()> {
    let lab = Lab::start("no-tls", root_in_environment).await?;
    let endpoint = lab.aws.url().to_owned();
    lab.create_store(&endpoint).await?;
    lab.create_target("before").await?;
    lab.until_all_ready(1).await?;
    without_rules_for(&lab, "spec").await?;
    let stores: Api<DynamicObject> =
        Api::all_with(lab.control_plane.client()?, &ApiResource::erase::<BackupStore>(&()));
    // It leads to the same server, and is not an address of loopback.
    let plain = endpoint.replace("127.0.0.1", "0.0.0.0");
    ensure!(plain != endpoint, "{endpoint}");
    wait_until("the API server to take the endpoints", PATIENCE, async || {
        patch(&stores, "default", json!({"aws": {"iamEndpoint": plain, "stsEndpoint": plain}})).await
    })
    .await?;
    wait_until("the store to be told as invalid", PATIENCE, async || {
        let told = conditions_of(&stores.get("default").await?);
        let stalled = condition::find(&told, STALLED).filter(|is| is.status == "True" && is.reason == "InvalidSpec");
        ensure!(stalled.is_some_and(|is| is.message.contains("spec.allowInsecure")), "{told:?}");
        Ok(())
    })
    .await?;
    let (mark, targets) = (lab.aws.mark(), lab.targets()?);
    lab.create_target("after").await?;
    wait_until("a target of it to say so", PATIENCE, async || {
        let told = status(&targets.get("after").await?).conditions;
        let ready = condition::find(&told, READY).filter(|ready| ready.reason == "StoreNotReady");
        ensure!(ready.is_some_and(|ready| ready.message.contains("InvalidSpec")), "{told:?}");
        Ok(())
    })
    .await?;
    let sent = lab.aws.calls_since(mark, |call| call.action.is_some());
    ensure!(sent.is_empty(), "{sent:#?}");

    patch(&stores, "default", json!({"allowInsecure": true})).await?;
    lab.until_all_ready(2).await?;
    ensure!(!lab.aws.calls_since(mark, |call| call.is("CreateAccessKey")).is_empty(), "the test shows nothing");
    Ok(())
}

async fn patch(api: &Api<DynamicObject>, name: &str, spec: Value) -> Result<()> {
    api.patch(name, &PatchParams::default(), &Patch::Merge(json!({"spec": spec}))).await?;
    Ok(())
}

const MANY: usize = 1_000;
/// Requests of the test itself that are under way at once.
const AT_ONCE: usize = 16;
/// New targets for each measurement.
const SAMPLES: usize = 3;

async fn a_store_that_does_not_answer_keeps_no_other_waiting(_: Arc<World>) -> Result<()> {
    let lab = Lab::start("dead-store", root_in_environment).await?;
    let endpoint = lab.aws.url().to_owned();
    lab.create_store(&endpoint).await?;
    let dead = Proxy::start(&lab.aws_upstream()).await?;
    create_store(&lab, "dead", dead.url()).await?;
    let idle = new_targets(&lab, "idle").await?;

    let silence = dead.fault(Fault::Hang, |_| true);
    let targets = lab.targets()?;
    stream::iter(0..MANY)
        .map(|number| {
            let body = json!({
                "metadata": {"name": format!("dead-{number}")},
                "spec": {"storeRef": {"name": "dead"}, "bucket": "my-backups", "prefix": format!("dead/{number}/")},
            });
            create(&targets, body)
        })
        .buffer_unordered(AT_ONCE)
        .try_for_each(async |_| Ok(()))
        .await?;
    wait_until("the operator to wait for the dead store", PATIENCE, async || {
        let asked = dead.calls(|call: &Call| call.fault.is_some()).len();
        ensure!(asked >= 16, "{asked} calls");
        Ok(())
    })
    .await?;
    let busy = new_targets(&lab, "busy").await?;
    println!("new targets are ready after {idle:?}, and after {busy:?} beside {MANY} targets of a dead store");
    // The slowest of those before and the median of those now, since machines stutter: whoever waits for the dead store
    // waits for ten seconds.
    ensure!(busy[SAMPLES / 2] <= idle[SAMPLES - 1] * 2, "{busy:?} instead of {idle:?}");
    drop(silence);
    Ok(())
}

const OLD: usize = 60;

/// With ten requests in a second, to look at all of them takes more than half a minute.
async fn after_a_restart_a_new_target_goes_before_looks_at_old_ones(_: Arc<World>) -> Result<()> {
    let mut lab = Lab::start("restart-order", root_in_environment).await?;
    let endpoint = lab.aws.url().to_owned();
    lab.create_store(&endpoint).await?;
    for number in 0..OLD {
        lab.create_target(&format!("old-{number}")).await?;
    }
    lab.until_all_ready(OLD).await?;
    lab.operator.kill();
    let stores = Api::<BackupStore>::all(lab.control_plane.client()?);
    let slow = json!({"spec": {"requestsPerSecond": 10}});
    stores.patch("default", &PatchParams::default(), &Patch::Merge(slow)).await?;
    let mark = lab.aws.mark();
    lab.operator.restart().await?;
    lab.create_target("new").await?;
    let targets = lab.targets()?;
    wait_until("the new target to be ready", PATIENCE, async || {
        let target = targets.get("new").await?;
        ensure!(is_ready(&target), "{:?}", target.status);
        Ok(())
    })
    .await?;
    let looks = lab.aws.calls_since(mark, |call| call.is("GetUser")).len();
    ensure!(looks < OLD / 2, "{looks} old targets were looked at before the new one was ready");
    lab.until_all_ready(OLD + 1).await
}

/// One more store that is ready.
async fn create_store(lab: &Lab, name: &str, endpoint: &str) -> Result<()> {
    let stores = Api::<BackupStore>::all(lab.control_plane.client()?);
    let spec = json!({
        "region": REGION,
        "endpoint": endpoint,
        "aws": {"iamEndpoint": endpoint, "stsEndpoint": endpoint},
        "allow": [{"namespaces": {"names": ["default"]}, "buckets": ["my-backups"], "prefixes": [""]}],
    });
    create(&stores, json!({"metadata": {"name": name}, "spec": spec})).await?;
    until_store_ready(lab, name).await
}

async fn until_store_ready(lab: &Lab, name: &str) -> Result<()> {
    let stores = Api::<BackupStore>::all(lab.control_plane.client()?);
    wait_until("the store to be ready", PATIENCE, async || {
        let told = stores.get(name).await?.status.unwrap_or_default().conditions;
        ensure!(condition::find(&told, READY).is_some_and(|ready| ready.status == "True"), "{told:?}");
        Ok(())
    })
    .await
}

/// How long it takes until new targets of the store that works are ready, one after the other; the quickest first.
async fn new_targets(lab: &Lab, name: &str) -> Result<Vec<Duration>> {
    let targets = lab.targets()?;
    let mut times = Vec::new();
    for number in 0..SAMPLES {
        let (name, start) = (format!("{name}-{number}"), Instant::now());
        lab.create_target(&name).await?;
        wait_until("a new target to be ready", PATIENCE, async || {
            let target = targets.get(&name).await?;
            ensure!(is_ready(&target), "{:?}", target.status);
            Ok(())
        })
        .await?;
        times.push(start.elapsed());
    }
    times.sort();
    Ok(times)
}
