//! The chart as it was before the last change of it.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use testbed::{child::command, install::RELEASE, program, tools::project};

use crate::helm::{chart, text};

/// The definition of stores, in a chart.
const STORES: &str = "files/crds/backupstores.yaml";
const DEADLINE: Duration = Duration::from_secs(30);

/// The former chart, with today's definition of stores; it stays as long as this.
pub struct Former {
    folder: TempDir,
}

impl Former {
    /// The last commit's, when the chart has changed since; else the one before the last commit that changed it.
    pub async fn fetch() -> Result<Self> {
        let path = format!("charts/{RELEASE}");
        let changed = git(&["status", "--porcelain", "--", &path]).await?;
        let commits = git(&["rev-list", "--max-count=2", "HEAD", "--", &path]).await?;
        let commit = commits.lines().nth(usize::from(changed.is_empty())).context(
            "the chart's history is missing, and the test of an upgrade needs the chart before its last change; \
             a shallow clone gets it by `git fetch --unshallow`",
        )?;
        let folder = TempDir::new()?;
        let archive = folder.path().join("chart.tar");
        git(&["archive", "--output", text(&archive)?, commit, "--", &path]).await?;
        let mut tar = command("tar");
        tar.arg("-xf").arg(&archive).arg("-C").arg(folder.path());
        program::run("tar", tar, DEADLINE).await?.succeeded()?;
        let former = Self { folder };
        // Fields of a store have moved (CHANGELOG.md), and today's operator is the only one here: in the former definition it would
        // find none of what it reads. That a store of the former form stops, and says so, is tried by the integration tests.
        std::fs::copy(chart().join(STORES), former.chart()?.join(STORES))?;
        Ok(former)
    }

    pub fn chart(&self) -> Result<PathBuf> {
        let path = self.folder.path().join(chart().strip_prefix(project())?);
        ensure!(path.join("Chart.yaml").exists(), "there is no chart in {}", path.display());
        Ok(path)
    }
}

async fn git(arguments: &[&str]) -> Result<String> {
    let mut git = command("git");
    git.arg("-C").arg(project()).args(arguments);
    program::run("git", git, DEADLINE).await?.succeeded().context("git does not say what the chart was before")
}
