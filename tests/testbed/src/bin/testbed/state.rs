//! What a testbed that is up says of itself, in a file that it keeps locked for as long as it runs.
//!
//! The lock is the truth and goes with the process, however that ends; what the file says counts only while it is held.

use std::{
    fs::{self, File, TryLockError},
    io::{Read, Seek, Write},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use rustix::process::Pid;
use serde_json::{Value, json};
use testbed::{run::runs, wait::wait_until};

const LOOK: Duration = Duration::from_secs(1);

/// The lock of the testbed that is up.
pub struct Claim(File);

impl Claim {
    /// Becomes the one testbed that is up.
    pub async fn take() -> Result<Self> {
        let file = open()?;
        // Whoever looks whether a testbed is up holds the lock for a moment, too.
        wait_until("the lock of the testbed", LOOK, async || Ok(file.try_lock()?))
            .await
            .map_err(|_| anyhow!("the testbed is already running; end it with `make down`"))?;
        let mut claim = Self(file);
        claim.write(&json!({"pid": std::process::id()}))?;
        Ok(claim)
    }

    /// Says that everything runs: what `parts` there are, and what a shell needs to use them.
    pub fn ready(&mut self, parts: &[String], exports: &[String]) -> Result<()> {
        fs::write(environment(), exports.join("\n") + "\n")
            .with_context(|| format!("failed to write {}", environment().display()))?;
        self.write(&json!({"pid": std::process::id(), "parts": parts, "exports": exports}))
    }

    fn write(&mut self, state: &Value) -> Result<()> {
        self.0.set_len(0)?;
        self.0.rewind()?;
        self.0.write_all(state.to_string().as_bytes()).context("failed to write the state of the testbed")
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let _ = fs::remove_file(environment());
    }
}

/// A testbed that is up, or on its way.
pub struct Running {
    state: Value,
}

impl Running {
    /// The testbed that is up, if one is.
    pub fn find() -> Result<Option<Self>> {
        let mut file = open()?;
        match file.try_lock() {
            Ok(()) => return Ok(None),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error).context("failed to look for a running testbed"),
        }
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        // Nothing, or half of it, when it is being written this moment.
        Ok(Some(Self { state: serde_json::from_str(&text).unwrap_or_default() }))
    }

    pub fn is_ready(&self) -> bool {
        self.state.get("exports").is_some()
    }

    pub fn exports(&self) -> Vec<String> {
        self.list("exports")
    }

    pub fn parts(&self) -> Vec<String> {
        self.list("parts")
    }

    /// The process, once it is certain that it is one of ours: a state left by a testbed that was killed may name a number
    /// that belongs to another program by now.
    pub fn pid(&self) -> Option<Pid> {
        let pid = self.state["pid"].as_i64()?;
        let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let ours = command.ends_with(b"testbed\0serve\0");
        ours.then(|| Pid::from_raw(i32::try_from(pid).ok()?)).flatten()
    }

    fn list(&self, name: &str) -> Vec<String> {
        serde_json::from_value(self.state[name].clone()).unwrap_or_default()
    }
}

/// Where the testbed that is up logs.
pub fn log() -> PathBuf {
    runs().join("up.log")
}

/// What a shell can source to use the testbed that is up.
pub fn environment() -> PathBuf {
    runs().join("env")
}

fn open() -> Result<File> {
    let path = runs().join("up.json");
    fs::create_dir_all(runs())
        .and_then(|()| File::options().read(true).write(true).create(true).truncate(false).open(&path))
        .with_context(|| format!("failed to open {}", path.display()))
}
