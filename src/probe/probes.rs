//! The probes as data: what is tried with a target's key, and what has to become of it
//! (docs/decisions/verification.md).
//!
//! Each row of the table is one request that is harmless even when everything is allowed. Which of them a proof sends, and
//! whether they must work or must be refused, follows from the access alone (`plan.rs`).

use std::fmt;

use crate::{
    access::Access,
    api::{Capability, Tier},
};

/// How deep a proof goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// One probe object, and with MultipartUploads one upload without parts, each made and removed.
    ///
    /// In a bucket with versioning each such proof leaves one noncurrent version of the probe object (29 bytes) and one delete
    /// marker: removing these takes s3:DeleteObjectVersion, which targets do not get. With object lock the version stays for
    /// the bucket's default retention. What listens to the bucket hears of one object created, given an ACL, and removed.
    Write,
    /// Nothing is written where the store checks digests, as S3 does: no object, version, delete marker or event. What a proof that
    /// was broken off has left is removed.
    Quiet,
}

/// A request, by what it does. The same call on something that does not exist is a request of its own: its answers read
/// differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// ListObjectsV2 without a delimiter, for one key.
    List,
    /// ListObjectsV2 of one level.
    Browse,
    /// PutObject of the probe object, only where no object of that name is.
    Put,
    /// PutObject whose Content-MD5 does not fit, so that nothing is written.
    PutDamaged,
    /// GetObject of the probe object.
    Get,
    /// GetObject of an object that does not exist. In the folder it is the probe object, so that one that was left shows.
    GetMissing,
    /// DeleteObject of the probe object.
    Delete,
    /// PutObjectAcl on the probe object.
    SetAcl,
    /// PutObjectAcl on an object that does not exist.
    SetAclOfMissing,
    /// ListMultipartUploads.
    ListUploads,
    /// CreateMultipartUpload of the probe object.
    StartUpload,
    /// ListParts of that upload.
    ListParts,
    /// AbortMultipartUpload of that upload.
    AbortUpload,
    /// ListParts of an upload that does not exist.
    ListPartsOfMissing,
    /// AbortMultipartUpload of an upload that does not exist.
    AbortMissing,
    /// ListBuckets.
    ListBuckets,
    /// GetBucketLocation.
    LocateBucket,
    /// What needs no permission, and proves a key while its bucket is missing: GetCallerIdentity, or ListBuckets where there is
    /// no STS.
    Identify,
}

/// What has to become of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// It was granted.
    Works,
    /// It was not.
    Refused,
}

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The folder itself.
    Folder,
    /// The probe object in it.
    Object,
    /// The top of the bucket, where that is outside of the folder.
    Root,
    /// A folder beside it, whose name begins with its name and which nobody has.
    Neighbour,
    /// An object in that folder.
    NeighbourObject,
    /// The bucket.
    Bucket,
    /// The account.
    Account,
}

/// When a row applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    Always,
    /// The tier was granted.
    Granted,
    /// The tier was granted, and the proof may write.
    Writing,
    /// Instead of [`When::Writing`].
    Otherwise,
}

pub(super) struct Row {
    pub verb: Verb,
    pub tier: Tier,
    pub action: &'static str,
    pub place: Place,
    pub when: When,
}

pub(super) const BASE: Tier = Tier::BaseAccess;
const UPLOADS: Tier = Tier::Optional(Capability::MultipartUploads);
const ACLS: Tier = Tier::Optional(Capability::ObjectAcls);
const BUCKETS: Tier = Tier::Optional(Capability::ListAllBuckets);
pub(super) const CREATE: Tier = Tier::Optional(Capability::CreateBucket);

/// The first row comes first in every proof, and the others wait for its answer. CreateBucket has no row: creating one's own
/// bucket again succeeds in us-east-1, and resets its ACL.
pub(super) const ROWS: [Row; 23] = [
    row(Verb::List, BASE, "s3:ListBucket", Place::Folder, When::Always),
    row(Verb::PutDamaged, BASE, "s3:PutObject", Place::Object, When::Always),
    row(Verb::Put, BASE, "s3:PutObject", Place::Object, When::Writing),
    row(Verb::Get, BASE, "s3:GetObject", Place::Object, When::Writing),
    row(Verb::GetMissing, BASE, "s3:GetObject", Place::Object, When::Otherwise),
    row(Verb::SetAcl, ACLS, "s3:PutObjectAcl", Place::Object, When::Writing),
    row(Verb::Delete, BASE, "s3:DeleteObject", Place::Object, When::Writing),
    row(Verb::List, BASE, "s3:ListBucket", Place::Neighbour, When::Always),
    row(Verb::List, BASE, "s3:ListBucket", Place::Root, When::Always),
    row(Verb::Browse, BASE, "s3:ListBucket", Place::Root, When::Always),
    row(Verb::PutDamaged, BASE, "s3:PutObject", Place::NeighbourObject, When::Always),
    row(Verb::GetMissing, BASE, "s3:GetObject", Place::NeighbourObject, When::Always),
    row(Verb::ListUploads, UPLOADS, "s3:ListBucketMultipartUploads", Place::Bucket, When::Always),
    row(Verb::StartUpload, UPLOADS, "s3:PutObject", Place::Object, When::Writing),
    row(Verb::ListParts, UPLOADS, "s3:ListMultipartUploadParts", Place::Object, When::Writing),
    row(Verb::AbortUpload, UPLOADS, "s3:AbortMultipartUpload", Place::Object, When::Writing),
    row(Verb::ListPartsOfMissing, UPLOADS, "s3:ListMultipartUploadParts", Place::Object, When::Otherwise),
    row(Verb::AbortMissing, UPLOADS, "s3:AbortMultipartUpload", Place::Object, When::Otherwise),
    row(Verb::AbortMissing, UPLOADS, "s3:AbortMultipartUpload", Place::NeighbourObject, When::Granted),
    row(Verb::SetAclOfMissing, ACLS, "s3:PutObjectAcl", Place::Object, When::Otherwise),
    row(Verb::SetAclOfMissing, ACLS, "s3:PutObjectAcl", Place::NeighbourObject, When::Granted),
    row(Verb::ListBuckets, BUCKETS, "s3:ListAllMyBuckets", Place::Account, When::Always),
    row(Verb::LocateBucket, BUCKETS, "s3:GetBucketLocation", Place::Bucket, When::Always),
];

const fn row(verb: Verb, tier: Tier, action: &'static str, place: Place, when: When) -> Row {
    Row { verb, tier, action, place, when }
}

impl Row {
    /// Whether it has a place in a proof of that access.
    pub(super) fn applies(&self, access: &Access, depth: Depth) -> bool {
        let granted = access.tiers().any(|tier| tier == self.tier);
        let writing = granted && depth == Depth::Write;
        match self.when {
            When::Always => true,
            When::Granted => granted,
            When::Writing => writing,
            When::Otherwise => !writing,
        }
    }
}

/// One request with a target's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// What it does.
    pub verb: Verb,
    /// The tier that it is about.
    pub tier: Tier,
    /// The permission that it needs.
    pub action: &'static str,
    /// What has to become of it.
    pub expect: Expect,
    /// The key or the beginning of keys that it names; empty for the root, the bucket and the account.
    pub at: String,
    /// The place in words for people, such as `in backups/a/`; without anything that differs from target to target.
    pub place: String,
}

impl Probe {
    /// Whether it is this request, with this expectation: those that must work go into the folder.
    #[must_use]
    pub fn is(&self, verb: Verb, expect: Expect) -> bool {
        (self.verb, self.expect) == (verb, expect)
    }

    /// The one that proves a key while its bucket is missing.
    #[must_use]
    pub fn identity(has_sts: bool) -> Self {
        let (action, place) =
            if has_sts { ("sts:GetCallerIdentity", "at STS") } else { ("s3:ListAllMyBuckets", "on the account") };
        let place = place.to_owned();
        Self { verb: Verb::Identify, tier: CREATE, action, expect: Expect::Works, at: String::new(), place }
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.action, self.place)
    }
}
