//! What the watches keep of objects: as little as decisions need, since anybody may make many of them, and large ones.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Namespace, Secret},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use kube::{Resource, ResourceExt, runtime::reflector::ObjectRef};
use serde::{Deserialize, Deserializer};

use super::brief::Brief;
use crate::{
    api::{
        BackupStore, BackupTarget,
        backup_store::BackupStoreSpec,
        backup_target::StoreRef,
        condition::{self, READY, Truth},
    },
    cluster::lean::{self, Lean, Unreadable, stands_for},
    names::{self, TARGET_LABEL},
};

/// An object as the watches keep it.
#[derive(Clone, Debug)]
pub struct Seen<K: Kept> {
    metadata: ObjectMeta,
    /// What is kept of it, or why it cannot be read.
    pub object: Result<K::Form, Box<Unreadable>>,
}

/// A kind that is kept.
pub trait Kept: lean::Kind + Sized {
    /// What is kept of an object of that kind.
    type Form: From<Self> + Clone + fmt::Debug + Send + Sync + 'static;
}

/// A target, as the watches see it.
pub type SeenTarget = Seen<BackupTarget>;
/// A store, as the watches see it.
pub type SeenStore = Seen<BackupStore>;

impl Kept for BackupTarget {
    type Form = Brief;
}

impl Kept for BackupStore {
    type Form = StoreInBrief;
}

/// A store in brief: there are few, and rules are asked often.
#[derive(Clone, Debug)]
pub struct StoreInBrief {
    /// What its administrator wrote.
    pub spec: BackupStoreSpec,
    /// The account that it is pinned to.
    pub account_id: Option<String>,
    /// Whether its credentials work.
    pub ready: Option<Truth>,
    /// What its administrator says about keys that somebody else switched off.
    pub reactivate_at: Option<Timestamp>,
}

impl From<BackupStore> for StoreInBrief {
    fn from(store: BackupStore) -> Self {
        let reactivate_at = store.annotations().get(names::REACTIVATE_KEYS_ANNOTATION);
        let reactivate_at = reactivate_at.and_then(|time| time.parse().ok());
        let status = store.status.unwrap_or_default();
        let ready = condition::find(&status.conditions, READY).map(Truth::of);
        Self { spec: store.spec, account_id: status.account_id, ready, reactivate_at }
    }
}

impl<K: Kept> Seen<K> {
    /// The object, if it can be read.
    #[must_use]
    pub fn readable(&self) -> Option<&K::Form> {
        self.object.as_ref().ok()
    }
}

impl SeenTarget {
    /// The name of the store that it means, if that much of it can be read.
    #[must_use]
    pub fn store(&self) -> Option<Cow<'_, str>> {
        match &self.object {
            Ok(target) => Some(Cow::Borrowed(&target.store)),
            Err(unreadable) => unreadable.store.as_ref().map(StoreRef::resolved),
        }
    }
}

impl<K: Kept> From<Lean<K>> for Seen<K> {
    fn from(lean: Lean<K>) -> Self {
        let seen = lean.metadata.clone();
        let metadata = ObjectMeta {
            name: seen.name,
            namespace: seen.namespace,
            uid: seen.uid,
            resource_version: seen.resource_version,
            generation: seen.generation,
            creation_timestamp: seen.creation_timestamp,
            deletion_timestamp: seen.deletion_timestamp,
            ..ObjectMeta::default()
        };
        Self { metadata, object: lean.open().map(K::Form::from).map_err(Box::new) }
    }
}

impl<'de, K: Kept> Deserialize<'de> for Seen<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Lean::deserialize(deserializer).map(Self::from)
    }
}

stands_for!(Seen<K>, K, false, K: Kept);

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

// Of both, metadata alone is read: what is in a Secret never comes here.
stands_for!(SeenSecret, Secret, true);
stands_for!(SeenNamespace, Namespace, true);

#[cfg(test)]
mod tests {
    use kube::ResourceExt;
    use serde_json::{Value, json};

    use super::*;

    fn many() -> Value {
        (0..1_000).map(|number| (format!("key-{number}"), json!("value"))).collect::<serde_json::Map<_, _>>().into()
    }

    #[test]
    fn of_the_metadata_of_a_target_is_kept_which_one_it_is() {
        let object = json!({
            "metadata": {
                "name": "dataset-1", "namespace": "backups", "uid": "u", "resourceVersion": "7", "generation": 2, "labels": many(),
                "annotations": {"backup-target.dev/verify-at": "now"}, "managedFields": [many()],
                "finalizers": ["other.dev/x", "backup-target.dev/principal", "other.dev/y"],
                "creationTimestamp": "2026-01-01T00:00:00Z", "deletionTimestamp": "2026-01-02T00:00:00Z",
            },
            "spec": {"bucket": "my-backups", "storeRef": {"name": "fast"}},
        });
        let seen: SeenTarget = serde_json::from_str(&object.to_string()).unwrap();
        let (metadata, time) = (seen.meta(), |day: &str| format!("2026-01-0{day}T00:00:00Z").parse().map(Time).ok());
        let kept = ObjectMeta {
            name: Some("dataset-1".to_owned()),
            namespace: Some("backups".to_owned()),
            uid: Some("u".to_owned()),
            resource_version: Some("7".to_owned()),
            generation: Some(2),
            creation_timestamp: time("1"),
            deletion_timestamp: time("2"),
            ..ObjectMeta::default()
        };
        assert_eq!(*metadata, kept);
        assert_eq!(seen.store().as_deref(), Some("fast"));
    }

    #[test]
    fn of_a_target_that_cannot_be_read_is_kept_which_store_it_means() {
        let object = json!({
            "metadata": {"name": "dataset-1"},
            "spec": {"bucket": "my-backups", "capabilities": ["Teleport"], "storeRef": {"name": "fast#x"}},
        });
        let seen: SeenTarget = serde_json::from_str(&object.to_string()).unwrap();
        assert_eq!((seen.readable(), seen.store().as_deref()), (None, Some("fast")));
    }

    #[test]
    fn of_a_store_is_kept_what_matters_to_targets() {
        let object = json!({
            "metadata": {"name": "fast", "annotations": {"backup-target.dev/reactivate-keys": "2026-01-01T00:00:00Z"}},
            "spec": {"region": "eu-central-1", "allow": []},
            "status": {"accountId": "111122223333", "conditions": [{
                "type": "Ready", "status": "True", "reason": "CredentialsValid", "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }]},
        });
        let seen: SeenStore = serde_json::from_str(&object.to_string()).unwrap();
        let store = seen.readable().unwrap();
        assert_eq!((store.ready, store.account_id.as_deref()), (Some(Truth::True), Some("111122223333")));
        assert_eq!(store.reactivate_at, "2026-01-01T00:00:00Z".parse().ok());
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
