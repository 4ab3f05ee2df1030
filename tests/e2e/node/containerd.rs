//! What runs containers.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result};
use testbed::{child::command, process::Process, program};

use super::network;

/// Its own default, which is a folder of the sandbox.
pub const SOCKET: &str = "/run/containerd/containerd.sock";
const START: Duration = Duration::from_mins(1);
const IMPORT: Duration = Duration::from_mins(2);

pub struct Containerd {
    _process: Process,
}

impl Containerd {
    pub async fn start(room: &Path) -> Result<Self> {
        let config = room.join("containerd.toml");
        fs::write(&config, text(&network::folder(room)))?;
        let mut containerd = command("containerd");
        containerd.arg("--config").arg(&config);
        let mut process = Process::start("containerd", containerd, &room.join("containerd.log"))?;
        process.until_prints(START, "containerd successfully booted").await?;
        Ok(Self { _process: process })
    }

    pub async fn import(&self, image: &Path) -> Result<()> {
        ctr(&["images", "import", &image.display().to_string()], IMPORT)
            .await
            .with_context(|| format!("failed to import {}", image.display()))
    }

    /// Ends a container as a crash would: `id` is the one by which its pod knows it.
    pub async fn kill(&self, id: &str) -> Result<()> {
        let id = id.trim_start_matches("containerd://");
        ctr(&["tasks", "kill", "--signal", "SIGKILL", id], START).await
    }
}

async fn ctr(arguments: &[&str], deadline: Duration) -> Result<()> {
    let mut ctr = command("ctr");
    // The namespace of all that kubelet runs.
    ctr.args(["--namespace", "k8s.io"]).args(arguments);
    program::run("ctr", ctr, deadline).await?.succeeded()?;
    Ok(())
}

fn text(networks: &Path) -> String {
    format!(
        r#"version = 2
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "localhost/pause:e2e"
# Not every root may protect a process from the kernel's search for memory.
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{}"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
"#,
        networks.display()
    )
}
