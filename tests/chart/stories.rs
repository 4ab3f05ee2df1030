//! Installing, upgrading and removing the operator, as the documents tell it, with targets that live through it.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use backup_target_operator::api::{BackupStore, BackupTarget};
use k8s_openapi::{
    api::{
        core::v1::{Namespace, Secret, ServiceAccount},
        rbac::v1::{ClusterRole, Role, RoleBinding},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use testbed::{
    install::{NAMESPACE, RELEASE, apply},
    objects::{create, is_ready, principal, record, status},
    operator::Options,
    rights::{may, until_may},
    tests,
    wait::wait_until,
};

use crate::{
    helm::text,
    history::Former,
    lab::{BUCKET, Lab},
    life::Life,
    rights,
    world::World,
};

tests![
    an_upgrade_changes_no_key_and_removal_leaves_what_users_have,
    one_file_of_values_is_a_complete_install_for_named_namespaces,
];

const PATIENCE: Duration = Duration::from_mins(1);

async fn an_upgrade_changes_no_key_and_removal_leaves_what_users_have(_: Arc<World>) -> Result<()> {
    let lab = Lab::start("chart-upgrade").await?;
    let former = Former::fetch().await?;
    lab.install_chart(&former.chart()?, &[]).await?;
    lab.write_credentials().await?;
    let mut operator = lab.operator(Options::default()).await?;
    lab.create_namespace("backups").await?;
    let stores = Api::<BackupStore>::all(lab.client.clone());
    create(&stores, json!({"metadata": {"name": "default"}, "spec": lab.store_spec(&["backups"])})).await?;
    create_target(&lab, "backups").await?;
    let before = until_ready(&lab, "backups").await?;
    let secrets = Api::<Secret>::namespaced(lab.client.clone(), "backups");
    let secret = secrets.get("dataset-1").await?;

    let life = Life::record(&lab.client, "backups", "dataset-1");
    operator.stop();
    lab.helm.run_as_written_in("README.md", "helm upgrade --install backup-target-operator").await?.succeeded()?;
    operator.restart().await?;
    // A change shows that the operator has looked at the target since.
    patch_capabilities(&lab, "backups", &["MultipartUploads"]).await?;
    let after = until_ready(&lab, "backups").await?;
    ensure!(record(&after).access_key_id == record(&before).access_key_id, "the upgrade cost a key");
    for state in life.states().into_iter().filter(|state| state["metadata"]["generation"] == json!(1)) {
        ensure!(is_ready(&serde_json::from_value(state.clone())?), "the upgrade cost readiness: {state}");
    }
    let untouched = secrets.get("dataset-1").await?;
    ensure!(untouched.data == secret.data, "the upgrade changed the Secret");

    operator.stop();
    lab.helm.run(&["uninstall", RELEASE]).await?.succeeded()?;
    let roles = Api::<ClusterRole>::all(lab.client.clone());
    let ours = ListParams::default().labels(&format!("app.kubernetes.io/instance={RELEASE}"));
    ensure!(roles.list(&ours).await?.items.is_empty(), "its rights are left");
    let accounts = Api::<ServiceAccount>::namespaced(lab.client.clone(), NAMESPACE);
    ensure!(accounts.get_opt(RELEASE).await?.is_none(), "its account is left");
    let kept = Api::<CustomResourceDefinition>::all(lab.client.clone()).list(&ours).await?;
    ensure!(kept.items.len() == 2, "a definition went, and all its objects with it");
    let target = targets(&lab, "backups").get("dataset-1").await?;
    ensure!(is_ready(&target) && secrets.get_opt("dataset-1").await?.is_some(), "a target or its Secret went");
    ensure!(lab.aws.iam.get_user().user_name(principal(&target)).send().await.is_ok(), "the IAM user went");

    lab.install(&[]).await.context("what was left is in the way of installing it again")?;
    let _operator = lab.operator(Options::default()).await?;
    patch_capabilities(&lab, "backups", &[]).await?;
    let again = until_ready(&lab, "backups").await?;
    ensure!(record(&again).access_key_id == record(&before).access_key_id, "installing it again cost a key");
    Ok(())
}

async fn one_file_of_values_is_a_complete_install_for_named_namespaces(_: Arc<World>) -> Result<()> {
    let lab = Lab::start("chart-namespaces").await?;
    for namespace in ["team-a", "team-b", "team-c"] {
        lab.create_namespace(namespace).await?;
    }
    let store = lab.store_spec(&["team-a", "team-b", "team-c"]);
    let values = json!({"namespaces": ["team-a", "team-b"], "stores": {"default": store}});
    let file = lab.helm.values("complete.yaml", &values)?;
    let stores = Api::<BackupStore>::all(lab.client.clone());

    let first = lab.install(&["--values", text(&file)?]).await?;
    ensure!(first.contains("Run the same command once more"), "{first}");
    let again = lab.install(&["--values", text(&file)?]).await?;
    ensure!(!again.contains("Run the same command once more"), "{again}");
    stores.get("default").await.context("the store of the values is not there")?;

    let early = lab.check("1s").await?;
    let says = "error: BackupStore default is not ready: no operator has looked at it as it is now";
    ensure!(early.code == Some(1) && early.stderr.starts_with(says), "{early:?}");
    lab.write_credentials().await?;
    // What the Deployment has in its environment.
    let mut operator = lab.operator(Options::default().env("WATCH_NAMESPACES", "team-a,team-b")).await?;
    let checked = lab.check("60s").await?.succeeded()?;
    ensure!(checked.starts_with("BackupStore default is ready: the credentials work"), "{checked}");
    for namespace in ["team-a", "team-b", "team-c"] {
        create_target(&lab, namespace).await?;
    }
    for namespace in ["team-a", "team-b"] {
        until_ready(&lab, namespace).await?;
        patch_capabilities(&lab, namespace, &["MultipartUploads"]).await?;
        until_ready(&lab, namespace).await?;
    }
    // A Secret that somebody deletes shows that Secrets are watched there.
    let secrets = Api::<Secret>::namespaced(lab.client.clone(), "team-b");
    let lost = secrets.get("dataset-1").await?;
    secrets.delete("dataset-1", &DeleteParams::default()).await?;
    wait_until("the Secret to come back", PATIENCE, async || {
        let found = secrets.get("dataset-1").await?;
        ensure!(found.uid() != lost.uid(), "it is the old one");
        Ok(())
    })
    .await?;
    let elsewhere = targets(&lab, "team-c").get("dataset-1").await?;
    ensure!(elsewhere.finalizers().is_empty() && status(&elsewhere).observed_generation == Some(-1));
    until_store_counts(&stores, 2).await?;

    let who = rights::operator();
    for verb in ["get", "list", "watch", "create", "update", "delete", "patch"] {
        for namespace in ["team-c", "kube-system", ""] {
            ensure!(
                !may(&lab.client, &who, verb, "", "secrets", namespace).await?,
                "it may {verb} Secrets in {namespace}"
            );
        }
    }

    its_administrator_leaves_the_operators_rights(&lab, "team-a").await?;
    a_namespace_goes(&lab, "team-b").await?;
    operator.stop();
    operator.restart().await.context("a namespace that is gone keeps the operator from its work")?;
    patch_capabilities(&lab, "team-a", &[]).await?;
    until_ready(&lab, "team-a").await?;
    until_store_counts(&stores, 1).await
}

/// Who may do everything in a namespace, with what else he has there, may not take the operator's right away.
async fn its_administrator_leaves_the_operators_rights(lab: &Lab, namespace: &str) -> Result<()> {
    let group = "rbac.authorization.k8s.io";
    let metadata = json!({"name": "administrator", "namespace": namespace});
    let everything = json!([{"apiGroups": [group], "resources": ["roles", "rolebindings"], "verbs": ["*"]}]);
    let role = json!({"apiVersion": format!("{group}/v1"), "kind": "Role", "metadata": metadata, "rules": everything});
    apply(&lab.client, role).await?;
    let binding = json!({
        "apiVersion": format!("{group}/v1"), "kind": "RoleBinding", "metadata": metadata,
        "roleRef": {"apiGroup": group, "kind": "Role", "name": "administrator"},
        "subjects": [{"apiGroup": group, "kind": "User", "name": "administrator"}],
    });
    apply(&lab.client, binding).await?;
    until_may(&lab.client, "administrator", "delete", group, "roles", namespace).await?;
    let client = lab.control_plane.client_as("administrator")?;
    let bindings = Api::<RoleBinding>::namespaced(client.clone(), namespace);
    let roles = Api::<Role>::namespaced(client, namespace);
    let (name, all) = (format!("{RELEASE}-targets"), ListParams::default());
    let nothing = json!({"rules": []});
    for refused in [
        bindings.delete(&name, &DeleteParams::default()).await.err(),
        bindings
            .delete_collection(&DeleteParams::default(), &all.clone().fields(&format!("metadata.name={name}")))
            .await
            .err(),
        roles.delete(&name, &DeleteParams::default()).await.err(),
        roles.patch(&name, &PatchParams::default(), &Patch::Merge(nothing)).await.err(),
    ] {
        let refused = refused.context("the operator's right was taken away")?;
        ensure!(refused.to_string().contains("cannot give the BackupTargets of this namespace"), "{refused}");
    }
    roles.delete("administrator", &DeleteParams::default()).await.context("what is his own may go")?;
    Ok(())
}

/// In the order that is the worst for the operator: its right to the Secrets goes first.
async fn a_namespace_goes(lab: &Lab, name: &str) -> Result<()> {
    let target = targets(lab, name).get("dataset-1").await?;
    Api::<Namespace>::all(lab.client.clone()).delete(name, &DeleteParams::default()).await?;
    let bindings = Api::<RoleBinding>::namespaced(lab.client.clone(), name);
    bindings.delete(&format!("{RELEASE}-targets"), &DeleteParams::default()).await?;
    wait_until("the right to be gone", PATIENCE, async || {
        ensure!(!may(&lab.client, &rights::operator(), "get", "", "secrets", name).await?, "it is there");
        Ok(())
    })
    .await?;
    targets(lab, name).delete("dataset-1", &DeleteParams::default()).await?;
    wait_until("the target to be gone", PATIENCE, async || {
        let found = targets(lab, name).get_opt("dataset-1").await?;
        ensure!(found.is_none(), "{}", serde_json::to_string(&found)?);
        Ok(())
    })
    .await?;
    let user = lab.aws.iam.get_user().user_name(principal(&target)).send().await;
    ensure!(user.is_err(), "its IAM user lives on");
    Ok(())
}

async fn create_target(lab: &Lab, namespace: &str) -> Result<()> {
    let spec = json!({"bucket": BUCKET, "prefix": format!("{namespace}/dataset-1/")});
    create(&targets(lab, namespace), json!({"metadata": {"name": "dataset-1"}, "spec": spec})).await?;
    Ok(())
}

async fn patch_capabilities(lab: &Lab, namespace: &str, capabilities: &[&str]) -> Result<()> {
    let patch: Value = json!({"spec": {"capabilities": capabilities}});
    targets(lab, namespace).patch("dataset-1", &PatchParams::default(), &Patch::Merge(patch)).await?;
    Ok(())
}

async fn until_ready(lab: &Lab, namespace: &str) -> Result<BackupTarget> {
    wait_until(&format!("the target in {namespace} to be ready"), PATIENCE, async || {
        let target = targets(lab, namespace).get("dataset-1").await?;
        let current = status(&target).observed_generation == target.metadata.generation;
        ensure!(current && is_ready(&target), "{}", serde_json::to_string(&target.status)?);
        Ok(target)
    })
    .await
}

async fn until_store_counts(stores: &Api<BackupStore>, count: i64) -> Result<()> {
    wait_until("the store to count its targets", PATIENCE, async || {
        let counted = stores.get("default").await?.status.and_then(|status| status.targets);
        ensure!(counted == Some(count), "{counted:?}");
        Ok(())
    })
    .await
}

fn targets(lab: &Lab, namespace: &str) -> Api<BackupTarget> {
    Api::namespaced(lab.client.clone(), namespace)
}
