//! A principal as every store has one: whose it is, what it may do, its keys, and what others changed on it. Pure.

use std::fmt;

use jiff::Timestamp;

use super::limits::{Limits, Words};
use crate::{
    access::{Access, Meaning, PolicyDocument, rclone::AccessKey},
    api::backup_target::{KeyRecord, PolicyForm},
};

/// Whose principal is meant: all that a family makes names, paths and marks of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// Id of the cluster.
    pub cluster: String,
    /// Namespace of the target.
    pub namespace: String,
    /// Name of the target.
    pub name: String,
    /// UID of the target.
    pub uid: String,
    /// The unique id that its principal had when this operator last saw it as its own, where the store gives such ids.
    pub known_id: Option<String>,
}

/// The principal of a target, as it is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrincipalSpec {
    /// Whose it is.
    pub owner: Owner,
    /// Its name.
    pub name: PrincipalName,
    /// What its store can do.
    pub limits: &'static Limits,
    /// What bounds it beside its policy, if the store's administrator says so.
    pub bound: Option<String>,
    /// What it is for, once that is decided: where keys are brought, that says which is its own.
    pub access: Option<Access>,
}

/// Name of a principal, which is told as its store's users know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrincipalName {
    /// The name itself.
    pub name: String,
    /// What its store calls such a thing.
    pub words: &'static Words,
}

impl PrincipalName {
    /// A command of its store's users for it and a key of it.
    #[must_use]
    pub fn command(&self, command: &str, key: &str) -> String {
        command.replace("{principal}", &self.name).replace("{key}", key)
    }
}

impl fmt::Display for PrincipalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.words.principal, self.name)
    }
}

/// What there is under the name of a target's principal.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "nearly all principals are ours, and a box for each would only cost more")]
pub enum Principal {
    /// Nothing.
    Absent,
    /// A principal that is not this target's.
    Foreign {
        /// Whose it is, as far as that can be seen.
        whose: ForeignOwner,
    },
    /// This target's principal.
    Ours(Observed),
}

/// Whose a principal is that is not this target's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForeignOwner {
    /// That of a target with the same UID in another cluster, as its marks say: the objects here came from there, or this
    /// cluster had another id.
    Cluster {
        /// Id of the other cluster.
        id: String,
        /// Where the principal is.
        path: String,
    },
    /// Somebody's; this shows that it is not this target's.
    Other(String),
}

/// A principal of ours, as the store has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Its unique id, which the store never gives twice. Empty where the store gives none.
    pub id: String,
    /// What this operator gave it.
    pub rights: Rights,
    /// What is not as this operator left it.
    pub deviations: Vec<Deviation>,
    /// Its access keys.
    pub keys: Vec<Key>,
    /// Where they come from.
    pub source: KeySource,
    /// Whether somebody on the store's side wants it to be left as it is.
    pub held: bool,
    /// Whether it was left behind on purpose.
    pub retained: bool,
}

/// Where the keys of a principal come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum KeySource {
    /// This operator makes them.
    #[default]
    Made,
    /// The store's administrator brings them; the one that there is for what the principal is for, if it is for anything.
    Brought(Option<Brought>),
}

/// A key that a store's administrator brought, without its secret half.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brought {
    /// Access key id.
    pub id: String,
    fingerprint: String,
}

impl Brought {
    /// What is told of a key.
    #[must_use]
    pub fn of(key: &AccessKey) -> Self {
        Self { id: key.id.clone(), fingerprint: key.fingerprint() }
    }

    /// Whether it is that key, both halves.
    #[must_use]
    pub fn is(&self, key: &AccessKey) -> bool {
        *self == Self::of(key)
    }

    /// Whether status speaks of it.
    #[must_use]
    pub fn is_recorded_as(&self, record: &KeyRecord) -> bool {
        (&self.id, &self.fingerprint) == (&record.id, &record.fingerprint)
    }
}

/// Something on a principal that is not as this operator left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deviation {
    /// What it means.
    pub kind: DeviationKind,
    /// What it is, for people.
    pub what: String,
    /// How its store puts it right, in the family's own terms.
    pub fix: super::aws::Fix,
}

/// What a deviation means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviationKind {
    /// What bounds the principal is missing, or another one.
    Bound,
    /// What says whose the principal is, is missing.
    Mark,
    /// Somebody added rights.
    Addition,
    /// Somebody added what only takes rights away, and so contains the principal.
    Denial,
    /// Somebody added what the operator may not read: it may give rights, or contain the principal.
    Unread,
    /// Somebody gave it rights in a way that only a person may undo.
    Beyond,
    /// The store warns of a key that it found in public.
    Alarm,
}

impl DeviationKind {
    /// Whether it hangs on the principal, which cannot be removed before it is.
    #[must_use]
    pub fn hangs_on(self) -> bool {
        matches!(self, Self::Addition | Self::Denial | Self::Unread | Self::Alarm)
    }
}

impl Observed {
    /// Its unique id, where the store gives such ids. An empty one is no identity.
    #[must_use]
    pub fn unique_id(&self) -> Option<String> {
        Some(self.id.clone()).filter(|id| !id.is_empty())
    }

    /// What deviates in that way.
    pub fn deviating(&self, kind: DeviationKind) -> impl Iterator<Item = &Deviation> {
        self.deviations.iter().filter(move |deviation| deviation.kind == kind)
    }
}

/// What this operator gave a principal, as the store has it: at rest, one policy in one place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// Where a policy of this operator's is.
    pub places: Vec<Place>,
    /// A place that somebody else has taken.
    pub occupied: Option<Occupied>,
}

/// A place in which a policy of this operator's is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// How policies in it are stored.
    pub form: PolicyForm,
    /// The policy.
    pub document: StoredPolicy,
    /// Whether it counts for the principal.
    pub in_force: bool,
}

/// A place for a policy, in which is what is not this target's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occupied {
    /// How policies in it are stored.
    pub form: PolicyForm,
    /// What is in it.
    pub name: String,
    /// What shows that it is not this target's.
    pub why: String,
}

/// A stored document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoredPolicy {
    /// One of the kind that this operator writes.
    Known(Meaning),
    /// Something else, so somebody edited it.
    Other,
}

impl Rights {
    /// Just this document, in that form.
    #[must_use]
    pub fn just(document: &PolicyDocument, form: PolicyForm) -> Self {
        let document = StoredPolicy::Known(document.meaning());
        Self { places: vec![Place { form, document, in_force: true }], occupied: None }
    }

    /// Whether they are just this document, in the form that suits it. Where keys are brought, that is for those who bring them to
    /// see to, and for a proof to tell.
    #[must_use]
    pub fn are(&self, document: &PolicyDocument, limits: &Limits) -> bool {
        limits.brings_keys || limits.form(document).is_some_and(|form| self.places == Self::just(document, form).places)
    }

    /// Whether there are none.
    #[must_use]
    pub fn are_absent(&self) -> bool {
        self.places.is_empty()
    }

    /// What is in a place.
    #[must_use]
    pub fn place(&self, form: PolicyForm) -> Option<&Place> {
        self.places.iter().find(|place| place.form == form)
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
