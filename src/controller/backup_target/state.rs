//! All that a decision depends on.
//!
//! The planner reads it, the executor brings it up to date, and status is written from it: one description for all three.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use crate::{
    access::rclone::AccessKey,
    api::backup_target::{KeyIntent, KeyRecord, ProofRecord, Record},
    cluster::{self, SecretState},
    controller::{absence::Absence, time::at_least},
    names::ObjectName,
    provider::{Brought, CreatedKey, Key, KeySource, Principal},
};

/// A create that was started within this time may still take effect (docs/decisions/key-creation.md).
pub const MAY_STILL_APPEAR: Duration = Duration::from_mins(5);
/// A key that is older than an intent by more than this, by the store's own clock, was not brought by it, whatever the lists
/// said then.
const CERTAINLY_OLDER: Duration = Duration::from_mins(5);
/// What was observed, together with what status remembers.
#[derive(Clone, Debug)]
pub struct State {
    /// What this operator did so far; the authority on which keys are ours.
    pub record: Record,
    /// Whether the target has our finalizer.
    pub finalizer: bool,
    /// The intent of the first key, from the target's annotation. Tenants can write it, so it counts only until status speaks.
    pub first_intent: Option<KeyIntent>,
    pub principal: Principal,
    /// The Secrets that matter, by name.
    pub secrets: BTreeMap<ObjectName, SecretState>,
    /// How often an expected key was looked for and not seen.
    pub absence: Absence,
    /// The key that this process created and has not published yet; nobody else has its secret half.
    pub in_hand: Option<CreatedKey>,
    /// The intent that was opened just now, of which nothing may come yet.
    pub opened: Option<OpenedIntent>,
    /// Whether everything that the target's present generation asks for was given.
    pub is_applied: bool,
    /// Until when nothing is put right, because somebody else undoes it again and again.
    pub contested_until: Option<Timestamp>,
    /// Ids of keys that status knew and that IAM shows no longer. An old list may still show them to the next who looks.
    pub forgotten: Vec<String>,
}

/// An intent that was opened just now.
#[derive(Clone, Debug)]
pub struct OpenedIntent {
    pub nonce: String,
    /// When a new key for a lost Secret was begun before it.
    pub last_reissue: Option<Timestamp>,
}

impl State {
    /// Nothing else is known than that.
    #[must_use]
    pub fn new(record: Record, principal: Principal) -> Self {
        Self {
            record,
            finalizer: false,
            first_intent: None,
            principal,
            secrets: BTreeMap::new(),
            absence: Absence::default(),
            in_hand: None,
            opened: None,
            is_applied: false,
            contested_until: None,
            forgotten: Vec::new(),
        }
    }

    /// The intent to create a key whose outcome is not known.
    #[must_use]
    pub fn open_intent(&self) -> Option<&KeyIntent> {
        self.record.key_intent.as_ref().or(self.first_intent.as_ref().filter(|_| self.first_intent_counts()))
    }

    /// Whether the annotation with the first intent still says something that status cannot know.
    #[must_use]
    pub fn first_intent_counts(&self) -> bool {
        self.record.settled_intent.is_none() && self.record.access_key_id.is_none()
    }

    /// When the key was tried first with the policy that it has.
    #[must_use]
    pub fn tried_since(&self, key: &str) -> Option<Timestamp> {
        let policy = self.record.policy.as_ref().map(|policy| &policy.digest);
        let of_these = |proof: &&ProofRecord| proof.key == key && Some(&proof.policy) == policy;
        self.record.proof.as_ref().filter(of_these).map(|proof| proof.since)
    }

    /// Whether this operator ever made anything for the target, as far as it can remember.
    #[must_use]
    pub fn has_anything(&self) -> bool {
        self.record.made_something() || matches!(self.principal, Principal::Ours(_))
    }

    /// Whether status knows the key.
    #[must_use]
    pub fn is_recorded(&self, id: &str) -> bool {
        self.record.keys.iter().any(|record| record.id == id)
    }

    /// Keys that only this operator can have left behind: the one in hand, or what came after an open intent. Status does not
    /// know them, and no Secret of ours holds them.
    #[must_use]
    pub fn orphans(&self) -> Vec<String> {
        // An intent brings one key: with that in hand, another one is somebody else's.
        if let Some(key) = self.in_hand.as_ref().map(|created| &created.key).filter(|key| self.is_unrecorded(&key.id)) {
            return vec![key.id.clone()];
        }
        let Some(intent) = self.open_intent() else { return Vec::new() };
        let is_older =
            |key: &Key| intent.store_time.is_some_and(|time| at_least(CERTAINLY_OLDER, key.created_at, time));
        let came_after = |key: &&Key| !intent.existing.contains(&key.id) && !is_older(key);
        self.unrecorded().filter(came_after).map(|key| key.id.clone()).collect()
    }

    /// The key in hand, while it is what the open intent brought and is still needed. A young one may not be listed yet.
    #[must_use]
    pub fn pending(&self, now: Timestamp) -> Option<&CreatedKey> {
        if self.keys_are_brought() {
            let is_wanted = |created: &&CreatedKey| self.to_take().is_some_and(|brought| brought.is(&created.key));
            return self.in_hand.as_ref().filter(is_wanted);
        }
        let (created, intent) = (self.in_hand.as_ref()?, self.open_intent()?);
        let key = &created.key;
        let listed = self.keys().iter().any(|listed| listed.id == key.id);
        let young = matches!(self.principal, Principal::Ours(_)) && !at_least(MAY_STILL_APPEAR, intent.started_at, now);
        let ours = !intent.existing.contains(&key.id) && !self.is_recorded(&key.id);
        (ours && (listed || young) && self.published_key().is_none()).then_some(created)
    }

    /// Keys on our principal that cannot be shown to be ours.
    #[must_use]
    pub fn unknown_keys(&self) -> Vec<String> {
        let orphans = self.orphans();
        self.unrecorded().map(|key| key.id.clone()).filter(|id| !orphans.contains(id)).collect()
    }

    /// The key that is about to be published, or else the one that is.
    #[must_use]
    pub fn key_to_try(&self, now: Timestamp) -> Option<AccessKey> {
        self.pending(now).map(|created| created.key.clone()).or_else(|| self.published_key())
    }

    fn is_unrecorded(&self, id: &str) -> bool {
        self.unrecorded().any(|listed| listed.id == id)
    }

    fn unrecorded(&self) -> impl Iterator<Item = &Key> {
        // Whose a key is that was brought is known.
        let made = self.keys().iter().filter(|_| !self.keys_are_brought());
        made.filter(|key| !self.is_recorded(&key.id))
    }

    /// Whether the store's administrator brings the keys: what is not there was not brought, and nothing may still appear.
    #[must_use]
    pub fn keys_are_brought(&self) -> bool {
        matches!(&self.principal, Principal::Ours(ours) if ours.source != KeySource::Made)
    }

    /// The key that was brought and that no Secret of ours holds.
    #[must_use]
    pub fn to_take(&self) -> Option<&Brought> {
        let Principal::Ours(ours) = &self.principal else { return None };
        let KeySource::Brought(Some(brought)) = &ours.source else { return None };
        let is_published = self.published_key().is_some_and(|published| brought.is(&published));
        (!is_published).then_some(brought)
    }

    /// Whether the principal of an interrupted creation may still appear, or one that is too young for every list of IAM.
    #[must_use]
    pub fn user_may_still_appear(&self, now: Timestamp) -> bool {
        let young = || self.young_user(now).is_some_and(|name| !self.absence.is_believed(name, now));
        self.principal == Principal::Absent && (self.is_uncertain(now) || young())
    }

    /// What a look that shows nothing is counted for: the nonce of the open intent, or the name of a principal that this
    /// operator made just now.
    #[must_use]
    pub fn in_doubt(&self, now: Timestamp) -> Option<String> {
        let young = || self.young_user(now).filter(|_| self.principal == Principal::Absent).map(str::to_owned);
        self.open_intent().map(|intent| intent.nonce.clone()).or_else(young)
    }

    fn young_user(&self, now: Timestamp) -> Option<&str> {
        let created_at = self.record.key_created_at?;
        self.record.principal.as_deref().filter(|_| !at_least(MAY_STILL_APPEAR, created_at, now))
    }

    /// Whether a key of an interrupted creation may still appear.
    #[must_use]
    pub fn key_may_still_appear(&self, now: Timestamp) -> bool {
        matches!(self.principal, Principal::Ours(_)) && self.orphans().is_empty() && self.is_uncertain(now)
    }

    fn is_uncertain(&self, now: Timestamp) -> bool {
        !self.keys_are_brought()
            && self.open_intent().is_some_and(|intent| {
                !at_least(MAY_STILL_APPEAR, intent.started_at, now) && !self.absence.is_believed(&intent.nonce, now)
            })
    }

    /// The access keys of our principal.
    #[must_use]
    pub fn keys(&self) -> &[Key] {
        match &self.principal {
            Principal::Ours(user) => &user.keys,
            Principal::Absent | Principal::Foreign { .. } => &[],
        }
    }

    /// The key that is published now.
    #[must_use]
    pub fn current_key(&self) -> Option<&KeyRecord> {
        self.record.keys.iter().find(|key| key.superseded_at.is_none())
    }

    /// The current key with its secret half, if a Secret of ours still holds it.
    #[must_use]
    pub fn published_key(&self) -> Option<AccessKey> {
        let current = self.current_key()?;
        self.secrets.values().filter_map(SecretState::secret_key).find_map(|secret| {
            let key = AccessKey { id: current.id.clone(), secret };
            (key.fingerprint() == current.fingerprint).then_some(key)
        })
    }

    /// A Secret that cannot be read, and why: what it holds is not known then, so nothing is given.
    #[must_use]
    pub fn unread_secret(&self) -> Option<(&ObjectName, &cluster::Error)> {
        self.secrets.iter().find_map(|(name, secret)| match secret {
            SecretState::Unknown(error) => Some((name, error)),
            _ => None,
        })
    }

    /// The Secret of that name; one that nobody asked about counts as absent.
    #[must_use]
    pub fn secret(&self, name: &str) -> &SecretState {
        self.secrets.get(name).unwrap_or(&SecretState::Absent)
    }
}
