//! A program that runs to its end: helm, rclone.

use std::{
    fs::File,
    io::{Read, Seek},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use super::{child::Child, wait::wait_until};

/// What a program answered.
#[derive(Debug)]
pub struct Ran {
    /// Absent when a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// Passes on the output of a program that succeeded; what it complained about is the error otherwise.
    pub fn succeeded(self) -> Result<String> {
        if self.code != Some(0) {
            bail!("it ended with {:?}: {}{}", self.code, self.stderr, self.stdout);
        }
        Ok(self.stdout)
    }
}

/// Runs `command`, which [`super::child::command`] made, to its end.
pub async fn run(name: &str, mut command: Command, deadline: Duration) -> Result<Ran> {
    // Files and not pipes: a pipe that nobody reads while waiting would fill up and stop the program.
    let (mut stdout, mut stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
    command.stdout(stdout.try_clone()?).stderr(stderr.try_clone()?);
    let mut child = Child::start(command).with_context(|| format!("failed to start `{name}`"))?;
    let status = wait_until(&format!("`{name}` to end"), deadline, || {
        let exited = child.exited();
        async move { exited.context("it is still running") }
    })
    .await?;
    Ok(Ran { code: status.code(), stdout: whole(&mut stdout)?, stderr: whole(&mut stderr)? })
}

fn whole(file: &mut File) -> Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
