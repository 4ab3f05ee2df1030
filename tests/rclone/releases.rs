//! The releases of rclone that are tested.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use testbed::{rclone::Rclone, tools::project};

/// The one list, which `make tools` reads too.
const LIST: &str = include_str!("../tools/rclone/releases.txt");

/// A release of rclone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Release {
    /// As in `1.75.2`.
    pub name: &'static str,
    /// The 75 of it.
    pub minor: u32,
}

/// All of them, oldest first.
pub fn all() -> Vec<Release> {
    LIST.lines().filter(|line| !line.starts_with('#')).map(Release::named).collect()
}

impl Release {
    fn named(name: &'static str) -> Self {
        let minor = name.split('.').nth(1).and_then(|minor| minor.parse().ok());
        Self { name, minor: minor.expect("releases.txt lists releases") }
    }

    /// As in `1.75`.
    pub fn short(self) -> String {
        format!("1.{}", self.minor)
    }

    /// The program, as it was installed.
    pub fn program(self) -> Result<PathBuf> {
        let path = project().join(format!("target/tools/rclone-{}/bin/rclone", self.name));
        ensure!(path.exists(), "rclone {} is missing: there is no {}; run `make tools`", self.name, path.display());
        Ok(path)
    }

    /// Fails when the program is missing or is another release.
    pub async fn is_installed(self) -> Result<()> {
        let printed = Rclone::with_program(self.program()?, "")?.run(&["version"]).await?.succeeded()?;
        let first = printed.lines().next().context("it printed nothing")?;
        // What Debian builds calls itself 1.60.1-DEV.
        let wanted = format!("rclone v{}", self.name);
        ensure!(first.strip_suffix("-DEV").unwrap_or(first) == wanted, "{first} was found instead of {wanted}");
        Ok(())
    }
}
