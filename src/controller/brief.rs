//! What is kept of a target between its reconciles: what decisions about it and about others need, in a form for thousands. Pure.

use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::Timestamp;

use crate::{
    access::{Access, Claim},
    api::{
        BackupTarget, Reason, Tier,
        backup_target::{BackupTargetStatus, Record},
        condition::{self, LEAST_PRIVILEGE, READY, Truth},
    },
};

/// Conditions that are counted: one for each tier, and `LeastPrivilege`.
const COUNTED: usize = Tier::ALL.len() + 1;

/// A target in brief.
#[expect(clippy::struct_excessive_bools, reason = "facts of which none follows from another")]
#[derive(Clone, Debug, PartialEq)]
pub struct Brief {
    /// The store that is meant.
    pub store: Box<str>,
    /// Whether it is being deleted.
    pub is_deleting: bool,
    /// Whether all that this generation of its spec asks for was given.
    pub is_applied: bool,
    /// Whether changes to it wait.
    pub is_suspended: bool,
    /// Whether something was made for it.
    pub has_anything: bool,
    /// Whether it has a principal.
    pub has_principal: bool,
    /// Whether its principal has a policy.
    pub has_policy: bool,
    /// When the key in its Secret was created.
    pub key_created_at: Option<Timestamp>,
    /// The key in its Secret, in short.
    pub key: Option<u64>,
    /// Whether something that it was given is recorded in a way that cannot be read.
    pub is_unclear: bool,
    /// What it has or wants.
    pub standing: Standing,
    /// Former folders that its key still reaches.
    pub former: Box<[Access]>,
    /// Status and reason of the condition `Ready`.
    pub ready: Option<(Truth, Reason)>,
    counted: [Option<Truth>; COUNTED],
}

/// What a target has or wants.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    /// It was given this.
    Has(Access),
    /// It was given nothing that can be read, and asks for this.
    Wants(Box<Claim>),
    /// What it asks for is not valid.
    Neither,
}

impl Brief {
    /// What it was given, former folders included.
    pub fn given(&self) -> impl Iterator<Item = &Access> {
        let now = match &self.standing {
            Standing::Has(access) => Some(access),
            Standing::Wants(_) | Standing::Neither => None,
        };
        now.into_iter().chain(&self.former)
    }

    /// Types and status of the conditions that are counted.
    pub fn counted(&self) -> impl Iterator<Item = (&'static str, Truth)> {
        counted_types().zip(self.counted).filter_map(|(type_, truth)| Some((type_, truth?)))
    }
}

fn counted_types() -> impl Iterator<Item = &'static str> {
    Tier::ALL.into_iter().map(Tier::name).chain([LEAST_PRIVILEGE])
}

/// Of a key it matters whether others have it, and nothing else.
#[must_use]
pub fn in_short(key_id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    key_id.hash(&mut hasher);
    hasher.finish()
}

impl From<BackupTarget> for Brief {
    fn from(target: BackupTarget) -> Self {
        let none = BackupTargetStatus::default();
        let status = target.status.as_ref().unwrap_or(&none);
        let record = &status.record;
        let applied = record.applied.as_ref().map(|applied| applied.generation);
        let former = record.previous_access.iter().map(|former| &former.access);
        let mut given = record.access.iter().chain(former.clone());
        let find = |type_| condition::find(&status.conditions, type_);
        let mut counted = [None; COUNTED];
        for (counted, type_) in counted.iter_mut().zip(counted_types()) {
            *counted = find(type_).map(Truth::of);
        }
        Self {
            store: target.spec.store_ref.resolved().into(),
            is_deleting: target.metadata.deletion_timestamp.is_some(),
            is_applied: applied == target.metadata.generation,
            is_suspended: target.spec.suspend,
            has_anything: record.made_something(),
            has_principal: record.principal.is_some(),
            has_policy: record.policy.is_some(),
            key_created_at: record.key_created_at.filter(|_| record.access_key_id.is_some()),
            key: record.access_key_id.as_deref().map(in_short),
            is_unclear: given.any(|given| Access::from_record(given).is_err()),
            standing: Standing::of(&target, record),
            former: former.flat_map(Access::from_record).collect(),
            ready: find(READY).map(|ready| (Truth::of(ready), Reason::of(ready).unwrap_or(Reason::Unreadable))),
            counted,
        }
    }
}

impl Standing {
    fn of(target: &BackupTarget, record: &Record) -> Self {
        if let Some(given) = record.access.as_ref().and_then(|given| Access::from_record(given).ok()) {
            return Self::Has(given);
        }
        let name = target.metadata.name.as_deref().unwrap_or_default();
        Claim::parse(name, &target.spec).map_or(Self::Neither, |claim| Self::Wants(Box::new(claim)))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::controller::seen::SeenTarget;

    /// Of what a status records as given: nothing, something that is not valid, or a folder with capabilities.
    fn any_access() -> impl Strategy<Value = Value> {
        let access = |(prefix, capabilities): (&str, Vec<&str>)| json!({"bucket": "b-1", "prefix": prefix, "capabilities": capabilities, "ancestorListing": "Deny"});
        let capabilities = prop::sample::subsequence(vec!["ObjectAcls", "CreateBucket"], 0..=2);
        (prop::sample::select(vec!["", "a/", "b/c/", "../"]), capabilities).prop_map(access)
    }

    /// Targets of few names, places and stores, so that they meet.
    pub fn any_target() -> impl Strategy<Value = BackupTarget> {
        let metadata = ("[ab]", "[ab]", 0..3_u32, 1..3_i64, any::<bool>());
        let spec =
            (prop::sample::select(vec!["default", "default#x", "other"]), prop::sample::select(vec!["b-1", "B"]));
        let given = (prop::option::of(any_access()), prop::collection::vec(any_access(), 0..3));
        let flags = (any::<bool>(), any::<bool>(), any::<bool>(), prop::option::of(1..3_i64));
        (metadata, spec, given, flags).prop_map(|(metadata, (store, bucket), (access, former), flags)| {
            let ((name, namespace, second, generation, deleting), (policy, principal, key, applied)) = (metadata, flags);
            let time = format!("2026-01-01T00:00:0{second}Z");
            let former: Vec<Value> = former.iter().map(|access| json!({"access": access, "until": time})).collect();
            let is = |there: bool, value: Value| if there { value } else { Value::Null };
            let condition = |type_: &str, status: &str, reason: &str| json!({"type": type_, "status": status, "reason": reason, "message": "", "lastTransitionTime": time});
            let object = json!({
                "apiVersion": "backup-target.dev/v1alpha1", "kind": "BackupTarget",
                "metadata": {
                    "name": name, "namespace": namespace, "uid": format!("{namespace}/{name}"), "generation": generation,
                    "creationTimestamp": time, "deletionTimestamp": is(deleting, json!(time)),
                },
                "spec": {"bucket": bucket, "prefix": "a", "storeRef": {"name": store}},
                "status": {
                    "access": access, "previousAccess": former, "keyCreatedAt": time,
                    "policy": is(policy, json!({"digest": "d", "form": "Inline"})),
                    "principal": is(principal, json!("btgt-1")), "accessKeyId": is(key, json!("AKIA")),
                    "applied": applied.map(|generation| json!({"generation": generation, "rclone": "r"})),
                    "conditions": [
                        condition("Ready", if policy { "True" } else { "False" }, "Provisioned"),
                        condition("BaseAccess", if key { "True" } else { "Unknown" }, "Verified"),
                    ],
                },
            });
            serde_json::from_value(object).expect("a target")
        })
    }

    /// What it takes in memory: itself, and what it points at.
    fn size(seen: &SeenTarget) -> usize {
        use kube::Resource;
        let (metadata, brief) = (seen.meta(), seen.readable().expect("readable"));
        let strings = [&metadata.name, &metadata.namespace, &metadata.uid, &metadata.resource_version];
        let strings: usize = strings.into_iter().flatten().map(String::capacity).sum();
        let place = |access: &Access| access.bucket.as_str().len() + access.prefix.as_str().len();
        let given: usize = brief.given().map(|access| size_of::<Access>() + place(access)).sum();
        size_of::<SeenTarget>() + strings + brief.store.len() + given
    }

    #[test]
    fn of_a_large_target_little_is_kept() {
        let long = "x".repeat(30_000);
        let access = json!({"bucket": "my-backups", "prefix": "clusters/prod/backups/dataset-1/", "capabilities": ["ObjectAcls"], "ancestorListing": "Deny"});
        let types = [
            "Ready",
            "Stalled",
            "LeastPrivilege",
            "BaseAccess",
            "MultipartUploads",
            "ObjectAcls",
            "ListAllBuckets",
            "CreateBucket",
        ];
        let conditions: Vec<Value> = types.into_iter().map(|type_| json!({"type": type_, "status": "True", "reason": "Provisioned", "message": long, "lastTransitionTime": "2026-01-01T00:00:00Z"})).collect();
        let keys: Vec<Value> = (0..50)
            .map(|key| json!({"id": format!("AKIA{key}"), "createdAt": "2026-01-01T00:00:00Z", "fingerprint": "f"}))
            .collect();
        let object = json!({
            "metadata": {
                "name": "dataset-1", "namespace": "backups", "uid": "6f1c7b0e-8f0a-4f57-9d0b-0a3f4c6a2b11", "resourceVersion": "1234567",
                "generation": 1, "labels": {"backup-target.dev/target": long}, "annotations": {"backup-target.dev/note": long},
                "finalizers": [long], "managedFields": [{"manager": long}], "creationTimestamp": "2026-01-01T00:00:00Z",
            },
            "spec": {"bucket": "my-backups", "prefix": "clusters/prod/backups/dataset-1", "secret": {"name": "s"}},
            "status": {
                "access": access, "conditions": conditions, "keys": keys, "principal": "btgt-1", "settledIntent": long,
                "policy": {"digest": long, "form": "Inline"}, "applied": {"generation": 1, "rclone": long}, "accessKeyId": "AKIA1",
                "keyCreatedAt": "2026-01-01T00:00:00Z", "previousSecrets": [{"name": long, "until": "2026-01-01T00:00:00Z"}],
            },
        });
        let seen: SeenTarget = serde_json::from_str(&object.to_string()).expect("a target");
        assert!(
            matches!(&seen.readable().expect("readable").standing, Standing::Has(access) if access.capabilities.len() == 1)
        );
        assert!(size(&seen) < 1_000, "{}", size(&seen));
    }

    proptest! {
        #[test]
        fn a_brief_says_what_the_target_says(target in any_target()) {
            let (brief, status) = (Brief::from(target.clone()), target.status.clone().expect("a status"));
            let record = &status.record;
            let records = record.access.iter().chain(record.previous_access.iter().map(|former| &former.access));
            let given: Vec<Access> = records.flat_map(Access::from_record).collect();
            prop_assert!(brief.given().eq(&given));
            prop_assert_eq!(&*brief.store, &*target.spec.store_ref.resolved());
            prop_assert_eq!(brief.has_principal, record.principal.is_some());
            prop_assert_eq!(brief.key_created_at.is_some(), record.access_key_id.is_some());
            let truth = |type_| condition::find(&status.conditions, type_).map(|told| told.status.as_str());
            prop_assert_eq!(brief.ready.map(|(ready, _)| ready.as_str()), truth(READY));
            let counted: Vec<_> = brief.counted.into_iter().flatten().map(Truth::as_str).collect();
            prop_assert_eq!(counted, truth("BaseAccess").into_iter().collect::<Vec<_>>());
        }
    }
}
