//! The operator itself: the program that users run, with the rights that the chart gives it.

use std::{
    env,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use super::{child::command, install::NAMESPACE, kubernetes::ControlPlane, process::Process};

const START: Duration = Duration::from_secs(30);
/// What it logs once it does its work.
const RUNNING: &str = "watching";

/// What differs from one operator to another.
#[derive(Clone, Default)]
pub struct Options {
    /// Where it finds the API server, when that is a [`super::proxy::Proxy`].
    pub server: Option<String>,
    pub env: Vec<(String, String)>,
    /// Arguments after those it always gets.
    pub args: Vec<String>,
    /// What it logs once it has started, when that is not that it works.
    pub started: Option<&'static str>,
}

impl Options {
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|&arg| arg.to_owned()));
        self
    }
}

/// A running operator; dropping it ends it.
pub struct Operator {
    process: Process,
    kubeconfig: PathBuf,
    log: PathBuf,
    options: Options,
}

impl Operator {
    /// Starts an operator and waits until it says that it does its work.
    pub async fn start(control_plane: &ControlPlane, options: Options) -> Result<Self> {
        let server = options.server.as_deref().unwrap_or(control_plane.url());
        let room = control_plane.run().room("operator")?;
        let kubeconfig = Box::pin(control_plane.operator_kubeconfig(server, &room)).await?;
        let log = room.join("operator.log");
        let process = start(&kubeconfig, &log, &options).await?;
        Ok(Self { process, kubeconfig, log, options })
    }

    /// Starts it once more after [`Self::kill`] or [`Self::stop`]; what it printed before is kept.
    pub async fn restart(&mut self) -> Result<()> {
        self.process.stop();
        self.process = start(&self.kubeconfig, &self.log, &self.options).await?;
        Ok(())
    }

    /// Ends it as a crash would.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Ends it as Kubernetes would.
    pub fn stop(&mut self) {
        self.process.stop();
    }

    pub fn signal(&mut self, signal: Signal) {
        self.process.signal(signal);
    }

    pub fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    /// Waits until it has ended by itself.
    pub async fn until_ended(&mut self, deadline: Duration) -> Result<()> {
        self.process.until_ended(deadline).await
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Everything it printed, restarts included.
    pub fn printed(&self) -> String {
        self.process.printed()
    }
}

async fn start(kubeconfig: &Path, log: &Path, options: &Options) -> Result<Process> {
    let mut operator = command(binary()?);
    operator
        .args(["run", "--namespace", NAMESPACE])
        .args(&options.args)
        .env("KUBECONFIG", kubeconfig)
        // On a machine in AWS it would find real credentials there.
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .envs(options.env.iter().cloned());
    let mut process = Process::start("backup-target-operator", operator, log)?;
    process.until_prints(START, options.started.unwrap_or(RUNNING)).await?;
    Ok(process)
}

/// The program of the same build: beside this one, or in the folder above when this one is a test.
fn binary() -> Result<PathBuf> {
    let this = env::current_exe()?;
    let folder = this.parent().context("this program has no folder")?;
    let profile = if folder.ends_with("deps") { folder.parent().context("`deps` is in no folder")? } else { folder };
    let path = profile.join("backup-target-operator");
    ensure!(path.exists(), "the operator is not built: {} is missing; run `cargo build`", path.display());
    Ok(path)
}
