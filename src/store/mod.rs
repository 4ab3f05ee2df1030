//! The object stores' access APIs: principals, policies and keys. Nothing outside this room imports an AWS SDK for them.

pub mod aws;
pub mod connect;
pub mod error;

pub use error::{Error, Kind};

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::access::PolicyDocument;

/// What there is under the name of a target's principal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// Nothing.
    Absent,
    /// A principal that is not this target's.
    Foreign {
        /// What shows it.
        why: String,
    },
    /// This target's principal.
    Ours(User),
}

/// A principal of ours, as the store has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// ARN of its permissions boundary.
    pub boundary: Option<String>,
    /// Its policy.
    pub policy: StoredPolicy,
    /// Its access keys.
    pub keys: Vec<Key>,
}

/// The policy of a principal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StoredPolicy {
    /// It has none.
    #[default]
    Absent,
    /// A document of the kind that this operator writes.
    Known(PolicyDocument),
    /// Something else, so somebody edited it.
    Other,
}

/// An access key, as the store lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Access key id.
    pub id: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// Whether it works.
    pub active: bool,
    /// When it was last used, where that was asked for and is known.
    pub last_used: Option<Timestamp>,
}

/// Which principal is meant, and what marks it as ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserSpec {
    /// Name of the IAM user.
    pub name: String,
    /// Its path.
    pub path: String,
    /// Tags that say whose it is.
    pub tags: BTreeMap<String, String>,
    /// ARN of the permissions boundary that it gets.
    pub boundary: Option<String>,
}
