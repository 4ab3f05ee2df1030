//! The real helm, with the project's own chart.

use std::{path::PathBuf, time::Duration};

use anyhow::Result;
use testbed::{
    child::command,
    install::NAMESPACE,
    kubernetes::ControlPlane,
    program,
    tools::{project, tool},
};

/// Longer than helm waits.
const CALL: Duration = Duration::from_mins(4);
const WAIT: [&str; 3] = ["--wait", "--timeout", "3m"];
pub const RELEASE: &str = "backup-target-operator";

pub struct Helm {
    kubeconfig: PathBuf,
    home: PathBuf,
}

impl Helm {
    pub fn new(control_plane: &ControlPlane) -> Self {
        let home = control_plane.run().path().to_owned();
        Self { kubeconfig: control_plane.admin_kubeconfig(), home }
    }

    /// With the image that was built, which no registry has.
    pub async fn install(&self) -> Result<()> {
        let image = "image.repository=localhost/backup-target-operator,image.tag=e2e,image.pullPolicy=Never";
        self.run(&[&["install", RELEASE, &chart(), "--create-namespace", "--set", image], &WAIT[..]].concat()).await
    }

    pub async fn upgrade(&self, values: &str) -> Result<()> {
        self.run(&[&["upgrade", RELEASE, &chart(), "--reuse-values", "--set", values], &WAIT[..]].concat()).await
    }

    /// The pod that comes with the chart and checks the installation.
    pub async fn test(&self) -> Result<()> {
        self.run(&["test", RELEASE, "--timeout", "2m"]).await
    }

    pub async fn uninstall(&self) -> Result<()> {
        self.run(&[&["uninstall", RELEASE], &WAIT[..]].concat()).await
    }

    async fn run(&self, arguments: &[&str]) -> Result<()> {
        let mut helm = command(tool("helm")?);
        helm.env("KUBECONFIG", &self.kubeconfig)
            .env("HOME", &self.home)
            .args(["--namespace", NAMESPACE])
            .args(arguments);
        program::run("helm", helm, CALL).await?.succeeded()?;
        Ok(())
    }
}

fn chart() -> String {
    project().join("charts").join(RELEASE).display().to_string()
}
