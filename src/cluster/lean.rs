//! Objects as the API server sends them, taken in piece by piece: what nobody here needs (labels, annotations and managed
//! fields of others) is passed over while it is read, so that a large object costs no more than its text.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Resource;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;

use crate::{
    api::{
        BackupStore, BackupTarget, GROUP,
        backup_store::{BackupStoreSpec, BackupStoreStatus},
        backup_target::{BackupTargetSpec, BackupTargetStatus, Record, StoreRef},
    },
    names::{STORE_FINALIZER, TARGET_FINALIZER},
};

/// An object with the metadata that this operator uses, or why it cannot be read. One that cannot be read is known all the
/// same, and does not break the list that it is in.
#[derive(Clone, Debug)]
pub struct Lean<K: Kind> {
    /// Which object it is.
    pub metadata: ObjectMeta,
    parts: Result<(K::Spec, Option<K::Status>), Unreadable>,
}

/// Why this version of the operator cannot read an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Unreadable {
    /// What is wrong with it, and where.
    pub error: String,
    /// The store that it names, if that much of it can be read.
    pub store: Option<StoreRef>,
}

/// A kind of this operator.
pub trait Kind: Resource<DynamicType = ()> {
    type Spec: DeserializeOwned + Clone + fmt::Debug;
    /// What the operator writes.
    type Status: DeserializeOwned + Clone + fmt::Debug;
    /// Where in a status the fault is, if the status as a whole does not tell.
    fn fault_in_status(_: &Value) -> Option<String> {
        None
    }

    /// Puts an object together.
    fn whole(metadata: ObjectMeta, spec: Self::Spec, status: Option<Self::Status>) -> Self;
}

impl Kind for BackupTarget {
    type Spec = BackupTargetSpec;
    type Status = BackupTargetStatus;

    // Serde does not know the place in what is flattened.
    fn fault_in_status(status: &Value) -> Option<String> {
        read::<Option<Record>>("status", status).err()
    }

    fn whole(metadata: ObjectMeta, spec: BackupTargetSpec, status: Option<BackupTargetStatus>) -> Self {
        Self { metadata, spec, status }
    }
}

impl Kind for BackupStore {
    type Spec = BackupStoreSpec;
    type Status = BackupStoreStatus;
    fn whole(metadata: ObjectMeta, spec: BackupStoreSpec, status: Option<BackupStoreStatus>) -> Self {
        Self { metadata, spec, status }
    }
}

/// Metadata without what others wrote into it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    #[serde(deserialize_with = "of_ours_and_one_more")]
    finalizers: Vec<String>,
    #[serde(deserialize_with = "of_our_group")]
    annotations: BTreeMap<String, String>,
    #[serde(deserialize_with = "of_our_group")]
    labels: BTreeMap<String, String>,
    owner_references: Option<Vec<Owner>>,
}

/// As much of an owner as tells where to look for it.
#[derive(Clone, Debug, Deserialize)]
struct Owner {
    kind: String,
    name: String,
}

impl Metadata {
    /// Names of the owners of that kind, whoever wrote them.
    pub fn owners<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a str> {
        let owners = self.owner_references.iter().flatten();
        owners.filter(move |owner| owner.kind == kind).map(|owner| owner.name.as_str())
    }

    /// The value of a label of this operator.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.get(key).map(String::as_str)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

impl From<Metadata> for ObjectMeta {
    fn from(lean: Metadata) -> Self {
        Self {
            name: lean.name,
            namespace: lean.namespace,
            uid: lean.uid,
            resource_version: lean.resource_version,
            generation: lean.generation,
            creation_timestamp: lean.creation_timestamp,
            deletion_timestamp: lean.deletion_timestamp,
            finalizers: Some(lean.finalizers),
            annotations: Some(lean.annotations),
            labels: Some(lean.labels),
            ..Self::default()
        }
    }
}

/// For the API server, what is kept of an object is the object itself; `true` where it is to send no more than metadata.
macro_rules! stands_for {
    ($kept:ty, $object:ty, $metadata_alone:literal $(, $K:ident: $Kind:path)?) => {
        impl$(<$K: $Kind>)? kube::Resource for $kept {
            type DynamicType = ();
            type Scope = <$object as kube::Resource>::Scope;

            fn metadata_api() -> bool {
                $metadata_alone
            }
            fn kind((): &()) -> std::borrow::Cow<'_, str> {
                <$object as kube::Resource>::kind(&())
            }
            fn group((): &()) -> std::borrow::Cow<'_, str> {
                <$object as kube::Resource>::group(&())
            }
            fn version((): &()) -> std::borrow::Cow<'_, str> {
                <$object as kube::Resource>::version(&())
            }
            fn plural((): &()) -> std::borrow::Cow<'_, str> {
                <$object as kube::Resource>::plural(&())
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
pub(crate) use stands_for;

stands_for!(Lean<K>, K, false, K: Kind);

impl<K: Kind> Lean<K> {
    /// The object.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn open(self) -> Result<K, Unreadable> {
        self.parts.map(|(spec, status)| K::whole(self.metadata, spec, status))
    }
}

impl<'de, K: Kind> Deserialize<'de> for Lean<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// Spec and status are as large as the CRD lets them be, so they may be held until it is known whether they can be read.
        #[derive(Deserialize)]
        struct Parts {
            #[serde(default)]
            metadata: Metadata,
            #[serde(default)]
            spec: Value,
            #[serde(default)]
            status: Value,
        }
        let parts = Parts::deserialize(deserializer)?;
        let metadata = ObjectMeta::from(parts.metadata);
        let store = serde_json::from_value(parts.spec["storeRef"].clone()).ok();
        let status = || {
            let status = read("status", &parts.status);
            status.map_err(|error| K::fault_in_status(&parts.status).unwrap_or(error))
        };
        let read = read("spec", &parts.spec).and_then(|spec| Ok((spec, status()?)));
        Ok(Self { metadata, parts: read.map_err(|error| Unreadable { error, store }) })
    }
}

/// A value that makes a parser panic is one that cannot be read, and no more than that.
fn read<T: DeserializeOwned>(field: &str, value: &Value) -> Result<T, String> {
    let read = catch_unwind(AssertUnwindSafe(|| serde_path_to_error::deserialize::<_, T>(value)));
    match read {
        Ok(Ok(read)) => Ok(read),
        Ok(Err(error)) if error.path().iter().next().is_none() => Err(format!("{field}: {}", error.inner())),
        Ok(Err(error)) => Err(format!("{field}.{}: {}", error.path(), error.inner())),
        Err(_) => Err(format!("{field}: a value in it is beyond all measure")),
    }
}

/// Those entries of labels or annotations whose key is one of this operator's.
fn of_our_group<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    struct OfOurGroup;
    impl<'de> Visitor<'de> for OfOurGroup {
        type Value = BTreeMap<String, String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("labels or annotations")
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(BTreeMap::new())
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut ours = BTreeMap::new();
            while let Some(key) = map.next_key::<Cow<'de, str>>()? {
                if key.strip_prefix(GROUP).is_some_and(|rest| rest.starts_with('/')) {
                    ours.insert(key.into_owned(), map.next_value()?);
                } else {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            Ok(ours)
        }
    }
    deserializer.deserialize_any(OfOurGroup)
}

/// Of finalizers, those of this operator and one of all others: it tells that there are some.
fn of_ours_and_one_more<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct OursAndOneMore;
    impl<'de> Visitor<'de> for OursAndOneMore {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("finalizers")
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(Vec::new())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let is_ours = |name: &str| [TARGET_FINALIZER, STORE_FINALIZER].contains(&name);
            let mut kept = Vec::<String>::new();
            while let Some(name) = list.next_element::<Cow<'de, str>>()? {
                let is_known = if is_ours(&name) {
                    kept.iter().any(|known| *known == name)
                } else {
                    kept.iter().any(|known| !is_ours(known))
                };
                if !is_known {
                    kept.push(name.into_owned());
                }
            }
            Ok(kept)
        }
    }
    deserializer.deserialize_any(OursAndOneMore)
}

#[cfg(test)]
mod tests {
    use kube::ResourceExt;
    use serde_json::json;

    use super::*;

    fn target(metadata: &Value, spec: &Value, status: &Value) -> Lean<BackupTarget> {
        let object = json!({"apiVersion": "v1", "kind": "x", "metadata": metadata, "spec": spec, "status": status});
        serde_json::from_str(&object.to_string()).unwrap()
    }

    #[test]
    fn what_others_wrote_into_metadata_is_passed_over() {
        let metadata = json!({
            "name": "dataset-1", "namespace": "backups", "uid": "u", "resourceVersion": "7", "generation": 2,
            "labels": {"app": "x", "backup-target.dev/target": "dataset-1"},
            "annotations": {"note": "long", "backup-target.dev/verify-at": "now", "backup-target.device/x": "y"},
            "managedFields": [{"manager": "kubectl"}], "finalizers": ["other.dev/x", "backup-target.dev/principal"],
        });
        let lean = target(&metadata, &json!({"bucket": "my-backups"}), &Value::Null).open().unwrap();
        assert_eq!((lean.name_any().as_str(), lean.metadata.generation), ("dataset-1", Some(2)));
        assert_eq!(lean.labels().keys().collect::<Vec<_>>(), ["backup-target.dev/target"]);
        assert_eq!(lean.annotations().keys().collect::<Vec<_>>(), ["backup-target.dev/verify-at"]);
        assert_eq!((lean.managed_fields().len(), lean.spec.bucket.as_str()), (0, "my-backups"));
        assert_eq!(lean.status, None);
        let empty = json!({"name": "x", "labels": null, "annotations": null, "finalizers": null});
        assert!(target(&empty, &json!({"bucket": "my-backups"}), &json!({})).open().is_ok());
    }

    #[test]
    fn of_finalizers_are_kept_ours_and_that_there_are_others() {
        let ours = "backup-target.dev/principal";
        let others: Vec<String> = (0..10_000).map(|number| format!("other.dev/{number}")).collect();
        let and_ours = [others.as_slice(), &[ours.to_owned()]].concat();
        let table = [
            (json!(null), vec![]),
            (json!([]), vec![]),
            (json!([ours, ours]), vec![ours]),
            (json!(and_ours), vec!["other.dev/0", ours]),
            (json!(others), vec!["other.dev/0"]),
        ];
        for (finalizers, kept) in table {
            let metadata = json!({"name": "x", "finalizers": finalizers});
            let lean = target(&metadata, &json!({"bucket": "my-backups"}), &Value::Null);
            assert_eq!(lean.finalizers(), kept);
        }
    }

    #[test]
    fn what_cannot_be_read_is_known_all_the_same() {
        let metadata = json!({"name": "dataset-1", "generation": 3});
        for (spec, status, says) in [
            (json!({"bucket": "b", "capabilities": ["Teleport"]}), json!({}), "spec.capabilities[0]: unknown variant"),
            (json!({"bucket": "b"}), json!({"keys": 7}), "status.keys: invalid type"),
            (json!({}), json!({}), "spec: missing field `bucket`"),
            (json!(null), json!({}), "spec: "),
        ] {
            let lean = target(&metadata, &spec, &status);
            assert_eq!(lean.metadata.generation, Some(3));
            let unreadable = lean.open().unwrap_err();
            assert!(unreadable.error.starts_with(says), "{}", unreadable.error);
            assert_eq!(unreadable.store, None);
        }
        let newer = json!({"bucket": "b", "capabilities": ["Teleport"], "storeRef": {"name": "fast"}});
        let unreadable = target(&metadata, &newer, &Value::Null).open().unwrap_err();
        assert_eq!(unreadable.store, Some(StoreRef { name: "fast".to_owned() }));
    }

    #[test]
    fn a_parser_that_panics_is_an_object_that_cannot_be_read() {
        #[derive(Debug)]
        struct Panics;
        impl<'de> Deserialize<'de> for Panics {
            fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
                panic!("a fault")
            }
        }
        assert!(read::<Panics>("spec", &json!("1h")).unwrap_err().starts_with("spec: "));
    }
}
