//! What the chart lets users do, and where it lets the operator do what.

use std::{collections::BTreeSet, sync::Arc};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use testbed::{
    install::{NAMESPACE, RELEASE, apply},
    rights::{may, until_may},
    tests,
};

use crate::{helm::Helm, world::World};

tests![users_get_targets_and_nothing_of_the_operator, with_named_namespaces_no_secret_elsewhere_can_be_read];

/// Whom the API server takes the operator for.
pub fn operator() -> String {
    format!("system:serviceaccount:{NAMESPACE}:{RELEASE}")
}

async fn users_get_targets_and_nothing_of_the_operator(world: Arc<World>) -> Result<()> {
    let client = &world.lab().await?.client;
    for (user, role) in [("viewer", "view"), ("editor", "edit")] {
        // Kubernetes' own controller would copy these rules into the cluster's roles of that name.
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": user, "namespace": "default"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": format!("{RELEASE}-{role}")},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
        });
        apply(client, binding).await?;
    }
    for (user, verb) in [("viewer", "get"), ("editor", "create")] {
        until_may(client, user, verb, "backup-target.dev", "backuptargets", "default").await?;
    }
    let allowed = async |user, verb, resource| may(client, user, verb, "backup-target.dev", resource, "default").await;
    for verb in ["get", "list", "watch"] {
        ensure!(allowed("viewer", verb, "backuptargets").await?, "a viewer may not {verb}");
    }
    for verb in ["create", "update", "patch", "delete", "deletecollection"] {
        ensure!(allowed("editor", verb, "backuptargets").await?, "an editor may not {verb}");
        ensure!(!allowed("viewer", verb, "backuptargets").await?, "a viewer may {verb}");
        for resource in ["backuptargets/status", "backuptargets/finalizers", "backupstores", "backupstores/status"] {
            ensure!(!allowed("editor", verb, resource).await?, "an editor may {verb} {resource}");
        }
        ensure!(
            !may(client, "editor", verb, "", "secrets", "default").await?,
            "an editor may {verb} Secrets by our role"
        );
    }
    Ok(())
}

async fn with_named_namespaces_no_secret_elsewhere_can_be_read(_: Arc<World>) -> Result<()> {
    let objects =
        Helm::offline()?.render(&json!({"namespaces": ["team-a", "team-b"], "aggregatedRoles": false})).await?;
    let of_kind = |kind: &'static str| objects.iter().filter(move |object| object["kind"] == kind);
    let wide: BTreeSet<&str> = of_kind("ClusterRole").flat_map(resources).collect();
    let ours =
        ["backupstores", "backupstores/status", "backuptargets", "backuptargets/finalizers", "backuptargets/status"];
    ensure!(wide == ours.into_iter().chain(["namespaces"]).collect(), "{wide:?}");
    let namespaces = of_kind("ClusterRole").flat_map(|role| role["rules"].as_array().into_iter().flatten());
    let named = namespaces.filter(|rule| rule["resources"] == json!(["namespaces"])).map(|rule| &rule["resourceNames"]);
    ensure!(named.eq([&json!(["kube-system", "team-a", "team-b"])]));
    let with_secrets = of_kind("Role").filter(|role| resources(role).contains(&"secrets"));
    let places: BTreeSet<&str> = with_secrets.filter_map(|role| role["metadata"]["namespace"].as_str()).collect();
    ensure!(places == BTreeSet::from([NAMESPACE, "team-a", "team-b"]), "{places:?}");
    Ok(())
}

fn resources(role: &Value) -> Vec<&str> {
    let rules = role["rules"].as_array().into_iter().flatten();
    rules.flat_map(|rule| rule["resources"].as_array().into_iter().flatten()).filter_map(Value::as_str).collect()
}
