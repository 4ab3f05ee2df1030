//! Objects as a tenant may write them, against the real API server and the real operator, drawn from a seed.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use aws_sdk_iam::types::StatusType;
use backup_target_operator::{
    api::{BackupTarget, Reason, condition::READY},
    names::TARGET_FINALIZER,
};
use k8s_openapi::api::{core::v1::Secret, rbac::v1::RoleBinding};
use kube::{
    Api, Resource, ResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use testbed::{
    install::RELEASE,
    objects::{condition, create, is_ready, merge, principal, record, status},
    rights::until_may,
    wait::wait_patiently_until,
};
use tokio::{sync::watch, task::JoinHandle, time::sleep};

use crate::{
    corner::{Corner, TARGET},
    decoys, end, oracles,
    tenant::{Place, Wish, wishes},
    world::World,
};

/// Wishes of one run; about half of them are refused.
const WISHES: usize = 300;
/// Of fewer that are taken, the run says little.
const TAKEN: usize = 60;
const LOOK: Duration = Duration::from_millis(500);
const SETUP: Duration = Duration::from_mins(1);
/// All of them together, on a busy machine.
const TOLD: Duration = Duration::from_mins(3);
/// A change of a good target, while the operator has all that to do.
const SOON: Duration = Duration::from_secs(30);
/// What the corner's rule gives to nobody.
const NOT_GIVEN: [&str; 2] = ["CreateBucket", "ListAllMyBuckets"];

/// One run: a tenant does what the seed says beside a target that is good, and in the end everything goes.
pub async fn run(world: Arc<World>, seed: u64) -> Result<()> {
    let corner = Corner::start(&world).await?;
    corner.create_store().await?;
    corner.until_store_is_ready(SETUP).await?;
    corner.create_target(json!({})).await?;
    corner.until(SETUP, "ready", is_ready).await?;
    let tenant = Tenant::new(&corner).await?;
    let stays = Stays::watch(&corner);
    let place = Place { store: &corner.store, bucket: &corner.bucket, labels: corner.labels() };
    let mut taken = 0;
    for wish in wishes(seed, WISHES, &place) {
        // Whether it is taken is the API server's affair; that every call comes back is not.
        match tenant.ask(&wish).await {
            Ok(()) => taken += 1,
            Err(refused) => ensure!(is_refusal(&refused), "{wish:?}: {refused:?}"),
        }
    }
    ensure!(taken >= TAKEN, "only {taken} wishes were taken, which says little");
    stays.until_now().await?;
    corner.patch_target(json!({"capabilities": ["ObjectAcls"]})).await?;
    corner.until(SOON, "ready with more", is_ready).await.context("a good target beside those of the tenant")?;
    every_object_is_told_of(&corner).await?;
    nobody_has_what_no_rule_allows(&corner).await?;
    tenant.delete_all().await?;
    nothing_is_left(&corner).await?;
    decoys::are_untouched(&corner).await.context("something foreign was touched")?;
    oracles::nothing_is_told(&corner).await?;
    oracles::never_panicked(&corner).await
}

/// Somebody with the rights that the cluster role `edit` gives, those of the chart among them.
struct Tenant {
    targets: Api<DynamicObject>,
    secrets: Api<Secret>,
}

/// The role `edit` is made of these; here is no controller that would do so.
const EDIT: [&str; 2] = ["system:aggregate-to-edit", "system:aggregate-to-view"];

impl Tenant {
    async fn new(corner: &Corner) -> Result<Self> {
        let user = format!("tenant-of-{}", corner.namespace);
        let ours = ["edit", "view"].map(|role| format!("{RELEASE}-{role}"));
        let roles = EDIT.map(str::to_owned).into_iter().chain(ours);
        for (number, role) in roles.enumerate() {
            let binding = json!({
                "metadata": {"name": format!("tenant-{number}")},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
                "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
            });
            create(&Api::<RoleBinding>::namespaced(corner.client.clone(), &corner.namespace), binding).await?;
        }
        for (group, resource) in [("backup-target.dev", "backuptargets"), ("", "secrets")] {
            until_may(&corner.client, &user, "delete", group, resource, &corner.namespace).await?;
        }
        let client = corner.world.control_plane.client_as(&user)?;
        // Not the type: what is nearly good cannot be read as one.
        let resource = ApiResource::erase::<BackupTarget>(&());
        Ok(Self {
            targets: Api::namespaced_with(client.clone(), &corner.namespace, &resource),
            secrets: Api::namespaced(client, &corner.namespace),
        })
    }

    async fn ask(&self, wish: &Wish) -> Result<()> {
        match wish {
            Wish::Create(object) => self.targets.create(&PostParams::default(), &dynamic(object)?).await.map(|_| ())?,
            Wish::Patch { name, body } => {
                self.targets.patch(name, &PatchParams::default(), &Patch::Merge(body)).await.map(|_| ())?;
            }
            Wish::Replace(object) => {
                let mut object = dynamic(object)?;
                let Some(before) = self.targets.get_opt(&object.name_any()).await? else { return Ok(()) };
                object.metadata.resource_version = before.metadata.resource_version;
                self.targets.replace(&object.name_any(), &PostParams::default(), &object).await.map(|_| ())?;
            }
            Wish::Delete(name) => self.targets.delete(name, &DeleteParams::default()).await.map(|_| ())?,
            Wish::DeleteSecret(name) => self.secrets.delete(name, &DeleteParams::default()).await.map(|_| ())?,
        }
        Ok(())
    }

    /// Every object goes, once its tenant has taken back what it hung on it itself.
    async fn delete_all(&self) -> Result<()> {
        wait_patiently_until("every object to be gone", TOLD, LOOK, async || {
            let left = self.targets.list(&ListParams::default()).await?.items;
            for target in &left {
                self.let_go(target).await?;
            }
            ensure!(left.is_empty(), "{:#?}", left.iter().map(told).collect::<Vec<_>>());
            Ok(())
        })
        .await
    }

    async fn let_go(&self, target: &DynamicObject) -> Result<()> {
        let name = target.name_any();
        let (ours, mine): (Vec<&String>, Vec<&String>) =
            target.finalizers().iter().partition(|finalizer| *finalizer == TARGET_FINALIZER);
        if !mine.is_empty() {
            let metadata = json!({"finalizers": ours, "resourceVersion": target.resource_version()});
            self.ask(&Wish::Patch { name: name.clone(), body: json!({"metadata": metadata}) }).await?;
        }
        if target.metadata.deletion_timestamp.is_none() {
            self.ask(&Wish::Delete(name)).await?;
        }
        Ok(())
    }
}

fn dynamic(object: &Value) -> Result<DynamicObject> {
    let mut whole = json!({"apiVersion": BackupTarget::api_version(&()), "kind": BackupTarget::kind(&())});
    merge(&mut whole, object.clone());
    Ok(serde_json::from_value(whole)?)
}

/// Whether the API server understood and did not want to. Anything else is a fault of somebody.
fn is_refusal(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(kube::Error::Api(answer)) if (400..500).contains(&answer.code))
}

/// What is told of an object, for whoever reads a failure.
fn told(target: &DynamicObject) -> String {
    let (finalizers, status) = (target.finalizers(), &target.data["status"]["conditions"]);
    format!("{}: {finalizers:?} {} {status}", target.name_any(), target.data["spec"])
}

/// A target that is good, and that nothing may disturb.
struct Stays {
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<()>>,
}

impl Stays {
    fn watch(corner: &Corner) -> Self {
        let (stop, targets) = (watch::Sender::new(false), corner.targets());
        let stopped = stop.subscribe();
        let task = tokio::spawn(async move {
            while !*stopped.borrow() {
                let target = targets.get(TARGET).await?;
                ensure!(is_ready(&target), "{:?}", target.status);
                sleep(LOOK).await;
            }
            Ok(())
        });
        Self { stop, task }
    }

    async fn until_now(self) -> Result<()> {
        self.stop.send_replace(true);
        self.task.await?.context("the good target did not stay ready")
    }
}

/// What the CRD takes the operator takes, and says something about (docs/administrator.md, several operators).
async fn every_object_is_told_of(corner: &Corner) -> Result<()> {
    wait_patiently_until("every object to be told of", TOLD, LOOK, async || {
        for target in corner.targets().list(&ListParams::default()).await? {
            let status = status(&target);
            // Where several operators share the stores, as here, a store that there is not is nobody's, and nobody tells of it.
            let is_ours = target.spec.store_ref.resolved() == corner.store;
            let wanted = if is_ours { target.metadata.generation } else { Some(-1) };
            let observed = status.observed_generation == wanted;
            let (name, spec) = (target.name_any(), serde_json::to_string(&target.spec)?);
            ensure!(observed || target.metadata.deletion_timestamp.is_some(), "{name}: {spec} {:?}", status.conditions);
        }
        Ok(())
    })
    .await?;
    let all = corner.targets().list(&ListParams::default()).await?.items;
    ensure!(all.iter().filter(|target| is_ready(target)).count() > 1, "no target of the tenant is ready");
    for target in all {
        let invalid = condition(&target, READY).filter(|ready| Reason::of(ready) == Some(Reason::InvalidSpec));
        ensure!(invalid.is_none(), "{}: {} {invalid:?}", target.name_any(), serde_json::to_string(&target.spec)?);
    }
    Ok(())
}

/// Every user is that of a target. Where no rule allows the target, nor what it was given before it asked for something else, no key
/// works; and what no rule gives is in no policy.
async fn nobody_has_what_no_rule_allows(corner: &Corner) -> Result<()> {
    wait_patiently_until("users that a rule allows, and no other", TOLD, LOOK, async || {
        let targets = corner.targets().list(&ListParams::default()).await?.items;
        for user in corner.users().await? {
            let target = targets.iter().find(|target| principal(target) == user);
            let target = target.with_context(|| format!("{user} has no target"))?;
            let spec = &target.spec;
            let keys = corner.iam.list_access_keys().user_name(&user).send().await?.access_key_metadata;
            let works = keys.iter().any(|key| key.status == Some(StatusType::Active));
            let kept = record(target).access.is_some_and(|access| access.bucket == corner.bucket);
            let allowed = spec.store_ref.name == corner.store && (kept || spec.bucket == corner.bucket);
            ensure!(allowed || !works, "{user} works: {}", serde_json::to_string(spec)?);
            let summary = end::user_summary(corner, &user).await?.to_string();
            let given = NOT_GIVEN.iter().find(|action| summary.contains(**action));
            ensure!(given.is_none(), "{user} has {given:?}: {summary}");
            ensure!(!summary.contains(&format!("{}-other", corner.bucket)), "{user} reaches another bucket: {summary}");
        }
        Ok(())
    })
    .await
}

async fn nothing_is_left(corner: &Corner) -> Result<()> {
    ensure!(corner.users().await?.is_empty(), "users are left: {:?}", corner.users().await?);
    let policies = end::policies_of(corner).await?;
    ensure!(policies.len() == 2, "besides the two decoys there are {policies:?}");
    let secrets = corner.secrets().list_metadata(&ListParams::default()).await?;
    let left: Vec<String> = secrets.iter().map(ResourceExt::name_any).collect();
    ensure!(left.iter().all(|name| decoys::SECRETS.contains(&name.as_str())), "Secrets are left: {left:?}");
    Ok(())
}
