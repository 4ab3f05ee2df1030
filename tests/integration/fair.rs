//! Many targets, and tenants who make more of them than anybody needs, keep nobody else waiting.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Result, ensure};
use aws_sdk_iam::types::StatusType;
use backup_target_operator::{
    api::{BackupStore, BackupTarget, condition::READY},
    names::TARGET_FINALIZER,
};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use testbed::{
    tests,
    wait::{wait_patiently_until, wait_until},
};
use tokio::{task::JoinSet, time::interval};

use crate::{
    restart::{Lab, root_in_environment},
    space::{Space, create, is_ready, message, principal},
    world::World,
};

tests![
    a_flood_of_targets_that_no_rule_allows_keeps_nobody_waiting,
    after_a_restart_nothing_urgent_waits_for_routine_checks,
    a_rule_serves_no_more_targets_than_it_says,
    a_store_keeps_no_more_principals_than_it_says,
];

/// How long anything may take that is urgent, whatever else there is.
const PROMISED: Duration = Duration::from_secs(30);
/// Looking costs those who are looked at.
const NOW_AND_THEN: Duration = Duration::from_millis(200);
const START: Duration = Duration::from_mins(2);
const FLOODERS: u32 = 4;
/// Of each flooder; half of all is more than would make the checks of everybody else less frequent.
const FLOOD: u32 = 200;
/// Of all flooders together, 40 in a second.
const FLOOD_EVERY: Duration = Duration::from_millis(100);

async fn a_flood_of_targets_that_no_rule_allows_keeps_nobody_waiting(_: Arc<World>) -> Result<()> {
    let crowd = Crowd::start("flood").await?;
    for (namespace, name) in [("team-a", "goes"), ("team-b", "ruled")] {
        crowd.create(namespace, name).await?;
    }
    let ruled = crowd.until_ready("team-b", "ruled", START).await?;
    crowd.until_ready("team-a", "goes", START).await?;
    crowd.slow_down().await?;
    let made = Arc::new(AtomicUsize::new(0));
    let mut flood = crowd.flood(&made)?;
    wait_until("the flood to begin", START, async || {
        ensure!(made.load(Ordering::Relaxed) >= 120);
        Ok(())
    })
    .await?;

    crowd.create("team-a", "new").await?;
    crowd.targets("team-a")?.delete("goes", &DeleteParams::default()).await?;
    crowd.allow(&["team-a"]).await?;
    let (new, gone, revoked) = tokio::join!(
        crowd.until_ready("team-a", "new", PROMISED),
        crowd.until_gone("team-a", "goes", PROMISED),
        crowd.until_revoked(&ruled, PROMISED),
    );
    new?;
    gone?;
    revoked?;
    while let Some(flooder) = flood.join_next().await {
        flooder??;
    }
    crowd.until_counted_and_not_stretched().await
}

async fn after_a_restart_nothing_urgent_waits_for_routine_checks(_: Arc<World>) -> Result<()> {
    const TARGETS: usize = 100;
    let mut crowd = Crowd::start("restart-crowd").await?;
    for number in 0..TARGETS {
        crowd.create("team-a", &format!("target-{number}")).await?;
    }
    crowd.create("team-b", "ruled").await?;
    let ruled = crowd.until_ready("team-b", "ruled", START).await?;
    let last = [TARGETS / 3, TARGETS / 2, TARGETS - 1].map(|number| format!("target-{number}"));
    for number in 0..TARGETS {
        crowd.until_ready("team-a", &format!("target-{number}"), START).await?;
    }
    crowd.slow_down().await?;
    crowd.lab.operator.kill();
    let mark = crowd.lab.aws.mark();
    crowd.lab.operator.restart().await?;
    wait_until("the routine checks to begin", START, async || {
        ensure!(crowd.lab.aws.calls_since(mark, |call| call.is("GetUser")).len() >= 5);
        Ok(())
    })
    .await?;
    for name in &last {
        crowd.targets("team-a")?.delete(name, &DeleteParams::default()).await?;
    }
    crowd.create("team-a", "new").await?;
    crowd.allow(&["team-a"]).await?;
    let gone = last.iter().map(|name| crowd.until_gone("team-a", name, PROMISED));
    let (new, gone, revoked) = tokio::join!(
        crowd.until_ready("team-a", "new", PROMISED),
        futures::future::try_join_all(gone),
        crowd.until_revoked(&ruled, PROMISED),
    );
    new?;
    gone?;
    revoked?;
    let checked = crowd.lab.aws.calls_since(mark, |call| call.is("GetUser")).len();
    ensure!(checked < TARGETS, "all was over before it was urgent: the test says nothing");
    Ok(())
}

async fn a_rule_serves_no_more_targets_than_it_says(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    space.patch_rule("maxTargets", json!(1)).await?;
    space.create_target("first", json!({})).await?;
    space.until_ready("first").await?;
    space.create_target("second", json!({"prefix": "backups/dataset-2/"})).await?;
    let refused = space.until_stalled("second", "NotAllowed").await?;
    let told = message(&refused, READY)?;
    ensure!(told.contains("serves 1 targets") && told.contains("maxTargets"), "{told}");
    ensure!(space.users().await?.len() == 1, "nothing was made for it");

    // A limit takes nothing away.
    space.patch_rule("maxTargets", json!(2)).await?;
    space.until_ready("second").await?;
    space.patch_rule("maxTargets", json!(1)).await?;
    space.patch_target("second", json!({"capabilities": ["ObjectAcls"]})).await?;
    space.until_ready("second").await?;
    Ok(())
}

async fn a_store_keeps_no_more_principals_than_it_says(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    space.patch_store(json!({"maxPrincipals": 1})).await?;
    space.create_target("first", json!({})).await?;
    let first = principal(&space.until_ready("first").await?);
    for name in ["second", "third"] {
        space.create_target(name, json!({"prefix": format!("backups/{name}/")})).await?;
        let waiting = space.until_stalled(name, "LimitExceeded").await?;
        let told = message(&waiting, READY)?;
        ensure!(told.contains("keeps 1 principals (spec.maxPrincipals)") && told.contains("delete a target"), "{told}");
    }
    // One that waits for something else holds no place.
    space.create_target("refused", json!({"bucket": "elsewhere"})).await?;
    space.until_stalled("refused", "NotAllowed").await?;
    let mark = space.aws_proxy.mark();
    wait_until("all to be counted", START, async || {
        let count = space.stores().get(&space.store).await?.status.and_then(|status| status.targets);
        ensure!(count == Some(4), "{count:?}");
        Ok(())
    })
    .await?;
    ensure!(space.users().await?.len() == 1, "nothing was made for those that wait");
    let writes = space.aws_proxy.calls_since(mark, |call| call.action.is_some() && call.is_write());
    ensure!(writes.is_empty(), "{writes:?}");

    // A limit takes nothing away.
    space.patch_target("first", json!({"capabilities": ["ObjectAcls"]})).await?;
    ensure!(principal(&space.until_ready("first").await?) == first);
    space.delete_target("first").await?;
    space.until_ready("second").await?;
    space.until_stalled("third", "LimitExceeded").await?;
    space.patch_store(json!({"maxPrincipals": 2})).await?;
    space.until_ready("third").await?;
    Ok(())
}

/// A lab with some teams, of which rules name two.
struct Crowd {
    lab: Lab,
}

impl Crowd {
    async fn start(name: &str) -> Result<Self> {
        let crowd = Self { lab: Lab::start(name, root_in_environment).await? };
        crowd.lab.create_store(crowd.lab.aws.url()).await?;
        let namespaces = Api::<Namespace>::all(crowd.lab.control_plane.client()?);
        for namespace in ["team-a", "team-b", "flood"] {
            create(&namespaces, json!({"metadata": {"name": namespace}})).await?;
        }
        crowd.allow(&["team-a", "team-b"]).await?;
        Ok(crowd)
    }

    fn targets(&self, namespace: &str) -> Result<Api<BackupTarget>> {
        Ok(Api::namespaced(self.lab.control_plane.client()?, namespace))
    }

    fn stores(&self) -> Result<Api<BackupStore>> {
        Ok(Api::all(self.lab.control_plane.client()?))
    }

    async fn patch_store(&self, spec: Value) -> Result<()> {
        let patch = json!({"spec": spec});
        self.stores()?.patch("default", &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    async fn allow(&self, namespaces: &[&str]) -> Result<()> {
        let rule = json!({"namespaces": {"names": namespaces}, "buckets": ["my-backups"], "prefixes": [""]});
        self.patch_store(json!({"allow": [rule]})).await
    }

    /// To the rate that users have by default.
    async fn slow_down(&self) -> Result<()> {
        self.patch_store(json!({"requestsPerSecond": 10})).await
    }

    async fn create(&self, namespace: &str, name: &str) -> Result<()> {
        let spec = json!({"bucket": "my-backups", "prefix": name, "verification": "None"});
        create(&self.targets(namespace)?, json!({"metadata": {"name": name}, "spec": spec})).await?;
        Ok(())
    }

    /// Targets with a forged finalizer, of which every other one is deleted again, as fast as one can.
    fn flood(&self, made: &Arc<AtomicUsize>) -> Result<JoinSet<Result<()>>> {
        let mut flooders = JoinSet::new();
        for flooder in 0..FLOODERS {
            let (targets, made) = (self.targets("flood")?, made.clone());
            flooders.spawn(async move {
                let mut tick = interval(FLOOD_EVERY);
                for number in 0..FLOOD {
                    tick.tick().await;
                    let name = format!("flood-{flooder}-{number}");
                    let metadata = json!({"name": name, "finalizers": [TARGET_FINALIZER]});
                    create(&targets, json!({"metadata": metadata, "spec": {"bucket": "nobodys"}})).await?;
                    if number % 2 == 0 {
                        targets.delete(&name, &DeleteParams::default()).await?;
                    }
                    made.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            });
        }
        Ok(flooders)
    }

    async fn until_ready(&self, namespace: &str, name: &str, deadline: Duration) -> Result<BackupTarget> {
        let targets = self.targets(namespace)?;
        wait_patiently_until(&format!("{name} to be ready"), deadline, NOW_AND_THEN, async || {
            let target = targets.get(name).await?;
            ensure!(is_ready(&target), "{}", serde_json::to_string(&target.status)?);
            Ok(target)
        })
        .await
    }

    async fn until_gone(&self, namespace: &str, name: &str, deadline: Duration) -> Result<()> {
        let targets = self.targets(namespace)?;
        wait_patiently_until(&format!("{name} to be gone"), deadline, NOW_AND_THEN, async || {
            ensure!(targets.get_opt(name).await?.is_none(), "it is there");
            Ok(())
        })
        .await
    }

    /// No key of it works any more.
    async fn until_revoked(&self, target: &BackupTarget, deadline: Duration) -> Result<()> {
        let user = principal(target);
        wait_patiently_until("the key to be off", deadline, NOW_AND_THEN, async || {
            let keys = self.lab.administrator().keys_of(&user).await?;
            ensure!(keys.iter().all(|key| key.status == Some(StatusType::Inactive)), "it is on");
            ensure!(self.lab.administrator().policies_of(&user).await? == BTreeMap::new(), "it has its policy");
            Ok(())
        })
        .await
    }

    /// The strangers' targets are counted as users of the store, and make nobody's checks less frequent.
    async fn until_counted_and_not_stretched(&self) -> Result<()> {
        let stores = self.stores()?;
        wait_until("the store to count the flood", START, async || {
            let status = stores.get("default").await?.status.unwrap_or_default();
            ensure!(status.targets.is_some_and(|targets| targets > 320), "{:?}", status.targets);
            let interval = status.drift_interval.map(|interval| interval.to_string());
            ensure!(interval.as_deref() == Some("600s"), "{interval:?}");
            Ok(())
        })
        .await
    }
}
