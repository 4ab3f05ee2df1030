//! What kind of call a call is: the same for every target, so that a plan of one run fits another.

use std::{collections::BTreeSet, fmt};

use testbed::{install::NAMESPACE, proxy::Call};

/// Which server is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Server {
    /// The Kubernetes API.
    Api,
    /// IAM, STS and S3.
    Aws,
}

/// A kind of call, such as `api PATCH backuptargets/status` or `aws CreateUser`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shape {
    pub server: Server,
    pub call: String,
    pub writes: bool,
}

impl Shape {
    /// The kind of a call; `None` for watches, and the lists they begin with, which have tests of their own.
    pub fn of(server: Server, call: &Call) -> Option<Self> {
        let name = match server {
            Server::Api => api(call)?,
            Server::Aws => call.action.clone().unwrap_or_else(|| s3(call)),
        };
        Some(Self { server, call: name, writes: call.is_write() })
    }

    /// Whether it is a call to S3, which the operator makes only with the target's own key.
    pub fn is_proof(&self) -> bool {
        self.server == Server::Aws && self.call.starts_with("s3 ")
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let server = match self.server {
            Server::Api => "api",
            Server::Aws => "aws",
        };
        write!(f, "{server} {}", self.call)
    }
}

fn api(call: &Call) -> Option<String> {
    let mut parts: Vec<&str> = call.path.trim_start_matches('/').split('/').collect();
    let group = if parts.first() == Some(&"api") { 2 } else { 3 };
    parts.drain(..group.min(parts.len()));
    let mut whose = "";
    if parts.first() == Some(&"namespaces") && parts.len() > 2 {
        whose = if parts[1] == NAMESPACE { "own " } else { "" };
        parts.drain(..2);
    }
    let (resource, name) = (parts.first()?, parts.get(1));
    // With labels of its own, an operator reads a store by its name and these labels.
    let is_one = name.is_some() || *resource == "backupstores" && call.query.contains("fieldSelector=metadata.name");
    if !is_one && !call.is_write() || *resource == "leases" {
        return None;
    }
    let part = parts.get(2).map(|part| format!("/{part}")).unwrap_or_default();
    let dry = if call.query.contains("dryRun") { "?dryRun" } else { "" };
    Some(format!("{} {whose}{resource}{part}{dry}", call.method))
}

/// By method, whether it is about a bucket or an object, and the names in the query: what tells S3's operations apart.
fn s3(call: &Call) -> String {
    let depth = match call.path.trim_matches('/').split_once('/') {
        Some(_) => "object",
        None if call.path.trim_matches('/').is_empty() => "service",
        None => "bucket",
    };
    let name = |field: &str| field.split('=').next().unwrap_or_default().to_owned();
    let names: BTreeSet<String> = call.query.split('&').map(name).filter(|name| !name.is_empty()).collect();
    let names: Vec<String> = names.into_iter().collect();
    format!("s3 {} {depth}?{}", call.method, names.join("&"))
}
