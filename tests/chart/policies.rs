//! What the chart's admission policies let tenants, those who deliver for tenants, and the operator's own account write.

use std::{collections::BTreeMap, fmt::Debug, fs, sync::Arc};

use anyhow::{Context, Result, ensure};
use backup_target_operator::api::{BackupStore, BackupTarget};
use k8s_openapi::{
    ByteString,
    api::core::v1::Secret,
    apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta, OwnerReference},
};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use testbed::{
    install::apply,
    objects::{create, merge},
    rights::until_may,
    tests,
};

use crate::{helm::text, kubectl::kubectl, lab::Lab, rights::operator, world::World};

tests![
    tenants_leave_alone_what_is_the_operators_word,
    a_tenants_apply_works_and_replace_says_how_to_sync,
    nobody_who_delivers_for_tenants_takes_the_finalizer_off,
    metadata_that_is_cached_has_a_size,
    the_operators_account_writes_no_spec,
    the_operators_account_writes_secrets_of_targets_alone,
];

const FINALIZER: &str = "backup-target.dev/principal";
const INTENT: &str = "backup-target.dev/first-key-intent";
/// Who administers the cluster.
const ADMIN: &str = "admin";
/// Brings what others wrote, with every right there is, as Argo CD and Velero do.
const DELIVERER: &str = "system:serviceaccount:delivery:delivery";

/// A namespace, and somebody who may do all with the targets and the Secrets in it.
struct Place<'a> {
    lab: &'a Lab,
    namespace: &'static str,
    tenant: String,
}

impl<'a> Place<'a> {
    async fn new(lab: &'a Lab, namespace: &'static str) -> Result<Self> {
        lab.create_namespace(namespace).await?;
        let tenant = format!("tenant-of-{namespace}");
        let group = "rbac.authorization.k8s.io";
        apply(
            &lab.client,
            json!({
                "apiVersion": format!("{group}/v1"), "kind": "Role",
                "metadata": {"name": "tenant", "namespace": namespace},
                "rules": [
                    {"apiGroups": ["backup-target.dev"], "resources": ["backuptargets"], "verbs": ["*"]},
                    {"apiGroups": [""], "resources": ["secrets"], "verbs": ["*"]},
                ],
            }),
        )
        .await?;
        apply(
            &lab.client,
            json!({
                "apiVersion": format!("{group}/v1"), "kind": "RoleBinding",
                "metadata": {"name": "tenant", "namespace": namespace},
                "roleRef": {"apiGroup": group, "kind": "Role", "name": "tenant"},
                "subjects": [{"apiGroup": group, "kind": "User", "name": tenant}],
            }),
        )
        .await?;
        apply(
            &lab.client,
            json!({
                "apiVersion": format!("{group}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": "delivery"},
                "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "cluster-admin"},
                "subjects": [{"kind": "ServiceAccount", "name": "delivery", "namespace": "delivery"}],
            }),
        )
        .await?;
        until_may(&lab.client, &tenant, "delete", "", "secrets", namespace).await?;
        until_may(&lab.client, DELIVERER, "delete", "", "secrets", namespace).await?;
        Ok(Self { lab, namespace, tenant })
    }

    fn targets(&self, who: &str) -> Result<Api<BackupTarget>> {
        Ok(Api::namespaced(self.client(who)?, self.namespace))
    }

    fn secrets(&self, who: &str) -> Result<Api<Secret>> {
        Ok(Api::namespaced(self.client(who)?, self.namespace))
    }

    fn client(&self, who: &str) -> Result<Client> {
        if who == ADMIN { Ok(self.lab.client.clone()) } else { self.lab.control_plane.client_as(who) }
    }

    /// A target that the operator has begun to work on.
    async fn held(&self, name: &str) -> Result<()> {
        create(&self.targets(ADMIN)?, target(name, held())).await?;
        Ok(())
    }
}

/// No operator works on it.
fn target(name: &str, metadata: Value) -> Value {
    let mut all = json!({"name": name});
    merge(&mut all, metadata);
    let spec = json!({"storeRef": {"name": "none"}, "bucket": "my-backups", "prefix": "a/"});
    json!({"apiVersion": "backup-target.dev/v1alpha1", "kind": "BackupTarget", "metadata": all, "spec": spec})
}

/// What the operator writes before it creates a key.
fn held() -> Value {
    json!({"finalizers": [FINALIZER], "annotations": {INTENT: "{}"}})
}

/// Nothing that is tried stays.
fn dry_run() -> PostParams {
    PostParams { dry_run: true, ..PostParams::default() }
}

async fn try_patch<K>(api: &Api<K>, name: &str, patch: &Value) -> Result<(), kube::Error>
where
    K: Clone + DeserializeOwned + Debug,
{
    api.patch(name, &PatchParams::default().dry_run(), &Patch::Merge(patch)).await.map(|_| ())
}

/// `None` says that it has to be taken, and a text that it has to be refused with these words.
fn judge<T>(what: &str, answer: Result<T, kube::Error>, refused_with: Option<&str>) -> Result<()> {
    match (answer, refused_with) {
        (Ok(_), None) => Ok(()),
        (Ok(_), Some(_)) => anyhow::bail!("{what}: it was taken"),
        (Err(error), None) => Err(error).with_context(|| format!("{what}: it was refused")),
        (Err(error), Some(words)) => {
            ensure!(error.to_string().contains(words), "{what}: it was refused in other words: {error}");
            Ok(())
        }
    }
}

async fn tenants_leave_alone_what_is_the_operators_word(world: Arc<World>) -> Result<()> {
    let place = Place::new(world.lab().await?, "words").await?;
    place.held("held").await?;
    create(&place.targets(ADMIN)?, target("free", json!({}))).await?;
    let targets = place.targets(&place.tenant)?;
    let (add, keep) = (Some("are for the operator to write"), Some("until its IAM user is gone"));

    for (what, metadata, refused) in [
        ("a plain one", json!({}), None),
        ("other finalizers and annotations", json!({"finalizers": ["a/b"], "annotations": {"a": "b"}}), None),
        ("a forged finalizer", json!({"finalizers": [FINALIZER]}), add),
        ("a forged intent", json!({"annotations": {INTENT: "{}"}}), add),
        ("a copy of another target", held(), add),
    ] {
        let made: BackupTarget = serde_json::from_value(target("new", metadata))?;
        judge(what, targets.create(&dry_run(), &made).await, refused)?;
    }
    for (what, name, metadata, refused) in [
        ("a label beside", "held", json!({"labels": {"a": "b"}}), None),
        ("an annotation beside", "held", json!({"annotations": {"a": "b"}}), None),
        ("a finalizer beside", "held", json!({"finalizers": [FINALIZER, "a/b"]}), None),
        ("the finalizer off", "held", json!({"finalizers": null}), keep),
        ("another in its place", "held", json!({"finalizers": ["a/b"]}), keep),
        ("the intent off", "held", json!({"annotations": null}), keep),
        ("another intent", "held", json!({"annotations": {INTENT: "{\"key\": 1}"}}), keep),
        ("the finalizer on", "free", json!({"finalizers": [FINALIZER]}), add),
        ("the intent on", "free", json!({"annotations": {INTENT: "{}"}}), add),
    ] {
        let patch = json!({"metadata": metadata});
        judge(what, try_patch(&targets, name, &patch).await, refused)?;
        // Who administers the cluster, and may restore a backup, may do all of it.
        judge(what, try_patch(&place.targets(ADMIN)?, name, &patch).await, None)?;
    }
    let spec = json!({"spec": {"prefix": "b/"}});
    judge("another spec", try_patch(&targets, "held", &spec).await, None)
}

async fn a_tenants_apply_works_and_replace_says_how_to_sync(world: Arc<World>) -> Result<()> {
    let lab = world.lab().await?;
    let place = Place::new(lab, "sync").await?;
    let who = format!("--as={}", place.tenant);
    let file = NamedTempFile::with_suffix(".json")?;
    let write = |prefix: &str| {
        let mut wanted = target("synced", json!({"namespace": place.namespace}));
        wanted["spec"]["prefix"] = json!(prefix);
        fs::write(file.path(), wanted.to_string())
    };
    let file = text(file.path())?;
    write("a/")?;
    kubectl(lab, &[&who, "apply", "-f", file]).await?.succeeded()?;
    try_patch_for_good(&place, "synced", &json!({"metadata": held()})).await?;

    for (apply, prefix) in [(&["apply"][..], "b/"), (&["apply", "--server-side", "--force-conflicts"][..], "c/")] {
        write(prefix)?;
        kubectl(lab, &[&[who.as_str()], apply, &["-f", file]].concat()).await?.succeeded()?;
        let now = place.targets(ADMIN)?.get("synced").await?;
        let metadata = &now.metadata;
        ensure!(now.spec.prefix.as_deref() == Some(prefix), "{apply:?} changed nothing");
        ensure!(metadata.finalizers.as_deref() == Some(&[FINALIZER.to_owned()]), "{metadata:?}");
        ensure!(metadata.annotations.as_ref().is_some_and(|all| all.contains_key(INTENT)), "{metadata:?}");
    }
    write("d/")?;
    let refused = kubectl(lab, &[&who, "replace", "-f", file]).await?;
    ensure!(refused.code == Some(1) && refused.stderr.contains("sync with \"kubectl apply\""), "{refused:?}");
    kubectl(lab, &["replace", "-f", file]).await?.succeeded().context("an administrator may replace it")?;
    Ok(())
}

async fn try_patch_for_good(place: &Place<'_>, name: &str, patch: &Value) -> Result<()> {
    place.targets(ADMIN)?.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
    Ok(())
}

async fn nobody_who_delivers_for_tenants_takes_the_finalizer_off(world: Arc<World>) -> Result<()> {
    let place = Place::new(world.lab().await?, "delivery").await?;
    place.held("held").await?;
    let targets = place.targets(DELIVERER)?;
    let refused = Some("Argo CD's Replace=true");
    for metadata in [json!({"finalizers": null}), json!({"annotations": null})] {
        let patch = json!({"metadata": metadata});
        judge(&patch.to_string(), try_patch(&targets, "held", &patch).await, refused)?;
    }
    let mut replaced: BackupTarget = serde_json::from_value(target("held", json!({})))?;
    replaced.metadata.resource_version = targets.get("held").await?.metadata.resource_version;
    judge("Replace=true", targets.replace("held", &dry_run(), &replaced).await, refused)?;
    let restored: BackupTarget = serde_json::from_value(target("restored", held()))?;
    judge("a backup that is restored", targets.create(&dry_run(), &restored).await, None)?;
    // The operator, and one of another release, which may do as much.
    let off = json!({"metadata": {"finalizers": null}});
    judge("the operator", try_patch(&place.targets(&operator())?, "held", &off).await, None)
}

async fn metadata_that_is_cached_has_a_size(world: Arc<World>) -> Result<()> {
    let place = Place::new(world.lab().await?, "sizes").await?;
    let (targets, secrets) = (place.targets(&place.tenant)?, place.secrets(&place.tenant)?);
    let refused = |fits: bool| (!fits).then_some("may have 32 KiB in all");
    for (what, metadata, fits) in sizes("backup-target.dev/v1alpha1") {
        let mut one: BackupTarget = serde_json::from_value(target("sized", json!({})))?;
        one.metadata = ObjectMeta { name: one.metadata.name, ..metadata };
        judge(what, targets.create(&dry_run(), &one).await, refused(fits))?;
    }
    for (what, metadata, fits) in sizes("v1") {
        let name = Some("sized".to_owned());
        let mut secret = Secret { metadata: ObjectMeta { name, ..metadata }, ..Secret::default() };
        judge(what, secrets.create(&dry_run(), &secret).await, None).context("a Secret that is not watched")?;
        let labels = secret.metadata.labels.get_or_insert_default();
        labels.insert("app.kubernetes.io/managed-by".to_owned(), "backup-target-operator".to_owned());
        judge(what, secrets.create(&dry_run(), &secret).await, refused(fits))?;
    }
    a_large_one_from_before_can_go(&place).await
}

/// Metadata of which each kind of entry is small or large, for objects of that version.
fn sizes(api_version: &str) -> Vec<(&'static str, ObjectMeta, bool)> {
    let many = |count: usize| (0..count).map(|number| format!("key-{number}"));
    let labels = |count| {
        let labels = Some(many(count).map(|key| (key, "v".repeat(60))).collect::<BTreeMap<_, _>>());
        ObjectMeta { labels, ..ObjectMeta::default() }
    };
    let annotation = |text: String| {
        let annotations = Some(BTreeMap::from([("a".to_owned(), text)]));
        ObjectMeta { annotations, ..ObjectMeta::default() }
    };
    let owner = OwnerReference {
        api_version: "v1".to_owned(),
        kind: "K".repeat(500_000),
        name: "x".to_owned(),
        uid: "x".to_owned(),
        ..OwnerReference::default()
    };
    let fields: serde_json::Map<String, Value> = many(30_000).map(|key| (format!("f:{key}"), json!({}))).collect();
    let fields = ManagedFieldsEntry {
        manager: Some("mine".to_owned()),
        operation: Some("Update".to_owned()),
        api_version: Some(api_version.to_owned()),
        fields_type: Some("FieldsV1".to_owned()),
        fields_v1: serde_json::from_value(json!({"f:metadata": {"f:labels": fields}})).ok(),
        ..ManagedFieldsEntry::default()
    };
    vec![
        ("some labels", labels(100), true),
        ("a large annotation", annotation("x".repeat(24_000)), true),
        ("14,000 labels", labels(14_000), false),
        ("annotations up to their limit", annotation("x".repeat(200_000)), false),
        ("as many bytes in fewer letters", annotation("\u{1f511}".repeat(10_000)), false),
        (
            "finalizers",
            ObjectMeta {
                finalizers: Some(many(20_000).map(|key| format!("a/{key}")).collect()),
                ..ObjectMeta::default()
            },
            false,
        ),
        ("an owner", ObjectMeta { owner_references: Some(vec![owner]), ..ObjectMeta::default() }, false),
        (
            "fields that nobody manages",
            ObjectMeta { managed_fields: Some(vec![fields]), ..ObjectMeta::default() },
            false,
        ),
    ]
}

/// One that is there from before the policy can be worked on, and go.
async fn a_large_one_from_before_can_go(place: &Place<'_>) -> Result<()> {
    let large: BTreeMap<_, _> = (0..1_000).map(|number| (format!("key-{number}"), "v".repeat(60))).collect();
    let metadata = json!({"labels": {"app.kubernetes.io/managed-by": "another"}, "annotations": large});
    let secrets = place.secrets(&place.tenant)?;
    create(&secrets, json!({"metadata": merged(json!({"name": "large", "finalizers": ["a/b"]}), metadata)})).await?;
    let ours = json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": "backup-target-operator"}}});
    secrets.patch("large", &PatchParams::default(), &Patch::Merge(&ours)).await.context("it is large already")?;
    let more = json!({"metadata": {"annotations": {"more": "x".repeat(2_000)}}});
    judge("still more", try_patch(&secrets, "large", &more).await, Some("may have 32 KiB in all"))?;
    secrets.delete("large", &DeleteParams::default()).await?;
    secrets.patch("large", &PatchParams::default(), &Patch::Merge(json!({"metadata": {"finalizers": null}}))).await?;
    Ok(())
}

fn merged(mut into: Value, fields: Value) -> Value {
    merge(&mut into, fields);
    into
}

async fn the_operators_account_writes_no_spec(world: Arc<World>) -> Result<()> {
    let lab = world.lab().await?;
    let place = Place::new(lab, "own-spec").await?;
    place.held("held").await?;
    let store = json!({"metadata": {"name": "own-spec"}, "spec": {"region": "eu-central-1", "allow": []}});
    create(&Api::<BackupStore>::all(lab.client.clone()), store).await?;
    let targets = place.targets(&operator())?;
    let stores = Api::<BackupStore>::all(lab.control_plane.client_as(&operator())?);
    let (spec, metadata) = (Some("never writes the spec"), Some("its own finalizer and annotation alone"));

    let everything = json!({"allow": [{"namespaces": {"names": ["x"]}, "buckets": ["my-backups"], "prefixes": [""]}]});
    for (what, patch, refused) in [
        ("rules", json!({"spec": everything}), spec),
        ("where the credentials are", json!({"spec": {"credentials": {"secretRef": {"name": "x"}}}}), spec),
        ("a label", json!({"metadata": {"labels": {"a": "b"}}}), metadata),
        ("an annotation", json!({"metadata": {"annotations": {"a": "b"}}}), metadata),
        ("its finalizer", json!({"metadata": {"finalizers": ["backup-target.dev/in-use"]}}), None),
    ] {
        judge(what, try_patch(&stores, "own-spec", &patch).await, refused)?;
    }
    for (what, patch, refused) in [
        ("another bucket", json!({"spec": {"bucket": "other-bucket"}}), spec),
        ("what happens in the end", json!({"spec": {"deletionPolicy": "Retain"}}), spec),
        ("a label", json!({"metadata": {"labels": {"a": "b"}}}), metadata),
        ("a finalizer of others", json!({"metadata": {"finalizers": [FINALIZER, "a/b"]}}), metadata),
        ("its finalizer off", json!({"metadata": {"finalizers": null}}), None),
        ("another intent", json!({"metadata": {"annotations": {INTENT: "{\"key\": 1}"}}}), None),
    ] {
        judge(what, try_patch(&targets, "held", &patch).await, refused)?;
    }
    Ok(())
}

/// A target as an owner.
fn owner(kind: Option<&str>) -> Value {
    json!({
        "apiVersion": "backup-target.dev/v1alpha1", "kind": kind.unwrap_or(&BackupTarget::kind(&())),
        "name": "held", "uid": "1", "controller": true,
    })
}

/// A Secret as the operator writes it, with other fields in metadata and others beside it.
fn secret(name: &str, metadata: Value, fields: Value) -> Result<Secret> {
    let metadata = merged(json!({"name": name, "ownerReferences": [owner(None)]}), metadata);
    let whole =
        json!({"metadata": metadata, "type": "Opaque", "data": {"rclone.conf": ByteString(b"[backup]".to_vec())}});
    Ok(serde_json::from_value(merged(whole, fields))?)
}

async fn the_operators_account_writes_secrets_of_targets_alone(world: Arc<World>) -> Result<()> {
    let place = Place::new(world.lab().await?, "own-secrets").await?;
    let (secrets, admin) = (place.secrets(&operator())?, place.secrets(ADMIN)?);
    let (form, foreign) =
        (Some("of the type Opaque, with rclone.conf and no other entry"), Some("that a BackupTarget owns"));
    let token = json!({"annotations": {"kubernetes.io/service-account.name": "default"}});
    let more = json!({"data": {"rclone.conf": ByteString(vec![]), "more": ByteString(vec![])}});
    // By such a label, others find what they take for their configuration.
    let found = json!({"labels": {"argocd.argoproj.io/secret-type": "cluster"}});
    for (what, made, refused) in [
        ("as it should be", secret("new", json!({}), json!({}))?, None),
        (
            "a token of a ServiceAccount",
            secret("new", token, json!({"type": "kubernetes.io/service-account-token", "data": null}))?,
            form,
        ),
        ("an entry that a webhook adds", secret("new", json!({}), more.clone())?, None),
        ("an entry for others to find", secret("new", found.clone(), more.clone())?, form),
        ("nobody's", secret("new", json!({"ownerReferences": null}), json!({}))?, form),
        ("a Deployment's", secret("new", json!({"ownerReferences": [owner(Some("Deployment"))]}), json!({}))?, form),
    ] {
        judge(what, secrets.create(&dry_run(), &made).await, refused)?;
    }

    let retained = json!({"ownerReferences": null, "labels": {"backup-target.dev/retained": "true"}});
    let other = json!({"data": {"rclone.conf": ByteString(b"[other]".to_vec())}});
    admin.create(&PostParams::default(), &secret("ours", json!({}), json!({}))?).await?;
    admin.create(&PostParams::default(), &secret("foreign", json!({"ownerReferences": null}), json!({}))?).await?;
    admin.create(&PostParams::default(), &secret("edited", json!({}), json!({"type": "mine/mine"}))?).await?;
    admin.create(&PostParams::default(), &secret("entries", found.clone(), more.clone())?).await?;
    for (what, put, refused) in [
        ("other content", secret("ours", json!({}), other.clone())?, None),
        ("let go", secret("ours", retained.clone(), json!({}))?, None),
        ("let go with other content", secret("ours", retained.clone(), other)?, form),
        ("let go without a word", secret("ours", json!({"ownerReferences": null}), json!({}))?, form),
        ("an entry that a webhook adds", secret("ours", json!({}), more.clone())?, None),
        ("an entry for others to find", secret("ours", found.clone(), more.clone())?, form),
        ("an entry that is there", secret("entries", found.clone(), more.clone())?, None),
        ("taking over a foreign one", secret("foreign", json!({}), json!({}))?, foreign),
        ("marking a foreign one", secret("foreign", retained, json!({}))?, foreign),
    ] {
        let name = put.metadata.name.clone().unwrap_or_default();
        judge(what, secrets.replace(&name, &dry_run(), &put).await, refused)?;
    }
    let only_ask = DeleteParams { dry_run: true, ..DeleteParams::default() };
    for (name, refused) in [("ours", None), ("edited", None), ("foreign", foreign)] {
        judge(name, secrets.delete(name, &only_ask).await, refused)?;
    }
    // Nobody else is kept from anything.
    judge("somebody else's Secret", admin.delete("foreign", &only_ask).await, None)
}
