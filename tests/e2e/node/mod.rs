//! A node, and what makes a cluster of it and the API server.

mod components;
mod containerd;
mod kubelet;
mod network;

use std::{net::Ipv4Addr, path::PathBuf};

use anyhow::Result;
use testbed::{
    kubernetes::{ControlPlane, Nodes},
    process::Process,
};

pub use containerd::Containerd;

/// The node's address, at which pods reach the API server and the AWS stand-in, too.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
const NAME: &str = "node-1";

/// What the API server has to know of it.
pub fn nodes() -> Nodes {
    let node = (format!("system:node:{NAME}"), "system:nodes");
    let components = components::NAMES.map(|name| (format!("system:{name}"), "system:authenticated"));
    Nodes { address: ADDRESS, users: [node].into_iter().chain(components).collect() }
}

/// To be called before anything is started that shall be reached at [`ADDRESS`].
pub async fn prepare(logs: &std::path::Path) -> Result<()> {
    crate::sandbox::cover(logs).await?;
    network::prepare().await
}

/// A running node; dropping it ends its programs.
pub struct Node {
    pub containerd: Containerd,
    _kubelet: Process,
    _components: Vec<Process>,
}

impl Node {
    /// Starts all at once; whoever needs another one waits for it.
    pub async fn start(control_plane: &ControlPlane, images: &[PathBuf]) -> Result<Self> {
        let room = control_plane.run().room("node")?;
        let components = components::start(control_plane, &room)?;
        network::write_config(&room)?;
        let containerd = Containerd::start(&room).await?;
        let kubelet = kubelet::start(control_plane, &room)?;
        for image in images {
            containerd.import(image).await?;
        }
        Ok(Self { containerd, _kubelet: kubelet, _components: components })
    }
}
