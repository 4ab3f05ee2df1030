//! Several operators share the stores of a cluster by their labels, and a target goes with its store.

use std::{sync::Arc, time::Duration};

use anyhow::{Result, ensure};
use backup_target_operator::api::{BackupStore, BackupTarget, condition::READY};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use testbed::{
    aws::Aws,
    manifests::store_spec,
    operator::{Operator, Options},
    proxy::{Call, Proxy},
    tests,
    wait::wait_until,
};

use crate::{
    restart::{Lab, root_in_environment},
    space::{create, has, is_ready, principal, rclone_conf, record, status},
    world::World,
};

tests![a_tenant_takes_no_target_out_of_its_operators_sight, a_store_that_gets_other_labels_gets_another_operator,];

const SOON: Duration = Duration::from_secs(30);
const TARGET: &str = "dataset-1";

/// Operator `a` with a store of its own, and operator `b` beside it.
struct Shards {
    // Operators end before their servers.
    b: Operator,
    b_api: Proxy,
    a: Lab,
    stores: Api<BackupStore>,
    targets: Api<BackupTarget>,
}

fn works_on(shard: &str, aws: &Aws, options: Options) -> Options {
    root_in_environment(aws, options).args(&["--watch-label-selector", &format!("shard in ({shard}, not-{shard})")])
}

impl Shards {
    async fn start(name: &str) -> Result<Self> {
        let a = Lab::start(name, |aws, options| works_on("a", aws, options)).await?;
        let b_api = Proxy::start(&a.control_plane.upstream()).await?;
        let options = Options { server: Some(b_api.url().to_owned()), ..Options::default() };
        let b = Operator::start(&a.control_plane, works_on("b", a.administrator(), options)).await?;
        let (stores, targets) = (Api::all(a.control_plane.client()?), a.targets()?);
        let shards = Self { b, b_api, a, stores, targets };
        shards.create_store().await?;
        Ok(shards)
    }

    /// A store of operator `a`.
    async fn create_store(&self) -> Result<()> {
        let allow = json!([{"namespaces": {"names": ["default"]}, "buckets": ["my-backups"], "prefixes": [""]}]);
        let spec = store_spec(self.a.aws.url(), None, &allow);
        let metadata = json!({"name": "default", "labels": {"shard": "a"}});
        create(&self.stores, json!({"metadata": metadata, "spec": spec})).await?;
        self.a.administrator().create_bucket("my-backups").await
    }

    /// A target with the label that its store has: its author may choose any.
    async fn create_target(&self) -> Result<()> {
        let spec = json!({"bucket": "my-backups", "prefix": TARGET});
        let metadata = json!({"name": TARGET, "labels": {"shard": "a"}});
        create(&self.targets, json!({"metadata": metadata, "spec": spec})).await?;
        Ok(())
    }

    async fn patch_store(&self, patch: Value) -> Result<()> {
        self.stores.patch("default", &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    async fn patch_target(&self, patch: Value) -> Result<()> {
        self.targets.patch(TARGET, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    async fn until(&self, what: &str, wanted: impl Fn(&BackupTarget) -> bool) -> Result<BackupTarget> {
        wait_until(&format!("the target to be {what}"), SOON, async || {
            let target = self.targets.get(TARGET).await?;
            let observed = status(&target).observed_generation == target.metadata.generation;
            ensure!(observed && wanted(&target), "{}", serde_json::to_string(&target.status)?);
            Ok(target)
        })
        .await
    }

    async fn until_gone(&self, user: &str) -> Result<()> {
        wait_until("the target and its user to be gone", SOON, async || {
            ensure!(self.targets.get_opt(TARGET).await?.is_none(), "the target is there");
            let users = self.a.administrator().users_under("/").await?;
            ensure!(users.iter().all(|found| found.user_name != user), "its user is there");
            Ok(())
        })
        .await
    }

    async fn secret(&self) -> Result<Option<String>> {
        let secrets = Api::<Secret>::namespaced(self.a.control_plane.client()?, "default");
        Ok(rclone_conf(&secrets.get(TARGET).await?))
    }
}

/// What an operator does about targets, whether it reads or writes.
fn about_targets(call: &Call) -> bool {
    call.path.contains(&format!("/backuptargets/{TARGET}")) || call.path.contains(&format!("/secrets/{TARGET}"))
}

async fn a_tenant_takes_no_target_out_of_its_operators_sight(_: Arc<World>) -> Result<()> {
    let mut shards = Shards::start("shards-tenant").await?;
    // An operator that comes late finds store and target in its first lists, in whichever order.
    shards.a.operator.kill();
    shards.create_target().await?;
    shards.a.operator.restart().await?;
    let user = principal(&shards.until("ready", is_ready).await?);
    shards.patch_target(json!({"metadata": {"labels": {"shard": "of-nobody"}}})).await?;

    shards.patch_store(json!({"spec": {"allow": []}})).await?;
    shards.until("refused", |target| has(target, READY, "False", "NotAllowed")).await?;
    let policies = shards.a.administrator().policies_of(&user).await?;
    ensure!(policies.is_empty(), "the key works on: {policies:?}");

    shards.stores.delete("default", &DeleteParams::default()).await?;
    wait_until("the store to wait for its target", SOON, async || {
        let store = shards.stores.get("default").await?;
        let counted = store.status.as_ref().and_then(|status| status.targets);
        ensure!(store.metadata.deletion_timestamp.is_some() && counted == Some(1), "{:?}", store.status);
        ensure!(format!("{:?}", store.status).contains("InUse"), "{:?}", store.status);
        Ok(())
    })
    .await?;

    shards.patch_target(json!({"metadata": {"labels": {"shard": "b"}}})).await?;
    shards.targets.delete(TARGET, &DeleteParams::default()).await?;
    shards.until_gone(&user).await?;
    wait_until("the store to be gone", SOON, async || {
        ensure!(shards.stores.get_opt("default").await?.is_none());
        Ok(())
    })
    .await?;
    let others = shards.b_api.calls(|call| call.is_write() || about_targets(call));
    ensure!(others.is_empty(), "the tenant chose another operator: {others:#?}");
    ensure!(shards.b.is_running());
    Ok(())
}

async fn a_store_that_gets_other_labels_gets_another_operator(_: Arc<World>) -> Result<()> {
    let shards = Shards::start("shards-move").await?;
    shards.create_target().await?;
    let before = shards.until("ready", is_ready).await?;
    let key = (record(&before).access_key_id, shards.secret().await?);

    let (moved, calls) = (shards.b_api.mark(), shards.a.aws.mark());
    shards.patch_store(json!({"metadata": {"labels": {"shard": "b"}}})).await?;
    wait_until("the other operator to look at the target", SOON, async || {
        let looked = shards.b_api.calls_since(moved, about_targets);
        ensure!(!looked.is_empty(), "it has not");
        Ok(())
    })
    .await?;
    let taken_over = shards.a.api.mark();
    shards.patch_target(json!({"spec": {"deletionPolicy": "Delete", "keyOverlap": "1h"}})).await?;
    let after = shards.until("as the tenant wants it now", is_ready).await?;
    let told = shards.b_api.calls_since(moved, |call| call.path.ends_with(&format!("{TARGET}/status")));
    ensure!(!told.is_empty(), "the other operator has the store and did not work");
    ensure!(key == (record(&after).access_key_id, shards.secret().await?), "the key is another one");
    ensure!(shards.stores.get("default").await?.finalizers().len() == 1, "the store is held by nobody");

    shards.targets.delete(TARGET, &DeleteParams::default()).await?;
    shards.until_gone(&principal(&before)).await?;
    let changes = shards.a.api.calls_since(taken_over, Call::is_write);
    ensure!(changes.is_empty(), "the former operator works on: {changes:#?}");
    let made = shards.a.aws.calls_since(calls, |call| call.is("CreateAccessKey") || call.is("CreateUser"));
    ensure!(made.is_empty(), "{made:#?}");
    Ok(())
}
