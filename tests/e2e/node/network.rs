//! The node's address and the pods' network.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result};
use serde_json::json;
use testbed::{child::command, program};

use super::ADDRESS;

const CALL: Duration = Duration::from_secs(10);
/// Beside the node's address and the range of Services.
const PODS: &str = "10.2.0.0/24";

/// A new network namespace has nothing but a loopback device that is down. The node's address is a second one of that device:
/// it must not be a loopback address, and not every kernel has dummy devices.
pub async fn prepare() -> Result<()> {
    ip(&["link", "set", "lo", "up"]).await?;
    ip(&["address", "add", &format!("{ADDRESS}/32"), "dev", "lo"]).await
}

/// The folder of the configuration is [`folder`].
pub fn write_config(room: &Path) -> Result<()> {
    let config = json!({
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [{
            "type": "bridge",
            "bridge": "pods",
            "isGateway": true,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": PODS}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }],
    });
    fs::create_dir(folder(room))?;
    Ok(fs::write(folder(room).join("pods.conflist"), config.to_string())?)
}

pub fn folder(room: &Path) -> std::path::PathBuf {
    room.join("cni")
}

async fn ip(arguments: &[&str]) -> Result<()> {
    let mut ip = command("ip");
    ip.args(arguments);
    let what = format!("`ip {}` failed", arguments.join(" "));
    program::run("ip", ip, CALL).await?.succeeded().context(what)?;
    Ok(())
}
