//! All that a decision depends on, and how each finished step changes it.
//!
//! The planner reads it, the executor brings it up to date, and status is written from it: one description for all three.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    access::{PolicyDocument, rclone::AccessKey},
    api::backup_target::{
        AccessRecord, BackupTargetStatus, KeyIntent, KeyRecord, PolicyForm, PolicyStatus, PreviousAccess,
        PreviousSecret,
    },
    cluster::{OwnedSecret, SecretState},
    store::{Key, Principal, StoredPolicy, User},
};
use jiff::Timestamp;

/// A create that was started within this time may still take effect (design §6.2).
pub const MAY_STILL_APPEAR: Duration = Duration::from_mins(5);
/// Absence is believed after this many looks …
const LOOKS: u32 = 3;
/// … spread over at least this time.
const LOOKS_SPREAD: Duration = Duration::from_mins(1);

/// What was observed, together with what status remembers.
#[derive(Clone, Debug)]
pub struct State {
    /// What this operator did so far; the authority on which keys are ours.
    pub status: BackupTargetStatus,
    /// Whether the target has our finalizer.
    pub finalizer: bool,
    /// The intent of the first key, from the target's annotation. Tenants can write it, so it counts only until status speaks.
    pub first_intent: Option<KeyIntent>,
    /// The principal.
    pub principal: Principal,
    /// The Secrets that matter, by name.
    pub secrets: BTreeMap<String, SecretState>,
    /// How often an expected key was looked for and not seen.
    pub absence: Absence,
}

/// Looks that did not show what an intent may still bring.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Absence {
    /// Nonce of the intent.
    pub intent: String,
    /// When it was first missed.
    pub since: Option<Timestamp>,
    /// How many looks there were.
    pub looks: u32,
}

impl Absence {
    /// One more look for what this intent may bring, that showed nothing.
    #[must_use]
    pub fn and_another(self, intent: &str, now: Timestamp) -> Self {
        let before = if self.intent == intent { self } else { Self::default() };
        Self { intent: intent.to_owned(), since: before.since.or(Some(now)), looks: before.looks + 1 }
    }

    fn is_believed(&self, intent: &str, now: Timestamp) -> bool {
        self.intent == intent
            && self.looks >= LOOKS
            && self.since.is_some_and(|since| at_least(LOOKS_SPREAD, since, now))
    }
}

impl State {
    /// The intent to create a key whose outcome is not known.
    #[must_use]
    pub fn open_intent(&self) -> Option<&KeyIntent> {
        self.status.key_intent.as_ref().or(self.first_intent.as_ref().filter(|_| self.first_intent_counts()))
    }

    /// Whether the annotation with the first intent still says something that status cannot know.
    #[must_use]
    pub fn first_intent_counts(&self) -> bool {
        self.status.settled_intent.is_none() && self.status.access_key_id.is_none()
    }

    /// Whether this operator ever made anything for the target, as far as it can remember.
    #[must_use]
    pub fn has_anything(&self) -> bool {
        made_something(&self.status) || matches!(self.principal, Principal::Ours(_))
    }

    /// Whether status knows the key.
    #[must_use]
    pub fn is_recorded(&self, id: &str) -> bool {
        self.status.keys.iter().any(|record| record.id == id)
    }

    /// Keys that only an interrupted creation of ours can have left behind: they came after an open intent, status does not
    /// know them, and no Secret of ours holds them.
    #[must_use]
    pub fn orphans(&self) -> Vec<String> {
        let Some(intent) = self.open_intent() else { return Vec::new() };
        self.unrecorded().filter(|key| !intent.existing.contains(&key.id)).map(|key| key.id.clone()).collect()
    }

    /// Keys on our principal that cannot be shown to be ours.
    #[must_use]
    pub fn unknown_keys(&self) -> Vec<String> {
        let orphans = self.orphans();
        self.unrecorded().map(|key| key.id.clone()).filter(|id| !orphans.contains(id)).collect()
    }

    fn unrecorded(&self) -> impl Iterator<Item = &Key> {
        self.keys().iter().filter(|key| !self.is_recorded(&key.id))
    }

    /// Whether the principal of an interrupted creation may still appear.
    #[must_use]
    pub fn user_may_still_appear(&self, now: Timestamp) -> bool {
        self.principal == Principal::Absent && self.is_uncertain(now)
    }

    /// Whether a key of an interrupted creation may still appear.
    #[must_use]
    pub fn key_may_still_appear(&self, now: Timestamp) -> bool {
        matches!(self.principal, Principal::Ours(_)) && self.orphans().is_empty() && self.is_uncertain(now)
    }

    fn is_uncertain(&self, now: Timestamp) -> bool {
        self.open_intent().is_some_and(|intent| {
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
        self.status.keys.iter().find(|key| key.superseded_at.is_none())
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

    /// The Secret of that name; one that nobody asked about counts as absent.
    #[must_use]
    pub fn secret(&self, name: &str) -> &SecretState {
        self.secrets.get(name).unwrap_or(&SecretState::Absent)
    }
}

// === what finished steps change ===

impl State {
    /// The principal was created.
    pub fn user_created(&mut self, name: &str, boundary: Option<String>) {
        self.status.principal = Some(name.to_owned());
        // Keys go with the principal that they were made for.
        self.status.keys.clear();
        self.principal = Principal::Ours(User { boundary, ..User::default() });
    }

    /// The policy was written.
    pub fn policy_put(&mut self, document: PolicyDocument) {
        self.status.policy = Some(PolicyStatus { digest: document.digest(), form: PolicyForm::Inline });
        self.user(|user| user.policy = StoredPolicy::Known(document));
    }

    /// The policy is gone.
    pub fn policy_deleted(&mut self) {
        self.status.policy = None;
        self.user(|user| user.policy = StoredPolicy::Absent);
    }

    /// Remembers what the policy was made for.
    pub fn access_recorded(&mut self, access: AccessRecord, previous: Vec<PreviousAccess>) {
        self.status.access = Some(access);
        self.status.previous_access = previous;
    }

    /// An intent to create a key is in status.
    pub fn intent_opened(&mut self, intent: KeyIntent) {
        if self.status.access_key_id.is_some() {
            self.status.last_reissue = Some(intent.started_at);
        }
        self.status.key_intent = Some(intent);
    }

    /// A key was created; nobody but this process has its secret half yet.
    pub fn key_created(&mut self, id: &str, created_at: Timestamp) {
        self.user(|user| {
            user.keys.push(Key { id: id.to_owned(), created_at, active: true, last_used: None });
        });
    }

    /// A key is in the Secret; the one before it is valid for as long as the overlap.
    pub fn key_published(&mut self, key: &AccessKey, created_at: Timestamp, overlap: Duration, now: Timestamp) {
        if let Some(before) = self.status.keys.iter_mut().find(|old| old.superseded_at.is_none()) {
            before.superseded_at = Some(now);
            before.revoke_at = Some(now + overlap);
        }
        self.status.keys.push(KeyRecord {
            id: key.id.clone(),
            created_at,
            fingerprint: key.fingerprint(),
            superseded_at: None,
            revoke_at: None,
            inactive_since: None,
            withheld: false,
        });
        self.status.access_key_id = Some(key.id.clone());
        self.status.key_created_at = Some(created_at);
        self.intent_settled();
    }

    /// The outcome of the open intent is known.
    pub fn intent_settled(&mut self) {
        if let Some(nonce) = self.open_intent().map(|intent| intent.nonce.clone()) {
            self.status.settled_intent = Some(nonce);
            self.status.key_intent = None;
        }
    }

    /// A key works again.
    pub fn key_activated(&mut self, id: &str) {
        self.key_active(id, true);
        self.key_record(id, |record| record.withheld = false);
    }

    /// A key was made inactive: for good, since that time, or until a rule allows the claim again.
    pub fn key_deactivated(&mut self, id: &str, retired_at: Option<Timestamp>) {
        self.key_active(id, false);
        self.key_record(id, |record| {
            record.inactive_since = retired_at.or(record.inactive_since);
            record.withheld |= retired_at.is_none();
        });
    }

    fn key_active(&mut self, id: &str, active: bool) {
        self.user(|user| {
            if let Some(key) = user.keys.iter_mut().find(|key| key.id == id) {
                key.active = active;
            }
        });
    }

    /// A key is gone.
    pub fn key_deleted(&mut self, id: &str) {
        if self.orphans().iter().any(|orphan| orphan == id) {
            // One intent creates one key: with that key found, its outcome is known.
            self.intent_settled();
        }
        self.user(|user| user.keys.retain(|key| key.id != id));
        self.status.keys.retain(|key| key.id != id);
    }

    /// The Secret of that name was written; a Secret with a former name stays for the overlap.
    pub fn secret_written(&mut self, name: &str, secret: OwnedSecret, overlap: Duration, now: Timestamp) {
        self.secrets.insert(name.to_owned(), SecretState::Ours(Box::new(secret)));
        self.status.previous_secrets.retain(|previous| previous.name != name);
        let before = self.status.secret_name.replace(name.to_owned());
        if let Some(before) = before.filter(|before| before != name && self.secret(before).ours().is_some()) {
            self.status.previous_secrets.push(PreviousSecret { name: before, until: now + overlap });
        }
    }

    /// A Secret is gone, or no longer ours.
    pub fn secret_deleted(&mut self, name: &str) {
        self.secrets.insert(name.to_owned(), SecretState::Absent);
        self.status.previous_secrets.retain(|previous| previous.name != name);
    }

    /// Changes the principal, if it is ours.
    pub fn user(&mut self, change: impl FnOnce(&mut User)) {
        if let Principal::Ours(user) = &mut self.principal {
            change(user);
        }
    }

    /// Changes the record of a key.
    pub fn key_record(&mut self, id: &str, change: impl FnOnce(&mut KeyRecord)) {
        if let Some(record) = self.status.keys.iter_mut().find(|record| record.id == id) {
            change(record);
        }
    }
}

/// Whether status shows that this operator made something for the target.
#[must_use]
pub fn made_something(status: &BackupTargetStatus) -> bool {
    status.principal.is_some() || status.access.is_some() || !status.keys.is_empty()
}

/// Whether status shows that this operator ever began to.
#[must_use]
pub fn ever_worked_on(status: &BackupTargetStatus) -> bool {
    made_something(status) || status.key_intent.is_some() || status.settled_intent.is_some()
}

/// Whether at least that much time lies between the two.
#[must_use]
pub fn at_least(duration: Duration, since: Timestamp, now: Timestamp) -> bool {
    since.checked_add(duration).is_ok_and(|due| due <= now)
}
