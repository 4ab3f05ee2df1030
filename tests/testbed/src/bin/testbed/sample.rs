//! What an administrator and a user would apply, made for the testbed's own AWS.

use serde_json::{Value, json};
use testbed::{
    aws::{REGION, ROOT_KEY},
    install::NAMESPACE,
};

/// Where backups run.
pub const BACKUPS: &str = "backups";
pub const BUCKET: &str = "my-backups";
pub const PREFIX: &str = "clusters/prod/backups/dataset-1/";

/// The administrator's half: a namespace, the operator's credentials, and the store `default`.
pub fn store(url: &str) -> Vec<Value> {
    vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": BACKUPS}}),
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "aws-credentials", "namespace": NAMESPACE},
            "stringData": {"AWS_ACCESS_KEY_ID": ROOT_KEY, "AWS_SECRET_ACCESS_KEY": ROOT_KEY},
        }),
        json!({
            "apiVersion": "backup-target.dev/v1alpha1", "kind": "BackupStore", "metadata": {"name": "default"},
            "spec": {
                "region": REGION,
                "endpoint": url,
            "aws": {"iamEndpoint": url, "stsEndpoint": url},
                "requestsPerSecond": 1000,
                "credentials": {"secretRef": {"name": "aws-credentials"}},
                "allow": [{
                    "namespaces": {"names": [BACKUPS]}, "buckets": [BUCKET], "prefixes": ["clusters/prod/{namespace}/"],
                    "capabilities": ["MultipartUploads", "ObjectAcls"], "ancestorListing": "Allow",
                }],
            },
        }),
    ]
}

/// The user's half.
pub fn target() -> Value {
    json!({
        "apiVersion": "backup-target.dev/v1alpha1", "kind": "BackupTarget",
        "metadata": {"name": "dataset-1", "namespace": BACKUPS},
        "spec": {"bucket": BUCKET, "prefix": PREFIX},
    })
}
