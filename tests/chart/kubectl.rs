//! kubectl, as users and GitOps tools call it.

use std::time::Duration;

use anyhow::Result;
use testbed::{
    child::command,
    program::{self, Ran},
    tools::{project, tool},
};

use crate::lab::Lab;

const DEADLINE: Duration = Duration::from_mins(2);

/// Runs kubectl as the administrator, in the project's folder.
pub async fn kubectl(lab: &Lab, arguments: &[&str]) -> Result<Ran> {
    let mut kubectl = command(tool("kubectl")?);
    kubectl
        // Where it keeps what it knows of the API server.
        .env("HOME", lab.control_plane.run().path())
        .env("KUBECONFIG", lab.control_plane.admin_kubeconfig())
        .current_dir(project())
        .args(arguments);
    program::run("kubectl", kubectl, DEADLINE).await
}
