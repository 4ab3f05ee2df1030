//! The API server takes what the chart renders, whatever the values.

use std::{collections::BTreeSet, sync::Arc};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, api::PostParams};
use serde_json::{Value, json};
use testbed::{
    install::{NAMESPACE, RELEASE, crds, objects, try_to_apply},
    objects::merge,
    tests,
    tools::project,
};

use crate::{
    helm::{Helm, chart},
    world::World,
};

tests![every_combination_of_values_is_taken, names_that_look_like_numbers_are_names, a_pod_that_may_do_more_is_refused];

/// Values that others may make a difference to: each choice is combined with each choice of the others.
fn choices() -> Vec<Vec<Value>> {
    let store = json!({"region": "eu-central-1", "allow": []});
    vec![
        vec![json!({}), json!({"namespaces": ["team-a", "team-b"]})],
        vec![
            json!({}),
            json!({"leaderElection": {"flowSchema": true}}),
            json!({"leaderElection": {"enabled": false}, "replicas": 1}),
        ],
        vec![json!({}), json!({"serviceAccount": {"create": false, "name": "existing"}})],
        vec![json!({}), json!({"stores": {"default": store, "second": store}})],
        vec![less(), everything()],
    ]
}

/// Values that take something away, among them the user of the process, as OpenShift wants it.
fn less() -> Value {
    json!({
        "podDisruptionBudget": false,
        "secretWatch": false,
        "aggregatedRoles": false,
        "crds": {"enabled": false},
        "podSecurityContext": {"runAsUser": null, "runAsGroup": null},
        "metrics": {"service": {"enabled": false}, "podMonitor": {"enabled": true}},
    })
}

/// Values that only add something.
fn everything() -> Value {
    json!({
        "fullnameOverride": "x".repeat(63),
        "image": {"digest": format!("sha256:{}", "0".repeat(64))},
        "imagePullSecrets": [{"name": "registry"}],
        "clusterId": "prod",
        "env": [
            {"name": "HTTPS_PROXY", "value": "http://proxy.example.com:3128"},
            {"name": "AWS_CA_BUNDLE", "value": "/etc/ca-bundle/ca.crt"},
        ],
        "volumes": [{"name": "ca-bundle", "configMap": {"name": "ca-bundle"}}],
        "volumeMounts": [{"name": "ca-bundle", "mountPath": "/etc/ca-bundle", "readOnly": true}],
        "crds": {"keep": false},
        "metrics": {
            "service": {"annotations": {"a": "b"}},
            "serviceMonitor": {"enabled": true, "labels": {"release": "prometheus"}},
            "alerts": {"enabled": true, "labels": {"release": "prometheus"}},
            "dashboard": {"enabled": true, "annotations": {"grafana_folder": "Backups"}},
        },
        "networkPolicy": {
            "enabled": true,
            "metricsFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
            "extraEgress": [{"to": [{"ipBlock": {"cidr": "169.254.170.23/32"}}], "ports": [{"port": 80, "protocol": "TCP"}]}],
        },
        "podAnnotations": {"a": "b"},
        "podLabels": {"a": "b"},
        "nodeSelector": {"kubernetes.io/arch": "amd64"},
        "tolerations": [{"key": "infra", "operator": "Exists", "effect": "NoSchedule"}],
        "affinity": {"nodeAffinity": {}},
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule"},
        ],
        "priorityClassName": "system-cluster-critical",
    })
}

fn combinations() -> Vec<Value> {
    choices().into_iter().fold(vec![json!({})], |all, choice| {
        let with = |values: &Value, more: Value| {
            let mut values = values.clone();
            merge(&mut values, more);
            values
        };
        all.iter().flat_map(|values| choice.iter().map(|more| with(values, more.clone()))).collect()
    })
}

async fn every_combination_of_values_is_taken(world: Arc<World>) -> Result<()> {
    let lab = world.lab().await?;
    crds(&lab.client, &project().join("tests/chart/monitoring")).await?;
    for namespace in ["team-a", "team-b", "default"] {
        lab.create_namespace(namespace).await?;
    }
    let offline = Helm::offline()?;
    let mut seen = BTreeSet::new();
    for values in combinations() {
        let objects = offline.render(&values).await.with_context(|| values.to_string())?;
        for object in objects.into_iter().filter(|object| seen.insert(object.to_string())) {
            match object["kind"].as_str() {
                Some("Deployment") => try_pod(&lab.client, &object["spec"]["template"]).await,
                Some("Pod") => {
                    try_pod(&lab.client, &object).await.with_context(|| values.to_string())?;
                    continue;
                }
                _ => Ok(()),
            }
            .with_context(|| values.to_string())?;
            let what = format!("{} {}", object["kind"], object["metadata"]["name"]);
            // As an upgrade of the release that is there.
            try_to_apply(&lab.client, object, "helm").await.with_context(|| format!("{what} with {values}"))?;
        }
    }
    ensure!(seen.len() > combinations().len(), "only {} objects were looked at", seen.len());
    for kind in
        ["BackupStore", "ConfigMap", "FlowSchema", "NetworkPolicy", "PodMonitor", "PrometheusRule", "ServiceMonitor"]
    {
        let of_that_kind = format!("\"kind\":\"{kind}\"");
        ensure!(seen.iter().any(|object| object.contains(&of_that_kind)), "no values made a {kind}");
    }
    Ok(())
}

/// In YAML, `123`, `1e3` and `0x10` are numbers unless they are quoted, and the API server takes no numbers for names.
async fn names_that_look_like_numbers_are_names(world: Arc<World>) -> Result<()> {
    let lab = world.lab().await?;
    crds(&lab.client, &project().join("tests/chart/monitoring")).await?;
    for namespace in ["2024", "default"] {
        lab.create_namespace(namespace).await?;
    }
    let of_the_release = json!({"crds": {"enabled": false}, "priorityClassName": "5"});
    let mut of_the_values = everything();
    merge(&mut of_the_values, of_the_release.clone());
    merge(
        &mut of_the_values,
        json!({"fullnameOverride": "1e3", "nameOverride": "42", "serviceAccount": {"name": "0x10"}}),
    );
    for mut values in [of_the_release, of_the_values] {
        let store = json!({"region": "eu-central-1", "allow": []});
        merge(
            &mut values,
            json!({"namespaces": ["2024"], "stores": {"7": store}, "leaderElection": {"flowSchema": true}}),
        );
        for object in Helm::offline()?.render_as("123", "2024", &chart(), &values).await? {
            let what = format!("{} {}", object["kind"], object["metadata"]["name"]);
            ensure!(object["metadata"]["name"].is_string(), "{what} has a number for a name");
            // A pod is only taken when its account is there; the Deployment has the same fields.
            if object["kind"] != "Pod" {
                try_to_apply(&lab.client, object, "helm").await.with_context(|| format!("{what} with {values}"))?;
            }
        }
    }
    Ok(())
}

/// Otherwise the namespace's standard would not be what took the pods.
async fn a_pod_that_may_do_more_is_refused(world: Arc<World>) -> Result<()> {
    let lab = world.lab().await?;
    let rendered = objects(&std::fs::read_to_string(project().join("tests/chart/defaults.yaml"))?)?;
    let deployment = rendered.into_iter().find(|object| object["kind"] == "Deployment").context("no Deployment")?;
    for part in ["/spec/securityContext", "/spec/containers/0/securityContext"] {
        let mut template = deployment["spec"]["template"].clone();
        *template.pointer_mut(part).context("no security context")? = json!({});
        let refused = try_pod(&lab.client, &template).await;
        let refused = refused.err().with_context(|| format!("a pod without {part} was taken"))?;
        ensure!(format!("{refused:#}").contains("violates PodSecurity"), "{refused:#}");
    }
    Ok(())
}

/// The pod itself: a namespace's standard only warns about what makes pods.
async fn try_pod(client: &Client, template: &Value) -> Result<()> {
    let mut template = template.clone();
    template["metadata"]["generateName"] = json!("try-");
    // The account is another matter: where the chart does not make one, it is there before.
    template["spec"]["serviceAccountName"] = json!(RELEASE);
    let pod: Pod = serde_json::from_value(template)?;
    let pods = Api::<Pod>::namespaced(client.clone(), NAMESPACE);
    pods.create(&PostParams { dry_run: true, ..PostParams::default() }, &pod).await?;
    Ok(())
}
