//! The specification: what a key may do, in the language of folders.
//!
//! It is written from what the documentation promises to users, and knows nothing of how the promise is kept: no policies, no
//! actions, no patterns. A folder is a list of names here, so that not even the way of comparing is the same.

use std::collections::BTreeSet;

use backup_target_operator::api::Capability;

/// What a user declared, and what the operator's administrator added to it.
#[derive(Clone, Debug)]
pub struct Declared {
    pub bucket: String,
    pub folder: Folder,
    pub capabilities: BTreeSet<Capability>,
    pub ancestor_listing: bool,
    /// The separate AWS that the bucket is in.
    pub cloud: &'static str,
    pub demands: Demands,
}

/// What is asked of every request beyond its place; nothing, unless it is switched on.
#[derive(Clone, Debug, Default)]
pub struct Demands {
    /// It has to come over TLS.
    pub tls: bool,
    /// The bucket has to belong to the holder's own account.
    pub own_bucket: bool,
    /// A bucket is only created in this region.
    pub home: Option<String>,
}

/// Who lets the holder in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A right that the holder carries.
    Identity,
    /// A right that the bucket gives; it can give only what there is in it.
    Bucket,
}

/// A folder by the names on the way to it; the root of the bucket has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder(pub Vec<String>);

/// What somebody wishes to do.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Whether it is the holder of the key who asks, with the key itself: a session that somebody made from it would outlive it.
    pub by_holder: bool,
    pub over_tls: bool,
    /// Whether the bucket that it is about belongs to the holder's account; the one that is to be created does.
    pub own_bucket: bool,
    pub cloud: &'static str,
    pub deed: Deed,
}

#[derive(Clone, Debug)]
pub enum Deed {
    /// See which names there are in a bucket.
    See { bucket: String, names: Names },
    /// Do something with one object.
    Object { bucket: String, name: String, verb: Verb },
    /// See which uploads of the bucket are unfinished.
    SeeUnfinishedUploads { bucket: String },
    /// Learn in which region the bucket is.
    LearnRegion { bucket: String },
    /// Create the bucket, in a region if one is named.
    Create { bucket: String, region: Option<String> },
    /// See which buckets the account has.
    SeeBuckets,
    /// What no tier is about.
    Other,
}

#[derive(Clone, Debug)]
pub enum Names {
    /// Whatever is in the bucket, without saying where.
    Anywhere,
    /// What is in a folder, one level of it.
    Level(Folder),
    /// Everything, however deep, whose name begins like this.
    Beginning(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Get,
    Put,
    Delete,
    SetAcl {
        /// Whether it shows the object to nobody but its owner and the bucket's.
        for_owners: bool,
    },
    AbortUpload,
    SeeParts,
}

/// Whether one of several declarations, such as the old and the new one during an overlap, permits it.
pub fn can(form: Form, declared: &[Declared], wish: &Wish) -> bool {
    wish.by_holder && declared.iter().any(|declared| declared.permits(form, wish))
}

impl Declared {
    fn permits(&self, form: Form, wish: &Wish) -> bool {
        if self.demands.tls && !wish.over_tls {
            return false;
        }
        let here = |bucket: &String| {
            *bucket == self.bucket && wish.cloud == self.cloud && (wish.own_bucket || !self.demands.own_bucket)
        };
        match &wish.deed {
            Deed::See { bucket, names } => here(bucket) && self.shows(names),
            Deed::Object { bucket, name, verb } => here(bucket) && self.folder.holds(name) && self.may(*verb),
            Deed::SeeUnfinishedUploads { bucket } => here(bucket) && self.has(Capability::MultipartUploads),
            Deed::LearnRegion { bucket } => here(bucket) && self.has(Capability::ListAllBuckets),
            // A bucket cannot speak for its account, nor for itself before it exists.
            Deed::SeeBuckets => form == Form::Identity && self.has(Capability::ListAllBuckets),
            Deed::Create { bucket, region } => {
                let at_home = self.demands.home.is_none() || self.demands.home == *region;
                form == Form::Identity && here(bucket) && at_home && self.has(Capability::CreateBucket)
            }
            Deed::Other => false,
        }
    }

    fn may(&self, verb: Verb) -> bool {
        match verb {
            Verb::Get | Verb::Put | Verb::Delete => true,
            Verb::SetAcl { for_owners } => for_owners && self.has(Capability::ObjectAcls),
            Verb::AbortUpload | Verb::SeeParts => self.has(Capability::MultipartUploads),
        }
    }

    fn has(&self, capability: Capability) -> bool {
        self.capabilities.contains(&capability)
    }

    /// Everything within the folder; and, where that is allowed, the way to it, a level at a time.
    fn shows(&self, names: &Names) -> bool {
        match names {
            // Who has the whole bucket need not say where.
            Names::Anywhere => self.folder.is_root(),
            Names::Beginning(beginning) => self.folder.holds(beginning),
            Names::Level(level) => {
                level.is_within(&self.folder) || self.ancestor_listing && self.folder.is_within(level)
            }
        }
    }
}

impl Folder {
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a name is one of this folder's: the folder's own names come first, and then something more, be it empty.
    fn holds(&self, name: &str) -> bool {
        let mut names = name.split('/');
        self.0.iter().all(|own| names.next() == Some(own)) && names.next().is_some()
    }

    fn is_within(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }
}
