//! The folder of one run: logs, keys and data of everything it starts.

use std::{
    fs::{self, DirBuilder},
    io::ErrorKind,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process,
};

use anyhow::{Context, Result};

use super::tools::project;

/// `target/testbed/<name>-<pid>/`. It stays when the run is over, for its logs, until the next run of that name.
#[derive(Clone, Debug)]
pub struct Run {
    path: PathBuf,
}

impl Run {
    pub fn begin(name: &str) -> Result<Self> {
        let runs = runs();
        fs::create_dir_all(&runs).with_context(|| format!("failed to create {}", runs.display()))?;
        remove_ended(&runs, name)?;
        let path = runs.join(format!("{name}-{}", process::id()));
        create(&path).with_context(|| format!("failed to create {}", path.display()))?;
        Ok(Self { path })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A new folder in it: `<name>`, or `<name>-2` and so on when that one is taken.
    pub fn room(&self, name: &str) -> Result<PathBuf> {
        let mut path = self.path.join(name);
        for number in 2.. {
            match create(&path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    path = self.path.join(format!("{name}-{number}"));
                }
                outcome => {
                    outcome.with_context(|| format!("failed to create {}", path.display()))?;
                    break;
                }
            }
        }
        Ok(path)
    }
}

/// Where all runs are.
pub fn runs() -> PathBuf {
    project().join("target/testbed")
}

/// For this user alone, since it will hold keys and tokens.
fn create(path: &Path) -> std::io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

fn remove_ended(runs: &Path, name: &str) -> Result<()> {
    for entry in fs::read_dir(runs)? {
        let path = entry?.path();
        let pid =
            path.file_name().and_then(|file| file.to_str()?.strip_prefix(name)?.strip_prefix('-')?.parse::<u32>().ok());
        let ended = |pid: u32| pid == process::id() || !Path::new("/proc").join(pid.to_string()).exists();
        if pid.is_some_and(ended) {
            fs::remove_dir_all(&path).with_context(|| format!("failed to remove {}", path.display()))?;
        }
    }
    Ok(())
}
