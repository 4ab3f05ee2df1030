//! The servers that all plans share, started once.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use kube::Client;
use testbed::{aws::Aws, kubernetes::ControlPlane, run::Run};

use crate::tally::Tally;

/// Everything that runs while the plans do.
pub struct World {
    // In the order in which they end.
    pub aws: Aws,
    pub control_plane: ControlPlane,
    /// The administrator's client.
    pub client: Client,
    pub tally: Tally,
    corners: AtomicU64,
}

impl World {
    pub async fn start(name: &str) -> Result<Self> {
        let run = Run::begin(name)?;
        let (control_plane, aws) = tokio::try_join!(ControlPlane::start(&run), Aws::start(&run))?;
        let client = control_plane.client()?;
        Ok(Self { aws, control_plane, client, tally: Tally::default(), corners: AtomicU64::new(1) })
    }

    /// A number that no other corner of this world has.
    pub fn next_number(&self) -> u64 {
        self.corners.fetch_add(1, Ordering::Relaxed)
    }
}
