//! Helm, as users call it.

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tempfile::TempDir;
use testbed::{
    child::command,
    install::{NAMESPACE, RELEASE, objects},
    program::{self, Ran},
    tools::{project, tool, tools},
};

/// Longer than any timeout that Helm is given.
const DEADLINE: Duration = Duration::from_mins(6);

/// Helm with a folder of its own, and with a cluster if it has one.
pub struct Helm {
    home: TempDir,
    kubeconfig: Option<PathBuf>,
}

impl Helm {
    /// For what needs no cluster.
    pub fn offline() -> Result<Self> {
        Ok(Self { home: TempDir::new()?, kubeconfig: None })
    }

    pub fn with(kubeconfig: PathBuf) -> Result<Self> {
        Ok(Self { kubeconfig: Some(kubeconfig), ..Self::offline()? })
    }

    /// Runs Helm in the operator's namespace.
    pub async fn run(&self, arguments: &[&str]) -> Result<Ran> {
        self.run_in(NAMESPACE, arguments).await
    }

    pub async fn run_in(&self, namespace: &str, arguments: &[&str]) -> Result<Ran> {
        let mut helm = command(tool("helm")?);
        helm.env("HOME", self.home.path()).args(["--namespace", namespace]).args(arguments);
        if let Some(kubeconfig) = &self.kubeconfig {
            helm.env("KUBECONFIG", kubeconfig);
        }
        program::run("helm", helm, DEADLINE).await
    }

    /// Runs the command of a document that begins like this, as it stands there.
    pub async fn run_as_written_in(&self, document: &str, begins: &str) -> Result<Ran> {
        let text = fs::read_to_string(project().join(document))?;
        let start = text.find(begins).with_context(|| format!("{document} has no `{begins}`"))?;
        let block = text[start..].split("```").next().unwrap_or_default();
        let mut shell = command("bash");
        let path = env::var("PATH").unwrap_or_default();
        shell.args(["-euc", block]).current_dir(project()).env("HOME", self.home.path());
        shell.env("PATH", format!("{}:{path}", tools().display()));
        shell.envs(self.kubeconfig.iter().map(|kubeconfig| ("KUBECONFIG", kubeconfig)));
        program::run("bash", shell, DEADLINE).await
    }

    /// The objects of a release with these values, in a cluster that knows the operator's kinds.
    pub async fn render(&self, values: &Value) -> Result<Vec<Value>> {
        self.render_as(RELEASE, NAMESPACE, &chart(), values).await
    }

    /// The same with a name of the release, its namespace, and any chart.
    pub async fn render_as(&self, release: &str, namespace: &str, chart: &Path, values: &Value) -> Result<Vec<Value>> {
        let values = self.values("values.yaml", &with_image(values))?;
        let kinds = "--api-versions=backup-target.dev/v1alpha1/BackupStore";
        let arguments = ["template", release, text(chart)?, "--values", text(&values)?, kinds];
        let rendered = self.run_in(namespace, &arguments).await?;
        // A template that renders to nothing leaves an empty document.
        Ok(objects(&rendered.succeeded()?)?.into_iter().filter(|object| !object.is_null()).collect())
    }

    /// A file with these values.
    pub fn values(&self, name: &str, values: &Value) -> Result<PathBuf> {
        let path = self.home.path().join(name);
        fs::write(&path, serde_json::to_string(values)?)?;
        Ok(path)
    }
}

/// The chart as it is in the project.
pub fn chart() -> PathBuf {
    project().join("charts").join(RELEASE)
}

/// The one value that everybody has to set, as arguments.
pub const WITH_IMAGE: [&str; 2] = ["--set", "image.repository=registry.example.com/backup-target-operator"];

/// These values with an image, unless they name one.
pub fn with_image(values: &Value) -> Value {
    let mut values = values.clone();
    let repository = &mut values["image"]["repository"];
    if repository.is_null() {
        *repository = json!("registry.example.com/backup-target-operator");
    }
    values
}

/// A path as an argument.
pub fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is not UTF-8")
}
