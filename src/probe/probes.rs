//! The probes as data: what is tried with a target's key, and what has to become of it (design §8).
//!
//! Each row of the table is one request that is harmless even when everything is allowed. Whether it must work or must be
//! refused follows from the access alone.

use std::fmt;

use super::reading::Family;
use crate::{
    access::Access,
    api::{Capability, Tier},
};

/// How deep a proof goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// One probe object and one upload, each made and removed.
    Write,
    /// Nothing is ever written; no object, no version, no delete marker, no event.
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
    /// GetObject of an object that does not exist.
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
    /// GetCallerIdentity, which needs no permission: it proves a key while its bucket is missing.
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
enum Place {
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
enum When {
    Always,
    /// The tier was granted.
    Granted,
    /// The tier was granted, and the proof may write.
    Writing,
    /// Instead of [`When::Writing`].
    Otherwise,
}

struct Row {
    verb: Verb,
    tier: Tier,
    action: &'static str,
    place: Place,
    when: When,
}

const BASE: Tier = Tier::BaseAccess;
const UPLOADS: Tier = Tier::Optional(Capability::MultipartUploads);
const ACLS: Tier = Tier::Optional(Capability::ObjectAcls);
const BUCKETS: Tier = Tier::Optional(Capability::ListAllBuckets);
const CREATE: Tier = Tier::Optional(Capability::CreateBucket);

/// The first row comes first in every proof, and the others wait for its answer. CreateBucket has no row: creating one's own
/// bucket again succeeds in us-east-1, and resets its ACL.
const ROWS: [Row; 23] = [
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
    pub fn identity() -> Self {
        Self {
            verb: Verb::Identify,
            tier: CREATE,
            action: "sts:GetCallerIdentity",
            expect: Expect::Works,
            at: String::new(),
            place: "at STS".to_owned(),
        }
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.action, self.place)
    }
}

/// What a proof does not try, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Untested {
    /// The tier that it is about; `None` when it is about none.
    pub tier: Option<Tier>,
    /// The permission, and where.
    pub what: String,
    /// Why it is not tried.
    pub why: String,
}

impl fmt::Display for Untested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.what, self.why)
    }
}

/// All that one proof tries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The access that is to be proven.
    pub access: Access,
    /// How deep it goes.
    pub depth: Depth,
    /// The requests; the first one decides whether the others are worth while.
    pub probes: Vec<Probe>,
    /// What is not tried.
    pub untested: Vec<Untested>,
    /// Key of the only object that a proof ever writes.
    pub object: String,
}

impl Plan {
    /// What is to be tried for the target with that UID. `also` is other access that the policy still grants, as it does
    /// while old and new overlap: it is nothing that could be refused.
    #[must_use]
    pub fn new(family: &Family, access: &Access, also: &[Access], uid: &str, depth: Depth) -> Self {
        let spots = Spots::new(access, uid);
        let (mut probes, mut untested) = (Vec::new(), Vec::new());
        for row in ROWS.iter().filter(|row| row.applies(access, depth) && spots.exist_for(row.place)) {
            let at = spots.at(row);
            let probe = |expect| Probe {
                verb: row.verb,
                tier: row.tier,
                action: row.action,
                expect,
                at: at.to_owned(),
                place: spots.in_words(row),
            };
            let not = |why: &str| Untested {
                tier: Some(row.tier),
                what: format!("{} {}", row.action, spots.in_words(row)),
                why: why.to_owned(),
            };
            if let Some(why) = family.cannot_tell(row.verb) {
                untested.push(not(why));
            } else if permits(access, row, at) {
                probes.push(probe(Expect::Works));
            } else if also.iter().any(|other| other.bucket == access.bucket && permits(other, row, at)) {
                untested.push(not("access that was granted before still includes it"));
            } else {
                probes.push(probe(Expect::Refused));
            }
        }
        untested.extend(never_tried(access, depth));
        Self { access: access.clone(), depth, probes, untested, object: spots.object }
    }
}

impl Row {
    fn applies(&self, access: &Access, depth: Depth) -> bool {
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

/// Whether an access lets a request through, as its policy would decide it.
fn permits(access: &Access, row: &Row, at: &str) -> bool {
    let granted = access.tiers().any(|tier| tier == row.tier);
    let on_the_way = || access.ancestor_listing && access.prefix.ancestors().any(|folder| folder == at);
    granted
        && match (row.place, row.verb) {
            (Place::Bucket | Place::Account, _) => true,
            (_, Verb::Browse) => at.starts_with(access.prefix.as_str()) || on_the_way(),
            _ => at.starts_with(access.prefix.as_str()),
        }
}

/// What has no harmless request.
fn never_tried(access: &Access, depth: Depth) -> Vec<Untested> {
    let not = |tier, what: String, why: &str| Untested { tier, what, why: why.to_owned() };
    let folder = &access.prefix;
    let mut list = Vec::new();
    if depth == Depth::Quiet {
        let why = "in a versioned bucket even deleting nothing leaves a delete marker";
        list.push(not(Some(BASE), format!("s3:DeleteObject in {folder}"), why));
    }
    if !folder.is_whole_bucket() {
        list.push(not(
            Some(BASE),
            format!("s3:DeleteObject outside of {folder}"),
            "it would delete if it were allowed",
        ));
    }
    let why = "creating one's own bucket again can succeed, and resets its ACL";
    list.push(not(Some(CREATE), "s3:CreateBucket".to_owned(), why));
    list.push(not(None, "other actions and other buckets".to_owned(), "only what the tiers name is tried"));
    list
}

/// The names that probes use.
struct Spots {
    folder: String,
    in_words: String,
    object: String,
    neighbour: String,
    neighbour_object: String,
}

impl Spots {
    fn new(access: &Access, uid: &str) -> Self {
        let folder = access.prefix.as_str();
        let name = folder.strip_suffix('/').unwrap_or(folder);
        let neighbour = format!("{name}-backup-target-probe-{uid}/");
        Self {
            folder: folder.to_owned(),
            in_words: access.prefix.to_string(),
            object: format!("{folder}.backup-target-probe-{uid}"),
            neighbour_object: format!("{neighbour}.backup-target-probe"),
            neighbour,
        }
    }

    /// A target of a whole bucket has no outside.
    fn exist_for(&self, place: Place) -> bool {
        !self.folder.is_empty() || !matches!(place, Place::Root | Place::Neighbour | Place::NeighbourObject)
    }

    fn at(&self, row: &Row) -> &str {
        match (row.place, row.verb) {
            // So that what a broken proof left behind is found: the list cannot be narrowed by rights.
            (Place::Object, _) | (_, Verb::ListUploads) => &self.object,
            (Place::Folder, _) => &self.folder,
            (Place::Neighbour, _) => &self.neighbour,
            (Place::NeighbourObject, _) => &self.neighbour_object,
            (Place::Root | Place::Bucket | Place::Account, _) => "",
        }
    }

    fn in_words(&self, row: &Row) -> String {
        match row.place {
            Place::Folder | Place::Object => format!("in {}", self.in_words),
            Place::Root if row.verb == Verb::Browse => "at the top level of the bucket".to_owned(),
            Place::Root => "of the whole bucket".to_owned(),
            Place::Neighbour | Place::NeighbourObject => format!("outside of {}", self.in_words),
            Place::Bucket => "on the bucket".to_owned(),
            Place::Account => "on the account".to_owned(),
        }
    }
}
