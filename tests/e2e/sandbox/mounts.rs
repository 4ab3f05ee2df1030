//! What a node's programs find in folders of the machine: empty ones of their own.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result};
use testbed::{child::command, program};

const MOUNT: Duration = Duration::from_secs(10);
/// Where containerd, kubelet, the network plugins and iptables keep what they know. In memory, and gone with the namespace.
const THEIRS: [&str; 4] = ["/run", "/var/lib/containerd", "/var/lib/kubelet", "/var/lib/cni"];
const LOGS: &str = "/var/log";
/// What kubelet sets for all of the machine. Here it sets copies.
const SETTINGS: [&str; 6] = [
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
];

/// Covers those folders. What containers log goes to `logs`.
pub async fn cover(logs: &Path) -> Result<()> {
    for folder in THEIRS {
        // Empty folders of the machine, of which some are there only where the programs are installed.
        fs::create_dir_all(folder).with_context(|| format!("failed to create {folder}"))?;
        mount(&["-t", "tmpfs", "e2e", folder]).await?;
    }
    mount(&["--bind", &logs.display().to_string(), LOGS]).await?;
    let copies = Path::new("/run/settings");
    fs::create_dir(copies)?;
    for (number, setting) in SETTINGS.iter().enumerate() {
        let (original, copy) = (Path::new("/proc/sys").join(setting), copies.join(number.to_string()));
        fs::write(&copy, fs::read(&original)?)?;
        mount(&["--bind", &copy.display().to_string(), &original.display().to_string()]).await?;
    }
    Ok(())
}

async fn mount(arguments: &[&str]) -> Result<()> {
    let mut mount = command("mount");
    mount.args(arguments);
    let what = format!("failed to mount {}", arguments.join(" "));
    program::run("mount", mount, MOUNT).await?.succeeded().context(what)?;
    Ok(())
}
