//! What the operator remembers of a target between its reconciles: what it made, gave and began. The authority on which keys
//! are ours. In status it stands beside what is told.

use jiff::Timestamp;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::AncestorListing;
use crate::api::Capability;

/// What was made, given and begun for a target.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
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

    /// What others put on the principal, or changed, and an event has told of: it is told once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub reported: Vec<String>,

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

impl Record {
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
    /// Not by the operator: the store's administrator made the key, and what it can do.
    External,
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
