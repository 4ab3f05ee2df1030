//! The policy document: what a key may do, written as AWS reads it (design §3, reference/iam-s3-rclone.md §1).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest, Sha256};

use super::{Access, Partition, hex};
use crate::api::Capability;

/// The most that all inline policies of an IAM user may have together, in characters that are not white space
/// (reference/iam-s3-rclone.md §3.1).
pub const INLINE_LIMIT: usize = 2_048;

/// An identity policy. Two documents are equal when they mean the same: order, ids and one-element lists do not count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct PolicyDocument {
    version: Version,
    #[serde(deserialize_with = "one_or_many")]
    statement: BTreeSet<Statement>,
}

/// Only this version knows policy variables, which the grammar of prefixes relies on being inert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Version {
    #[serde(rename = "2012-10-17")]
    V2012,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Statement {
    effect: Effect,
    #[serde(deserialize_with = "one_or_many", serialize_with = "one_or_list")]
    action: BTreeSet<String>,
    #[serde(deserialize_with = "one_or_many", serialize_with = "one_or_list")]
    resource: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    condition: BTreeMap<String, BTreeMap<String, Values>>,
    /// For readers only; never written, and not looked at when documents are compared.
    #[serde(default, skip_serializing, deserialize_with = "ignored")]
    sid: (),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Effect {
    Allow,
    Deny,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
struct Values(#[serde(deserialize_with = "one_or_many", serialize_with = "one_or_list")] BTreeSet<String>);

impl PolicyDocument {
    /// The document for the union of several accesses.
    #[must_use]
    pub fn new<'a>(partition: Partition, accesses: impl IntoIterator<Item = &'a Access>) -> Self {
        let statement = accesses.into_iter().flat_map(|access| statements(partition, access)).collect();
        Self { version: Version::V2012, statement }
    }

    /// Reads a document as IAM returns it; `None` when it holds something that this operator never writes.
    #[must_use]
    pub fn read(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }

    /// The canonical text.
    ///
    /// # Panics
    /// Never: strings, lists and maps with string keys always serialise.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("strings, lists and maps serialise")
    }

    /// Whether it allows nothing; such a document cannot be stored.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.statement.is_empty()
    }

    /// SHA-256 of the canonical text, in hex.
    #[must_use]
    pub fn digest(&self) -> String {
        hex(&Sha256::digest(self.to_json()))
    }

    /// Its size as AWS counts it: characters that are not white space.
    #[must_use]
    pub fn size(&self) -> usize {
        self.to_json().chars().filter(|c| !c.is_whitespace()).count()
    }
}

fn statements(partition: Partition, access: &Access) -> Vec<Statement> {
    let bucket = format!("arn:{}:s3:::{}", partition.as_str(), access.bucket);
    let objects = format!("{bucket}/{}*", access.prefix.as_str());
    let has = |capability| access.capabilities.contains(&capability);

    let mut on_objects = vec!["s3:GetObject", "s3:PutObject", "s3:DeleteObject"];
    if has(Capability::ObjectAcls) {
        on_objects.push("s3:PutObjectAcl");
    }
    if has(Capability::MultipartUploads) {
        on_objects.extend(["s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]);
    }
    // ListBucketMultipartUploads knows no s3:prefix: a condition on it would never match (reference §0.5).
    let on_bucket: Vec<&str> = [
        (Capability::MultipartUploads, "s3:ListBucketMultipartUploads"),
        (Capability::ListAllBuckets, "s3:GetBucketLocation"),
        (Capability::CreateBucket, "s3:CreateBucket"),
    ]
    .into_iter()
    .filter(|(capability, _)| has(*capability))
    .map(|(_, action)| action)
    .collect();

    let mut statements = listing(access, &bucket);
    statements.push(Statement::allow(&on_objects, &objects));
    if !on_bucket.is_empty() {
        statements.push(Statement::allow(&on_bucket, &bucket));
    }
    if has(Capability::ListAllBuckets) {
        // The action knows no resource, so only "*" matches it (reference §1.1).
        statements.push(Statement::allow(&["s3:ListAllMyBuckets"], "*"));
    }
    statements
}

/// With a prefix there are two ways to list: one level at a time on the way to it, and everything within.
fn listing(access: &Access, bucket: &str) -> Vec<Statement> {
    let list = Statement::allow(&["s3:ListBucket"], bucket);
    if access.prefix.is_whole_bucket() {
        return vec![list];
    }
    let within = list.clone().when("StringLike", "s3:prefix", [format!("{}*", access.prefix.as_str())]);
    if !access.ancestor_listing {
        return vec![within];
    }
    let way = access.prefix.way().map(str::to_owned);
    let on_the_way = list.when("StringEquals", "s3:prefix", way).when("StringEquals", "s3:delimiter", ["/".to_owned()]);
    vec![on_the_way, within]
}

impl Statement {
    fn allow(actions: &[&str], resource: &str) -> Self {
        Self {
            effect: Effect::Allow,
            action: actions.iter().map(|action| (*action).to_owned()).collect(),
            resource: [resource.to_owned()].into(),
            condition: BTreeMap::new(),
            sid: (),
        }
    }

    fn when(mut self, operator: &str, key: &str, values: impl IntoIterator<Item = String>) -> Self {
        self.condition
            .entry(operator.to_owned())
            .or_default()
            .insert(key.to_owned(), Values(values.into_iter().collect()));
        self
    }
}

/// IAM returns a list of one as the element itself (reference §3, design §3).
fn one_or_many<'de, D, T>(deserializer: D) -> Result<BTreeSet<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Ord,
{
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany<T> {
        Many(Vec<T>),
        One(T),
    }
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::Many(many) => many.into_iter().collect(),
        OneOrMany::One(one) => [one].into(),
    })
}

/// Every character counts against the size limit.
fn one_or_list<S: serde::Serializer>(set: &BTreeSet<String>, serializer: S) -> Result<S::Ok, S::Error> {
    match set.first() {
        Some(only) if set.len() == 1 => only.serialize(serializer),
        _ => set.serialize(serializer),
    }
}

fn ignored<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
    serde::de::IgnoredAny::deserialize(deserializer).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{BucketName, Prefix};

    /// The reference document's own policy for `backups/dataset-1/`, in its identity form.
    const REFERENCE: &str = r#"{"Version":"2012-10-17","Statement":[
      {"Sid":"AllowListingAncestors","Effect":"Allow","Action":["s3:ListBucket"],"Resource":["arn:aws:s3:::my-backups"],
       "Condition":{"StringEquals":{"s3:prefix":["","backups/","backups/dataset-1/"],"s3:delimiter":["/"]}}},
      {"Sid":"AllowListingWithin","Effect":"Allow","Action":["s3:ListBucket"],"Resource":["arn:aws:s3:::my-backups"],
       "Condition":{"StringLike":{"s3:prefix":["backups/dataset-1/*"]}}},
      {"Sid":"AllowObjects","Effect":"Allow","Action":["s3:PutObject","s3:GetObject","s3:DeleteObject"],
       "Resource":"arn:aws:s3:::my-backups/backups/dataset-1/*"}]}"#;

    fn access(prefix: Option<&str>, capabilities: &[Capability]) -> Access {
        Access {
            bucket: BucketName::parse("my-backups").expect("valid"),
            prefix: prefix.map_or_else(Prefix::whole_bucket, |p| Prefix::parse(p).expect("valid")),
            capabilities: capabilities.iter().copied().collect(),
            ancestor_listing: true,
        }
    }

    fn document(access: &Access) -> PolicyDocument {
        PolicyDocument::new(Partition::Aws, [access])
    }

    #[test]
    fn base_access_is_the_reference_policy() {
        let ours = document(&access(Some("backups/dataset-1"), &[]));
        assert_eq!(Some(ours), PolicyDocument::read(REFERENCE));
    }

    #[test]
    fn the_text_is_canonical() {
        assert_eq!(
            document(&Access { ancestor_listing: false, ..access(Some("a"), &[]) }).to_json(),
            concat!(
                r#"{"Version":"2012-10-17","Statement":["#,
                r#"{"Effect":"Allow","Action":["s3:DeleteObject","s3:GetObject","s3:PutObject"],"#,
                r#""Resource":"arn:aws:s3:::my-backups/a/*"},"#,
                r#"{"Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::my-backups","#,
                r#""Condition":{"StringLike":{"s3:prefix":"a/*"}}}]}"#
            )
        );
    }

    #[test]
    fn each_capability_adds_its_own_actions_only() {
        let base = document(&access(Some("a"), &[])).to_json();
        let table: [(Capability, &[&str]); 4] = [
            (
                Capability::MultipartUploads,
                &["s3:AbortMultipartUpload", "s3:ListBucketMultipartUploads", "s3:ListMultipartUploadParts"],
            ),
            (Capability::ObjectAcls, &["s3:PutObjectAcl"]),
            (Capability::ListAllBuckets, &["s3:GetBucketLocation", "s3:ListAllMyBuckets"]),
            (Capability::CreateBucket, &["s3:CreateBucket"]),
        ];
        for (capability, expected) in table {
            let json = document(&access(Some("a"), &[capability])).to_json();
            assert_eq!(actions(&json).difference(&actions(&base)).copied().collect::<Vec<_>>(), expected);
        }
    }

    fn actions(json: &str) -> BTreeSet<&str> {
        json.split('"')
            .filter(|part| part.starts_with("s3:") && *part != "s3:prefix" && *part != "s3:delimiter")
            .collect()
    }

    #[test]
    fn the_whole_bucket_is_listed_without_condition() {
        let json = document(&access(None, &[])).to_json();
        assert!(!json.contains("Condition"), "{json}");
        assert!(json.contains("arn:aws:s3:::my-backups/*"), "{json}");
    }

    #[test]
    fn a_difference_in_meaning_is_a_difference() {
        let ours = document(&access(Some("backups/dataset-1"), &[]));
        for (from, to) in [
            ("s3:GetObject", "s3:GetObjectAcl"),
            ("dataset-1/*\"]}}}", "dataset-1*\"]}}}"),
            ("StringEquals", "StringLike"),
            ("\"Allow\"", "\"Deny\""),
            ("2012-10-17", "2008-10-17"),
            ("\"Action\"", "\"NotAction\""),
        ] {
            let changed = REFERENCE.replacen(from, to, 1);
            assert_ne!(changed, REFERENCE, "{from} is in the document");
            assert_ne!(Some(&ours), PolicyDocument::read(&changed).as_ref(), "{from} -> {to}");
        }
    }

    #[test]
    fn a_union_covers_both_places() {
        let (old, new) = (access(Some("old"), &[]), access(Some("new"), &[]));
        let json = PolicyDocument::new(Partition::China, [&old, &new]).to_json();
        assert!(json.contains("arn:aws-cn:s3:::my-backups/old/*") && json.contains("arn:aws-cn:s3:::my-backups/new/*"));
    }
}
