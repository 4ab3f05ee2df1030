//! A program that keeps running: a server, or the operator.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use tokio::time::timeout;

use super::{child::Child, wait::wait_until};

/// How much of a log an error shows.
const TAIL_LINES: usize = 20;

/// A running program whose output goes to a log file; dropping it ends the program.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    /// How long the log was when this program started.
    before: usize,
}

impl Process {
    /// Starts `command`, which [`super::child::command`] made. A log that exists is continued.
    pub fn start(name: &str, mut command: Command, log: &Path) -> Result<Self> {
        let before = read(log).len();
        let output = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("failed to open the log {}", log.display()))?;
        command.stdout(output.try_clone()?).stderr(output);
        let child = Child::start(command).with_context(|| format!("failed to start `{name}`"))?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned(), before })
    }

    /// Waits until `check` succeeds. A program that ends instead is an error at once, with the end of its log.
    pub async fn until_ready<T, F: Future<Output = Result<T>>>(
        &mut self,
        deadline: Duration,
        check: impl FnMut() -> F,
    ) -> Result<T> {
        let what = format!("`{}` to be ready", self.name);
        tokio::select! {
            ready = wait_until(&what, deadline, check) => ready.with_context(|| self.log_end()),
            status = self.child.ended() => bail!("`{}` ended ({status}) before it was ready; {}", self.name, self.log_end()),
        }
    }

    /// Waits until the program, since it was started, has printed a text by which it says that it is ready. For a server
    /// this is safer than to connect: another program may answer at its port.
    pub async fn until_prints(&mut self, deadline: Duration, text: &str) -> Result<()> {
        let (log, before) = (self.log.clone(), self.before);
        self.until_ready(deadline, async || {
            let printed = read(&log);
            ensure!(printed.get(before..).is_some_and(|new| new.contains(text)), "it has not printed `{text}`");
            Ok(())
        })
        .await
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Whether the program still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.exited().is_none()
    }

    /// Everything the program has printed.
    pub fn printed(&self) -> String {
        read(&self.log)
    }

    pub fn signal(&mut self, signal: Signal) {
        self.child.signal(signal);
    }

    /// Ends the program as a crash would.
    pub fn kill(&mut self) {
        self.child.kill();
    }

    /// Ends the program as Kubernetes would.
    pub fn stop(&mut self) {
        self.child.stop();
    }

    /// Waits until the program has ended by itself.
    pub async fn until_ended(&mut self, deadline: Duration) -> Result<()> {
        let ended = timeout(deadline, self.child.ended()).await;
        ended.map(|_| ()).with_context(|| format!("`{}` runs after {deadline:?}; {}", self.name, self.log_end()))
    }

    fn log_end(&self) -> String {
        let printed = self.printed();
        let lines: Vec<_> = printed.lines().collect();
        let tail = &lines[lines.len().saturating_sub(TAIL_LINES)..];
        format!("the end of {}:\n{}", self.log.display(), tail.join("\n"))
    }
}

/// What is in a log; nothing when it does not exist.
fn read(log: &Path) -> String {
    fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}
