//! The object stores' access APIs: principals, policies and keys. Nothing outside this room imports an AWS SDK for them.

pub mod answers;
pub mod aws;
pub mod clock;
pub mod connect;
pub mod error;
pub mod fenced;
pub mod gate;
mod policies;
pub mod throttle;

pub use error::{Error, Kind};

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::{
    access::{Meaning, PolicyDocument, rclone::AccessKey},
    api::backup_target::PolicyForm,
};

/// What there is under the name of a target's principal.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "nearly all principals are ours, and a box for each would only cost more")]
pub enum Principal {
    /// Nothing.
    Absent,
    /// A principal that is not this target's.
    Foreign {
        /// Whose it is, as far as that can be seen.
        whose: Owner,
    },
    /// This target's principal.
    Ours(User),
}

/// Whose a principal is that is not this target's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// That of a target with the same UID in another cluster, as its tag or its path says: the objects here came from there, or
    /// this cluster had another id.
    Cluster {
        /// Id of the other cluster.
        id: String,
        /// Path of the principal.
        path: String,
    },
    /// Somebody's; this shows that it is not this target's.
    Other(String),
}

/// A principal of ours, as the store has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// Its unique id, which IAM never gives twice.
    pub id: String,
    /// ARN of its permissions boundary.
    pub boundary: Option<String>,
    /// Whether it has all tags that say whose it is.
    pub tagged: bool,
    /// Its policies, as far as they are this operator's.
    pub policies: Policies,
    /// Its access keys.
    pub keys: Vec<Key>,
    /// What others put on it.
    pub additions: Additions,
    /// Whether somebody in AWS wants it to be left as it is.
    pub held: bool,
    /// Whether it was left behind on purpose.
    pub retained: bool,
}

/// What others put on a principal of ours: rights that its own policy does not say, or less.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Additions {
    /// Names of inline policies.
    pub inline: Vec<String>,
    /// ARNs of managed policies.
    pub attached: Vec<String>,
    /// Names of groups that it is a member of.
    pub groups: Vec<String>,
    /// Of the policies, those that only deny: somebody contains the principal with them.
    pub denials: BTreeSet<String>,
    /// Of the policies, those that the operator may not read, so that they may be such, too.
    pub unread: BTreeSet<String>,
}

/// The two places where this operator's policy may be; at rest it is in one of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policies {
    /// The inline policy.
    pub inline: Option<StoredPolicy>,
    /// The managed policy.
    pub managed: Managed,
}

/// What there is under the ARN of a target's managed policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Managed {
    /// Nothing.
    #[default]
    Absent,
    /// A policy that is not this target's.
    Foreign {
        /// What shows it.
        why: String,
    },
    /// This target's.
    Ours {
        /// Its default version.
        document: StoredPolicy,
        /// Whether it is attached to the principal.
        attached: bool,
    },
}

/// A stored document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoredPolicy {
    /// One of the kind that this operator writes.
    Known(Meaning),
    /// Something else, so somebody edited it.
    Other,
}

impl Additions {
    /// Whether a policy may be somebody's containment, which nobody but them takes off.
    #[must_use]
    pub fn may_contain(&self, policy: &String) -> bool {
        self.denials.contains(policy) || self.unread.contains(policy)
    }
}

impl Policies {
    /// Just this document, in that form.
    #[must_use]
    pub fn with(document: &PolicyDocument, form: PolicyForm) -> Self {
        let document = StoredPolicy::Known(document.meaning());
        match form {
            PolicyForm::Inline => Self { inline: Some(document), ..Self::default() },
            PolicyForm::Managed => Self { managed: Managed::Ours { document, attached: true }, ..Self::default() },
        }
    }

    /// Whether they are just this document, in the form that suits it.
    #[must_use]
    pub fn are(&self, document: &PolicyDocument) -> bool {
        document.form().is_some_and(|form| self.ours() == Self::with(document, form))
    }

    /// Whether there is none of this target's.
    #[must_use]
    pub fn are_absent(&self) -> bool {
        self.ours() == Self::default()
    }

    /// A managed policy of somebody else is none of this target's; one that is attached is among the additions.
    fn ours(&self) -> Self {
        match self.managed {
            Managed::Foreign { .. } => Self { managed: Managed::Absent, ..self.clone() },
            _ => self.clone(),
        }
    }
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

/// A key that was just created.
#[derive(Clone, Debug)]
pub struct CreatedKey {
    /// Both halves.
    pub key: AccessKey,
    /// When the store created it.
    pub created_at: Timestamp,
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
    /// The unique id that it had when this operator last saw it as its own.
    pub known_id: Option<String>,
    /// ARN of its managed policy, for a document that is too large for an inline one.
    pub policy_arn: String,
}
