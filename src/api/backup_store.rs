//! `BackupStore`: the administrator's half, like a StorageClass.

use std::{borrow::Cow, collections::BTreeMap};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema, core::Rule};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
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
    validation = Rule::new("self.provider == 'AWS' || has(self.endpoint)").message("give the URL of the store in endpoint; only AWS is found without"),
    validation = Rule::new("self.provider == 'AWS' || !has(self.aws)").message("aws is for provider AWS only"),
    validation = Rule::new("self.provider == 'StaticKeys' || !has(self.staticKeys) && !has(self.rcloneProvider)").message("staticKeys and rcloneProvider are for provider StaticKeys only"),
    validation = Rule::new("self.provider != 'StaticKeys' || !has(self.credentials)").message("with provider StaticKeys the operator has no credentials of its own: each key is in a Secret that an entry of staticKeys names"),
    validation = Rule::new("!(has(self.tlsOnly) && self.tlsOnly && has(self.endpoint) && self.endpoint.startsWith('http://'))").message("tlsOnly needs an https:// endpoint"),
    validation = needs_tls("endpoint", "!(self.provider in ['AWS', 'StaticKeys']) && has(self.endpoint)"),
    validation = needs_tls("aws.iamEndpoint", "has(self.aws) && has(self.aws.iamEndpoint)"),
    validation = needs_tls("aws.stsEndpoint", "has(self.aws) && has(self.aws.stsEndpoint)")
)]
pub struct BackupStoreSpec {
    /// The family of the store. Cannot be changed.
    #[serde(default)]
    pub provider: Provider,

    /// Region of the buckets, such as `eu-central-1`. It is written into every rclone.conf.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = Rule::new(r"self.matches('^[a-z0-9-]+$')").message("a region has lower-case letters, digits and '-', such as eu-central-1"))]
    pub region: String,

    /// URL of S3, as the operator and backups reach it. Left out, it is AWS's own; every other provider needs it. Only an
    /// administrator can set it: signed requests go there. Written into rclone.conf.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    #[x_kube(validation = endpoint("s3"))]
    pub endpoint: Option<String>,

    /// Let the operator reach what makes keys without TLS (`http://`) on other hosts than its own. The secret of each new access
    /// key then crosses the network in the clear.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_insecure: bool,

    /// The operator's own credentials for this store. Left out, the AWS default chain of the operator's pod is used: IAM roles
    /// for service accounts, EKS Pod Identity, environment variables.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,

    /// The most requests in one second to what makes principals and keys. AWS does not say its limits and they hold for the whole
    /// account, so the default leaves room for others. While all wait, revocations get 60 % of it, changes 30 % and routine checks
    /// 10 %, and namespaces take turns. When many targets share a store, they are compared with it less often, so that this takes
    /// no more than 30 % of it; `status.driftInterval` says how often.
    #[serde(default = "default_rate", skip_serializing_if = "is_default_rate")]
    #[schemars(range(min = 1, max = 1000))]
    pub requests_per_second: u16,

    /// The most principals (on AWS: IAM users) that the operator keeps for this store. When there are so many, a new target waits
    /// (`LimitExceeded`) until one goes: the oldest is served first, and one that has credentials keeps them, also when this is
    /// lowered. Retained ones do not count. An AWS account has room for 5,000 users, whoever made them. Left out, there is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>", range(min = 1))]
    pub max_principals: Option<u32>,

    /// Whether keys work over TLS only (`aws:SecureTransport`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tls_only: bool,

    /// What only AWS has.
    #[serde(default, skip_serializing_if = "AwsSettings::is_default")]
    pub aws: AwsSettings,

    /// The keys of a store with `provider: StaticKeys`, made by you: one for each bucket and prefix that a target may claim. A target
    /// gets the key of the entry whose bucket and prefix are exactly its own, and no other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub static_keys: Vec<StaticKey>,

    /// What rclone calls a store with `provider: StaticKeys`, such as `Cloudflare`, `Ceph` or `Minio` (`provider` in rclone.conf).
    /// Default: `Other`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9]+$')").message("rcloneProvider is one of the providers of rclone's S3 backend, such as Cloudflare, Ceph or Other"))]
    pub rclone_provider: Option<String>,

    /// Who may claim what. A target needs one rule that covers all that it asks for; no rule, no claim.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub allow: Vec<AllowRule>,

    /// Has moved to `endpoint`, `allowInsecure` and `aws`. A store that still has it is `InvalidSpec`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<Moved>,

    /// Has moved to `aws`, `requestsPerSecond` and `maxPrincipals`. A store that still has it is `InvalidSpec`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iam: Option<Moved>,

    /// Has moved to `aws.bucketOwner` and `tlsOnly`. A store that still has it is `InvalidSpec`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<Moved>,
}

/// What stands in a field that has moved. An API server that did not know the field would drop it, and with it a permissions
/// boundary or a limit, and nobody would see that.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moved(serde_json::Map<String, serde_json::Value>);

impl JsonSchema for Moved {
    fn schema_name() -> Cow<'static, str> {
        "Moved".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
    }
}

/// The family of a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Provider {
    /// Amazon Web Services: IAM users and S3.
    #[default]
    #[serde(rename = "AWS")]
    Aws,
    /// SeaweedFS 4 and newer, whose S3 gateway answers IAM requests (`-s3.iam.readOnly=false`). It needs `endpoint`.
    #[serde(rename = "SeaweedFS")]
    SeaweedFs,
    /// Any store that speaks S3, with keys that you make there (`staticKeys`): the operator tries them, publishes them, and makes,
    /// changes and deletes none. It needs `endpoint`.
    StaticKeys,
}

/// A key that the store's administrator made, and what it is for.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StaticKey {
    /// The bucket that a target has to claim to get this key.
    #[schemars(length(min = 3, max = 63))]
    #[x_kube(validation = place("bucket", &[
        r"self.matches('^[a-z0-9][a-z0-9.-]*[a-z0-9]$')",
        r"!self.contains('..')",
        r"!self.matches('^[0-9]+[.][0-9]+[.][0-9]+[.][0-9]+$')",
        r"!self.matches('^(xn--|sthree-|amzn-s3-demo-)')",
        r"!self.matches('(-s3alias|--ol-s3|[.]mrap|--x-s3|--table-s3)$')",
    ]))]
    pub bucket: String,
    /// The prefix that a target has to claim to get this key, such as `backups/dataset-1/`; with or without the last `/`. Left out,
    /// the key is for a target that claims the whole bucket, and for no other: one that a folder's target is to get all the same is
    /// written with that folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = place("prefix", &[
        r"self.matches('^[A-Za-z0-9\\x{C0}-\\x{D6}\\x{D8}-\\x{F6}\\x{F8}-\\x{FF}!_.()=@+,:/ \'-]*$')",
        r"!self.startsWith('/')",
        r"!self.contains('//')",
        r"!self.matches('(^|/)[.][.]?(/|$)')",
        r"!self.matches('(^|/) | (/|$)')",
        r"size(bytes(self)) <= 512",
    ]))]
    pub prefix: Option<String>,
    /// A Secret in the operator's own namespace with the keys `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`. When what is in it
    /// changes, the new key is tried and then published.
    pub secret_ref: SecretRef,
}

/// What a target can claim: where the rules are one by one, with what to write instead, stands in its own definition.
fn place(field: &str, rules: &[&str]) -> Rule {
    let message = format!("{field} is written as in a BackupTarget: see kubectl explain backuptarget.spec.{field}");
    Rule::new(rules.join(" && ").as_str()).message(message.as_str())
}

/// Scheme, host and port: no path, and no credentials.
fn endpoint(service: &str) -> Rule {
    let host = r"self.matches('^https?://[A-Za-z0-9.-]+(:[0-9]+)?/?$')";
    let address = r"self.matches('^https?://\\[[0-9a-fA-F:]+\\](:[0-9]+)?/?$')";
    let message = format!("an endpoint is a URL of scheme, host and port, such as https://{service}.example.com:9000");
    Rule::new(format!("{host} || {address}")).message(message.as_str())
}

/// What makes keys answers with secrets, and STS says whose account it is.
fn needs_tls(field: &str, is_given: &str) -> Rule {
    let octet = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])";
    let loopback = format!(r"^http://(localhost|127(\\.{octet}){{3}}|\\[::1\\])(:[0-9]+)?/?$");
    let is_plain = format!("{is_given} && self.{field}.startsWith('http://')");
    let is_allowed = format!("has(self.allowInsecure) && self.allowInsecure || self.{field}.matches('{loopback}')");
    let message = format!(
        "{field} is without TLS, so that others can listen, and answer in its place: give an https:// URL, or set allowInsecure to \
         true"
    );
    Rule::new(format!("!({is_plain}) || {is_allowed}")).message(message.as_str())
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

const DEFAULT_RATE: u16 = 10;

fn default_rate() -> u16 {
    DEFAULT_RATE
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_default_rate(rate: &u16) -> bool {
    *rate == DEFAULT_RATE
}

/// What only AWS has: where IAM users are, what bounds them, and whose buckets are.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AwsSettings {
    /// IAM path of all users of this store. Cannot be changed. Default: `/backup-target/<cluster id>/`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 512))]
    #[x_kube(
        validation = Rule::new(r"self.matches('^(/[A-Za-z0-9.,+@=_-]+)+/$')").message("an IAM path begins and ends with '/', such as /backup-target/prod/"),
        validation = Rule::new("self == oldSelf").message("aws.iamPath cannot be changed: users live under it; create another BackupStore")
    )]
    pub iam_path: Option<String>,
    /// ARN of a managed policy that bounds every user, whatever its own policy says.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 20, max = 2048))]
    #[x_kube(validation = Rule::new(r"self.matches('^arn:aws[a-z-]*:iam::([0-9]{12}|aws):policy/.+$')").message("permissionsBoundary is the ARN of a managed policy, such as arn:aws:iam::123456789012:policy/backup-boundary"))]
    pub permissions_boundary: Option<String>,
    /// URL of IAM, as the operator reaches it, where it is not AWS's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    #[x_kube(validation = endpoint("iam"))]
    pub iam_endpoint: Option<String>,
    /// URL of STS, as the operator reaches it, where it is not AWS's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    #[x_kube(validation = endpoint("sts"))]
    pub sts_endpoint: Option<String>,
    /// The account that owns the buckets (`s3:ResourceAccount`): an account id, or `Any`. Default: the account of the store's
    /// credentials. Names of buckets are global, so that with `Any` backups can flow into a bucket of the same name that somebody
    /// else created before yours, or after yours was deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 12))]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]{12}|Any)$')").message("bucketOwner is an AWS account id of twelve digits, in quotes, or Any"))]
    pub bucket_owner: Option<String>,
}

impl AwsSettings {
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
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128), inner(length(max = 63)))]
    #[x_kube(
        merge_strategy = ListMerge::Atomic,
        validation = Rule::new(r"self.all(name, name.matches('^[a-z0-9][a-z0-9.-]*[a-z0-9]$'))").message("buckets are literal names of buckets, without wildcards")
    )]
    pub buckets: Vec<String>,

    /// Folders within which a target may claim its prefix. Whole path segments count: `team-a/` does not cover `team-ab/`.
    /// As a segment, `{namespace}` stands for the target's namespace, `{namespaceUID}` for its UID, and `{cluster}` for the id of
    /// the cluster. `""` alone permits the whole bucket. Left out, the rule matches nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
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
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retain: bool,

    /// Default of `ancestorListing` for targets that leave it out. With Deny, no target of this rule may have it.
    #[serde(default, skip_serializing_if = "AncestorListing::is_default")]
    pub ancestor_listing: AncestorListing,

    /// The longest `keyOverlap` that a target may ask for, and the longest that a replaced key in use is kept. Default: 168h.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new(r"self.matches('^([0-9]+(h|m|s))+$') && duration(self) <= duration('8760h')").message("maxKeyOverlap is a duration in h, m and s of at most 8760h, such as 168h"))]
    pub max_key_overlap: Option<Duration>,

    /// How many targets of one namespace this rule serves: the oldest first, and one that has credentials keeps them. Where a
    /// store has room for only so many principals, this keeps one team from using it up. Left out, there is no limit.
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
    /// The account of the credentials, pinned when they first worked: on AWS, its id. When they later answer for another account,
    /// nothing is changed or deleted there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// Where this store's principals live: on AWS, their IAM path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iam_path: Option<String>,
    /// How often each target is compared with the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('0s')").message("driftInterval is a duration such as 600s"))]
    pub drift_interval: Option<Duration>,
    /// How many BackupTargets use this store; brought up to date at most every half minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub targets: Option<i64>,
}
