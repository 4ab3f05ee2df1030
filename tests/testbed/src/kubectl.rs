//! The real kubectl, with the administrator's rights.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Result;
use serde_json::{Value, json};

use super::{child::command, kubernetes::ControlPlane, program, tools::tool};

/// Longer than any `--timeout` it is given.
const CALL: Duration = Duration::from_mins(3);

pub struct Kubectl {
    kubeconfig: PathBuf,
    /// Where it keeps its cache.
    home: PathBuf,
}

impl Kubectl {
    pub fn new(control_plane: &ControlPlane) -> Self {
        let home = control_plane.run().path().to_owned();
        Self { kubeconfig: control_plane.admin_kubeconfig(), home }
    }

    /// What it prints when it succeeds; what it complains about is the error.
    pub async fn run(&self, arguments: &[&str]) -> Result<String> {
        let mut kubectl = command(tool("kubectl")?);
        kubectl.env("KUBECONFIG", &self.kubeconfig).env("HOME", &self.home).args(arguments);
        program::run("kubectl", kubectl, CALL).await?.succeeded()
    }

    /// An object, or a list of them.
    pub async fn get(&self, arguments: &[&str]) -> Result<Value> {
        Ok(serde_json::from_str(&self.run(&[&["get", "--output=json"], arguments].concat()).await?)?)
    }

    pub async fn apply(&self, objects: &[Value]) -> Result<()> {
        let file = tempfile::NamedTempFile::new()?;
        fs::write(file.path(), json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string())?;
        self.apply_file(file.path()).await
    }

    async fn apply_file(&self, path: &Path) -> Result<()> {
        self.run(&["apply", "--server-side", "--filename", &path.display().to_string()]).await?;
        Ok(())
    }
}
