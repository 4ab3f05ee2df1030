//! Which key is for what, as a store's administrator wrote it. Pure.

use crate::{
    access::{Access, BucketName, Invalid, Prefix, claim::object_name},
    api::backup_store::{BackupStoreSpec, StaticKey},
    names::ObjectName,
};

const FIELD: &str = "spec.staticKeys";

/// All entries of a store; no two are for the same place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entries(Vec<Entry>);

/// A place, and the Secret that its key is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    bucket: BucketName,
    prefix: Prefix,
    /// A Secret in the operator's own namespace.
    pub secret: ObjectName,
}

impl Entries {
    /// Parses the entries of a store.
    ///
    /// # Errors
    /// The first one that breaks a rule. The API server refuses the same at apply, as far as it can.
    pub fn parse(spec: &BackupStoreSpec) -> Result<Self, Invalid> {
        let mut entries: Vec<Entry> = Vec::new();
        for (number, written) in (1..).zip(&spec.static_keys) {
            let in_place = |invalid: Invalid| Invalid::new(FIELD, format!("entry {number}: {}", invalid.problem));
            let entry = Entry::parse(written).map_err(in_place)?;
            if entries.iter().any(|other| (&other.bucket, &other.prefix) == (&entry.bucket, &entry.prefix)) {
                let problem = format!(
                    "entry {number}: there is an entry for {} of bucket {} already; leave one of them",
                    entry.prefix, entry.bucket
                );
                return Err(Invalid::new(FIELD, problem));
            }
            entries.push(entry);
        }
        Ok(Self(entries))
    }

    /// The one for just that place. A key for more than what is claimed is given only where its administrator wrote the very place
    /// beside it.
    #[must_use]
    pub fn find(&self, access: &Access) -> Option<&Entry> {
        self.0.iter().find(|entry| entry.bucket == access.bucket && entry.prefix == access.prefix)
    }
}

impl Entry {
    fn parse(written: &StaticKey) -> Result<Self, Invalid> {
        Ok(Self {
            bucket: BucketName::parse(&written.bucket)?,
            prefix: written.prefix.as_deref().map_or_else(|| Ok(Prefix::whole_bucket()), Prefix::parse)?,
            secret: object_name(FIELD, &written.secret_ref.name)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn parse(entries: &Value) -> Result<Entries, Invalid> {
        let spec = json!({"provider": "StaticKeys", "region": "r", "endpoint": "https://x", "staticKeys": entries});
        Entries::parse(&serde_json::from_value(spec).expect("a spec"))
    }

    fn access(bucket: &str, prefix: Option<&str>) -> Access {
        Access {
            bucket: BucketName::parse(bucket).expect("valid"),
            prefix: prefix.map_or_else(Prefix::whole_bucket, |prefix| Prefix::parse(prefix).expect("valid")),
            capabilities: [].into(),
            ancestor_listing: false,
        }
    }

    #[test]
    fn a_key_is_for_just_the_place_that_is_written() {
        let entries = parse(&json!([
            {"bucket": "b-1", "secretRef": {"name": "whole"}},
            {"bucket": "b-1", "prefix": "a/b", "secretRef": {"name": "folder"}},
        ]))
        .expect("valid");
        let table = [
            ("b-1", None, Some("whole")),
            ("b-1", Some("a/b/"), Some("folder")),
            ("b-1", Some("a/"), None),
            ("b-1", Some("a/b/c/"), None),
            ("b-1", Some("a/bc/"), None),
            ("b-2", None, None),
            ("b-2", Some("a/b/"), None),
        ];
        for (bucket, prefix, secret) in table {
            let found = entries.find(&access(bucket, prefix)).map(|entry| entry.secret.as_str());
            assert_eq!(found, secret, "{bucket} {prefix:?}");
        }
    }

    #[test]
    fn an_entry_says_what_is_wrong_with_it() {
        let secret = json!({"name": "s"});
        let table = [
            (json!([{"bucket": "B", "secretRef": secret}]), "entry 1"),
            (json!([{"bucket": "b-1", "prefix": "", "secretRef": secret}]), "leave the field out"),
            (json!([{"bucket": "b-1", "prefix": "/a", "secretRef": secret}]), "does not begin with '/'"),
            (json!([{"bucket": "b-1", "secretRef": {"name": "S"}}]), "entry 1"),
            (
                json!([
                    {"bucket": "b-1", "prefix": "a", "secretRef": secret},
                    {"bucket": "b-1", "prefix": "a/", "secretRef": {"name": "t"}},
                ]),
                "entry 2: there is an entry for a/ of bucket b-1 already",
            ),
        ];
        for (entries, why) in table {
            let error = parse(&entries).expect_err("invalid");
            assert!(error.field == FIELD && error.problem.contains(why), "{entries}: {error}");
        }
    }
}
