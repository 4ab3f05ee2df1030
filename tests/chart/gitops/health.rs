//! What the tools' own libraries make of a state.

use std::{path::PathBuf, time::Duration};

use anyhow::{Result, ensure};
use serde::Deserialize;
use serde_json::Value;
use testbed::{
    child::command,
    program,
    tools::{project, tool},
};

const DEADLINE: Duration = Duration::from_mins(1);

/// One tool's word.
#[derive(Clone, Debug, Deserialize)]
pub struct Health {
    pub status: String,
    pub message: String,
}

/// What all of them see in one state.
#[derive(Clone, Debug, Deserialize)]
pub struct Seen {
    /// Flux and Helm.
    pub kstatus: Health,
    /// Argo CD with our script.
    pub argo: Health,
}

/// The folder of what Argo CD needs to know about a kind, in Argo CD's own layout.
pub fn customization(kind: &str) -> PathBuf {
    project().join("examples/gitops/argocd/resource_customizations/backup-target.dev").join(kind)
}

/// What the tools see in each of these states of a kind.
pub async fn look(kind: &str, states: &[Value]) -> Result<Vec<Seen>> {
    let folder = tempfile::TempDir::new()?;
    let input = folder.path().join("states.json");
    let lines: Vec<String> = states.iter().map(Value::to_string).collect();
    std::fs::write(&input, lines.join("\n"))?;
    let mut tool = command(tool("gitops-health")?);
    tool.arg(customization(kind).join("health.lua")).stdin(std::fs::File::open(&input)?);
    let said = program::run("gitops-health", tool, DEADLINE).await?.succeeded()?;
    let seen: Vec<Seen> = said.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    ensure!(seen.len() == states.len(), "{} answers to {} states", seen.len(), states.len());
    Ok(seen)
}
