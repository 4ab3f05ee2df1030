//! `BackupTarget`: a folder of a bucket, and the credentials that may use it.

use std::borrow::Cow;

use jiff::Timestamp;
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

/// What the operator knows and did. Written by the operator only.
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

    /// Name of the IAM user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,

    /// Its unique id in IAM, by which it is known again when somebody changes its tags.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal_id: Option<String>,

    /// The policy that the IAM user was given last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyStatus>,

    /// Id of the access key in the Secret. The id is not secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_key_id: Option<String>,

    /// When that key was created.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_created_at: Option<Timestamp>,

    /// The Secret that holds the rclone.conf.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<String>,

    /// Every access key that this operator made for this target and has not deleted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["id".into()]))]
    pub keys: Vec<KeyRecord>,

    /// What was given last, entirely.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applied: Option<Applied>,

    /// The last proof with the key itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof: Option<ProofRecord>,

    /// The access that the key was given last, as asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access: Option<AccessRecord>,

    /// Former folders that stay reachable until their overlap ends.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub previous_access: Vec<PreviousAccess>,

    /// Secrets with a former name that stay until their overlap ends.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub previous_secrets: Vec<PreviousSecret>,

    /// Whether the bucket was missing when it was last looked for; only looked for with the capability CreateBucket.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bucket_missing: bool,

    /// Written before a key is created, so that a crash in between leaves a trace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_intent: Option<KeyIntent>,

    /// Nonce of the last key intent whose outcome is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settled_intent: Option<String>,

    /// When a new key for a lost Secret was last begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_reissue: Option<Timestamp>,
}

impl BackupTargetStatus {
    /// Whether it shows that the operator made something for the target.
    #[must_use]
    pub fn made_something(&self) -> bool {
        self.principal.is_some() || self.access.is_some() || !self.keys.is_empty()
    }

    /// Whether it shows that the operator ever began to.
    #[must_use]
    pub fn ever_worked_on(&self) -> bool {
        self.made_something() || self.key_intent.is_some() || self.settled_intent.is_some()
    }
}

/// The policy on the principal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyStatus {
    /// SHA-256 of the canonical document, in hex.
    pub digest: String,
    /// How it is attached: `Inline`, or `Managed` when it is too large for that.
    pub form: PolicyForm,
}

/// What was given, entirely: what differs from it was changed by somebody else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Applied {
    /// Generation of the spec.
    pub generation: i64,
    /// Digest of the rclone.conf, apart from the key.
    pub rclone: String,
    /// ARN of the permissions boundary.
    #[serde(rename = "boundary", default, skip_serializing_if = "Option::is_none")]
    pub bound: Option<String>,
}

/// When, and for which key and policy, the tiers were last tried with the key itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProofRecord {
    /// Access key id.
    pub key: String,
    /// Digest of the policy that it had.
    pub policy: String,
    /// When it was tried.
    pub at: Timestamp,
    /// Since when this key has this policy; for some time after that, old rights may linger and new ones may be missing.
    pub since: Timestamp,
    /// Whether base access worked, or can once the bucket is there.
    pub works: bool,
    /// Whether there was no bucket yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bucket_missing: bool,
    /// Whether everything was answered as it should be.
    pub conclusive: bool,
}

/// How a policy is attached to the principal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PolicyForm {
    /// As an inline policy of the IAM user.
    Inline,
    /// As a customer managed policy of the same name as the IAM user, attached to it.
    Managed,
}

/// One access key that the operator made and published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyRecord {
    /// Access key id.
    pub id: String,
    /// When the key was created.
    pub created_at: Timestamp,
    /// Short digest that tells whether the Secret still holds the real secret access key. The key cannot be found from it.
    pub fingerprint: String,
    /// When another key took its place in the Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub superseded_at: Option<Timestamp>,
    /// When the replaced key is made inactive; later if it is still in use, sooner if its place is needed for another key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoke_at: Option<Timestamp>,
    /// When the replaced key was made inactive; it is deleted some time after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inactive_since: Option<Timestamp>,
    /// When the operator found that somebody else had made it inactive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub off_since: Option<Timestamp>,
    /// Whether the operator made it inactive because no rule of the store allows the claim.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub withheld: bool,
}

/// What the key may reach, as the spec asked for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccessRecord {
    /// The bucket.
    pub bucket: String,
    /// The folder with its last `/`; empty is the whole bucket.
    pub prefix: String,
    /// The capabilities.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<Capability>,
    /// Whether the way to the prefix can be listed.
    pub ancestor_listing: AncestorListing,
}

/// A former folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PreviousAccess {
    /// What stays reachable.
    pub access: AccessRecord,
    /// Until when.
    pub until: Timestamp,
}

/// A former Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PreviousSecret {
    /// Name of the Secret.
    pub name: String,
    /// Until when it stays.
    pub until: Timestamp,
}

/// The intent to create one access key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyIntent {
    /// Tells one intent from another.
    pub nonce: String,
    /// When it was written.
    pub started_at: Timestamp,
    /// What the store's clock showed then. Keys carry the store's times, and are compared with no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_time: Option<Timestamp>,
    /// Access keys that the principal had before; a key that is not among them came after the intent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub existing: Vec<String>,
    /// The Secret that the key is for.
    #[serde(default)]
    pub secret: String,
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
