//! SeaweedFS, whose S3 gateway answers IAM requests, too (docs/decisions/providers.md).

use super::{
    amazon,
    dialect::{Dialect, Identity, MANAGED_LIMIT, Ownership, PolicyChange},
};
use crate::{
    api::{Capability, backup_target::PolicyForm},
    probe::{Family, probes::Verb},
    provider::{Limits, Words},
};

/// SeaweedFS 4.
pub const SEAWEEDFS: Dialect = Dialect {
    limits: Limits {
        words: Words {
            principal: "SeaweedFS user",
            system: "SeaweedFS",
            account: "SeaweedFS",
            connected: "the credentials work, in SeaweedFS {account}",
            excess: "look at the bucket's policy, its ACLs, and what else the principal has",
            unrevoked: None,
            delete_key: "aws iam delete-access-key --endpoint-url <the store's> --user-name {principal} --access-key-id {key}",
            activate_key: "aws iam update-access-key --endpoint-url <the store's> --user-name {principal} --access-key-id {key} \
                           --status Active",
            end_hold: "aws iam untag-user --endpoint-url <the store's> --user-name {principal} --tag-keys backup-target.dev/hold",
        },
        // It has no limit of its own; the life of a key needs no more.
        keys: 2,
        brings_keys: false,
        knows_last_use: false,
        keys_make_keys: true,
        // Of an inline policy it keeps coarse rights only.
        forms: &[(PolicyForm::Managed, MANAGED_LIMIT)],
        requests_per_look: 8,
        verification: &ANSWERS,
        rclone: "SeaweedFS",
        unsupported: &[
            (
                Capability::ObjectAcls,
                "it does not let a key that is held to a folder set the ACL bucket-owner-full-control",
            ),
            (Capability::ListAllBuckets, "its list of buckets is empty for a key that is held to a folder"),
        ],
    },
    identity: Identity::OwnUser,
    ownership: Ownership::TagsAlone,
    // It has one version only, and refuses in a changed policy actions that it takes in a new one.
    change: PolicyChange::Replacement,
    unbounded: "SeaweedFS has nothing that bounds a user beside its policies, so whoever has the operator's credentials, which are an \
                administrator's, can do anything there; guard them",
};

/// What it answers.
pub const ANSWERS: Family = Family {
    name: "SeaweedFS",
    silent: &[
        (Verb::ListPartsOfMissing, "it comes with s3:PutObject in SeaweedFS"),
        (Verb::AbortMissing, "it comes with s3:PutObject in SeaweedFS"),
        (Verb::ListBuckets, "SeaweedFS answers everybody, and shows no bucket to a key that is held to a folder"),
    ],
    hides_root: Some("SeaweedFS takes an empty s3:prefix for none; the levels below are listed"),
    hides_missing_buckets: true,
    has_sts: false,
    deniers: &[],
    ..amazon::ANSWERS
};
