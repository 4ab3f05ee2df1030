//! `BackupTarget`: a folder of a bucket, and the credentials that may use it.

mod record;

pub use record::{
    AccessRecord, Applied, KeyIntent, KeyRecord, PolicyForm, PolicyStatus, PreviousAccess, PreviousSecret, ProofRecord,
    Record,
};

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Capability, duration::Duration, object_name};
use crate::names::ObjectName;

/// BackupTarget says which folder of which bucket a backup may use. The operator answers with an IAM user whose policy
/// allows exactly that, a Secret with an rclone.conf that works with it, and a condition for every permission tier.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "backup-target.dev",
    version = "v1alpha1",
    kind = "BackupTarget",
    namespaced,
    status = "BackupTargetStatus",
    derive = "PartialEq",
    shortname = "btgt",
    category = "backup-target",
    doc = "BackupTarget says which folder of which bucket a backup may use. The operator answers with an IAM user whose policy allows exactly that, a Secret with an rclone.conf that works with it, and a condition for every permission tier.",
    selectable = ".spec.bucket",
    selectable = ".spec.storeRef.name",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#,
        description = "Whether the credentials are in place"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#,
        description = "Why it is ready, or what it waits for"
    ),
    printcolumn(name = "Bucket", type_ = "string", json_path = ".spec.bucket"),
    printcolumn(
        name = "Prefix",
        type_ = "string",
        json_path = ".spec.prefix",
        description = "Folder of the bucket; empty is the whole bucket"
    ),
    printcolumn(
        name = "Tiers",
        type_ = "string",
        json_path = ".status.tiers",
        description = "Permission tiers that the key has"
    ),
    printcolumn(
        name = "Least-Privilege",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="LeastPrivilege")].status"#,
        description = "Whether everything outside the request was tried with the key and refused"
    ),
    printcolumn(
        name = "Secret",
        type_ = "string",
        json_path = ".status.secretName",
        description = "Secret that holds the rclone.conf"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Principal",
        type_ = "string",
        json_path = ".status.principal",
        description = "IAM user of this target",
        priority = 1
    ),
    printcolumn(
        name = "Key-Age",
        type_ = "date",
        json_path = ".status.keyCreatedAt",
        description = "Age of the access key in the Secret",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.storeRef == oldSelf.storeRef").message("storeRef cannot be changed: the credentials live in that store; create a new BackupTarget for another store"))]
pub struct BackupTargetSpec {
    /// The BackupStore that issues the credentials. Cannot be changed.
    #[serde(default)]
    pub store_ref: StoreRef,

    /// Name of the bucket, following the rules of S3: 3 to 63 characters, lower-case letters, digits, dots and hyphens.
    #[schemars(length(min = 3, max = 63))]
    #[x_kube(
        validation = Rule::new(r"self.matches('^[a-z0-9][a-z0-9.-]*[a-z0-9]$')").message("a bucket name has only lower-case letters, digits, '.' and '-', and begins and ends with a letter or digit, such as my-backups"),
        validation = Rule::new(r"!self.contains('..')").message("a bucket name cannot have two dots in a row"),
        validation = Rule::new(r"!self.matches('^[0-9]+[.][0-9]+[.][0-9]+[.][0-9]+$')").message("a bucket name cannot look like an IP address"),
        validation = Rule::new(r"!self.matches('^(xn--|sthree-|amzn-s3-demo-)') && !self.matches('(-s3alias|--ol-s3|[.]mrap|--x-s3|--table-s3)$')").message("this prefix or suffix of a bucket name is reserved by S3; directory buckets and access point aliases are not supported")
    )]
    pub bucket: String,

    /// Folder of the bucket that the credentials may use, such as `backups/dataset-1/`. The last `/` may be left out; the meaning
    /// is always the folder. Left out altogether, it is the whole bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    #[x_kube(
        validation = Rule::new(r"self != ''").message("an empty prefix is not written: leave prefix out for the whole bucket"),
        validation = Rule::new(r"self.matches('^[A-Za-z0-9\\x{C0}-\\x{D6}\\x{D8}-\\x{F6}\\x{F8}-\\x{FF}!_.()=@+,:/ \'-]*$')").message("a prefix has letters (Latin-1), digits, spaces and ! _ . ' ( ) = @ + , : - only; wildcards, ${...}, backslashes and control characters are not possible"),
        validation = Rule::new(r"!self.startsWith('/')").message("a prefix does not begin with '/'; write backups/dataset-1/, or leave prefix out for the whole bucket"),
        validation = Rule::new(r"!self.contains('//')").message("a prefix cannot have an empty folder name ('//'): rclone cannot address it"),
        validation = Rule::new(r"!self.matches('(^|/)[.][.]?(/|$)')").message("a prefix cannot have '.' or '..' as a folder name: rclone would write them differently"),
        validation = Rule::new(r"!self.matches('(^|/) | (/|$)')").message("a folder name in a prefix cannot begin or end with a space"),
        validation = Rule::new(r"size(bytes(self)) <= 512").message("a prefix has at most 512 bytes, so that object names fit the 1024 bytes of an S3 key")
    )]
    pub prefix: Option<String>,

    /// Whether the key may list, level by level, the names along the way to the prefix: `rclone lsd backup_s3:bucket` works
    /// with Allow and shows the names of neighbouring folders. The default and the limit come from the store's rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ancestor_listing: Option<AncestorListing>,

    /// Permissions beyond base access (list, get, put, delete), which is always there. MultipartUploads: list and abort
    /// unfinished uploads (uploading in parts needs no capability). ObjectAcls: set the ACL of single objects to private
    /// or bucket-owner-full-control, and to nothing wider. ListAllBuckets: list the account's buckets and find the
    /// bucket's region. CreateBucket: create the bucket.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub capabilities: Vec<Capability>,

    /// The Secret that the operator writes into this namespace.
    #[serde(default)]
    pub secret: SecretTemplate,

    /// What happens to the credentials when this object is deleted. Delete (the default): IAM user, keys, policy and Secret are
    /// deleted. Retain: they stay and belong to nobody; only where the store's rule has retain: true. Objects in the bucket are
    /// never deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,

    /// How long replaced access stays valid, so that a running backup can end: the old key when the Secret had to be
    /// replaced (until one is lost again, since an IAM user has two keys at most), the old folder when bucket or prefix change, the old Secret when its name changes. A duration such as
    /// `24h` or `90m`. Default: 24h, or the store rule's maximum if that is shorter.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new(r"self.matches('^([0-9]+(h|m|s))+$') && duration(self) <= duration('8760h')").message("keyOverlap is a duration in h, m and s of at most 8760h, such as 24h or 1h30m"))]
    pub key_overlap: Option<Duration>,

    /// How the credentials are proven with their own key. Full (the default) writes and deletes one small object under the
    /// prefix, once per change of access and before the Secret is published; ReadOnly never writes one, for buckets with
    /// object lock, event triggers or strict auditing; None tries nothing, and conditions stay `Granted`.
    #[serde(default)]
    pub verification: Verification,

    /// Stops repairs and changes. Deletion, the end of overlaps and limits by the store's rules go on.
    #[serde(default)]
    pub suspend: bool,
}

/// Reference to a cluster-scoped BackupStore.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoreRef {
    /// Name of the BackupStore.
    #[serde(default = "default_store")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = object_name("BackupStore"))]
    pub name: String,
}

impl StoreRef {
    /// The name of the store that is meant. Before there was a rule for names, `default#x`, `default/` and `%64efault` became
    /// parts of a URL and found the store `default`: such a target counts as one of that store for as long as it is there.
    #[must_use]
    pub fn resolved(&self) -> Cow<'_, str> {
        if ObjectName::parse(&self.name).is_ok() {
            return Cow::Borrowed(&self.name);
        }
        let path = self.name.split(['#', '?']).next().unwrap_or_default();
        let decoded = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
        Cow::Owned(decoded.trim_matches('/').to_owned())
    }
}

fn default_store() -> String {
    "default".to_owned()
}

impl Default for StoreRef {
    fn default() -> Self {
        Self { name: default_store() }
    }
}

/// Whether a key may list, level by level, the names along the way to its prefix: with Allow, `rclone lsd backup_s3:bucket`
/// works and shows the names of neighbouring folders; with Deny, nothing above the prefix can be listed. A target that
/// leaves it out gets what the store's rule says, and cannot have Allow where the rule says Deny.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AncestorListing {
    /// One level at a time, names only.
    Allow,
    /// Nothing above the prefix can be listed.
    #[default]
    Deny,
}

impl AncestorListing {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What happens to the credentials when the target is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// IAM user, keys, policy and Secret are deleted.
    #[default]
    Delete,
    /// IAM user, key, policy and Secret stay and belong to nobody. Only where the store's rule allows it.
    Retain,
}

/// How credentials are proven with their own key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Verification {
    /// By all that the tiers say, with one small object that is deleted again.
    #[default]
    Full,
    /// By requests that leave nothing in the bucket.
    ReadOnly,
    /// Not at all.
    None,
}

/// Name and content of the Secret.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SecretTemplate {
    /// Name of the Secret. Default: the name of the BackupTarget.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = object_name("Secret"))]
    pub name: Option<String>,

    /// Name of the rclone remote that points at the prefix: `rclone copy /data backup:`. The plain S3 remote beside it has
    /// the same name with `_s3` at its end.
    #[serde(default = "default_remote")]
    #[schemars(length(min = 1, max = 60))]
    #[x_kube(validation = Rule::new(r"self.matches('^[a-z][a-z0-9_]*$')").message("a remote's name has lower-case letters, digits and '_', and begins with a letter, so that rclone also finds it in environment variables"))]
    pub remote: String,
}

fn default_remote() -> String {
    "backup".to_owned()
}

impl Default for SecretTemplate {
    fn default() -> Self {
        Self { name: None, remote: default_remote() }
    }
}

/// What the operator says of a target, and what it remembers of what it did. Written by the operator only.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupTargetStatus {
    /// Generation of the spec that this status speaks of; -1 until the operator has seen the object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Ready, Reconciling and Stalled as kstatus reads them; LeastPrivilege; and one condition per permission tier.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,

    /// The tiers that the key has, in short: `base,multipart`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tiers: Option<String>,

    /// What the operator remembers.
    #[serde(flatten)]
    pub record: Record,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_is_the_store_that_it_found() {
        let resolved = |name: &str| StoreRef { name: name.to_owned() }.resolved().into_owned();
        let aliases =
            ["default", "default#x", "default#", "default?x", "default?#", "default/", "%64efault", "%64efault%2F#/x"];
        for alias in aliases {
            assert_eq!(resolved(alias), "default", "{alias}");
        }
        assert_eq!(resolved("default%23x"), "default#x", "decoded once, after it was cut");
        assert_eq!(resolved("other.default"), "other.default");
    }
}
