//! The state that a phase ends in, without what differs from one run to the next.

use anyhow::{Context, Result};
use aws_sdk_iam::types::{AccessKeyMetadata, StatusType};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, ResourceExt};
use serde_json::{Map, Value, json};
use testbed::objects::{option, rclone_conf, record, status};

use crate::{
    corner::{Corner, SECRET, TARGET},
    decoys::NEIGHBOUR,
};

/// What is told in words, and counted.
const VARYING: [&str; 4] = ["message", "observedGeneration", "generation", "version"];
/// Says only that there was an intent that led nowhere.
const HISTORY: &str = "settledIntent";

/// Everything that the operator makes, as it is now.
pub async fn state(corner: &Corner) -> Result<Value> {
    let mut users = Vec::new();
    for user in corner.users().await? {
        users.push(user_summary(corner, &user).await?);
    }
    let target = corner.targets().get_opt(TARGET).await?;
    let secret = corner.secrets().get_opt(SECRET).await?;
    let store = corner.stores().get_opt(&corner.store).await?;
    let mut state = json!({
        "users": users,
        "policies": policies_of(corner).await?,
        "target": target.as_ref().map(|target| json!({"finalizers": target.finalizers(), "status": status(target)})),
        "secret": secret.as_ref().map(|secret| json!({
            "type": secret.type_, "labels": secret.labels(), "immutable": secret.immutable,
            "entries": secret.data.as_ref().map(|data| data.keys().collect::<Vec<_>>()),
            "owners": secret.owner_references().iter().map(|owner| &owner.uid).collect::<Vec<_>>(),
            "rclone.conf": rclone_conf(secret),
        })),
        "store": store.as_ref().map(|store| json!({
            "finalizers": store.finalizers(),
            "conditions": store.status.as_ref().map(|status| &status.conditions),
            "account": store.status.as_ref().and_then(|status| status.account_id.as_ref()),
        })),
    });
    let mut names = vec![
        (corner.namespace.clone(), "NAMESPACE".to_owned()),
        (corner.bucket.clone(), "BUCKET".to_owned()),
        (corner.account.clone(), "ACCOUNT".to_owned()),
        (corner.aws.url().to_owned(), "URL".to_owned()),
    ];
    if let Some(target) = &target {
        names.push((target.uid().unwrap_or_default(), "UID".to_owned()));
        for (number, key) in record(target).keys.iter().enumerate() {
            names.push((key.id.clone(), format!("KEY-{number}")));
        }
    }
    if let Some(conf) = secret.as_ref().and_then(rclone_conf) {
        names.push((option(&conf, "secret_access_key").to_owned(), "SECRET".to_owned()));
    }
    names.retain(|(name, _)| !name.is_empty());
    scrub(&mut state, &names);
    // IAM lists them by their ids, which are random.
    for user in state["users"].as_array_mut().into_iter().flatten() {
        user["keys"].as_array_mut().into_iter().for_each(|keys| keys.sort_by_key(ToString::to_string));
    }
    Ok(state)
}

fn scrub(value: &mut Value, names: &[(String, String)]) {
    match value {
        Value::String(text) => {
            for (name, stand_in) in names {
                *text = text.replace(name, stand_in);
            }
            if varies(text) {
                "…".clone_into(text);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| scrub(item, names)),
        Value::Object(fields) => {
            fields.remove(HISTORY);
            for (name, field) in fields.iter_mut() {
                if VARYING.contains(&name.as_str()) && !field.is_null() {
                    *field = json!("…");
                } else {
                    scrub(field, names);
                }
            }
        }
        _ => {}
    }
}

/// Times, digests and ids that IAM gives: that they are there says enough.
fn varies(text: &str) -> bool {
    let is_digest = text.len() >= 16 && text.chars().all(|c| c.is_ascii_hexdigit());
    is_digest || text.starts_with("AIDA") || text.parse::<jiff::Timestamp>().is_ok()
}

/// Where two states differ, as `path: then ≠ now`.
pub fn compare(path: &str, then: &Value, now: &Value, differences: &mut Vec<String>) {
    match (then, now) {
        (Value::Object(a), Value::Object(b)) => {
            for name in a.keys().chain(b.keys().filter(|name| !a.contains_key(*name))) {
                let of = |fields: &Map<String, Value>| fields.get(name).cloned().unwrap_or_default();
                compare(&format!("{path}/{name}"), &of(a), &of(b), differences);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (number, (then, now)) in a.iter().zip(b).enumerate() {
                compare(&format!("{path}/{number}"), then, now, differences);
            }
        }
        _ if then == now => {}
        _ => differences.push(format!("{path}: {then} ≠ {now}")),
    }
}

/// A user, and all that hangs on it.
pub async fn user_summary(corner: &Corner, name: &str) -> Result<Value> {
    let user = corner.iam.get_user().user_name(name).send().await?.user.context("a user")?;
    let tags: Vec<String> = user.tags().iter().map(|tag| format!("{}={}", tag.key(), tag.value())).collect();
    let keys = corner.iam.list_access_keys().user_name(name).send().await?.access_key_metadata;
    let summary =
        |key: &AccessKeyMetadata| json!({"id": key.access_key_id(), "status": key.status().map(StatusType::as_str)});
    let keys: Vec<Value> = keys.iter().map(summary).collect();
    let mut inline = Vec::new();
    for policy in corner.iam.list_user_policies().user_name(name).send().await?.policy_names {
        let found = corner.iam.get_user_policy().user_name(name).policy_name(&policy).send().await?;
        inline.push(json!({"name": policy, "document": found.policy_document}));
    }
    let attached = corner.iam.list_attached_user_policies().user_name(name).send().await?.attached_policies;
    let attached: Vec<String> =
        attached.unwrap_or_default().into_iter().filter_map(|policy| policy.policy_arn).collect();
    Ok(json!({
        "name": name, "path": user.path(), "tags": tags, "keys": keys, "inline": inline, "attached": attached,
    }))
}

/// The ARN of every customer managed policy of the account.
pub async fn policies_of(corner: &Corner) -> Result<Vec<String>> {
    let scope = aws_sdk_iam::types::PolicyScopeType::Local;
    let listed = corner.iam.list_policies().scope(scope).send().await?.policies.unwrap_or_default();
    let mut arns: Vec<String> = listed.into_iter().filter_map(|policy| policy.arn).collect();
    arns.sort();
    Ok(arns)
}

impl Corner {
    /// The IAM path of this cluster's principals.
    pub async fn iam_path(&self) -> Result<String> {
        let system = Api::<Namespace>::all(self.client.clone()).get("kube-system").await?;
        Ok(format!("/backup-target/{}/", system.uid().context("a UID")?))
    }

    /// The principals that this corner's operator has made.
    pub async fn users(&self) -> Result<Vec<String>> {
        let users = self.iam.list_users().path_prefix(self.iam_path().await?).send().await?.users;
        let names = users.into_iter().map(|user| user.user_name);
        Ok(names.filter(|name| name != NEIGHBOUR).collect())
    }

    /// Ids of the keys of a principal.
    pub async fn keys_of(&self, user: &str) -> Result<Vec<String>> {
        let keys = self.iam.list_access_keys().user_name(user).send().await?.access_key_metadata;
        Ok(keys.into_iter().filter_map(|key| key.access_key_id).collect())
    }
}
