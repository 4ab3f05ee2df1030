//! What the operator itself needs in IAM, and what bounds the principals that it makes.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::settings::BoundaryArn;
use crate::{
    access::{
        Access, BucketName, Invalid, PolicyDocument, Terms,
        allow::{CLUSTER, NAMESPACE, NAMESPACE_UID, Namespace, rule_prefix},
    },
    api::{
        backup_store::{AllowRule, BackupStoreSpec},
        backup_target::AncestorListing,
    },
    names::{PRINCIPAL_PREFIX, tag},
};

/// Where the operator's principals live.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The store's terms.
    pub terms: &'a Terms,
    /// What bounds every principal.
    pub boundary: Option<&'a BoundaryArn>,
    /// The AWS account; `*` where it is not known, which in IAM still is this account only.
    pub account: &'a str,
    /// IAM path of the principals.
    pub path: &'a str,
}

/// The policy of the operator.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct OperatorPolicy {
    version: &'static str,
    statement: Vec<Statement>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Statement {
    sid: &'static str,
    effect: &'static str,
    action: Vec<&'static str>,
    resource: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    condition: Option<Value>,
}

/// What makes a principal, or gives it rights.
const GIVE: [&str; 2] = ["iam:CreateUser", "iam:PutUserPolicy"];
/// What marks a principal, and switches its keys on and off.
const MARK: [&str; 2] = ["iam:TagUser", "iam:UpdateAccessKey"];
/// What tells whether a user is there.
const LOOK: [&str; 1] = ["iam:GetUser"];
const USERS: [&str; 11] = [
    "iam:GetUser",
    "iam:DeleteUser",
    "iam:GetUserPolicy",
    "iam:DeleteUserPolicy",
    "iam:ListUserPolicies",
    "iam:ListAttachedUserPolicies",
    "iam:ListGroupsForUser",
    "iam:DetachUserPolicy",
    "iam:ListAccessKeys",
    "iam:GetAccessKeyLastUsed",
    "iam:DeleteAccessKey",
];
/// What makes and marks a managed policy.
const MAKE_POLICY: [&str; 2] = ["iam:CreatePolicy", "iam:TagPolicy"];
const POLICIES: [&str; 3] = ["iam:ListPolicyVersions", "iam:DeletePolicyVersion", "iam:DeletePolicy"];
/// Which of the policies that others attach only deny shows only in their documents.
const READ_POLICIES: [&str; 2] = ["iam:GetPolicy", "iam:GetPolicyVersion"];
/// All tags that the operator writes: with others, rights could be had that go by tags, and a hold be feigned.
const TAGS: [&str; 5] = [tag::CLUSTER, tag::NAMESPACE, tag::NAME, tag::UID, tag::RETAINED];

impl OperatorPolicy {
    /// The policy with which the operator can do its work, and nothing beyond the store's path
    /// (docs/decisions/operator-rights.md).
    ///
    /// With a permissions boundary, the operator can make no principal without it, and cannot take it
    /// away: not from a user, and not by changing the boundary itself. What was retained, perhaps before there was a boundary, can
    /// be given nothing more, and what somebody holds gets no key.
    #[must_use]
    pub fn new(place: Place<'_>) -> Self {
        let Place { terms, boundary, account, path } = place;
        let partition = terms.partition.as_str();
        let users = format!("arn:{partition}:iam::{account}:user{path}*");
        // Of a user who is not there, IAM knows no path (docs/decisions/aws-reality.md).
        let missing_users = format!("arn:{partition}:iam::{account}:user/{PRINCIPAL_PREFIX}*");
        let policies = format!("arn:{partition}:iam::{account}:policy{path}*");
        let all_policies = format!("arn:{partition}:iam::*:policy/*");
        let bounded = boundary.map(|boundary| json!({"iam:PermissionsBoundary": boundary.as_str()}));
        let own_tags = json!({"aws:TagKeys": TAGS});
        let without = |tags: &[&str]| -> Value {
            tags.iter().map(|tag| (format!("aws:ResourceTag/{tag}"), "true".into())).collect::<Map<_, _>>().into()
        };

        let mut give = GIVE.to_vec();
        give.extend(bounded.as_ref().map(|_| "iam:PutUserPermissionsBoundary"));
        let mut giving = json!({"ForAllValues:StringEquals": own_tags});
        let mut own_policies = json!({"ArnLike": {"iam:PolicyARN": policies}});
        if let Some(bounded) = &bounded {
            giving["StringEquals"] = bounded.clone();
            own_policies["StringEquals"] = bounded.clone();
        }
        let marking = json!({"Null": without(&[tag::RETAINED]), "ForAllValues:StringEquals": own_tags});
        let statement = |sid, actions: &[&'static str], resource: &str, condition| Statement {
            sid,
            effect: "Allow",
            action: actions.to_vec(),
            resource: resource.to_owned(),
            condition,
        };
        Self {
            version: "2012-10-17",
            statement: vec![
                statement("GiveRights", &give, &users, Some(giving)),
                statement("AttachOwnPolicies", &["iam:AttachUserPolicy"], &users, Some(own_policies)),
                statement(
                    "MakeKeys",
                    &["iam:CreateAccessKey"],
                    &users,
                    Some(json!({"Null": without(&[tag::RETAINED, tag::HOLD])})),
                ),
                statement("MarkUsers", &MARK, &users, Some(marking)),
                statement("Users", &USERS, &users, None),
                statement("MissingUsers", &LOOK, &missing_users, None),
                statement(
                    "MakeOwnPolicies",
                    &MAKE_POLICY,
                    &policies,
                    Some(json!({"ForAllValues:StringEquals": own_tags})),
                ),
                statement(
                    "ChangeOwnPolicies",
                    &["iam:CreatePolicyVersion"],
                    &policies,
                    Some(json!({"Null": without(&[tag::RETAINED])})),
                ),
                statement("OwnPolicies", &POLICIES, &policies, None),
                statement("ReadPolicies", &READ_POLICIES, &all_policies, None),
            ],
        }
    }

    /// The document, a field on each line.
    ///
    /// # Panics
    /// Never: strings, lists and maps with string keys always serialise.
    #[must_use]
    pub fn to_pretty_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("strings, lists and maps serialise")
    }
}

/// A permissions boundary: the union of all that the store's rules allow, and what it had to leave wide.
///
/// # Errors
/// When a rule names something that no target could claim.
pub fn boundary(
    terms: &Terms,
    spec: &BackupStoreSpec,
    cluster: Option<&str>,
) -> Result<(PolicyDocument, Vec<String>), Invalid> {
    let (mut accesses, mut notes) = (Vec::new(), Vec::new());
    for (number, rule) in spec.allow.iter().enumerate() {
        let mut folders = Vec::new();
        for text in &rule.prefixes {
            let (known, why) = known_part(text, rule, cluster);
            if let Some(why) = why {
                let covered = if known.is_empty() { "the whole bucket" } else { known };
                notes.push(format!("spec.allow[{number}] {why}: for {text} the boundary covers {covered}"));
            }
            folders.extend(filled(known, rule, cluster));
        }
        for (bucket, folder) in rule.buckets.iter().flat_map(|bucket| folders.iter().map(move |f| (bucket, f))) {
            accesses.extend(access(bucket, folder, rule)?);
        }
    }
    Ok((PolicyDocument::new(terms, &accesses), notes))
}

/// A rule's prefix up to the first folder whose name nobody knows beforehand, and why not.
fn known_part<'a>(text: &'a str, rule: &AllowRule, cluster: Option<&str>) -> (&'a str, Option<&'static str>) {
    let unknown = |segment: &str| match segment {
        NAMESPACE if !rule.namespaces.match_labels.is_empty() => {
            Some("selects namespaces by label, whose names nobody knows beforehand")
        }
        NAMESPACE_UID => Some("goes by the UIDs of namespaces, which nobody knows beforehand"),
        CLUSTER if cluster.is_none() => {
            Some("goes by the id of the cluster, which is not known here (give --cluster-id)")
        }
        _ => None,
    };
    let mut known = 0;
    for segment in text.split_inclusive('/') {
        if let Some(why) = unknown(segment.trim_end_matches('/')) {
            return (&text[..known], Some(why));
        }
        known += segment.len();
    }
    (text, None)
}

fn filled(text: &str, rule: &AllowRule, cluster: Option<&str>) -> Vec<String> {
    let text = text.replace(CLUSTER, cluster.unwrap_or_default());
    if text.contains(NAMESPACE) {
        rule.namespaces.names.iter().map(|name| text.replace(NAMESPACE, name)).collect()
    } else {
        vec![text]
    }
}

/// What a rule allows in one folder; nothing, where no target could claim it.
fn access(bucket: &str, folder: &str, rule: &AllowRule) -> Result<Option<Access>, Invalid> {
    let nowhere = Namespace::default();
    let Some(prefix) = rule_prefix(folder, &nowhere) else { return Ok(None) };
    Ok(Some(Access {
        bucket: BucketName::parse(bucket)?,
        prefix,
        capabilities: rule.capabilities.iter().copied().collect(),
        ancestor_listing: rule.ancestor_listing == AncestorListing::Allow,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::aws::settings::Settings;

    const BOUNDARY: &str = "arn:aws:iam::123456789012:policy/backup-boundary";

    fn store(spec: &Value) -> (Terms, BackupStoreSpec) {
        let spec: BackupStoreSpec = serde_json::from_value(spec.clone()).expect("a spec");
        (Terms::parse(&spec, None).expect("valid"), spec)
    }

    fn policy(spec: &Value) -> Value {
        let (terms, spec) = store(spec);
        let boundary = Settings::parse(&spec).expect("valid").boundary;
        let place =
            Place { terms: &terms, boundary: boundary.as_ref(), account: "123456789012", path: "/backup-target/c/" };
        serde_json::to_value(OperatorPolicy::new(place)).expect("serialises")
    }

    #[test]
    fn every_resource_is_under_the_path_but_for_what_is_only_read() {
        for aws in [json!({}), json!({"permissionsBoundary": BOUNDARY})] {
            let policy = policy(&json!({"region": "cn-north-1", "aws": aws}));
            for statement in policy["Statement"].as_array().expect("a list") {
                let resource = statement["Resource"].as_str().expect("one");
                let only_reads = [json!(READ_POLICIES), json!(LOOK)].contains(&statement["Action"]);
                assert!(
                    only_reads
                        || ["user", "policy"]
                            .iter()
                            .any(|kind| resource == format!("arn:aws-cn:iam::123456789012:{kind}/backup-target/c/*")),
                    "{resource}"
                );
            }
        }
    }

    #[test]
    fn with_a_boundary_rights_are_given_to_bounded_users_only() {
        let policy = policy(&json!({"region": "eu-central-1", "aws": {"permissionsBoundary": BOUNDARY}}));
        for statement in policy["Statement"].as_array().expect("a list") {
            let text = statement.to_string();
            let gives = ["CreateUser\"", "PutUserPolicy", "AttachUserPolicy", "PutUserPermissionsBoundary"];
            if gives.iter().any(|action| text.contains(&format!("iam:{action}"))) {
                assert_eq!(statement["Condition"]["StringEquals"]["iam:PermissionsBoundary"], BOUNDARY, "{text}");
            }
        }
        assert!(!policy.to_string().contains("DeleteUserPermissionsBoundary"));
    }

    #[test]
    fn a_boundary_is_the_union_of_the_rules() {
        let (terms, spec) = store(&json!({"region": "us-east-1", "allow": [
            {"namespaces": {"names": ["a", "b"]}, "buckets": ["one"], "prefixes": ["{namespace}/"],
             "capabilities": ["MultipartUploads"]},
            {"namespaces": {"names": ["c"]}, "buckets": ["two"], "prefixes": [""]},
        ]}));
        let (document, notes) = boundary(&terms, &spec, Some("prod")).expect("valid");
        let json = document.to_json();
        assert!(notes.is_empty(), "{notes:?}");
        for part in ["one/a/*", "one/b/*", "two/*", "\"a/*\"", "s3:ListBucketMultipartUploads"] {
            assert!(json.contains(part), "{part}: {json}");
        }
        assert!(!json.contains("two/a/") && !json.contains("s3:PutObjectAcl"), "{json}");
    }

    #[test]
    fn what_a_boundary_cannot_name_is_covered_and_told() {
        let (terms, spec) = store(&json!({"region": "us-east-1", "allow": [
            {"namespaces": {"matchLabels": {"team": "a"}}, "buckets": ["one"], "prefixes": ["teams/{namespace}/"]},
        ]}));
        let (document, notes) = boundary(&terms, &spec, Some("prod")).expect("valid");
        assert!(document.to_json().contains("one/teams/*"));
        assert!(notes.len() == 1 && notes[0].contains("the boundary covers teams/"), "{notes:?}");
    }

    #[test]
    fn a_boundary_goes_as_far_as_names_are_known() {
        let (terms, spec) = store(&json!({"region": "us-east-1", "allow": [
            {"namespaces": {"names": ["a"]}, "buckets": ["one"],
             "prefixes": ["clusters/{cluster}/{namespace}/", "by-uid/{namespace}/{namespaceUID}/x/"]},
        ]}));
        for (cluster, covered, told) in [(Some("prod"), "one/clusters/prod/a/*", 1), (None, "one/clusters/*", 2)] {
            let (document, notes) = boundary(&terms, &spec, cluster).expect("valid");
            let json = document.to_json();
            assert!(json.contains(covered) && json.contains("one/by-uid/a/*"), "{json}");
            assert_eq!(notes.len(), told, "{notes:?}");
        }
    }

    #[test]
    fn a_rule_that_no_target_can_use_bounds_nothing() {
        let (terms, spec) = store(&json!({"region": "us-east-1", "allow": [
            {"namespaces": {"names": ["a"]}, "buckets": ["one"], "prefixes": ["*"]},
        ]}));
        assert!(boundary(&terms, &spec, Some("prod")).expect("valid").0.is_empty());
    }
}
