//! Keeping hold of every key: no name, missing right, replaced object or copied cluster makes the operator lose sight of one.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use backup_target_operator::api::{BackupStore, BackupTarget, condition::READY};
use k8s_openapi::{
    api::{core::v1::Secret, events::v1::Event},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, CustomResourceExt, Resource, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use testbed::{
    aws::{Aws, REGION},
    child::command,
    objects::merge,
    operator::{Operator, Options},
    operator_policy, program,
    proxy::{Active, Call, Fault},
    tests,
    wait::wait_until,
};

use crate::{
    restart::{Lab, root_in_environment},
    space::{SOON, Space, create, has, is_ready, message, principal, record, stalled_with, status},
    world::World,
};

tests![
    an_alias_of_a_store_is_counted_and_revoked,
    a_rule_that_goes_needs_no_secret,
    a_deletion_needs_no_secret,
    a_boundary_that_is_refused_holds_back_no_rule,
    a_spec_that_became_invalid_holds_back_no_rule,
    a_status_that_cannot_be_read_keeps_no_right,
    a_replaced_target_that_goes_at_once_takes_its_user_along,
    what_goes_while_the_watch_is_down_takes_its_user_along,
    a_target_that_others_hold_takes_its_user_along,
    another_clusters_users_are_left_and_nothing_is_stuck,
    a_forged_finalizer_holds_nothing,
    users_of_a_cluster_that_was_built_anew_are_found,
];

const PATIENCE: Duration = Duration::from_mins(1);

/// The definitions of a version that took any name and let it be changed.
async fn of_an_earlier_version(lab: &Lab) -> Result<()> {
    let definitions = Api::<CustomResourceDefinition>::all(lab.control_plane.client()?);
    let spec = "/spec/versions/0/schema/openAPIV3Schema/properties/spec";
    let no_rules = serde_json::from_value(json!([
        {"op": "remove", "path": format!("{spec}/x-kubernetes-validations")},
        {"op": "remove", "path": format!("{spec}/properties/storeRef/properties/name/x-kubernetes-validations")},
        {"op": "remove", "path": format!("{spec}/properties/bucket/x-kubernetes-validations")},
    ]))?;
    definitions.patch(BackupTarget::crd_name(), &PatchParams::default(), &Patch::<()>::Json(no_rules)).await?;
    Ok(())
}

/// The definitions of this version.
async fn of_this_version(lab: &Lab) -> Result<()> {
    let definitions = Api::<CustomResourceDefinition>::all(lab.control_plane.client()?);
    for crd in backup_target_operator::api::crds() {
        let name = crd.name_any();
        definitions.patch(&name, &PatchParams::apply("testbed").force(), &Patch::Apply(&crd)).await?;
    }
    Ok(())
}

async fn until(
    targets: &Api<BackupTarget>,
    name: &str,
    wanted: impl Fn(&BackupTarget) -> bool,
) -> Result<BackupTarget> {
    wait_until(&format!("{name} to be as it should"), PATIENCE, async || {
        let target = targets.get(name).await?;
        let observed = status(&target).observed_generation == target.metadata.generation;
        ensure!(observed && wanted(&target), "{}", serde_json::to_string(&target.status)?);
        Ok(target)
    })
    .await
}

async fn until_gone(targets: &Api<BackupTarget>, name: &str) -> Result<()> {
    wait_until(&format!("{name} to be gone"), PATIENCE, async || match targets.get_opt(name).await? {
        None => Ok(()),
        Some(target) => bail!("{}", serde_json::to_string(&target.status)?),
    })
    .await
}

async fn patch(targets: &Api<BackupTarget>, name: &str, patch: Value) -> Result<()> {
    targets.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
    Ok(())
}

async fn active_keys(lab: &Lab, user: &str) -> Result<usize> {
    let keys = lab.administrator().keys_of(user).await?;
    Ok(keys.iter().filter(|key| key.status.as_ref().is_some_and(|status| status.as_str() == "Active")).count())
}

async fn an_alias_of_a_store_is_counted_and_revoked(_: Arc<World>) -> Result<()> {
    let lab = Lab::start("alias", root_in_environment).await?;
    let endpoint = lab.aws.url().to_owned();
    lab.create_store(&endpoint).await?;
    lab.create_target("honest").await?;
    lab.create_target("alias").await?;
    lab.until_all_ready(2).await?;
    let targets = lab.targets()?;
    let user = principal(&targets.get("alias").await?);

    of_an_earlier_version(&lab).await?;
    wait_until("the API server to take an alias", PATIENCE, async || {
        patch(&targets, "alias", json!({"spec": {"storeRef": {"name": "default#x"}}})).await
    })
    .await?;
    of_this_version(&lab).await?;
    let stalled = until(&targets, "alias", |target| stalled_with(target, "InvalidSpec")).await?;
    let told = message(&stalled, READY)?;
    ensure!(told.contains("spec.storeRef.name") && told.contains("BackupStore, default"), "{told}");
    ensure!(active_keys(&lab, &user).await? == 0, "its key works");
    ensure!(lab.administrator().policies_of(&user).await?.is_empty(), "its key can do something");

    let stores = Api::<BackupStore>::all(lab.control_plane.client()?);
    stores.delete("default", &DeleteParams::default()).await?;
    targets.delete("honest", &DeleteParams::default()).await?;
    until_gone(&targets, "honest").await?;
    let mark = lab.api.mark();
    wait_until("the operator to look whether the store may go", PATIENCE, async || {
        let looks = lab.api.calls_since(mark, |call| call.path.ends_with("/backupstores/default") && call.succeeded());
        ensure!(looks.len() >= 3, "{} looks", looks.len());
        Ok(())
    })
    .await?;
    ensure!(stores.get_opt("default").await?.is_some(), "the store went while an alias of it was used");
    targets.delete("alias", &DeleteParams::default()).await?;
    until_gone(&targets, "alias").await?;
    ensure!(lab.administrator().iam.list_users().send().await?.users.is_empty(), "a user is left");
    Ok(())
}

/// Takes the operator's rights on the Secrets of a namespace away.
fn without_secrets(world: &World, namespace: &str) -> Active {
    let secrets = format!("/namespaces/{namespace}/secrets/");
    world.api.fault(Fault::Status(403), move |call: &Call| call.path.contains(&secrets))
}

async fn a_rule_that_goes_needs_no_secret(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    space.create_target("dataset-1", json!({"capabilities": ["ObjectAcls"]})).await?;
    let user = principal(&space.until_ready("dataset-1").await?);
    let forbidden = without_secrets(&world, &space.namespace);

    space.patch_rule("capabilities", json!([])).await?;
    wait_until("the right to go", SOON, async || {
        let policy = space.policy(&user).await?.to_string();
        ensure!(!policy.contains("PutObjectAcl"), "{policy}");
        Ok(())
    })
    .await?;
    space.patch_store(json!({"allow": []})).await?;
    let stalled = space.until_stalled("dataset-1", "NotAllowed").await?;
    let told = message(&stalled, READY)?;
    ensure!(told.contains("Secret dataset-1 is left as it is") && told.contains("forbids"), "{told}");
    ensure!(space.active_keys(&user).await?.is_empty(), "its key works");
    drop(forbidden);
    space.patch_store(json!({"allow": space.store_spec()["allow"]})).await?;
    space.until_ready("dataset-1").await?;
    Ok(())
}

async fn a_deletion_needs_no_secret(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    space.create_target("dataset-1", json!({})).await?;
    space.until_ready("dataset-1").await?;
    let forbidden = without_secrets(&world, &space.namespace);
    space.delete_target("dataset-1").await?;
    space.until_gone("dataset-1").await?;
    ensure!(space.users().await?.is_empty(), "its user is there");
    let told = until_event(&space, "Secret dataset-1 is left").await?;
    ensure!(told.contains("Kubernetes removes"), "{told}");
    drop(forbidden);
    Ok(())
}

async fn until_event(space: &Space, text: &str) -> Result<String> {
    let events = Api::<Event>::namespaced(space.client.clone(), &space.namespace);
    wait_until(&format!("an event that says `{text}`"), SOON, async || {
        let all = events.list(&ListParams::default()).await?;
        let found = all.into_iter().filter_map(|event| event.note).find(|note| note.contains(text));
        found.context("there is none")
    })
    .await
}

async fn a_boundary_that_is_refused_holds_back_no_rule(world: Arc<World>) -> Result<()> {
    let space = Space::without_store(&world).await?;
    space.create_bucket(&space.bucket).await?;
    let iam = &space.aws.iam;
    iam.create_user().user_name("operator").send().await?;
    let rights = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "iam:*", "Resource": "*"},
        {"Effect": "Deny", "Action": "iam:PutUserPermissionsBoundary", "Resource": "*"},
    ]});
    let put = iam.put_user_policy().user_name("operator").policy_name("rights").policy_document(rights.to_string());
    put.send().await?;
    let key = iam.create_access_key().user_name("operator").send().await?.access_key.context("a key")?;
    world.keep_secret(&key.secret_access_key);
    space.write_credentials(&key.access_key_id, &key.secret_access_key).await?;
    space.create_store(space.store_spec()).await?;
    space.create_target("dataset-1", json!({"capabilities": ["ObjectAcls"]})).await?;
    let user = principal(&space.until_ready("dataset-1").await?);

    let mut rule = space.store_spec()["allow"][0].clone();
    rule["capabilities"] = json!([]);
    let boundary = format!("arn:aws:iam::{}:policy/bounds", space.account);
    space.patch_store(json!({"allow": [rule], "aws": {"permissionsBoundary": boundary}})).await?;
    wait_until("the right to go", SOON, async || {
        // A policy that IAM lets nobody write who cannot bind the user first goes as a whole.
        let policy = space.policy(&user).await.map(|policy| policy.to_string()).unwrap_or_default();
        ensure!(!policy.contains("PutObjectAcl"), "{policy}");
        Ok(())
    })
    .await?;
    let asked = space.aws_proxy.calls(|call| call.is("PutUserPermissionsBoundary"));
    ensure!(asked.iter().any(|call| call.status == Some(403)), "{asked:?}");
    Ok(())
}

async fn a_spec_that_became_invalid_holds_back_no_rule(_: Arc<World>) -> Result<()> {
    let lab = Lab::start("invalid", root_in_environment).await?;
    let endpoint = lab.aws.url().to_owned();
    lab.create_store(&endpoint).await?;
    let stores = Api::<BackupStore>::all(lab.control_plane.client()?);
    let rule = |capabilities: Value| {
        json!({"spec": {"allow": [{
            "namespaces": {"names": ["default"]}, "buckets": ["my-backups"], "prefixes": [""], "capabilities": capabilities,
        }]}})
    };
    stores.patch("default", &PatchParams::default(), &Patch::Merge(rule(json!(["ObjectAcls"])))).await?;
    let targets = lab.targets()?;
    let body = json!({
        "metadata": {"name": "a"}, "spec": {"bucket": "my-backups", "prefix": "a", "capabilities": ["ObjectAcls"]},
    });
    create(&targets, body).await?;
    lab.until_all_ready(1).await?;
    let user = principal(&targets.get("a").await?);

    of_an_earlier_version(&lab).await?;
    wait_until("the API server to take the bucket", PATIENCE, async || {
        patch(&targets, "a", json!({"spec": {"bucket": "NOT-A-BUCKET"}})).await
    })
    .await?;
    until(&targets, "a", |target| stalled_with(target, "InvalidSpec")).await?;
    ensure!(active_keys(&lab, &user).await? == 1, "a slip in a spec breaks no backup");
    stores.patch("default", &PatchParams::default(), &Patch::Merge(rule(json!([])))).await?;
    wait_until("the right to go", PATIENCE, async || {
        let policies = json!(lab.administrator().policies_of(&user).await?).to_string();
        ensure!(policies.contains("PutObject") && !policies.contains("PutObjectAcl"), "{policies}");
        Ok(())
    })
    .await?;
    until(&targets, "a", |target| stalled_with(target, "InvalidSpec")).await?;
    Ok(())
}

/// Garbles what status remembers of the access, as another version might, and gives the key more than it had.
async fn garble(space: &Space, name: &str, user: &str, garbled: Value) -> Result<()> {
    let everything = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "s3:*", "Resource": "*"},
    ]});
    let put = space.aws.iam.put_user_policy().user_name(user).policy_name("backup-target");
    put.policy_document(everything.to_string()).send().await?;
    let mut whole = serde_json::to_value(status(&space.targets().get(name).await?))?;
    merge(&mut whole, garbled);
    let apply = json!({
        "apiVersion": BackupTarget::api_version(&()), "kind": BackupTarget::kind(&()),
        "metadata": {"name": name}, "status": whole,
    });
    let as_operator = PatchParams::apply("backup-target-operator").force();
    space.targets().patch_status(name, &as_operator, &Patch::Apply(apply)).await?;
    Ok(())
}

async fn a_status_that_cannot_be_read_keeps_no_right(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    space.create_target("dataset-1", json!({})).await?;
    let user = principal(&space.until_ready("dataset-1").await?);
    let wanted = space.policy(&user).await?;
    let not_readable = json!({"bucket": "NOT A BUCKET", "prefix": "x/", "ancestorListing": "Allow"});
    let until = jiff::Timestamp::now() + Duration::from_hours(1);
    let former = json!([{"access": not_readable, "until": until.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()}]);
    for (field, garbled) in [
        ("status.access", json!({"access": not_readable})),
        ("status.previousAccess", json!({"previousAccess": former})),
    ] {
        garble(&space, "dataset-1", &user, garbled).await?;
        let readable = |target: &BackupTarget| {
            let record = record(target);
            record.access.is_some_and(|access| access.bucket == space.bucket) && record.previous_access.is_empty()
        };
        space.until("dataset-1", "remembered as it is", |target| is_ready(target) && readable(target)).await?;
        ensure!(space.policy(&user).await? == wanted, "{}", space.policy(&user).await?);
        until_event(&space, &format!("{field}, which could not be read")).await?;
    }

    space.patch_target("dataset-1", json!({"suspend": true})).await?;
    space.until("dataset-1", "suspended", |target| has(target, READY, "True", "Suspended")).await?;
    garble(&space, "dataset-1", &user, json!({"access": not_readable})).await?;
    let stalled = space.until_stalled("dataset-1", "ChangeSuspended").await?;
    let told = message(&stalled, READY)?;
    ensure!(told.contains("status.access cannot be read") && told.contains("spec.suspend"), "{told}");
    ensure!(space.active_keys(&user).await?.is_empty(), "its key works");
    space.patch_target("dataset-1", json!({"suspend": false})).await?;
    space.until_ready("dataset-1").await?;

    garble(&space, "dataset-1", &user, json!({"access": not_readable})).await?;
    space.patch_store(json!({"allow": []})).await?;
    space.until_stalled("dataset-1", "NotAllowed").await?;
    ensure!(space.active_keys(&user).await?.is_empty(), "its key works");
    space.delete_target("dataset-1").await?;
    space.until_gone("dataset-1").await?;
    ensure!(space.users().await?.is_empty(), "its user is there");
    Ok(())
}

/// `kubectl replace` with a manifest that has no finalizer.
fn replaced() -> Value {
    json!({"metadata": {"finalizers": null}})
}

async fn a_replaced_target_that_goes_at_once_takes_its_user_along(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    space.create_target("dataset-1", json!({})).await?;
    space.create_target("dataset-2", json!({"prefix": "backups/dataset-2"})).await?;
    space.until_ready("dataset-1").await?;
    let other = principal(&space.until_ready("dataset-2").await?);

    let path = format!("/namespaces/{}/backuptargets/dataset-1", space.namespace);
    let late = world.api.fault(Fault::Refuse, move |call| call.is_write() && call.path.ends_with(&path));
    patch(&space.targets(), "dataset-1", replaced()).await?;
    space.delete_target("dataset-1").await?;
    space.until_gone("dataset-1").await?;
    drop(late);
    // The next one of that name is nobody's heir.
    space.create_target("dataset-1", json!({"prefix": "backups/dataset-3", "secret": {"name": "another"}})).await?;
    let next = principal(&space.until_ready("dataset-1").await?);
    until_users(&space, &[&other, &next]).await?;
    ensure!(!space.targets().get("dataset-1").await?.finalizers().is_empty(), "the next one is held");
    Ok(())
}

async fn until_users(space: &Space, wanted: &[&str]) -> Result<()> {
    wait_until("only the users of targets to be there", SOON, async || {
        let mut users: Vec<String> = space.users().await?.into_iter().map(|user| user.user_name).collect();
        users.sort();
        let mut wanted = wanted.to_vec();
        wanted.sort_unstable();
        ensure!(users == wanted, "{users:?} instead of {wanted:?}");
        Ok(())
    })
    .await
}

async fn what_goes_while_the_watch_is_down_takes_its_user_along(_: Arc<World>) -> Result<()> {
    let lab = Lab::start("departed", root_in_environment).await?;
    let endpoint = lab.aws.url().to_owned();
    lab.create_store(&endpoint).await?;
    lab.create_target("a").await?;
    lab.until_all_ready(1).await?;
    let targets = lab.targets()?;
    let away = lab.api.fault(Fault::Refuse, |_| true);
    lab.api.cut();
    patch(&targets, "a", replaced()).await?;
    targets.delete("a", &DeleteParams::default()).await?;
    until_gone(&targets, "a").await?;
    // A list that is streamed is a watch, too, and is what finds out.
    let goes_on = |call: &Call| call.is_watch() && !call.query.contains("sendInitialEvents");
    let gone = lab.api.fault(Fault::Gone, move |call| goes_on(call) && call.path.contains("backuptargets"));
    drop(away);
    wait_until("the user to go", PATIENCE, async || {
        let users = lab.administrator().iam.list_users().send().await?.users;
        ensure!(users.is_empty(), "{users:?}");
        Ok(())
    })
    .await?;
    drop(gone);
    wait_until("the log to tell of it", PATIENCE, async || {
        ensure!(lab.operator.printed().contains("without being let go"), "it says nothing of it");
        Ok(())
    })
    .await
}

/// `kubectl delete --cascade=foreground` puts a finalizer of Kubernetes' own on an object.
async fn a_target_that_others_hold_takes_its_user_along(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    space.create_target("dataset-1", json!({})).await?;
    space.until_ready("dataset-1").await?;
    let path = format!("/namespaces/{}/backuptargets/dataset-1", space.namespace);
    let late = world.api.fault(Fault::Refuse, move |call| call.is_write() && call.path.ends_with(&path));
    patch(&space.targets(), "dataset-1", json!({"metadata": {"finalizers": ["example.com/held"]}})).await?;
    space.delete_target("dataset-1").await?;
    drop(late);
    until_users(&space, &[]).await?;
    patch(&space.targets(), "dataset-1", replaced()).await?;
    space.until_gone("dataset-1").await
}

fn with_id(id: &'static str) -> impl FnOnce(&Aws, Options) -> Options {
    move |aws, options| root_in_environment(aws, options).args(&["--cluster-id", id])
}

async fn another_clusters_users_are_left_and_nothing_is_stuck(_: Arc<World>) -> Result<()> {
    let mut lab = Lab::start("clusters", with_id("original")).await?;
    let endpoint = lab.aws.url().to_owned();
    lab.create_store(&endpoint).await?;
    // Rights in the paths of both: of a user in a path that it has no rights in, IAM does not tell an operator whose it is.
    let rights = |cluster| operator_policy::printed(&json!({"region": REGION}), cluster);
    lab.aws.authorize(Some([rights("original")?, rights("restored")?].concat()));
    for name in ["a", "b"] {
        lab.create_target(name).await?;
    }
    lab.until_all_ready(2).await?;
    let targets = lab.targets()?;
    let (a, b) = (principal(&targets.get("a").await?), principal(&targets.get("b").await?));

    lab.operator.stop();
    let server = Options { server: Some(lab.api.url().to_owned()), ..Options::default() };
    let options = with_id("restored")(lab.administrator(), server);
    let restored = Operator::start(&lab.control_plane, options).await?;
    for name in ["a", "b"] {
        let stalled = until(&targets, name, |target| stalled_with(target, "PrincipalConflict")).await?;
        let told = message(&stalled, READY)?;
        ensure!(told.contains("belongs to cluster original") && !told.contains("remove it"), "{told}");
    }
    targets.delete("a", &DeleteParams::default()).await?;
    until_gone(&targets, "a").await?;
    let secrets = Api::<Secret>::namespaced(lab.control_plane.client()?, "default");
    ensure!(secrets.get_opt("a").await?.is_none(), "this cluster's Secret is there");
    ensure!(active_keys(&lab, &a).await? == 1 && active_keys(&lab, &b).await? == 1, "the original lost a key");
    ensure!(restored.printed().contains(&format!("IAM user {a} is left")), "nobody is told of the user that is left");
    lab.create_target("a").await?;
    let again = until(&targets, "a", is_ready).await?;
    ensure!(principal(&again) != a, "it got the original's user");

    drop(restored);
    lab.operator.restart().await?;
    until(&targets, "b", is_ready).await?;
    ensure!(active_keys(&lab, &b).await? == 1);
    Ok(())
}

async fn a_forged_finalizer_holds_nothing(world: Arc<World>) -> Result<()> {
    let space = Space::without_store(&world).await?;
    let body = json!({
        "metadata": {"name": "forged", "finalizers": ["backup-target.dev/principal"]}, "spec": space.target_spec(json!({})),
    });
    create(&space.targets(), body).await?;
    space.until("forged", "without a store", |target| has(target, READY, "False", "StoreNotFound")).await?;
    space.delete_target("forged").await?;
    space.until_gone("forged").await
}

async fn users_of_a_cluster_that_was_built_anew_are_found(_: Arc<World>) -> Result<()> {
    let mut lab = Lab::start("leftovers", root_in_environment).await?;
    let endpoint = lab.aws.url().to_owned();
    lab.create_store(&endpoint).await?;
    lab.create_target("a").await?;
    lab.until_all_ready(1).await?;
    let targets = lab.targets()?;
    let old = principal(&targets.get("a").await?);
    lab.operator.stop();
    patch(&targets, "a", replaced()).await?;
    targets.delete("a", &DeleteParams::default()).await?;
    until_gone(&targets, "a").await?;
    let secrets = Api::<Secret>::namespaced(lab.control_plane.client()?, "default");
    secrets.delete("a", &DeleteParams::default()).await?;
    lab.operator.restart().await?;
    lab.create_target("a").await?;
    lab.until_all_ready(1).await?;
    let new = principal(&targets.get("a").await?);

    let ran = |key: &'static str| {
        let mut leftovers = command(env!("CARGO_BIN_EXE_backup-target-operator"));
        leftovers.arg("leftovers").env("KUBECONFIG", lab.control_plane.admin_kubeconfig()).envs([
            ("AWS_ACCESS_KEY_ID", key),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_REGION", "us-east-1"),
        ]);
        program::run("leftovers", leftovers, PATIENCE)
    };
    // Whoever runs this is an administrator, and not the operator.
    lab.aws.authorize(None);
    let told = ran("test").await?.succeeded()?;
    ensure!(told.contains(&format!("{old} of default/a in cluster")) && !told.contains(&new), "{told}");
    let refused = ran("123456789012").await?;
    ensure!(refused.code == Some(1) && refused.stderr.contains("your credentials belong to account"), "{refused:?}");
    Ok(())
}
