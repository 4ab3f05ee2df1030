//! `BackupStore`: the administrator's half, like a StorageClass.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema, core::Rule};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Capability, backup_target::AncestorListing, duration::Duration, object_name};

/// BackupStore says where credentials come from and who may ask for what. Targets name it in `spec.storeRef`.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "backup-target.dev",
    version = "v1alpha1",
    kind = "BackupStore",
    status = "BackupStoreStatus",
    derive = "PartialEq",
    shortname = "bstore",
    category = "backup-target",
    doc = "BackupStore says where credentials come from (an AWS account, a region, the operator's own credentials) and who may ask for what. Targets name it in spec.storeRef.",
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Provider", type_ = "string", json_path = ".spec.provider"),
    printcolumn(name = "Account", type_ = "string", json_path = ".status.accountId"),
    printcolumn(name = "Region", type_ = "string", json_path = ".spec.region"),
    printcolumn(name = "Targets", type_ = "integer", json_path = ".status.targets"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.provider == oldSelf.provider").message("provider cannot be changed: create another BackupStore"),
    validation = Rule::new("!(has(self.policy) && has(self.policy.secureTransport) && self.policy.secureTransport && has(self.endpoints) && has(self.endpoints.s3) && self.endpoints.s3.startsWith('http://'))").message("policy.secureTransport needs an https:// endpoint in endpoints.s3"),
    validation = Rule::new("(has(self.iam) && has(self.iam.path)) == (has(oldSelf.iam) && has(oldSelf.iam.path))").message("iam.path cannot be changed: principals live under it; create another BackupStore")
)]
pub struct BackupStoreSpec {
    /// The family of the store. Cannot be changed.
    #[serde(default)]
    pub provider: Provider,

    /// Region of the buckets, such as `eu-central-1`. It is written into every rclone.conf.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = Rule::new(r"self.matches('^[a-z0-9-]+$')").message("a region has lower-case letters, digits and '-', such as eu-central-1"))]
    pub region: String,

    /// Endpoints, where they differ from the provider's own. Only an administrator can set them: signed requests go there.
    #[serde(default, skip_serializing_if = "Endpoints::is_default")]
    pub endpoints: Endpoints,

    /// The operator's own credentials for this store. Left out, the AWS default chain of the operator's pod is used: IAM roles
    /// for service accounts, EKS Pod Identity, environment variables.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,

    /// Where principals are created and what bounds them.
    #[serde(default, skip_serializing_if = "IamSettings::is_default")]
    pub iam: IamSettings,

    /// Conditions that every policy of this store carries.
    #[serde(default, skip_serializing_if = "PolicyOptions::is_default")]
    pub policy: PolicyOptions,

    /// Who may claim what. A target needs one rule that covers all that it asks for; no rule, no claim.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub allow: Vec<AllowRule>,
}

/// The family of a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Provider {
    /// Amazon Web Services: IAM users and S3.
    #[default]
    AWS,
}

/// Endpoints that differ from the provider's own.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = needs_tls("iam"), validation = needs_tls("sts"))]
pub struct Endpoints {
    /// S3, as backups reach it. Written into rclone.conf.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    #[x_kube(validation = endpoint("s3"))]
    pub s3: Option<String>,
    /// IAM, as the operator reaches it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    #[x_kube(validation = endpoint("iam"))]
    pub iam: Option<String>,
    /// STS, as the operator reaches it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    #[x_kube(validation = endpoint("sts"))]
    pub sts: Option<String>,
    /// Let the operator reach IAM and STS without TLS (`http://`) on other hosts than its own. The secret of each new access
    /// key then crosses the network in the clear.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_insecure: bool,
}

/// Scheme, host and port: no path, and no credentials.
fn endpoint(service: &str) -> Rule {
    let host = r"self.matches('^https?://[A-Za-z0-9.-]+(:[0-9]+)?/?$')";
    let address = r"self.matches('^https?://\\[[0-9a-fA-F:]+\\](:[0-9]+)?/?$')";
    let message = format!("an endpoint is a URL of scheme, host and port, such as https://{service}.example.com:9000");
    Rule::new(format!("{host} || {address}")).message(message.as_str())
}

/// IAM answers with secrets, and STS says whose account it is.
fn needs_tls(service: &str) -> Rule {
    let octet = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])";
    let loopback = format!(r"^http://(localhost|127(\\.{octet}){{3}}|\\[::1\\])(:[0-9]+)?/?$");
    let is_plain = format!("has(self.{service}) && self.{service}.startsWith('http://')");
    let is_allowed = format!("has(self.allowInsecure) && self.allowInsecure || self.{service}.matches('{loopback}')");
    let message = format!(
        "endpoints.{service} is without TLS, so that others can listen, and answer in its place: give an https:// URL, or set \
         endpoints.allowInsecure to true"
    );
    Rule::new(format!("!({is_plain}) || {is_allowed}")).message(message.as_str())
}

impl Endpoints {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Where the operator's credentials are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Credentials {
    /// A Secret in the operator's own namespace with the keys `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and, for temporary
    /// credentials, `AWS_SESSION_TOKEN`.
    pub secret_ref: SecretRef,
}

/// Reference to a Secret in the operator's namespace.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SecretRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = object_name("Secret"))]
    pub name: String,
}

/// Where principals are created and what bounds them.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IamSettings {
    /// IAM path of all principals of this store. Cannot be changed. Default: `/backup-target/<cluster id>/`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 512))]
    #[x_kube(
        validation = Rule::new(r"self.matches('^(/[A-Za-z0-9.,+@=_-]+)+/$')").message("an IAM path begins and ends with '/', such as /backup-target/prod/"),
        validation = Rule::new("self == oldSelf").message("iam.path cannot be changed: principals live under it; create another BackupStore")
    )]
    pub path: Option<String>,
    /// ARN of a managed policy that bounds every principal, whatever its own policy says.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 20, max = 2048))]
    #[x_kube(validation = Rule::new(r"self.matches('^arn:aws[a-z-]*:iam::([0-9]{12}|aws):policy/.+$')").message("permissionsBoundary is the ARN of a managed policy, such as arn:aws:iam::123456789012:policy/backup-boundary"))]
    pub permissions_boundary: Option<String>,
    /// The most requests to IAM in one second. AWS does not say its limits and they hold for the whole account, so the
    /// default leaves room for others. While all wait, revocations get 60 % of it, changes 30 % and routine checks 10 %, and
    /// namespaces take turns. When many targets share a store, they are compared with IAM less often, so that this takes no
    /// more than 30 % of it; `status.driftInterval` says how often.
    #[serde(default = "default_rate", skip_serializing_if = "is_default_rate")]
    #[schemars(range(min = 1, max = 1000))]
    pub requests_per_second: u16,
    /// The most principals (IAM users) that the operator keeps for this store. When there are so many, a new target waits
    /// (`LimitExceeded`) until one goes: the oldest is served first, and one that has credentials keeps them, also when this is
    /// lowered. Retained ones do not count. An AWS account has room for 5,000 users, whoever made them. Left out, there is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>", range(min = 1))]
    pub max_principals: Option<u32>,
}

const DEFAULT_RATE: u16 = 10;

fn default_rate() -> u16 {
    DEFAULT_RATE
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_default_rate(rate: &u16) -> bool {
    *rate == DEFAULT_RATE
}

impl Default for IamSettings {
    fn default() -> Self {
        Self { path: None, permissions_boundary: None, requests_per_second: DEFAULT_RATE, max_principals: None }
    }
}

impl IamSettings {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Conditions that every policy of a store carries.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyOptions {
    /// The AWS account that owns the buckets (`s3:ResourceAccount`): an account id, or `Any`. Default: the account of the
    /// store's credentials. Names of buckets are global, so that with `Any` backups can flow into a bucket of the same name that
    /// somebody else created before yours, or after yours was deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 12))]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]{12}|Any)$')").message("resourceAccount is an AWS account id of twelve digits, in quotes, or Any"))]
    pub resource_account: Option<String>,
    /// Whether the key works over TLS only (`aws:SecureTransport`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub secure_transport: bool,
}

impl PolicyOptions {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// One rule: these namespaces may claim these prefixes of these buckets, with at most these extras.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AllowRule {
    /// The namespaces that the rule speaks of, by names or by matchLabels; a namespace that fits one of both is meant.
    pub namespaces: NamespaceRule,

    /// Literal bucket names. Left out, the rule matches nothing.
    #[serde(default)]
    #[schemars(length(max = 128), inner(length(max = 63)))]
    #[x_kube(
        merge_strategy = ListMerge::Atomic,
        validation = Rule::new(r"self.all(name, name.matches('^[a-z0-9][a-z0-9.-]*[a-z0-9]$'))").message("buckets are literal names of buckets, without wildcards")
    )]
    pub buckets: Vec<String>,

    /// Folders within which a target may claim its prefix. Whole path segments count: `team-a/` does not cover `team-ab/`.
    /// As a segment, `{namespace}` stands for the target's namespace, `{namespaceUID}` for its UID, and `{cluster}` for the id of
    /// the cluster. `""` alone permits the whole bucket. Left out, the rule matches nothing.
    #[serde(default)]
    #[schemars(length(max = 32), inner(length(max = 512)))]
    #[x_kube(
        merge_strategy = ListMerge::Atomic,
        validation = Rule::new(r"self.all(folder, folder.matches('^(([{](namespace(UID)?|cluster)[}]|[^{}/*?$]+)(/|$))*$'))").message("prefixes are folders such as backups/ or clusters/prod/{namespace}/: no leading '/', no wildcards, and {namespace}, {namespaceUID} and {cluster} only as whole folder names")
    )]
    pub prefixes: Vec<String>,

    /// Capabilities that a target may ask for: MultipartUploads, ObjectAcls, ListAllBuckets, CreateBucket.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub capabilities: Vec<Capability>,

    /// Whether a target may leave its credentials behind with `deletionPolicy: Retain`.
    #[serde(default)]
    pub retain: bool,

    /// Default of `ancestorListing` for targets that leave it out. With Deny, no target of this rule may have it.
    #[serde(default)]
    pub ancestor_listing: AncestorListing,

    /// The longest `keyOverlap` that a target may ask for, and the longest that a replaced key in use is kept. Default: 168h.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new(r"self.matches('^([0-9]+(h|m|s))+$') && duration(self) <= duration('8760h')").message("maxKeyOverlap is a duration in h, m and s of at most 8760h, such as 168h"))]
    pub max_key_overlap: Option<Duration>,

    /// How many targets of one namespace this rule serves: the oldest first, and one that has credentials keeps them. An IAM
    /// account has room for 5,000 users, so this keeps one team from using it up. Left out, there is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>", range(min = 1))]
    pub max_targets: Option<u32>,
}

/// Namespaces by name or by label; a namespace that fits one of both is meant.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.names) || has(self.matchLabels)").message("name the namespaces in names, or select them with matchLabels"))]
pub struct NamespaceRule {
    /// Names of namespaces.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(max = 63)))]
    #[x_kube(
        merge_strategy = ListMerge::Atomic,
        validation = Rule::new(r"self.all(name, name.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$'))").message("names are literal names of namespaces, without wildcards; select by labels with matchLabels")
    )]
    pub names: Vec<String>,
    /// Labels that a namespace must all have. An empty map selects nothing.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
}

/// What the operator knows about the store.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupStoreStatus {
    /// Generation of the spec that this status speaks of; -1 until the operator has seen the object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, Reconciling and Stalled as kstatus reads them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// The AWS account, pinned when the credentials first worked. When they later answer for another account, nothing is
    /// changed or deleted there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// IAM path under which this store's principals live.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iam_path: Option<String>,
    /// How often each target is compared with IAM.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('0s')").message("driftInterval is a duration such as 600s"))]
    pub drift_interval: Option<Duration>,
    /// How many BackupTargets use this store; brought up to date at most every half minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub targets: Option<i64>,
}
