//! What an administrator and a user would apply, made for the testbed's own AWS.

use serde_json::{Value, json};
use testbed::{
    aws::ROOT_KEY,
    manifests::{credentials, namespace, store_spec},
};

/// Where backups run.
pub const BACKUPS: &str = "backups";
pub const BUCKET: &str = "my-backups";
const CREDENTIALS: &str = "aws-credentials";
pub const PREFIX: &str = "clusters/prod/backups/dataset-1/";

/// The administrator's half: a namespace, the operator's credentials, and the store `default`.
pub fn store(url: &str) -> Vec<Value> {
    let allow = json!([{
        "namespaces": {"names": [BACKUPS]}, "buckets": [BUCKET], "prefixes": ["clusters/prod/{namespace}/"],
        "capabilities": ["MultipartUploads", "ObjectAcls"], "ancestorListing": "Allow",
    }]);
    let store = json!({
        "apiVersion": "backup-target.dev/v1alpha1", "kind": "BackupStore", "metadata": {"name": "default"},
        "spec": store_spec(url, Some(CREDENTIALS), &allow),
    });
    vec![namespace(BACKUPS), credentials(CREDENTIALS, ROOT_KEY, ROOT_KEY), store]
}

/// The user's half.
pub fn target() -> Value {
    json!({
        "apiVersion": "backup-target.dev/v1alpha1", "kind": "BackupTarget",
        "metadata": {"name": "dataset-1", "namespace": BACKUPS},
        "spec": {"bucket": BUCKET, "prefix": PREFIX},
    })
}
