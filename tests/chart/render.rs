//! What Helm says of the chart and of values, without a cluster.

use std::{fs, sync::Arc};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use testbed::{
    install::{NAMESPACE, RELEASE, objects},
    tests,
    tools::project,
};

use crate::{
    helm::{Helm, chart, text, with_image},
    world::World,
};

tests![
    the_chart_is_in_order,
    mistakes_in_values_are_told,
    what_cannot_work_is_refused,
    a_registry_may_have_a_port,
    the_documents_build_the_image_that_the_chart_wants,
    another_version_of_the_chart_alone_replaces_no_pods,
    files_are_mounted_where_variables_name_them,
    the_user_of_the_process_may_be_the_clusters_choice,
    the_notes_say_what_to_do_next,
    the_notes_know_where_credentials_come_from,
    the_notes_show_a_target_that_the_values_allow,
];

async fn the_chart_is_in_order(_: Arc<World>) -> Result<()> {
    let said = Helm::offline()?.run(&["lint", "--strict", text(&chart())?]).await?.succeeded()?;
    ensure!(said.contains("0 chart(s) failed"), "{said}");
    Ok(())
}

/// A value, and what has to be in the message: where it is, and what is wrong with it.
async fn mistakes_in_values_are_told(_: Arc<World>) -> Result<()> {
    let cases = [
        (json!({"replica": 3}), "at '': additional properties 'replica' not allowed"),
        (json!({"replicas": "2"}), "at '/replicas': got string, want integer"),
        (json!({"replicas": 0}), "at '/replicas'"),
        (json!({"leaderElection": false}), "at '/leaderElection': got boolean, want object"),
        (
            json!({"leaderElection": {"enable": true}}),
            "at '/leaderElection': additional properties 'enable' not allowed",
        ),
        (json!({"namespaces": "team-a"}), "at '/namespaces': got string, want array"),
        (json!({"namespaces": ["Team_A"]}), "at '/namespaces/0': 'Team_A' does not match pattern"),
        (json!({"stores": ["default"]}), "at '/stores': got array, want object"),
        (json!({"stores": {"Main": {}}}), "at '/stores': additional properties 'Main' not allowed"),
        (json!({"image": {"tags": "1"}}), "at '/image': additional properties 'tags' not allowed"),
        (json!({"image": {"digest": "latest"}}), "at '/image/digest'"),
        (json!({"resync": "10"}), "at '/resync': '10' does not match pattern"),
        (json!({"resync": "0s"}), "at '/resync': '0s' does not match pattern"),
        (json!({"resync": "0h00m"}), "at '/resync': '0h00m' does not match pattern"),
        (json!({"fullnameOverride": "My_Name"}), "at '/fullnameOverride': 'My_Name' does not match pattern"),
        (json!({"nameOverride": "My_Name"}), "at '/nameOverride': 'My_Name' does not match pattern"),
        (json!({"image": {"repository": "a b"}}), "at '/image/repository': 'a b' does not match pattern"),
        (json!({"volumes": {"name": "ca"}}), "at '/volumes': got object, want array"),
        (json!({"volumeMounts": [{"name": "ca"}]}), "at '/volumeMounts/0': missing property 'mountPath'"),
        (json!({"podSecurityContext": {"runAsUser": 0}}), "at '/podSecurityContext/runAsUser'"),
        (
            json!({"podSecurityContext": {"runAsNonRoot": false}}),
            "at '/podSecurityContext': additional properties 'runAsNonRoot' not allowed",
        ),
        (json!({"concurrency": 0}), "at '/concurrency'"),
        (
            json!({"metrics": {"podMonitor": {"every": "1m"}}}),
            "at '/metrics/podMonitor': additional properties 'every'",
        ),
        (json!({"networkPolicy": {"egressPorts": [70000]}}), "at '/networkPolicy/egressPorts/0'"),
        (json!({"serviceAccount": {"annotation": {}}}), "at '/serviceAccount': additional properties 'annotation'"),
        (
            json!({"topologySpreadConstraints": [{"maxSkew": 1}]}),
            "at '/topologySpreadConstraints/0': missing properties",
        ),
        (json!({"env": [{"value": "x"}]}), "at '/env/0': missing property 'name'"),
    ];
    for (values, expected) in cases {
        let refused = refused(&values).await?;
        ensure!(refused.contains(expected), "{values}: {refused}");
    }
    Ok(())
}

/// Values of the right form, and what the message says about what to do.
async fn what_cannot_work_is_refused(_: Arc<World>) -> Result<()> {
    let both = json!({"serviceMonitor": {"enabled": true}, "podMonitor": {"enabled": true}});
    let cases = [
        (json!({"image": {"repository": ""}}), "image.repository is empty: build the image"),
        (json!({"image": {"repository": "reg/x:1.0"}}), "image.repository is reg/x:1.0: leave the tag out"),
        (json!({"image": {"repository": "reg:5000/x:1.0"}}), "image.repository is reg:5000/x:1.0: leave the tag out"),
        (json!({"image": {"repository": "reg/x@sha256:0"}}), "image.repository is reg/x@sha256:0: leave the tag out"),
        (json!({"leaderElection": {"enabled": false}}), "Set replicas to 1, or leave leaderElection.enabled at true"),
        (
            json!({"env": [{"name": "WATCH_NAMESPACES", "value": "a"}]}),
            "the chart sets WATCH_NAMESPACES by itself; use namespaces instead",
        ),
        (
            json!({
                "env": [{"name": "WATCH_LABEL_SELECTOR", "value": "shard=a"}],
                "stores": {"default": {"region": "eu-central-1", "allow": []}},
            }),
            "Apply them with kubectl, labels included",
        ),
        (json!({"serviceAccount": {"create": false}}), "name a ServiceAccount that is there"),
        (
            json!({"serviceAccount": {"create": false, "name": "x", "annotations": {"a": "b"}}}),
            "annotate the ServiceAccount itself, or let the chart create it",
        ),
        (json!({"metrics": both}), "Prometheus would read each pod twice"),
    ];
    for (values, expected) in cases {
        let refused = refused(&values).await?;
        ensure!(refused.contains(expected), "{values}: {refused}");
    }
    Ok(())
}

async fn a_registry_may_have_a_port(_: Arc<World>) -> Result<()> {
    let deployment = only("Deployment", &json!({"image": {"repository": "reg:5000/x"}})).await?;
    let image = &deployment["spec"]["template"]["spec"]["containers"][0]["image"];
    ensure!(image == concat!("reg:5000/x:", env!("CARGO_PKG_VERSION")), "{image}");
    Ok(())
}

async fn the_documents_build_the_image_that_the_chart_wants(_: Arc<World>) -> Result<()> {
    let tag = concat!("REGISTRY/backup-target-operator:", env!("CARGO_PKG_VERSION"));
    for (document, option) in
        [("README.md", "--tag"), ("docs/administrator.md", "--tag"), ("docs/administrator.md", "--manifest")]
    {
        let text = fs::read_to_string(project().join(document))?;
        ensure!(text.contains(&format!("{option} {tag} ")), "no build in {document} has {option} {tag}");
    }
    let deployment = only("Deployment", &json!({"image": {"repository": "REGISTRY/backup-target-operator"}})).await?;
    let image = &deployment["spec"]["template"]["spec"]["containers"][0]["image"];
    ensure!(image == tag, "the chart wants {image}");
    Ok(())
}

/// Flux gives the chart another version with each commit of its repository.
async fn another_version_of_the_chart_alone_replaces_no_pods(_: Arc<World>) -> Result<()> {
    let helm = Helm::offline()?;
    let folder = tempfile::TempDir::new()?;
    let (chart, into) = (chart(), text(folder.path())?);
    helm.run(&["package", text(&chart)?, "--version", "9.9.9+abc", "--destination", into]).await?.succeeded()?;
    let package = folder.path().join(format!("{RELEASE}-9.9.9+abc.tgz"));
    let other = helm.render_as(RELEASE, NAMESPACE, &package, &json!({})).await?;
    let other = other.into_iter().find(|object| object["kind"] == "Deployment").context("no Deployment")?;
    let ours = only("Deployment", &json!({})).await?;
    ensure!(other["metadata"] != ours["metadata"], "the version of the chart is nowhere");
    ensure!(other["spec"]["template"] == ours["spec"]["template"], "the pods would be replaced");
    Ok(())
}

async fn files_are_mounted_where_variables_name_them(_: Arc<World>) -> Result<()> {
    let values = json!({
        "volumes": [{"name": "ca-bundle", "configMap": {"name": "ca-bundle"}}],
        "volumeMounts": [{"name": "ca-bundle", "mountPath": "/etc/ca-bundle", "readOnly": true}],
        "env": [{"name": "AWS_CA_BUNDLE", "value": "/etc/ca-bundle/ca.crt"}],
    });
    let deployment = only("Deployment", &values).await?;
    let check = only("Pod", &values).await?;
    for spec in [&deployment["spec"]["template"]["spec"], &check["spec"]] {
        let container = &spec["containers"][0];
        ensure!(spec["volumes"] == values["volumes"], "{spec}");
        ensure!(container["volumeMounts"] == values["volumeMounts"], "{container}");
        let variables = container["env"].as_array().context("no variables")?;
        ensure!(variables.contains(&values["env"][0]), "{container}");
    }
    Ok(())
}

/// OpenShift gives each namespace a user of its own and refuses every other.
async fn the_user_of_the_process_may_be_the_clusters_choice(_: Arc<World>) -> Result<()> {
    let values = json!({"podSecurityContext": {"runAsUser": null, "runAsGroup": null}});
    let strict = json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}});
    let (deployment, check) = (only("Deployment", &values).await?, only("Pod", &values).await?);
    for spec in [&deployment["spec"]["template"]["spec"], &check["spec"]] {
        ensure!(spec["securityContext"] == strict, "{spec}");
    }
    Ok(())
}

async fn the_notes_say_what_to_do_next(_: Arc<World>) -> Result<()> {
    let plain = notes(&json!({})).await?;
    for step in ["create secret generic aws-credentials", "kind: BackupStore", "kind: BackupTarget", "create namespace"]
    {
        ensure!(plain.contains(step), "{step} is missing: {plain}");
    }
    let store = json!({"credentials": {"secretRef": {"name": "keys"}}, "allow": []});
    let stores = json!({"stores": {"main": store}, "namespaces": ["team-a"]});
    let complete = notes(&stores).await?;
    for step in
        ["Run the same command once more", "create secret generic keys", r#"storeRef: { name: "main" }"#, "team-a"]
    {
        ensure!(complete.contains(step), "{step} is missing: {complete}");
    }
    ensure!(!complete.contains("kind: BackupStore"), "{complete}");
    Ok(())
}

async fn the_notes_know_where_credentials_come_from(_: Arc<World>) -> Result<()> {
    let role = json!({"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::123456789012:role/operator"}});
    let with_secret = |name: &str| json!({"credentials": {"secretRef": {"name": name}}, "allow": []});
    let plain = json!({"allow": []});
    let (nothing, create) = ("nothing to do", "create secret generic");
    // What the notes have to say, and what not.
    let cases = [
        (json!({"serviceAccount": role}), vec![nothing], vec![create, "credentials:"]),
        (json!({"serviceAccount": role, "stores": {"default": plain}}), vec![nothing], vec![create]),
        (
            json!({"serviceAccount": role, "stores": {"a": with_secret("keys")}}),
            vec!["create secret generic keys"],
            vec![nothing],
        ),
        (
            json!({"serviceAccount": role, "stores": {"a": with_secret("keys"), "b": plain}}),
            vec!["create secret generic keys", "nothing to do for b"],
            vec![],
        ),
        (
            json!({"stores": {"a": with_secret("one"), "b": with_secret("two"), "c": plain}}),
            vec!["create secret generic one", "create secret generic two", "stores without a Secret (c) need a role"],
            vec![nothing],
        ),
        (
            json!({"serviceAccount": {"create": false, "name": "existing"}}),
            vec!["ServiceAccount existing with a role", create],
            vec![nothing, "serviceAccount.annotations"],
        ),
    ];
    for (values, says, says_not) in cases {
        let notes = notes(&values).await?;
        for text in says {
            ensure!(notes.contains(text), "{values}: {text} is missing: {notes}");
        }
        for text in says_not {
            ensure!(!notes.contains(text), "{values}: {text} is there: {notes}");
        }
    }
    Ok(())
}

async fn the_notes_show_a_target_that_the_values_allow(_: Arc<World>) -> Result<()> {
    let rule = json!({"namespaces": {"names": ["team-a", "team-b"]}, "buckets": ["one", "two"], "prefixes": ["x/{namespace}/"]});
    let stores = json!({"main": {"allow": [rule]}});
    let by_label = json!({"main": {"allow": [{"namespaces": {"matchLabels": {"backup": "yes"}}, "buckets": ["one"]}]}});
    let cases = [
        (json!({"stores": stores}), "team-a", "one", "x/team-a/dataset-1/"),
        (json!({"stores": {"a": {"allow": []}, "main": stores["main"]}}), "team-a", "one", "x/team-a/dataset-1/"),
        (json!({"stores": stores, "namespaces": ["team-b"]}), "team-b", "one", "x/team-b/dataset-1/"),
        (json!({"stores": by_label}), "backups", "one", "clusters/prod/backups/dataset-1/"),
        (json!({"stores": {"main": {"allow": []}}}), "backups", "my-backups", "clusters/prod/backups/dataset-1/"),
    ];
    for (values, namespace, bucket, prefix) in cases {
        let notes = notes(&values).await?;
        let target =
            notes.split("<<'EOF'").nth(1).and_then(|rest| rest.split("\nEOF\n").next()).context("no example")?;
        let [target] = <[Value; 1]>::try_from(objects(target)?).ok().context("not one object")?;
        ensure!(target["metadata"]["namespace"] == namespace, "{values}: {target}");
        ensure!(
            target["spec"] == json!({"storeRef": {"name": "main"}, "bucket": bucket, "prefix": prefix}),
            "{values}: {target}"
        );
    }
    Ok(())
}

/// The only object of that kind that these values make.
async fn only(kind: &str, values: &Value) -> Result<Value> {
    let objects = Helm::offline()?.render(values).await?;
    objects.into_iter().find(|object| object["kind"] == kind).with_context(|| format!("there is no {kind}"))
}

/// What Helm complains about.
async fn refused(values: &Value) -> Result<String> {
    let helm = Helm::offline()?;
    let file = helm.values("values.yaml", &with_image(values))?;
    let ran = helm.run(&["template", RELEASE, text(&chart())?, "--values", text(&file)?]).await?;
    ensure!(ran.code != Some(0), "Helm takes {values}");
    Ok(ran.stderr)
}

async fn notes(values: &Value) -> Result<String> {
    let helm = Helm::offline()?;
    let file = helm.values("values.yaml", &with_image(values))?;
    let chart = chart();
    let arguments = ["install", RELEASE, text(&chart)?, "--dry-run=client", "--values", text(&file)?];
    let said = helm.run(&arguments).await?.succeeded()?;
    Ok(said.split_once("NOTES:").map(|(_, notes)| notes.to_owned()).unwrap_or_default())
}
