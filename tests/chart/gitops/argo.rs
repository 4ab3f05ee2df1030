//! What Argo CD is told about our kinds, run as Argo CD runs it.

use std::{fs, sync::Arc};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use testbed::{install::objects, tests, tools::project};

use super::health::{customization, look};
use crate::world::World;

tests![the_scripts_pass_their_own_tests, the_config_map_has_the_scripts];

const KINDS: [&str; 2] = ["BackupTarget", "BackupStore"];

/// Each `health_test.yaml` is in the form in which Argo CD's own repository runs it.
async fn the_scripts_pass_their_own_tests(_: Arc<World>) -> Result<()> {
    for kind in KINDS {
        let folder = customization(kind);
        let tests = only_object(&fs::read_to_string(folder.join("health_test.yaml"))?)?;
        let tests = tests["tests"].as_array().context("there are no tests")?;
        let tried = fs::read_dir(folder.join("testdata"))?.count();
        ensure!(tests.len() == tried, "{kind}: {} tests, and {tried} files of test data", tests.len());
        for test in tests {
            let input = test["inputPath"].as_str().context("a test without inputPath")?;
            let state = only_object(&fs::read_to_string(folder.join(input))?)?;
            ensure!(state["kind"] == kind, "{input} is no {kind}");
            let argo = &look(kind, &[state]).await?[0].argo;
            let expected = &test["healthStatus"];
            let right = expected["status"] == *argo.status && expected["message"] == *argo.message;
            ensure!(right, "{kind}, {input}: expected {expected}, and it says {argo:?}");
        }
    }
    Ok(())
}

async fn the_config_map_has_the_scripts(_: Arc<World>) -> Result<()> {
    let file = project().join("examples/gitops/argocd/argocd-cm.yaml");
    let config = only_object(&fs::read_to_string(&file)?)?;
    for kind in KINDS {
        let script = fs::read_to_string(customization(kind).join("health.lua"))?;
        let key = format!("resource.customizations.health.backup-target.dev_{kind}");
        let copy = config["data"][&key].as_str().with_context(|| format!("{} has no {key}", file.display()))?;
        ensure!(copy == script, "{key} in {} is not health.lua of {kind}", file.display());
    }
    Ok(())
}

fn only_object(yaml: &str) -> Result<Value> {
    let [object] = <[Value; 1]>::try_from(objects(yaml)?).ok().context("not one document")?;
    Ok(object)
}
