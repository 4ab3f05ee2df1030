//! What each tier allows, as a list: the one description that policies, their explanation and their judges start from.

use super::Access;
use crate::api::{Capability, Tier};

/// One action that a tier needs, where, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Right {
    /// The tier that it belongs to.
    pub tier: Tier,
    /// The action, as the AWS Service Authorization Reference spells it.
    pub action: &'static str,
    /// What it is done to.
    pub on: On,
    /// What narrows it.
    pub when: When,
    /// What a backup needs it for.
    pub why: &'static str,
    /// The public document that says so.
    pub source: &'static str,
}

/// What an action is done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// The bucket.
    Bucket,
    /// The objects under the prefix.
    Objects,
    /// The account: an action that knows no resource, so that only `*` matches it.
    Account,
}

/// What narrows a right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Nothing but the resource.
    Always,
    /// Only names under the prefix; the same as always for a whole bucket.
    Within,
    /// Only the folders that lead to the prefix, one level at a time.
    OnTheWay,
    /// Only in the store's region.
    InRegion,
    /// Only ACLs that show an object to nobody but its owner and the bucket's.
    ForOwners,
}

/// The canned ACLs that show an object to nobody but its owner and the bucket's (Amazon S3 User Guide, acl-overview).
pub const FOR_OWNERS: [&str; 2] = ["bucket-owner-full-control", "private"];

const LIST_OBJECTS: &str = "API_ListObjectsV2";
const PERMISSIONS: &str = "Amazon S3 User Guide, mpuoverview (permissions)";

/// Every right of every tier (docs/decisions/policy.md).
const RIGHTS: [Right; 12] = [
    Right {
        tier: Tier::BaseAccess,
        action: "s3:ListBucket",
        on: On::Bucket,
        when: When::Within,
        why: "list what is in the folder, to find what to copy; a missing object is told as missing",
        source: LIST_OBJECTS,
    },
    Right {
        tier: Tier::BaseAccess,
        action: "s3:ListBucket",
        on: On::Bucket,
        when: When::OnTheWay,
        why: "ancestorListing: browse from the root of the bucket to the folder, level by level",
        source: LIST_OBJECTS,
    },
    Right {
        tier: Tier::BaseAccess,
        action: "s3:GetObject",
        on: On::Objects,
        when: When::Always,
        why: "restore; read size and time of what is there",
        source: "API_GetObject, API_HeadObject",
    },
    Right {
        tier: Tier::BaseAccess,
        action: "s3:PutObject",
        on: On::Objects,
        when: When::Always,
        why: "back up, in one piece or in parts",
        source: "API_PutObject, API_CreateMultipartUpload, API_UploadPart, API_CompleteMultipartUpload",
    },
    Right {
        tier: Tier::BaseAccess,
        action: "s3:DeleteObject",
        on: On::Objects,
        when: When::Always,
        why: "remove what is no longer to be kept",
        source: "API_DeleteObject",
    },
    Right {
        tier: Tier::Optional(Capability::MultipartUploads),
        action: "s3:ListBucketMultipartUploads",
        on: On::Bucket,
        // A condition on s3:prefix would never match: the action does not know it.
        when: When::Always,
        why: "find unfinished uploads; S3 cannot narrow this list, so it shows those of the whole bucket",
        source: "API_ListMultipartUploads",
    },
    Right {
        tier: Tier::Optional(Capability::MultipartUploads),
        action: "s3:AbortMultipartUpload",
        on: On::Objects,
        when: When::Always,
        why: "remove unfinished uploads, those of earlier keys too",
        source: PERMISSIONS,
    },
    Right {
        tier: Tier::Optional(Capability::MultipartUploads),
        action: "s3:ListMultipartUploadParts",
        on: On::Objects,
        when: When::Always,
        why: "see what an unfinished upload already has",
        source: PERMISSIONS,
    },
    Right {
        tier: Tier::Optional(Capability::ObjectAcls),
        action: "s3:PutObjectAcl",
        on: On::Objects,
        when: When::ForOwners,
        why: "set the ACL of an object, also while uploading it, to one that shows it to nobody else",
        source: "API_PutObjectAcl",
    },
    Right {
        tier: Tier::Optional(Capability::ListAllBuckets),
        action: "s3:ListAllMyBuckets",
        on: On::Account,
        when: When::Always,
        why: "list the buckets of the account",
        source: "API_ListBuckets",
    },
    Right {
        tier: Tier::Optional(Capability::ListAllBuckets),
        action: "s3:GetBucketLocation",
        on: On::Bucket,
        when: When::Always,
        why: "find the region of the bucket",
        source: "API_GetBucketLocation",
    },
    Right {
        tier: Tier::Optional(Capability::CreateBucket),
        action: "s3:CreateBucket",
        on: On::Bucket,
        when: When::InRegion,
        why: "create the bucket while it is missing",
        source: "API_CreateBucket",
    },
];

impl Right {
    /// Whether a bucket policy can grant it: one cannot speak of the account, nor of a bucket that does not exist yet
    /// (docs/decisions/policy.md).
    #[must_use]
    pub fn fits_bucket_policy(&self) -> bool {
        self.on != On::Account && self.action != "s3:CreateBucket"
    }
}

/// The rights that an access consists of.
pub fn rights(access: &Access) -> impl Iterator<Item = &'static Right> {
    let has_way = access.ancestor_listing && !access.prefix.is_whole_bucket();
    let tiers: Vec<Tier> = access.tiers().collect();
    RIGHTS.iter().filter(move |right| tiers.contains(&right.tier) && (has_way || right.when != When::OnTheWay))
}

/// Any right of that action; names of actions do not tell lower from upper case.
#[must_use]
pub fn of_action(action: &str) -> Option<&'static Right> {
    RIGHTS.iter().find(|right| right.action.eq_ignore_ascii_case(action))
}
