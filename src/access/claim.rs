//! A target's spec, parsed once: what it claims, in values that cannot be wrong.

use std::{collections::BTreeSet, time::Duration};

use super::{BucketName, Invalid, Prefix};
use crate::{
    api::{
        self, Capability, Tier,
        backup_target::{AccessRecord, AncestorListing, BackupTargetSpec, DeletionPolicy},
    },
    names::ObjectName,
    names::offending,
};

/// What a key may reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// The bucket.
    pub bucket: BucketName,
    /// The folder in it.
    pub prefix: Prefix,
    /// Permissions beyond base access.
    pub capabilities: BTreeSet<Capability>,
    /// Whether the way to the prefix can be listed, level by level.
    pub ancestor_listing: bool,
}

/// All that a target asks for, before the store's rules are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The bucket.
    pub bucket: BucketName,
    /// The folder in it.
    pub prefix: Prefix,
    /// Permissions beyond base access.
    pub capabilities: BTreeSet<Capability>,
    /// `None` leaves it to the rule.
    pub ancestor_listing: Option<bool>,
    /// Whether the credentials outlive the target.
    pub retain: bool,
    /// `None` leaves it to the rule.
    pub key_overlap: Option<Duration>,
    /// Name of the Secret.
    pub secret_name: ObjectName,
    /// Name of the rclone remote at the prefix.
    pub remote: RemoteName,
}

impl Claim {
    /// Parses the spec of the target with that name.
    ///
    /// # Errors
    /// The first field that breaks a rule. The API server refuses the same at apply; objects stored before a rule existed
    /// are met here.
    pub fn parse(name: &str, spec: &BackupTargetSpec) -> Result<Self, Invalid> {
        // Of an alias, API server and operator would not mean the same store.
        object_name("spec.storeRef.name", &spec.store_ref.name)?;
        Ok(Self {
            bucket: BucketName::parse(&spec.bucket)?,
            prefix: spec.prefix.as_deref().map_or_else(|| Ok(Prefix::whole_bucket()), Prefix::parse)?,
            capabilities: spec.capabilities.iter().copied().collect(),
            ancestor_listing: spec.ancestor_listing.map(|listing| listing == AncestorListing::Allow),
            retain: spec.deletion_policy == DeletionPolicy::Retain,
            key_overlap: spec.key_overlap.map(overlap).transpose()?,
            secret_name: object_name("spec.secret.name", spec.secret.name.as_deref().unwrap_or(name))?,
            remote: RemoteName::parse(&spec.secret.remote)?,
        })
    }
}

/// The name of an object in that field.
///
/// # Errors
/// When Kubernetes would not take it.
pub fn object_name(field: &'static str, name: &str) -> Result<ObjectName, Invalid> {
    ObjectName::parse(name).map_err(|problem| Invalid::new(field, problem))
}

/// A year.
const LONGEST_OVERLAP: Duration = Duration::from_hours(8_760);

fn overlap(duration: api::duration::Duration) -> Result<Duration, Invalid> {
    let duration = Duration::from(duration);
    if duration > LONGEST_OVERLAP {
        return Err(Invalid::new("spec.keyOverlap", "a duration is at most 8760h; write something like 24h"));
    }
    Ok(duration)
}

impl Access {
    /// The tiers that this access has.
    pub fn tiers(&self) -> impl Iterator<Item = Tier> {
        Tier::ALL.into_iter().filter(|tier| match tier {
            Tier::BaseAccess => true,
            Tier::Optional(capability) => self.capabilities.contains(capability),
        })
    }

    /// The same less one capability.
    #[must_use]
    pub fn without(mut self, capability: Capability) -> Self {
        self.capabilities.remove(&capability);
        self
    }

    /// Whether both speak of the same folder.
    #[must_use]
    pub fn same_place(&self, other: &Self) -> bool {
        self.bucket == other.bucket && self.prefix == other.prefix
    }

    /// What both allow of the folder of both; `None` when they speak of two.
    #[must_use]
    pub fn common(&self, other: &Self) -> Option<Self> {
        self.same_place(other).then(|| Self {
            capabilities: self.capabilities.intersection(&other.capabilities).copied().collect(),
            ancestor_listing: self.ancestor_listing && other.ancestor_listing,
            ..self.clone()
        })
    }

    /// As status records it.
    #[must_use]
    pub fn to_record(&self) -> AccessRecord {
        AccessRecord {
            bucket: self.bucket.to_string(),
            prefix: self.prefix.as_str().to_owned(),
            capabilities: self.capabilities.iter().copied().collect(),
            ancestor_listing: if self.ancestor_listing { AncestorListing::Allow } else { AncestorListing::Deny },
        }
    }

    /// Reads what status recorded.
    ///
    /// # Errors
    /// When status was written by something else than this operator.
    pub fn from_record(record: &AccessRecord) -> Result<Self, Invalid> {
        Ok(Self {
            bucket: BucketName::parse(&record.bucket)?,
            prefix: match record.prefix.as_str() {
                "" => Prefix::whole_bucket(),
                folder => Prefix::parse(folder)?,
            },
            capabilities: record.capabilities.iter().copied().collect(),
            ancestor_listing: record.ancestor_listing == AncestorListing::Allow,
        })
    }
}

/// Name of an rclone remote that also works in environment variables (docs/decisions/names.md).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteName(String);

impl RemoteName {
    /// Parses the name of a remote.
    ///
    /// # Errors
    /// When rclone could not find a remote of that name everywhere.
    pub fn parse(name: &str) -> Result<Self, Invalid> {
        let refuse = |problem: String| Err(Invalid::new("spec.secret.remote", problem));
        if name.is_empty() || name.len() > 60 {
            return refuse("a remote's name has 1 to 60 characters".into());
        }
        if let Some(found) = offending(name, |c| matches!(c, 'a'..='z' | '0'..='9' | '_')) {
            return refuse(format!("a remote's name has lower-case letters, digits and '_'; found {found}"));
        }
        if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
            return refuse("a remote's name begins with a letter".into());
        }
        Ok(Self(name.to_owned()))
    }

    /// The alias that points at the prefix.
    #[must_use]
    pub fn alias(&self) -> &str {
        &self.0
    }

    /// The S3 remote behind the alias.
    #[must_use]
    pub fn s3(&self) -> String {
        format!("{}_s3", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access_survives_its_record() {
        let access = Access {
            bucket: BucketName::parse("my-backups").expect("valid"),
            prefix: Prefix::parse("a/b").expect("valid"),
            capabilities: [Capability::ObjectAcls, Capability::CreateBucket].into(),
            ancestor_listing: true,
        };
        assert_eq!(Access::from_record(&access.to_record()), Ok(access.clone()));
        let whole = Access { prefix: Prefix::whole_bucket(), ..access };
        assert_eq!(Access::from_record(&whole.to_record()), Ok(whole));
    }

    #[test]
    fn a_place_is_a_bucket_and_a_folder() {
        let access = |bucket, prefix| Access {
            bucket: BucketName::parse(bucket).expect("valid"),
            prefix: Prefix::parse(prefix).expect("valid"),
            capabilities: BTreeSet::new(),
            ancestor_listing: false,
        };
        let here = access("my-backups", "a");
        let more = Access { capabilities: [Capability::ObjectAcls].into(), ancestor_listing: true, ..here.clone() };
        assert!(here.same_place(&more), "what is allowed there does not matter");
        assert!(!here.same_place(&access("my-backups", "b")));
        assert!(!here.same_place(&access("other-backups", "a")));
        assert!(!here.same_place(&access("other-backups", "b")));
    }

    #[test]
    fn an_access_has_the_base_tier_and_what_was_asked_for() {
        let with = |capabilities: &[Capability]| Access {
            bucket: BucketName::parse("my-backups").expect("valid"),
            prefix: Prefix::whole_bucket(),
            capabilities: capabilities.iter().copied().collect(),
            ancestor_listing: false,
        };
        assert_eq!(with(&[]).tiers().collect::<Vec<_>>(), [Tier::BaseAccess]);
        let acls = Capability::ObjectAcls;
        assert_eq!(with(&[acls]).tiers().collect::<Vec<_>>(), [Tier::BaseAccess, Tier::Optional(acls)]);
        assert_eq!(with(&Capability::ALL).tiers().collect::<Vec<_>>(), Tier::ALL);
    }

    #[test]
    fn an_overlap_is_a_time_that_passes() {
        let parse = |overlap: &str| {
            let spec = serde_json::json!({"bucket": "my-backups", "keyOverlap": overlap});
            Claim::parse("target", &serde_json::from_value(spec).expect("a spec")).map(|claim| claim.key_overlap)
        };
        assert_eq!(parse("90m"), Ok(Some(Duration::from_mins(90))));
        assert_eq!(parse("0s"), Ok(Some(Duration::ZERO)));
    }

    #[test]
    fn a_secret_is_called_like_its_target_unless_it_has_a_name() {
        let name = |spec| {
            let spec = serde_json::from_value(spec).expect("a spec");
            Claim::parse("target", &spec).expect("valid").secret_name.to_string()
        };
        assert_eq!(name(serde_json::json!({"bucket": "my-backups"})), "target");
        assert_eq!(name(serde_json::json!({"bucket": "my-backups", "secret": {"name": "other"}})), "other");
    }

    #[test]
    fn a_store_is_named_and_not_spelled() {
        let parse = |name: &str| {
            let spec = serde_json::json!({"bucket": "my-backups", "storeRef": {"name": name}});
            Claim::parse("target", &serde_json::from_value(spec).expect("a spec"))
        };
        assert!(parse("default").is_ok());
        for alias in ["default#x", "default?x", "default/", "%64efault", "../default", ""] {
            assert_eq!(parse(alias).expect_err(alias).field, "spec.storeRef.name");
        }
    }

    #[test]
    fn remote_names_work_in_environment_variables() {
        for good in ["b", "backup_2", &"x".repeat(60)] {
            let name = RemoteName::parse(good).expect(good);
            assert_eq!((name.alias(), name.s3()), (good, format!("{good}_s3")));
        }
        for bad in ["", "Backup", "e-1", "1st", "_x", "a b", "ü", &"x".repeat(61), &"x".repeat(62)] {
            assert!(RemoteName::parse(bad).is_err(), "{bad}");
        }
    }
}
