//! A request as S3 gets it, and what it means in the language of folders.

use crate::can::{Deed, Folder, Names, Verb, Wish};

/// A request to S3 (or to something else, which no tier is about).
#[derive(Clone, Debug)]
pub struct Request {
    /// As in `s3:GetObject`.
    pub action: &'static str,
    pub place: Place,
    pub listing: Listing,
    /// `LocationConstraint` of `CreateBucket`.
    pub location: Option<String>,
    /// Canned ACL of what is written, and of what sets one.
    pub acl: Option<String>,
    pub asker: Asker,
    pub over_tls: bool,
    pub own_bucket: bool,
    /// Whether it is signed with a session that somebody made from the key.
    pub by_session: bool,
    pub cloud: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    Bucket(String),
    Object(String, String),
    /// No place at all: it is about the account.
    Account,
    /// A user of IAM.
    User(String),
}

/// The parameters of `ListObjects`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listing {
    pub prefix: Option<String>,
    pub delimiter: Option<String>,
    pub max_keys: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// The one whose key it is.
    Holder,
    /// Another user of the same account, whose name begins like the holder's.
    Neighbour,
    /// A user of the same name in another account.
    Stranger,
}

impl Request {
    /// In the holder's name, over TLS, to a bucket of the holder's account.
    pub fn new(action: &'static str, place: Place) -> Self {
        Self {
            action,
            place,
            listing: Listing::default(),
            location: None,
            acl: (action == "s3:PutObjectAcl").then(|| "bucket-owner-full-control".to_owned()),
            asker: Asker::Holder,
            over_tls: true,
            own_bucket: true,
            by_session: false,
            cloud: "aws",
        }
    }

    pub fn list(bucket: &str, prefix: Option<&str>, delimiter: Option<&str>) -> Self {
        let listing =
            Listing { prefix: prefix.map(str::to_owned), delimiter: delimiter.map(str::to_owned), max_keys: None };
        Self { listing, ..Self::new("s3:ListBucket", Place::Bucket(bucket.to_owned())) }
    }

    pub fn object(action: &'static str, bucket: &str, key: &str) -> Self {
        Self::new(action, Place::Object(bucket.to_owned(), key.to_owned()))
    }

    /// What it means.
    pub fn wish(&self) -> Wish {
        Wish {
            by_holder: self.asker == Asker::Holder && !self.by_session,
            over_tls: self.over_tls,
            own_bucket: self.own_bucket,
            cloud: self.cloud,
            deed: self.deed(),
        }
    }

    fn deed(&self) -> Deed {
        match (self.action, &self.place) {
            ("s3:ListBucket", Place::Bucket(bucket)) => {
                Deed::See { bucket: bucket.clone(), names: self.listing.names() }
            }
            ("s3:ListBucketMultipartUploads", Place::Bucket(bucket)) => {
                Deed::SeeUnfinishedUploads { bucket: bucket.clone() }
            }
            ("s3:GetBucketLocation", Place::Bucket(bucket)) => Deed::LearnRegion { bucket: bucket.clone() },
            ("s3:CreateBucket", Place::Bucket(bucket)) => {
                Deed::Create { bucket: bucket.clone(), region: self.location.clone() }
            }
            ("s3:ListAllMyBuckets", Place::Account) => Deed::SeeBuckets,
            (action, Place::Object(bucket, name)) => match self.verb(action) {
                Some(verb) => Deed::Object { bucket: bucket.clone(), name: name.clone(), verb },
                None => Deed::Other,
            },
            _ => Deed::Other,
        }
    }

    fn verb(&self, action: &str) -> Option<Verb> {
        let shows_nobody = ["private", "bucket-owner-full-control"];
        Some(match action {
            "s3:GetObject" => Verb::Get,
            "s3:PutObject" => Verb::Put,
            "s3:DeleteObject" => Verb::Delete,
            "s3:PutObjectAcl" => {
                Verb::SetAcl { for_owners: self.acl.as_deref().is_some_and(|acl| shows_nobody.contains(&acl)) }
            }
            "s3:AbortMultipartUpload" => Verb::AbortUpload,
            "s3:ListMultipartUploadParts" => Verb::SeeParts,
            _ => return None,
        })
    }
}

impl Listing {
    /// S3 knows no folders: a listing is one of a level when it ends each name at the next `/`, and begins where a folder
    /// does. Whoever sends no prefix, as `HeadBucket` does, asks for the bucket as a whole.
    fn names(&self) -> Names {
        let Some(prefix) = &self.prefix else { return Names::Anywhere };
        match folder(prefix) {
            Some(folder) if self.delimiter.as_deref() == Some("/") => Names::Level(folder),
            _ => Names::Beginning(prefix.clone()),
        }
    }
}

/// The folder that a text names: the root, or what ends in `/`.
pub fn folder(text: &str) -> Option<Folder> {
    if text.is_empty() {
        return Some(Folder(Vec::new()));
    }
    Some(Folder(text.strip_suffix('/')?.split('/').map(str::to_owned).collect()))
}
