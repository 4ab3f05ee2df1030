//! The cgroups of the node: below one folder in each hierarchy, named after the process that made it.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process,
    time::Duration,
};

use anyhow::{Context, Result};
use testbed::wait::wait_until;

/// How the name gets inside.
pub const VARIABLE: &str = "E2E_CGROUP";
const ROOT: &str = "/sys/fs/cgroup";
const PREFIX: &str = "backup-target-e2e-";
/// Processes that were killed take a moment to be gone.
const GONE: Duration = Duration::from_secs(20);

pub struct Cgroups {
    name: String,
}

impl Cgroups {
    /// Makes them, and removes what a run left that could not do so itself.
    pub fn create() -> Result<Self> {
        let hierarchies = hierarchies()?;
        for hierarchy in &hierarchies {
            for left in children(hierarchy).into_iter().filter(|path| was_left(path)) {
                remove(&left).with_context(|| format!("an earlier run left {}", left.display()))?;
            }
        }
        let name = format!("{PREFIX}{}", process::id());
        for hierarchy in hierarchies {
            let folder = hierarchy.join(&name);
            fs::create_dir(&folder).with_context(|| format!("failed to create the cgroup {}", folder.display()))?;
            // Nothing can be put into a cpuset that says neither.
            for file in ["cpuset.cpus", "cpuset.mems"].map(Path::new) {
                if let (Ok(all), true) = (fs::read(hierarchy.join(file)), folder.join(file).exists()) {
                    fs::write(folder.join(file), all)?;
                }
            }
        }
        Ok(Self { name })
    }

    /// The name, for those inside.
    pub fn named() -> Result<String> {
        env::var(VARIABLE).context("run this program without arguments")
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub async fn remove(self) -> Result<()> {
        for hierarchy in hierarchies()? {
            let folder = hierarchy.join(&self.name);
            let what = format!("the cgroup {} to be empty", folder.display());
            wait_until(&what, GONE, async || Ok(remove(&folder)?)).await?;
        }
        Ok(())
    }
}

/// One in version 2; in version 1 one for each controller, some of them under a second name, which is a link.
fn hierarchies() -> Result<Vec<PathBuf>> {
    let root = Path::new(ROOT);
    if root.join("cgroup.controllers").exists() {
        return Ok(vec![root.to_owned()]);
    }
    fs::read_dir(root).with_context(|| format!("failed to read {ROOT}"))?;
    Ok(children(root))
}

fn remove(folder: &Path) -> std::io::Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    for child in children(folder) {
        remove(&child)?;
    }
    fs::remove_dir(folder)
}

fn children(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|is| is.is_dir())).map(|entry| entry.path()).collect()
}

/// Whether it belongs to a run that has ended.
fn was_left(path: &Path) -> bool {
    let pid = path.file_name().and_then(|name| name.to_str()?.strip_prefix(PREFIX)?.parse::<u32>().ok());
    pid.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists())
}
