//! What tests say and ask about Kubernetes objects.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use backup_target_operator::api::{
    BackupTarget,
    backup_target::{BackupTargetStatus, Record},
    condition::{self, READY, RECONCILING, STALLED},
};
use k8s_openapi::{api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::Condition};
use kube::{Api, ResourceExt, api::PostParams};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub fn status(target: &BackupTarget) -> BackupTargetStatus {
    target.status.clone().unwrap_or_default()
}

pub fn record(target: &BackupTarget) -> Record {
    status(target).record
}

/// The IAM user of a target.
pub fn principal(target: &BackupTarget) -> String {
    format!("btgt-{}", target.uid().unwrap_or_default())
}

pub fn condition(target: &BackupTarget, type_: &str) -> Option<Condition> {
    condition::find(&status(target).conditions, type_).cloned()
}

pub fn is(target: &BackupTarget, type_: &str, value: &str) -> bool {
    condition(target, type_).is_some_and(|condition| condition.status == value)
}

pub fn has(target: &BackupTarget, type_: &str, value: &str, reason: &str) -> bool {
    condition(target, type_).is_some_and(|condition| condition.status == value && condition.reason == reason)
}

pub fn is_ready(target: &BackupTarget) -> bool {
    is(target, READY, "True") && condition(target, RECONCILING).is_none() && condition(target, STALLED).is_none()
}

pub fn stalled_with(target: &BackupTarget, reason: &str) -> bool {
    has(target, READY, "False", reason) && has(target, STALLED, "True", reason)
}

/// The message of a condition; the test fails when there is none.
pub fn message(target: &BackupTarget, type_: &str) -> Result<String> {
    Ok(condition(target, type_).with_context(|| format!("there is no condition {type_}"))?.message)
}

pub fn rclone_conf(secret: &Secret) -> Option<String> {
    String::from_utf8(secret.data.as_ref()?.get("rclone.conf")?.0.clone()).ok()
}

/// The value of an option in an rclone.conf; empty when it is not there.
pub fn option<'a>(conf: &'a str, name: &str) -> &'a str {
    conf.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = ")).unwrap_or_default()
}

pub async fn create<K>(api: &Api<K>, body: Value) -> Result<K>
where
    K: kube::Resource<DynamicType = ()> + Clone + DeserializeOwned + serde::Serialize + std::fmt::Debug,
{
    let mut object = json!({"apiVersion": K::api_version(&()), "kind": K::kind(&())});
    merge(&mut object, body);
    Ok(api.create(&PostParams::default(), &serde_json::from_value(object)?).await?)
}

/// Puts the fields of one object over those of another; `null` removes one.
pub fn merge(into: &mut Value, fields: Value) {
    let (Value::Object(into), Value::Object(fields)) = (into, fields) else { return };
    for (name, value) in fields {
        if value.is_null() {
            into.remove(&name);
        } else {
            into.insert(name, value);
        }
    }
}

/// The labels of a Secret.
pub fn labels(secret: &Secret) -> BTreeMap<String, String> {
    secret.metadata.labels.clone().unwrap_or_default()
}
