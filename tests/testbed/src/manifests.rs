//! What an administrator applies, made for a store of the testbed.

use serde_json::{Value, json};

use super::{aws::REGION, install::NAMESPACE};

pub fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

/// The Secret with the operator's credentials for a store.
pub fn credentials(name: &str, id: &str, secret: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": NAMESPACE},
        "stringData": {"AWS_ACCESS_KEY_ID": id, "AWS_SECRET_ACCESS_KEY": secret},
    })
}

/// The spec of a store whose IAM, STS and S3 are at one place. Without the name of a Secret, its credentials are those that the
/// operator finds in its environment.
pub fn store_spec(url: &str, credentials: Option<&str>, allow: &Value) -> Value {
    let mut spec = json!({
        "region": REGION,
        "endpoint": url,
        "aws": {"iamEndpoint": url, "stsEndpoint": url},
        // The rate that real accounts need would be what tests wait for.
        "requestsPerSecond": 1000,
        "allow": allow,
    });
    if let Some(name) = credentials {
        spec["credentials"] = json!({"secretRef": {"name": name}});
    }
    spec
}
