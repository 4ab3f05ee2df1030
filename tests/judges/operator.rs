//! The operator's own policy, as `render -o operator-policy` prints it: enough for all that the operator calls, and of no use to
//! whoever would take its key.

use backup_target_operator::{
    access::Terms,
    api::backup_store::BackupStoreSpec,
    names::tag::{HOLD, RETAINED, UID},
    provider::aws::{
        operator_policy::{OperatorPolicy, Place},
        settings::Settings,
    },
};
use serde_json::{Value, json};

use crate::simulate::{ACCOUNT, Answers, Verdict, answers, holder};

const PATH: &str = "/backup-target/prod/";

/// One call to IAM.
struct Call {
    action: &'static str,
    resource: String,
    context: Value,
}

fn call(action: &'static str, resource: String, context: Value) -> Call {
    Call { action, resource, context }
}

/// The condition key of a tag on what a call is about.
fn tag(name: &str) -> String {
    format!("aws:ResourceTag/{name}")
}

fn boundary() -> String {
    format!("arn:aws:iam::{ACCOUNT}:policy/backup-boundary")
}

fn user(path: &str) -> String {
    format!("arn:aws:iam::{ACCOUNT}:user{path}btgt-1")
}

fn policy(path: &str) -> String {
    format!("arn:aws:iam::{ACCOUNT}:policy{path}btgt-1")
}

/// The policy of the operator for a store, with a boundary or without.
fn printed(bounded: bool) -> Value {
    let aws = if bounded { json!({"permissionsBoundary": boundary()}) } else { json!({}) };
    let spec: BackupStoreSpec = serde_json::from_value(json!({"region": "eu-central-1", "aws": aws})).expect("a spec");
    let terms = Terms::parse(&spec, None).expect("valid");
    let settings = Settings::parse(&spec).expect("valid");
    let place = Place { terms: &terms, boundary: settings.boundary.as_ref(), account: ACCOUNT, path: PATH };
    serde_json::from_str(&OperatorPolicy::new(place).to_pretty_json()).expect("JSON")
}

async fn allowed(policy: &Value, calls: &[Call]) -> Vec<bool> {
    let request = |call: &Call| {
        json!({
            "principal": holder("aws"), "action": call.action, "resource": call.resource, "account": ACCOUNT,
            "context": call.context,
        })
    };
    let question = json!({
        "form": "identity", "holder": holder("aws"), "policy": policy,
        "requests": calls.iter().map(request).collect::<Vec<_>>(),
    });
    match answers(&[question], calls.len()).await.expect("judged").pop() {
        Some(Verdict::Answers(Answers(answers))) => answers,
        other => panic!("{other:?}"),
    }
}

/// Every call that the operator makes, with what AWS says about it.
fn needed(bounded: bool) -> Vec<Call> {
    let with = |mut context: Value| {
        if bounded {
            context["iam:PermissionsBoundary"] = json!(boundary());
        }
        context
    };
    let tags = json!({"aws:TagKeys": ["backup-target.dev/cluster", "backup-target.dev/uid"]});
    let mut calls = vec![
        call("iam:CreateUser", user(PATH), with(tags.clone())),
        call("iam:PutUserPolicy", user(PATH), with(json!({}))),
        call("iam:AttachUserPolicy", user(PATH), with(json!({"iam:PolicyARN": policy(PATH)}))),
        call(
            "iam:DetachUserPolicy",
            user(PATH),
            with(json!({"iam:PolicyARN": "arn:aws:iam::aws:policy/AdministratorAccess"})),
        ),
        call("iam:CreatePolicy", policy(PATH), tags.clone()),
        call("iam:TagPolicy", policy(PATH), tags.clone()),
        call("iam:TagUser", user(PATH), tags),
        call("iam:TagUser", user(PATH), json!({"aws:TagKeys": [RETAINED], (tag(UID)): "1"})),
        call("iam:TagPolicy", policy(PATH), json!({"aws:TagKeys": [RETAINED], (tag(RETAINED)): "true"})),
        // What somebody attached may only deny, be it AWS's own or the account's.
        call("iam:GetPolicy", "arn:aws:iam::aws:policy/AWSDenyAll".to_owned(), json!({})),
        call("iam:GetPolicyVersion", policy("/"), json!({})),
        // What is on hold, and what was retained, can lose all it has.
        call("iam:UpdateAccessKey", user(PATH), json!({(tag(HOLD)): "incident 7"})),
        call("iam:DeleteAccessKey", user(PATH), json!({(tag(HOLD)): "incident 7", (tag(RETAINED)): "true"})),
        call("iam:PutUserPolicy", user(PATH), with(json!({(tag(HOLD)): "incident 7"}))),
    ];
    if bounded {
        calls.push(call("iam:PutUserPermissionsBoundary", user(PATH), with(json!({}))));
    }
    // Of a user who is not there, IAM knows no path.
    calls.push(call("iam:GetUser", user("/"), json!({})));
    for action in [
        "iam:GetUser",
        "iam:DeleteUser",
        "iam:GetUserPolicy",
        "iam:DeleteUserPolicy",
        "iam:ListUserPolicies",
        "iam:ListAttachedUserPolicies",
        "iam:ListGroupsForUser",
        "iam:CreateAccessKey",
        "iam:ListAccessKeys",
        "iam:GetAccessKeyLastUsed",
        "iam:UpdateAccessKey",
        "iam:DeleteAccessKey",
    ] {
        calls.push(call(action, user(PATH), with(json!({}))));
    }
    for action in [
        "iam:GetPolicy",
        "iam:GetPolicyVersion",
        "iam:ListPolicyVersions",
        "iam:CreatePolicyVersion",
        "iam:DeletePolicyVersion",
        "iam:DeletePolicy",
    ] {
        calls.push(call(action, policy(PATH), json!({})));
    }
    calls
}

#[tokio::test]
async fn the_operator_may_do_what_it_does() {
    for bounded in [false, true] {
        let calls = needed(bounded);
        let answers = allowed(&printed(bounded), &calls).await;
        let refused: Vec<&str> =
            calls.iter().zip(answers).filter(|(_, allowed)| !allowed).map(|(call, _)| call.action).collect();
        assert!(refused.is_empty(), "bounded: {bounded}: {refused:?}");
    }
}

#[tokio::test]
async fn the_calls_are_all_that_the_policy_speaks_of() {
    let text = printed(true).to_string();
    let mut spoken: Vec<&str> = text.split('"').filter(|part| part.starts_with("iam:")).collect();
    spoken.retain(|part| !["iam:PermissionsBoundary", "iam:PolicyARN"].contains(part));
    spoken.sort_unstable();
    spoken.dedup();
    let calls = needed(true);
    let mut called: Vec<&str> = calls.iter().map(|call| call.action).collect();
    called.sort_unstable();
    called.dedup();
    assert_eq!(spoken, called);
}

/// A user with a name of ours and no path is not there, or is somebody else's.
#[tokio::test]
async fn of_users_without_a_path_it_is_only_seen_whether_they_are_there() {
    for bounded in [false, true] {
        let mut calls: Vec<Call> = needed(bounded);
        calls.retain(|call| call.action != "iam:GetUser" && call.resource == user(PATH));
        for call in &mut calls {
            call.resource = user("/");
        }
        calls.push(call("iam:GetUser", format!("arn:aws:iam::{ACCOUNT}:user/alice"), json!({})));
        calls.push(call("iam:GetUser", user("/elsewhere/"), json!({})));
        calls.push(call("iam:UpdateUser", user("/"), json!({})));
        let answers = allowed(&printed(bounded), &calls).await;
        let found: Vec<&str> =
            calls.iter().zip(answers).filter(|(_, allowed)| *allowed).map(|(call, _)| call.action).collect();
        assert!(found.is_empty(), "bounded: {bounded}: {found:?}");
    }
}

/// What somebody would try who has the operator's key.
#[tokio::test]
async fn whoever_has_the_operators_key_gets_no_further() {
    let (other_path, admin) = ("/", "arn:aws:iam::aws:policy/AdministratorAccess");
    let bounded = |mut context: Value| {
        context["iam:PermissionsBoundary"] = json!(boundary());
        context
    };
    let calls = [
        // A user without the boundary, or with another one.
        call("iam:CreateUser", user(PATH), json!({})),
        call("iam:CreateUser", user(PATH), json!({"iam:PermissionsBoundary": admin})),
        call("iam:PutUserPolicy", user(PATH), json!({})),
        // Rights that are not its own to give.
        call("iam:AttachUserPolicy", user(PATH), bounded(json!({"iam:PolicyARN": admin}))),
        call("iam:AttachUserPolicy", user(PATH), bounded(json!({"iam:PolicyARN": policy(other_path)}))),
        call("iam:AttachUserPolicy", user(PATH), json!({"iam:PolicyARN": policy(PATH)})),
        // The boundary: taken away, replaced, edited.
        call("iam:DeleteUserPermissionsBoundary", user(PATH), bounded(json!({}))),
        call("iam:PutUserPermissionsBoundary", user(PATH), json!({"iam:PermissionsBoundary": admin})),
        call("iam:CreatePolicyVersion", boundary(), json!({})),
        call("iam:SetDefaultPolicyVersion", boundary(), json!({})),
        call("iam:DeletePolicy", boundary(), json!({})),
        // Users outside of the path, those whose path begins alike among them.
        call("iam:CreateUser", user(other_path), bounded(json!({}))),
        call("iam:CreateAccessKey", user(other_path), json!({})),
        call("iam:DeleteUser", user("/backup-target/"), json!({})),
        call("iam:DeleteUser", user("/backup-target/prod-2/"), json!({})),
        call("iam:PutUserPolicy", user("/backup-target/production/"), bounded(json!({}))),
        // What was retained, with or without the boundary: more rights, a key, or a new life for it.
        call("iam:CreateAccessKey", user(PATH), json!({(tag(RETAINED)): "true"})),
        call("iam:UpdateAccessKey", user(PATH), json!({(tag(RETAINED)): "true"})),
        call("iam:TagUser", user(PATH), json!({(tag(RETAINED)): "true", "aws:TagKeys": [UID]})),
        call("iam:UntagUser", user(PATH), json!({(tag(RETAINED)): "true", "aws:TagKeys": [RETAINED]})),
        call("iam:CreatePolicyVersion", policy(PATH), json!({(tag(RETAINED)): "true"})),
        call("iam:UntagPolicy", policy(PATH), json!({(tag(RETAINED)): "true", "aws:TagKeys": [RETAINED]})),
        // Somebody's hold: a key in spite of it, its end, or a feigned one.
        call("iam:CreateAccessKey", user(PATH), json!({(tag(HOLD)): ""})),
        call("iam:UntagUser", user(PATH), json!({(tag(HOLD)): "", "aws:TagKeys": [HOLD]})),
        call("iam:TagUser", user(PATH), json!({"aws:TagKeys": [HOLD]})),
        // Tags by which others may give rights.
        call("iam:TagUser", user(PATH), json!({"aws:TagKeys": [UID, "team"]})),
        call("iam:CreateUser", user(PATH), bounded(json!({"aws:TagKeys": ["team"]}))),
        call("iam:TagPolicy", policy(PATH), json!({"aws:TagKeys": ["backup-target.dev/uid2"]})),
        call("iam:CreatePolicy", policy(PATH), json!({"aws:TagKeys": ["team"]})),
        // Policies of others, of which it may only read what they say.
        call("iam:CreatePolicyVersion", policy("/"), json!({})),
        call("iam:TagPolicy", policy("/"), json!({"aws:TagKeys": [UID]})),
        // Other ways up.
        call("iam:AddUserToGroup", format!("arn:aws:iam::{ACCOUNT}:group/admins"), json!({})),
        call("iam:CreateLoginProfile", user(PATH), json!({})),
        call("iam:CreateRole", format!("arn:aws:iam::{ACCOUNT}:role/r"), json!({})),
        call("iam:PassRole", format!("arn:aws:iam::{ACCOUNT}:role/r"), json!({})),
        call("iam:UpdateUser", user(PATH), json!({})),
        call("s3:GetObject", "arn:aws:s3:::my-backups/a".to_owned(), json!({})),
    ];
    let answers = allowed(&printed(true), &calls).await;
    let found: Vec<String> = calls
        .iter()
        .zip(answers)
        .filter(|(_, allowed)| *allowed)
        .map(|(call, _)| format!("{} on {} with {}", call.action, call.resource, call.context))
        .collect();
    assert!(found.is_empty(), "{found:#?}");
}
