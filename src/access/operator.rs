//! What the operator itself needs in IAM, and what bounds the principals that it makes.

use serde::Serialize;
use serde_json::{Value, json};

use super::{
    Access, BucketName, Invalid, PolicyDocument, Terms,
    allow::{Namespace, rule_prefix},
};
use crate::api::{
    backup_store::{AllowRule, BackupStoreSpec},
    backup_target::AncestorListing,
};

/// Where the operator's principals live.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The store's terms.
    pub terms: &'a Terms,
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
    statement: [Statement; 4],
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
const USERS: [&str; 14] = [
    "iam:GetUser",
    "iam:TagUser",
    "iam:DeleteUser",
    "iam:GetUserPolicy",
    "iam:DeleteUserPolicy",
    "iam:ListUserPolicies",
    "iam:ListAttachedUserPolicies",
    "iam:ListGroupsForUser",
    "iam:DetachUserPolicy",
    "iam:CreateAccessKey",
    "iam:ListAccessKeys",
    "iam:GetAccessKeyLastUsed",
    "iam:UpdateAccessKey",
    "iam:DeleteAccessKey",
];
const POLICIES: [&str; 8] = [
    "iam:CreatePolicy",
    "iam:TagPolicy",
    "iam:GetPolicy",
    "iam:GetPolicyVersion",
    "iam:ListPolicyVersions",
    "iam:CreatePolicyVersion",
    "iam:DeletePolicyVersion",
    "iam:DeletePolicy",
];

impl OperatorPolicy {
    /// The policy with which the operator can do its work, and nothing beyond the store's path (reference §3.5).
    ///
    /// With a permissions boundary in the store's terms, the operator can make no principal without it, and cannot take it
    /// away: not from a user, and not by changing the boundary itself.
    #[must_use]
    pub fn new(place: Place<'_>) -> Self {
        let Place { terms, account, path } = place;
        let partition = terms.partition.as_str();
        let users = format!("arn:{partition}:iam::{account}:user{path}*");
        let policies = format!("arn:{partition}:iam::{account}:policy{path}*");
        let bounded = terms.boundary.as_ref().map(|boundary| json!({"iam:PermissionsBoundary": boundary.as_str()}));

        let mut give = GIVE.to_vec();
        give.extend(bounded.as_ref().map(|_| "iam:PutUserPermissionsBoundary"));
        let mut own_policies = json!({"ArnLike": {"iam:PolicyARN": policies}});
        if let Some(bounded) = &bounded {
            own_policies["StringEquals"] = bounded.clone();
        }
        let bounded = bounded.map(|bounded| json!({"StringEquals": bounded}));
        Self {
            version: "2012-10-17",
            statement: [
                Statement::new("GiveRights", give, &users, bounded),
                Statement::new("AttachOwnPolicies", vec!["iam:AttachUserPolicy"], &users, Some(own_policies)),
                Statement::new("Users", USERS.to_vec(), &users, None),
                Statement::new("OwnPolicies", POLICIES.to_vec(), &policies, None),
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

impl Statement {
    fn new(sid: &'static str, action: Vec<&'static str>, resource: &str, condition: Option<Value>) -> Self {
        Self { sid, effect: "Allow", action, resource: resource.to_owned(), condition }
    }
}

/// A permissions boundary: the union of all that the store's rules allow, and what it had to leave wide.
///
/// # Errors
/// When a rule names something that no target could claim.
pub fn boundary(terms: &Terms, spec: &BackupStoreSpec) -> Result<(PolicyDocument, Vec<String>), Invalid> {
    let (mut accesses, mut notes) = (Vec::new(), Vec::new());
    for (number, rule) in spec.allow.iter().enumerate() {
        let mut folders = Vec::new();
        for text in &rule.prefixes {
            let whole = text.split_once("{namespace}").map(|(parent, _)| parent);
            match whole.filter(|_| !rule.namespaces.match_labels.is_empty()) {
                Some(parent) => {
                    let covered = if parent.is_empty() { "the whole bucket" } else { parent };
                    notes.push(format!(
                        "spec.allow[{number}] selects namespaces by label, whose names nobody knows beforehand: for {text} the \
                         boundary covers {covered}"
                    ));
                    folders.push(parent.to_owned());
                }
                None => folders.extend(filled(text, rule)),
            }
        }
        for (bucket, folder) in rule.buckets.iter().flat_map(|bucket| folders.iter().map(move |f| (bucket, f))) {
            accesses.extend(access(bucket, folder, rule)?);
        }
    }
    Ok((PolicyDocument::new(terms, &accesses), notes))
}

fn filled(text: &str, rule: &AllowRule) -> Vec<String> {
    if text.contains("{namespace}") {
        rule.namespaces.names.iter().map(|name| text.replace("{namespace}", name)).collect()
    } else {
        vec![text.to_owned()]
    }
}

/// What a rule allows in one folder; nothing, where no target could claim it.
fn access(bucket: &str, folder: &str, rule: &AllowRule) -> Result<Option<Access>, Invalid> {
    let nowhere = Namespace { name: String::new(), labels: std::collections::BTreeMap::new() };
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

    const BOUNDARY: &str = "arn:aws:iam::123456789012:policy/backup-boundary";

    fn store(spec: &Value) -> (Terms, BackupStoreSpec) {
        let spec: BackupStoreSpec = serde_json::from_value(spec.clone()).expect("a spec");
        (Terms::parse(&spec, None).expect("valid"), spec)
    }

    fn policy(spec: &Value) -> Value {
        let (terms, _) = store(spec);
        let place = Place { terms: &terms, account: "123456789012", path: "/backup-target/c/" };
        serde_json::to_value(OperatorPolicy::new(place)).expect("serialises")
    }

    #[test]
    fn every_resource_is_under_the_path() {
        for iam in [json!({}), json!({"permissionsBoundary": BOUNDARY})] {
            let policy = policy(&json!({"region": "cn-north-1", "iam": iam}));
            for statement in policy["Statement"].as_array().expect("a list") {
                let resource = statement["Resource"].as_str().expect("one");
                assert!(
                    ["user", "policy"]
                        .iter()
                        .any(|kind| resource == format!("arn:aws-cn:iam::123456789012:{kind}/backup-target/c/*")),
                    "{resource}"
                );
            }
        }
    }

    #[test]
    fn with_a_boundary_rights_are_given_to_bounded_users_only() {
        let policy = policy(&json!({"region": "eu-central-1", "iam": {"permissionsBoundary": BOUNDARY}}));
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
        let (document, notes) = boundary(&terms, &spec).expect("valid");
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
        let (document, notes) = boundary(&terms, &spec).expect("valid");
        assert!(document.to_json().contains("one/teams/*"));
        assert!(notes.len() == 1 && notes[0].contains("the boundary covers teams/"), "{notes:?}");
    }

    #[test]
    fn a_rule_that_no_target_can_use_bounds_nothing() {
        let (terms, spec) = store(&json!({"region": "us-east-1", "allow": [
            {"namespaces": {"names": ["a"]}, "buckets": ["one"], "prefixes": ["*"]},
        ]}));
        assert!(boundary(&terms, &spec).expect("valid").0.is_empty());
    }
}
