//! What Helm says of the chart and of values, without a cluster.

use std::sync::Arc;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::{
    helm::{Helm, chart, text},
    testbed::install::RELEASE,
    tests,
    world::World,
};

tests![
    the_chart_is_in_order,
    mistakes_in_values_are_told,
    what_cannot_work_together_is_refused,
    the_notes_say_what_to_do_next,
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

async fn what_cannot_work_together_is_refused(_: Arc<World>) -> Result<()> {
    let two = refused(&json!({"leaderElection": {"enabled": false}})).await?;
    ensure!(two.contains("Set replicas to 1, or leave leaderElection.enabled at true"), "{two}");
    let twice = refused(&json!({"env": [{"name": "WATCH_NAMESPACES", "value": "a"}]})).await?;
    ensure!(twice.contains("the chart sets WATCH_NAMESPACES by itself; use namespaces instead"), "{twice}");
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

/// What Helm complains about.
async fn refused(values: &Value) -> Result<String> {
    let helm = Helm::offline()?;
    let file = helm.values("values.yaml", values)?;
    let ran = helm.run(&["template", RELEASE, text(&chart())?, "--values", text(&file)?]).await?;
    ensure!(ran.code != Some(0), "Helm takes {values}");
    Ok(ran.stderr)
}

async fn notes(values: &Value) -> Result<String> {
    let helm = Helm::offline()?;
    let file = helm.values("values.yaml", values)?;
    let chart = chart();
    let arguments = ["install", RELEASE, text(&chart)?, "--dry-run=client", "--values", text(&file)?];
    let said = helm.run(&arguments).await?.succeeded()?;
    Ok(said.split_once("NOTES:").map(|(_, notes)| notes.to_owned()).unwrap_or_default())
}
