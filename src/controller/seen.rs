//! What the watches keep of objects: as little as decisions need, since anybody may make many of them, and large ones.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Namespace, Secret},
    apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, Time},
};
use kube::{Resource, runtime::reflector::ObjectRef};
use serde::{Deserialize, Deserializer};

use crate::{
    api::{
        BackupStore, BackupTarget, Tier,
        backup_target::{BackupTargetStatus, StoreRef},
        condition::{self, LEAST_PRIVILEGE, READY},
    },
    cluster::lean::{self, Lean, Unreadable},
    names::{self, TARGET_LABEL},
};

/// An object as the watches keep it: without what others wrote into its metadata, and without what its status only tells.
#[derive(Clone, Debug)]
pub struct Seen<K> {
    /// What is kept of it, or why it cannot be read.
    pub object: Result<K, Unreadable>,
    /// What its conditions say.
    pub told: Told,
}

/// What conditions and annotations say, in short.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Status and reason of the condition `Ready`.
    pub ready: Option<(String, String)>,
    /// Types and status of the conditions of tiers, and of `LeastPrivilege`.
    pub tiers: Vec<(&'static str, String)>,
    /// What a store's administrator says about keys that somebody else switched off.
    pub reactivate_at: Option<Timestamp>,
}

/// A kind that is kept.
pub trait Kept: lean::Kind {
    /// Takes out what is not needed of its status, and gives back its conditions.
    fn trim(&mut self) -> Vec<Condition>;
}

/// A target, as the watches see it.
pub type SeenTarget = Seen<BackupTarget>;
/// A store, as the watches see it.
pub type SeenStore = Seen<BackupStore>;

impl Kept for BackupTarget {
    fn trim(&mut self) -> Vec<Condition> {
        let Some(status) = self.status.take() else { return Vec::new() };
        self.status = Some(BackupTargetStatus {
            principal: status.principal,
            policy: status.policy,
            access_key_id: status.access_key_id,
            key_created_at: status.key_created_at,
            applied: status.applied,
            access: status.access,
            previous_access: status.previous_access,
            keys: status.keys,
            ..BackupTargetStatus::default()
        });
        status.conditions
    }
}

impl Kept for BackupStore {
    fn trim(&mut self) -> Vec<Condition> {
        self.status.as_mut().map(|status| std::mem::take(&mut status.conditions)).unwrap_or_default()
    }
}

impl Told {
    fn by(conditions: Vec<Condition>) -> Self {
        let ready = condition::find(&conditions, READY).map(|ready| (ready.status.clone(), ready.reason.clone()));
        let tier = |told: Condition| Some((of_a_tier(&told.type_)?, told.status));
        Self { ready, tiers: conditions.into_iter().filter_map(tier).collect(), reactivate_at: None }
    }
}

fn of_a_tier(type_: &str) -> Option<&'static str> {
    Tier::ALL.iter().map(|tier| tier.name()).chain([LEAST_PRIVILEGE]).find(|known| *known == type_)
}

impl<K> Seen<K> {
    /// The object, if it can be read.
    #[must_use]
    pub fn readable(&self) -> Option<&K> {
        self.object.as_ref().ok()
    }
}

impl SeenTarget {
    /// The store that it names, if that much of it can be read.
    #[must_use]
    pub fn store_ref(&self) -> Option<&StoreRef> {
        match &self.object {
            Ok(target) => Some(&target.spec.store_ref),
            Err(unreadable) => unreadable.store.as_ref(),
        }
    }
}

impl<K: Kept> From<Lean<K>> for Seen<K> {
    fn from(lean: Lean<K>) -> Self {
        let (mut object, mut told) = (lean.0, Told::default());
        if let Ok(object) = &mut object {
            told = Told::by(object.trim());
        }
        let mut seen = Self { object, told };
        let metadata = seen.meta_mut();
        let ours = |finalizer: &String| [names::TARGET_FINALIZER, names::STORE_FINALIZER].contains(&finalizer.as_str());
        let finalizers = metadata.finalizers.take();
        metadata.finalizers = finalizers.map(|all| all.into_iter().filter(ours).take(1).collect());
        let said = metadata.annotations.take().and_then(|mut all| all.remove(names::REACTIVATE_KEYS_ANNOTATION));
        metadata.labels = None;
        seen.told.reactivate_at = said.and_then(|time| time.parse().ok());
        seen
    }
}

impl<'de, K: Kept> Deserialize<'de> for Seen<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Lean::deserialize(deserializer).map(Self::from)
    }
}

/// For the API server it is the object itself.
impl<K: Kept> Resource for Seen<K> {
    type DynamicType = ();
    type Scope = K::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        K::kind(&())
    }
    fn group((): &()) -> Cow<'_, str> {
        K::group(&())
    }
    fn version((): &()) -> Cow<'_, str> {
        K::version(&())
    }
    fn plural((): &()) -> Cow<'_, str> {
        K::plural(&())
    }
    fn meta(&self) -> &ObjectMeta {
        self.object.as_ref().map_or_else(|unreadable| &unreadable.metadata, K::meta)
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.object.as_mut().map_or_else(|unreadable| &mut unreadable.metadata, K::meta_mut)
    }
}

/// A Secret that says it belongs to some target: only to which.
#[derive(Clone, Debug)]
pub struct SeenSecret {
    metadata: ObjectMeta,
    targets: BTreeSet<String>,
}

impl SeenSecret {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// Whose it is: by its owner, by its label should somebody have taken the owner off, and by its name should the label have
    /// been too short for the target's. Anybody can write all of that, so there need not be such targets.
    pub fn targets(&self) -> impl Iterator<Item = ObjectRef<SeenTarget>> {
        let namespace = self.metadata.namespace.as_deref().unwrap_or_default();
        self.targets.iter().map(move |name| ObjectRef::new(name).within(namespace))
    }
}

impl<'de> Deserialize<'de> for SeenSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Parts {
            metadata: lean::Metadata,
        }
        let Parts { metadata } = Parts::deserialize(deserializer)?;
        let kind = BackupTarget::kind(&());
        let names = metadata.owners(&kind).chain(metadata.label(TARGET_LABEL)).chain(metadata.name());
        let targets = names.map(str::to_owned).collect();
        Ok(Self { metadata: metadata.into(), targets })
    }
}

/// A namespace: only its labels.
#[derive(Clone, Debug, Deserialize)]
pub struct SeenNamespace {
    /// Its name, its labels, and whether it is being deleted.
    #[serde(deserialize_with = "name_and_labels")]
    pub metadata: ObjectMeta,
}

fn name_and_labels<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Metadata {
        name: String,
        resource_version: String,
        deletion_timestamp: Option<Time>,
        labels: Option<BTreeMap<String, String>>,
    }
    let Metadata { name, resource_version, deletion_timestamp, labels } = Metadata::deserialize(deserializer)?;
    let (name, resource_version) = (Some(name), Some(resource_version));
    Ok(ObjectMeta { name, resource_version, deletion_timestamp, labels, ..ObjectMeta::default() })
}

/// Both are read as metadata alone: what is in a Secret never comes here.
macro_rules! as_metadata {
    ($seen:ty, $object:ty) => {
        impl Resource for $seen {
            type DynamicType = ();
            type Scope = <$object as Resource>::Scope;

            fn metadata_api() -> bool {
                true
            }
            fn kind((): &()) -> Cow<'_, str> {
                <$object as Resource>::kind(&())
            }
            fn group((): &()) -> Cow<'_, str> {
                <$object as Resource>::group(&())
            }
            fn version((): &()) -> Cow<'_, str> {
                <$object as Resource>::version(&())
            }
            fn plural((): &()) -> Cow<'_, str> {
                <$object as Resource>::plural(&())
            }
            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }
            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

as_metadata!(SeenSecret, Secret);
as_metadata!(SeenNamespace, Namespace);

#[cfg(test)]
mod tests {
    use kube::ResourceExt;
    use serde_json::{Value, json};

    use super::*;

    fn many() -> Value {
        (0..1_000).map(|number| (format!("key-{number}"), json!("value"))).collect::<serde_json::Map<_, _>>().into()
    }

    #[test]
    fn of_a_target_is_kept_what_matters() {
        let condition = |type_: &str, status: &str, reason: &str| json!({"type": type_, "status": status, "reason": reason, "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let object = json!({
            "metadata": {
                "name": "dataset-1", "namespace": "backups", "uid": "u", "resourceVersion": "7", "generation": 2, "labels": many(),
                "annotations": {"backup-target.dev/verify-at": "now"}, "managedFields": [many()],
                "finalizers": ["other.dev/x", "backup-target.dev/principal", "other.dev/y"],
            },
            "spec": {"bucket": "my-backups", "storeRef": {"name": "fast"}},
            "status": {
                "accessKeyId": "AKIA", "keyCreatedAt": "2026-01-01T00:00:00Z", "applied": {"generation": 2, "rclone": "d"},
                "conditions": [
                    condition("Ready", "True", "Provisioned"), condition("BaseAccess", "True", "Verified"),
                    condition("LeastPrivilege", "Unknown", "Pending"), condition("Stalled", "False", "x"),
                ],
            },
        });
        let seen: SeenTarget = serde_json::from_str(&object.to_string()).unwrap();
        assert_eq!((seen.labels().len(), seen.annotations().len(), seen.managed_fields().len()), (0, 0, 0));
        assert_eq!(seen.finalizers(), ["backup-target.dev/principal"]);
        assert_eq!(seen.told.ready, Some(("True".to_owned(), "Provisioned".to_owned())));
        assert_eq!(seen.told.tiers, [("BaseAccess", "True".to_owned()), ("LeastPrivilege", "Unknown".to_owned())]);
        let status = seen.readable().unwrap().status.as_ref().unwrap();
        assert!(status.key_created_at.is_some() && status.applied.is_some() && status.conditions.is_empty());
    }

    #[test]
    fn of_a_secret_is_kept_whose_it_is() {
        let object = json!({"kind": "PartialObjectMetadata", "metadata": {
            "name": "s", "namespace": "backups", "resourceVersion": "7", "managedFields": [many()],
            "labels": {"a": "b", "backup-target.dev/target": "labelled"},
            "ownerReferences": [
                {"apiVersion": "backup-target.dev/v1alpha1", "kind": "BackupTarget", "name": "owner", "uid": "u"},
                {"apiVersion": "apps/v1", "kind": "Deployment", "name": "other", "uid": "u"},
            ],
        }});
        let seen: SeenSecret = serde_json::from_str(&object.to_string()).unwrap();
        let targets: Vec<String> = seen.targets().map(|target| target.name).collect();
        assert_eq!(targets, ["labelled", "owner", "s"]);
        assert!(seen.labels().is_empty() || seen.labels().len() == 1);
    }

    #[test]
    fn of_a_namespace_are_kept_the_labels() {
        let object = json!({"metadata": {
            "name": "n", "resourceVersion": "1", "labels": {"a": "b"}, "annotations": many(), "managedFields": [many()],
        }});
        let seen: SeenNamespace = serde_json::from_str(&object.to_string()).unwrap();
        assert_eq!((seen.labels().len(), seen.annotations().len(), seen.managed_fields().len()), (1, 0, 0));
    }
}
