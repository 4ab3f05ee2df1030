//! The kubelet, with its own identity: it reads only the Secrets of its pods, as on any node.

use std::{fs, path::Path};

use anyhow::Result;
use serde_json::json;
use testbed::{child::command, kubernetes::ControlPlane, process::Process, tools::tool};

use super::{ADDRESS, NAME, containerd::SOCKET};
use crate::sandbox::Cgroups;

pub fn start(control_plane: &ControlPlane, room: &Path) -> Result<Process> {
    let config = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": format!("unix://{SOCKET}"),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", Cgroups::named()?),
        // Version 1 is what some machines have, and what is tested here does not depend on it.
        "failCgroupV1": false,
        "failSwapOn": false,
        // The API server asks it for logs; nobody else is in this network.
        "authentication": {"anonymous": {"enabled": true}, "webhook": {"enabled": false}},
        "authorization": {"mode": "AlwaysAllow"},
        // How full the machine's disk and memory are says nothing about this node, whose files are in memory.
        "localStorageCapacityIsolation": false,
        "evictionHard": {"memory.available": "0%", "nodefs.available": "0%", "imagefs.available": "0%", "nodefs.inodesFree": "0%"},
        "imageGCHighThresholdPercent": 100,
        "enforceNodeAllocatable": [],
    });
    let path = room.join("kubelet.yaml");
    fs::write(&path, config.to_string())?;
    let mut kubelet = command(tool("kubelet")?);
    kubelet
        .arg("--config")
        .arg(path)
        .arg("--kubeconfig")
        .arg(control_plane.kubeconfig_of(&format!("system:node:{NAME}")))
        .args([format!("--hostname-override={NAME}"), format!("--node-ip={ADDRESS}")]);
    Process::start("kubelet", kubelet, &room.join("kubelet.log"))
}
