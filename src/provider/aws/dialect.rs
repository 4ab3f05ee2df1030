//! How stores speak the IAM API of AWS, as data (docs/decisions/providers.md).

use crate::provider::Limits;

/// The most that all inline policies of an IAM user may have together, in characters that are not white space
/// (docs/decisions/policy.md).
pub const INLINE_LIMIT: usize = 2_048;
/// The most that a managed policy may have, counted in the same way.
pub const MANAGED_LIMIT: usize = 6_144;

/// One way to speak the IAM API.
#[derive(Debug, PartialEq, Eq)]
pub struct Dialect {
    /// What the store can do.
    pub limits: Limits,
    /// How it says whose the operator's credentials are.
    pub identity: Identity,
    /// What marks a user as a target's.
    pub ownership: Ownership,
    /// How a managed policy is changed.
    pub change: PolicyChange,
    /// What it means that a store names no permissions boundary, and what to do, for its administrator.
    pub unbounded: &'static str,
}

/// How a store says whose credentials are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// STS tells.
    CallerIdentity,
    /// IAM tells which user asks.
    OwnUser,
}

/// What marks a user as a target's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// Its path and its tags, both from the call that creates it.
    PathAndTags,
    /// Its tags, which are put and read by calls of their own. One that has none yet is known by its name, which has the UID of
    /// the target.
    TagsAlone,
}

/// How a managed policy is changed without a moment in which it gives nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyChange {
    /// It gets another version.
    Version,
    /// Another policy takes its place. Its name has the digest of what is in it.
    Replacement,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Capability, backup_target::PolicyForm};
    use crate::provider::aws::{amazon, seaweedfs};
    use crate::{
        access::{Access, BucketName, PolicyDocument, Prefix, Terms},
        api::backup_store::BackupStoreSpec,
    };

    #[test]
    fn the_size_decides_the_form() {
        let spec: BackupStoreSpec = serde_json::from_value(serde_json::json!({"region": "us-east-1"})).expect("a spec");
        let terms = Terms::parse(&spec, None).expect("valid");
        let folder = "x".repeat(50) + "/";
        let access = |bucket: usize, folders: usize| Access {
            bucket: BucketName::parse(&format!("bucket-{bucket}")).expect("valid"),
            prefix: Prefix::parse(&folder.repeat(folders)).expect("valid"),
            capabilities: Capability::ALL.into(),
            ancestor_listing: true,
        };
        let table = [
            (vec![access(0, 1)], Some(PolicyForm::Inline), Some(PolicyForm::Managed)),
            (vec![access(0, 10)], Some(PolicyForm::Managed), Some(PolicyForm::Managed)),
            ((0..9).map(|bucket| access(bucket, 10)).collect(), None, None),
        ];
        for (accesses, aws, seaweedfs) in table {
            let document = PolicyDocument::new(&terms, &accesses);
            assert_eq!(
                (amazon::AWS.limits.form(&document), seaweedfs::SEAWEEDFS.limits.form(&document)),
                (aws, seaweedfs)
            );
        }
        assert_eq!(amazon::AWS.limits.largest_document(), MANAGED_LIMIT);
    }
}
