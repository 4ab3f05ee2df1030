//! The permission tiers: one vocabulary for spec, conditions, metrics, documentation and command line.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a target may ask for beyond base access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Capability {
    /// List and abort unfinished multipart uploads (uploading in parts needs no capability).
    MultipartUploads,
    /// Set the ACL of single objects.
    ObjectAcls,
    /// List the account's buckets and find the bucket's region.
    ListAllBuckets,
    /// Create the bucket.
    CreateBucket,
}

/// A permission tier: base access, or one of the capabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// List, get, put and delete objects under the prefix; every target has it.
    BaseAccess,
    /// A tier that has to be asked for.
    Optional(Capability),
}

impl Capability {
    /// Every capability, in the order in which they are shown.
    pub const ALL: [Self; 4] = [Self::MultipartUploads, Self::ObjectAcls, Self::ListAllBuckets, Self::CreateBucket];

    /// The name in `spec.capabilities`, which is also the condition's type.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::MultipartUploads => "MultipartUploads",
            Self::ObjectAcls => "ObjectAcls",
            Self::ListAllBuckets => "ListAllBuckets",
            Self::CreateBucket => "CreateBucket",
        }
    }
}

impl Tier {
    /// Every tier, in the order in which they are shown.
    pub const ALL: [Self; 5] = [
        Self::BaseAccess,
        Self::Optional(Capability::MultipartUploads),
        Self::Optional(Capability::ObjectAcls),
        Self::Optional(Capability::ListAllBuckets),
        Self::Optional(Capability::CreateBucket),
    ];

    /// The type of the tier's condition.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::BaseAccess => "BaseAccess",
            Self::Optional(capability) => capability.name(),
        }
    }

    /// The short word of the TIERS column.
    #[must_use]
    pub fn short(self) -> &'static str {
        match self {
            Self::BaseAccess => "base",
            Self::Optional(Capability::MultipartUploads) => "multipart",
            Self::Optional(Capability::ObjectAcls) => "acls",
            Self::Optional(Capability::ListAllBuckets) => "list-buckets",
            Self::Optional(Capability::CreateBucket) => "create-bucket",
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
