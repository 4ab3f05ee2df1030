//! What cannot go on by itself is told once and then left alone: nobody pays for a target that a person has to mend.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use backup_target_operator::{
    api::{BackupStore, BackupTarget, condition::READY},
    names::PAUSED_REPAIR_ANNOTATION,
};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use testbed::{aws::ACCOUNT, objects::merge, tests, wait::wait_until};
use tokio::time::sleep;

use crate::{
    restart::{Lab, root_in_environment},
    space::{condition, create, is_ready, principal, record},
    world::World,
};

tests![what_is_blocked_is_told_and_then_costs_nothing];

const SOON: Duration = Duration::from_mins(1);
/// For how long it is counted.
const WINDOW: Duration = Duration::from_secs(16);
/// A target that waits is looked at once when its own status was written, and once to see whether it was mended soon.
const MOST_LOOKS: usize = 2;
const MOST_WRITES: usize = 2;

/// What each target says; it has that name, too.
const REASONS: [&str; 13] = [
    "NotAllowed",
    "SecretConflict",
    "PrincipalConflict",
    "UnknownKey",
    "Contested",
    "ReissueLimited",
    "PolicyTooLarge",
    "ChangeSuspended",
    "BucketNotFound",
    "StoreNotFound",
    "StoreNotReady",
    "DriftLeft",
    "LimitExceeded",
];

async fn what_is_blocked_is_told_and_then_costs_nothing(_: Arc<World>) -> Result<()> {
    let blocked = Blocked { lab: Lab::start("blocked", root_in_environment).await? };
    blocked.block_all().await?;
    for reason in REASONS {
        blocked.until_told(reason).await?;
    }
    let mark = blocked.lab.api.mark();
    sleep(WINDOW).await;
    for reason in REASONS {
        let path = format!("/backuptargets/{}", name(reason));
        let of_target = blocked.lab.api.calls_since(mark, |call| call.path.contains(&path));
        let looks = of_target.iter().filter(|call| call.method == "GET").count();
        let writes = of_target.iter().filter(|call| call.is_write()).count();
        ensure!(looks <= MOST_LOOKS && writes <= MOST_WRITES, "{reason}: {looks} looks and {writes} writes");
        blocked.until_told(reason).await?;
    }
    Ok(())
}

fn name(reason: &str) -> String {
    reason.to_lowercase()
}

struct Blocked {
    lab: Lab,
}

impl Blocked {
    async fn block_all(&self) -> Result<()> {
        let (iam, _) = self.lab.administrator().account(ACCOUNT);
        let foreign = self.create("PrincipalConflict", json!({})).await?;
        iam.create_user().user_name(principal(&foreign)).send().await?;
        create(&self.secrets()?, json!({"metadata": {"name": name("SecretConflict")}})).await?;
        self.create_stores().await?;

        for reason in ["UnknownKey", "Contested", "ReissueLimited", "DriftLeft", "SecretConflict"] {
            self.create(reason, json!({})).await?;
        }
        self.create("NotAllowed", json!({"bucket": "of-somebody-else"})).await?;
        self.create("BucketNotFound", json!({"bucket": "not-there"})).await?;
        self.create("ChangeSuspended", json!({"suspend": true})).await?;
        self.create("StoreNotFound", json!({"storeRef": {"name": "none"}})).await?;
        self.create("StoreNotReady", json!({"storeRef": {"name": "without-credentials"}})).await?;
        self.create("LimitExceeded", json!({"storeRef": {"name": "full"}})).await?;
        let long = json!({"prefix": "nine-char/".repeat(51), "ancestorListing": "Allow"});
        self.create("PolicyTooLarge", long).await?;

        let unknown = self.until_ready("UnknownKey").await?;
        iam.create_access_key().user_name(principal(&unknown)).send().await?;
        self.delete_secret("UnknownKey").await?;
        self.until_ready("DriftLeft").await?;
        self.annotate("DriftLeft", json!({PAUSED_REPAIR_ANNOTATION: "true"})).await?;
        self.delete_secret("DriftLeft").await?;
        self.lose_secret_twice("ReissueLimited").await?;
        self.fight_over("Contested").await
    }

    async fn create_stores(&self) -> Result<()> {
        self.lab.create_store(self.lab.aws.url()).await?;
        let allow = json!([{
            "namespaces": {"names": ["default"]}, "buckets": ["my-backups", "not-there"], "prefixes": [""],
            "ancestorListing": "Allow",
        }]);
        let stores = Api::<BackupStore>::all(self.lab.control_plane.client()?);
        let patch = json!({"spec": {"allow": allow}});
        let store = stores.patch("default", &PatchParams::default(), &Patch::Merge(patch)).await?;
        let mut spec = serde_json::to_value(store.spec)?;
        let mut full = spec.clone();
        merge(&mut full, json!({"maxPrincipals": 1}));
        create(&stores, json!({"metadata": {"name": "full"}, "spec": full})).await?;
        let served = json!({"bucket": "my-backups", "prefix": "served", "storeRef": {"name": "full"}});
        create(&self.lab.targets()?, json!({"metadata": {"name": "served"}, "spec": served})).await?;
        self.until("served", is_ready).await?;
        merge(&mut spec, json!({"credentials": {"secretRef": {"name": "nobody-made-it"}}}));
        create(&stores, json!({"metadata": {"name": "without-credentials"}, "spec": spec})).await?;
        Ok(())
    }

    async fn lose_secret_twice(&self, reason: &str) -> Result<()> {
        let first = record(&self.until_ready(reason).await?).access_key_id;
        self.delete_secret(reason).await?;
        self.until(reason, |target| is_ready(target) && record(target).access_key_id != first).await?;
        self.delete_secret(reason).await
    }

    async fn fight_over(&self, reason: &str) -> Result<()> {
        self.until_ready(reason).await?;
        let other = json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": "another"}}});
        wait_until("the fight to be told", SOON, async || {
            self.secrets()?.patch(&name(reason), &PatchParams::default(), &Patch::Merge(&other)).await?;
            self.annotate(reason, json!({"test/round": format!("{:?}", self.lab.api.mark())})).await?;
            ensure!(says(&self.lab.targets()?.get(&name(reason)).await?, reason), "not told yet");
            Ok(())
        })
        .await
    }

    async fn create(&self, reason: &str, fields: Value) -> Result<BackupTarget> {
        let name = name(reason);
        let mut spec = json!({"bucket": "my-backups", "prefix": name, "verification": "ReadOnly"});
        merge(&mut spec, fields);
        create(&self.lab.targets()?, json!({"metadata": {"name": name}, "spec": spec})).await
    }

    async fn annotate(&self, reason: &str, annotations: Value) -> Result<()> {
        let patch = json!({"metadata": {"annotations": annotations}});
        self.lab.targets()?.patch(&name(reason), &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    fn secrets(&self) -> Result<Api<Secret>> {
        Ok(Api::namespaced(self.lab.control_plane.client()?, "default"))
    }

    async fn delete_secret(&self, reason: &str) -> Result<()> {
        self.secrets()?.delete(&name(reason), &DeleteParams::default()).await.context("a Secret")?;
        Ok(())
    }

    async fn until_ready(&self, reason: &str) -> Result<BackupTarget> {
        self.until(reason, is_ready).await
    }

    async fn until_told(&self, reason: &str) -> Result<BackupTarget> {
        self.until(reason, |target| says(target, reason)).await
    }

    async fn until(&self, reason: &str, wanted: impl Fn(&BackupTarget) -> bool) -> Result<BackupTarget> {
        let targets = self.lab.targets()?;
        wait_until(&format!("the target {reason}"), SOON, async || {
            let target = targets.get(&name(reason)).await?;
            ensure!(wanted(&target), "{}", serde_json::to_string(&target.status)?);
            Ok(target)
        })
        .await
    }
}

fn says(target: &BackupTarget, reason: &str) -> bool {
    condition(target, READY).is_some_and(|ready| ready.status == "False" && ready.reason == reason)
}
