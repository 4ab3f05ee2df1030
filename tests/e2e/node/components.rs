//! What else a cluster has: controllers, the scheduler, and the rules that lead from a Service to its pods.

use std::{fs, path::Path, process::Command};

use anyhow::Result;
use serde_json::json;
use testbed::{child::command, kubernetes::ControlPlane, process::Process, tools::tool};

use super::NAME;

const CONTROLLER_MANAGER: &str = "kube-controller-manager";
const SCHEDULER: &str = "kube-scheduler";
const PROXY: &str = "kube-proxy";
/// Each is the user `system:<name>` to the API server.
pub const NAMES: [&str; 3] = [CONTROLLER_MANAGER, SCHEDULER, PROXY];

pub fn start(control_plane: &ControlPlane, room: &Path) -> Result<Vec<Process>> {
    let commands = [
        (CONTROLLER_MANAGER, controller_manager(control_plane)?),
        (SCHEDULER, scheduler(control_plane)?),
        (PROXY, proxy(control_plane, room)?),
    ];
    commands
        .map(|(name, command)| Process::start(name, command, &room.join(format!("{name}.log"))))
        .into_iter()
        .collect()
}

fn controller_manager(control_plane: &ControlPlane) -> Result<Command> {
    let [authority, token_key] = control_plane.authority_and_token_key().map(|path| path.display().to_string());
    let mut command = component(control_plane, CONTROLLER_MANAGER)?;
    command
        .args(["--use-service-account-credentials", "--leader-elect=false"])
        .arg(format!("--root-ca-file={authority}"))
        .arg(format!("--service-account-private-key-file={token_key}"));
    Ok(command)
}

fn scheduler(control_plane: &ControlPlane) -> Result<Command> {
    let mut command = component(control_plane, SCHEDULER)?;
    command.arg("--leader-elect=false");
    Ok(command)
}

fn component(control_plane: &ControlPlane, name: &str) -> Result<Command> {
    let mut command = command(tool(name)?);
    command.arg(format!("--kubeconfig={}", control_plane.kubeconfig_of(&format!("system:{name}")).display()));
    Ok(command)
}

fn proxy(control_plane: &ControlPlane, room: &Path) -> Result<Command> {
    let config = json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": control_plane.kubeconfig_of(&format!("system:{PROXY}"))},
        "mode": "iptables",
        "hostnameOverride": NAME,
        // These are of the whole machine and cannot be set from here.
        "conntrack": {"maxPerCore": 0, "min": 0},
    });
    let path = room.join("kube-proxy.yaml");
    fs::write(&path, config.to_string())?;
    let mut command = command(tool(PROXY)?);
    command.arg("--config").arg(path);
    Ok(command)
}
