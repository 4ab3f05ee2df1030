//! The real rclone, as a backup job runs it: with a configuration and nothing else.

use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::Result;
use tempfile::TempDir;

use super::{
    child::command,
    process::Process,
    program::{self, Ran},
    tools::tool,
};

const DEADLINE: Duration = Duration::from_mins(1);

/// An rclone with its configuration, and a folder in which it runs and in which a test may put files.
pub struct Rclone {
    program: PathBuf,
    folder: TempDir,
    environment: Vec<(&'static str, String)>,
}

impl Rclone {
    /// `config` is the text of an rclone.conf.
    pub fn new(config: &str) -> Result<Self> {
        Self::with_program(tool("rclone")?, config)
    }

    /// As [`Self::new`], with another release of rclone.
    pub fn with_program(program: PathBuf, config: &str) -> Result<Self> {
        let folder = TempDir::new()?;
        let path = folder.path().join("rclone.conf");
        File::options().write(true).create_new(true).mode(0o600).open(path)?.write_all(config.as_bytes())?;
        Ok(Self { program, folder, environment: Vec::new() })
    }

    /// Trusts an authority (PEM), for a store with TLS.
    pub fn trusting(self, authority: &str) -> Result<Self> {
        let path = self.folder.path().join("ca.crt");
        fs::write(&path, authority)?;
        Ok(self.env("RCLONE_CA_CERT", &path.display().to_string()))
    }

    pub fn env(mut self, name: &'static str, value: &str) -> Self {
        self.environment.push((name, value.to_owned()));
        self
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub async fn run(&self, args: &[&str]) -> Result<Ran> {
        program::run("rclone", self.command(args), DEADLINE).await
    }

    /// As [`Self::run`], with a file to read from its standard input.
    pub async fn run_with_input(&self, args: &[&str], input: &Path) -> Result<Ran> {
        let mut rclone = self.command(args);
        rclone.stdin(File::open(input)?);
        program::run("rclone", rclone, DEADLINE).await
    }

    /// Starts one that does not end by itself, or shall be ended before; what it prints goes to `log`.
    pub fn start(&self, args: &[&str], log: &Path) -> Result<Process> {
        Process::start("rclone", self.command(args), log)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut rclone = command(&self.program);
        rclone
            .args(args)
            .current_dir(self.folder())
            .env("HOME", self.folder())
            .env("RCLONE_CONFIG", self.folder().join("rclone.conf"))
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        rclone
    }
}
