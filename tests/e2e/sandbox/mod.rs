//! A machine of its own for the node, so that nothing of it is left on this one.
//!
//! A node changes the machine that it is on: mounts, network interfaces, firewall rules, processes of daemons. Here all of these
//! are in namespaces, which the kernel takes down when their first process is gone, however that came about. Only cgroups have
//! no end of their own; they are under one name and removed afterwards, or by the next run.

mod cgroups;
mod mounts;

use std::{env, fs, path::Path};

use anyhow::{Context, Result, ensure};
use rustix::process::geteuid;
use testbed::child::{Child, command};
use tokio::signal::unix::{SignalKind, signal};

pub use cgroups::Cgroups;
pub use mounts::cover;

/// The argument by which the program knows that it is in its namespaces.
pub const INSIDE: &str = "inside";

/// Runs this program again, inside. Whether all went as it should.
pub async fn run() -> Result<bool> {
    possible()?;
    let cgroups = Cgroups::create()?;
    let mut inside = command("unshare");
    inside
        // --kill-child: when `unshare` is ended, the first process of the namespaces is, and with it all others.
        .args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .arg(env::current_exe()?)
        .arg(INSIDE)
        .env("PATH", with_system_folders(&env::var("PATH").unwrap_or_default()))
        .env(cgroups::VARIABLE, cgroups.name());
    let mut inside = Child::start(inside)?;
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let ended = tokio::select! {
        status = inside.ended() => Ok(status.success()),
        _ = interrupt.recv() => Err("interrupted"),
        _ = terminate.recv() => Err("terminated"),
    };
    inside.kill();
    cgroups.remove().await?;
    ended.map_err(|how| anyhow::anyhow!("{how}; everything that was started has been ended"))
}

/// Says what a machine lacks before anything is started.
fn possible() -> Result<()> {
    ensure!(geteuid().is_root(), "a node needs root; run `make e2e` as root");
    ensure!(
        Path::new("/proc/self/ns/net").exists() && Path::new("/proc/self/ns/pid").exists(),
        "this kernel has no network or PID namespaces, which the node is kept in"
    );
    let filesystems = fs::read_to_string("/proc/filesystems").context("failed to read /proc/filesystems")?;
    ensure!(filesystems.contains("overlay"), "this kernel has no overlay filesystem, which containerd needs");
    Ok(())
}

/// Not every shell's `PATH` has the folders of iptables and runc.
fn with_system_folders(path: &str) -> String {
    format!("{path}:/usr/local/sbin:/usr/sbin:/sbin")
}
