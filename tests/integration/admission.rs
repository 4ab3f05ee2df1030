//! What a cluster's own admission does to the operator's Secrets: a quota, a policy, and webhooks that change what is written.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::{Context, Result, ensure};
use backup_target_operator::api::condition::READY;
use k8s_openapi::{
    ByteString,
    api::{
        admissionregistration::v1::{
            MutatingWebhookConfiguration, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
        },
        core::v1::ResourceQuota,
    },
};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use testbed::{tests, wait::wait_until, webhook::Webhook};

use crate::{
    space::{SOON, Space, create, message, principal, rclone_conf, record},
    world::World,
};

tests![
    a_quota_that_is_used_up_is_told_and_costs_no_key,
    a_policy_that_lets_no_secret_pass_is_told_and_costs_no_key,
    an_entry_that_a_webhook_adds_is_left_alone,
    a_webhook_that_changes_the_rclone_conf_is_told_and_not_fought,
];

fn created_keys(space: &Space) -> usize {
    space.iam_calls().iter().filter(|action| *action == "CreateAccessKey").count()
}

/// How often the operator wrote a Secret of the space.
fn written(space: &Space) -> usize {
    space.writes().iter().filter(|call| call.path.contains("/secrets")).count()
}

async fn a_quota_that_is_used_up_is_told_and_costs_no_key(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    let quotas = Api::<ResourceQuota>::namespaced(space.client.clone(), &space.namespace);
    let hard = json!({"count/secrets": "0"});
    create(&quotas, json!({"metadata": {"name": "few"}, "spec": {"hard": hard}})).await?;
    // No controller counts here.
    let counted = json!({"status": {"hard": hard, "used": {"count/secrets": "0"}}});
    quotas.patch_status("few", &PatchParams::default(), &Patch::Merge(counted)).await?;

    space.create_target("dataset-1", json!({})).await?;
    let stalled = space.until_stalled("dataset-1", "QuotaExceeded").await?;
    let told = message(&stalled, READY)?;
    ensure!(told.contains("ResourceQuota"), "{told}");
    space.poke("dataset-1").await?;
    ensure!(space.keys(&principal(&stalled)).await?.is_empty(), "a key is left");
    ensure!(created_keys(&space) == 0, "{} keys were created for nothing", created_keys(&space));

    quotas.delete("few", &DeleteParams::default()).await?;
    space.poke("dataset-1").await?;
    space.until_ready("dataset-1").await?;
    Ok(())
}

async fn a_policy_that_lets_no_secret_pass_is_told_and_costs_no_key(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    let policies = Api::<ValidatingAdmissionPolicy>::all(space.client.clone());
    let name = format!("no-secrets-{}", space.namespace);
    let rule =
        json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["secrets"]});
    let spec = json!({
        "matchConstraints": {
            "resourceRules": [rule],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": space.namespace}},
        },
        "validations": [{"expression": "false", "message": "as the test wants it"}],
    });
    create(&policies, json!({"metadata": {"name": name}, "spec": spec})).await?;
    let bindings = Api::<ValidatingAdmissionPolicyBinding>::all(space.client.clone());
    create(&bindings, json!({"metadata": {"name": name}, "spec": {"policyName": name, "validationActions": ["Deny"]}}))
        .await?;
    until_refused(&space).await?;

    space.create_target("dataset-1", json!({})).await?;
    let stalled = space.until_stalled("dataset-1", "NotAdmitted").await?;
    let told = message(&stalled, READY)?;
    ensure!(told.contains("webhook or policy") && !told.contains("as the test wants it"), "{told}");
    ensure!(created_keys(&space) == 0, "{} keys were created for nothing", created_keys(&space));
    bindings.delete(&name, &DeleteParams::default()).await?;
    policies.delete(&name, &DeleteParams::default()).await?;
    Ok(())
}

/// The API server takes a moment to know a new policy.
async fn until_refused(space: &Space) -> Result<()> {
    wait_until("the policy to be in force", SOON, async || {
        let secret = serde_json::from_value(json!({"metadata": {"name": "asked"}}))?;
        let asked = space.secrets().create(&PostParams { dry_run: true, ..PostParams::default() }, &secret).await;
        ensure!(asked.is_err(), "it is not");
        Ok(())
    })
    .await
}

/// Registers a webhook for the Secrets of a space, and waits until it is asked.
async fn register(space: &Space, webhook: &Webhook) -> Result<Api<MutatingWebhookConfiguration>> {
    let webhooks = Api::<MutatingWebhookConfiguration>::all(space.client.clone());
    let rule =
        json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["secrets"]});
    let webhook = json!({
        "name": "secrets.example.com",
        "clientConfig": {"url": webhook.url, "caBundle": ByteString(webhook.authority.clone().into_bytes())},
        "rules": [rule],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": space.namespace}},
        "admissionReviewVersions": ["v1"], "sideEffects": "None",
    });
    create(&webhooks, json!({"metadata": {"name": space.namespace}, "webhooks": [webhook]})).await?;
    wait_until("the webhook to be in force", SOON, async || {
        let asked = json!({"metadata": {"name": "asked"}, "data": {"rclone.conf": ByteString(b"asked".to_vec())}});
        let asked = serde_json::from_value(asked)?;
        let params = PostParams { dry_run: true, ..PostParams::default() };
        let answer = space.secrets().create(&params, &asked).await?;
        ensure!(answer.data != asked.data, "it is not");
        Ok(())
    })
    .await?;
    Ok(webhooks)
}

async fn an_entry_that_a_webhook_adds_is_left_alone(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    let webhook = Webhook::start(|_| json!([{"op": "add", "path": "/data/ca.crt", "value": "Zm9v"}])).await?;
    let webhooks = register(&space, &webhook).await?;
    space.create_target("dataset-1", json!({})).await?;
    space.until_ready("dataset-1").await?;
    space.rclone("dataset-1").await?.run(&["lsf", "backup:"]).await?.succeeded()?;
    space.poke("dataset-1").await?;
    space.until_ready("dataset-1").await?;
    ensure!(written(&space) == 1, "the Secret was written {} times", written(&space));
    let entries: BTreeMap<_, _> = space.secrets().get("dataset-1").await?.data.unwrap_or_default();
    ensure!(entries.keys().eq(["ca.crt", "rclone.conf"]), "{:?}", entries.keys());
    webhooks.delete(&space.namespace, &DeleteParams::default()).await?;
    Ok(())
}

async fn a_webhook_that_changes_the_rclone_conf_is_told_and_not_fought(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    let webhook = Webhook::start(|object| {
        let text: Option<ByteString> = serde_json::from_value(object["data"]["rclone.conf"].clone()).ok();
        let mut text = text.unwrap_or_default();
        text.0.extend(b"# scanned\n");
        let value: Value = serde_json::to_value(text).unwrap_or_default();
        json!([{"op": "replace", "path": "/data/rclone.conf", "value": value}])
    })
    .await?;
    let webhooks = register(&space, &webhook).await?;
    space.create_target("dataset-1", json!({})).await?;
    let stalled = space.until_stalled("dataset-1", "Contested").await?;
    let told = message(&stalled, READY)?;
    ensure!(told.contains("admission") && told.contains("rclone.conf"), "{told}");
    space.poke("dataset-1").await?;
    let stalled = space.until_stalled("dataset-1", "Contested").await?;
    ensure!(space.keys(&principal(&stalled)).await?.len() == 1 && created_keys(&space) == 1, "more keys than one");
    ensure!(written(&space) <= 4, "the Secret was written {} times", written(&space));

    webhooks.delete(&space.namespace, &DeleteParams::default()).await?;
    wait_until("the Secret to be put right", SOON, async || {
        space.poke("dataset-1").await?;
        let conf = rclone_conf(&space.secrets().get("dataset-1").await?).context("an rclone.conf")?;
        ensure!(!conf.contains("scanned"), "it is not");
        Ok(())
    })
    .await?;
    let ready = space.until_ready("dataset-1").await?;
    ensure!(record(&ready).keys.len() == 1, "the key was kept");
    Ok(())
}
