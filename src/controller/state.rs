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

/// Looks that did not show what may still appear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Absence {
    /// When it was first missed.
    pub since: Option<Timestamp>,
    /// How many looks there were.
    pub looks: u32,
}

impl Absence {
    /// One more look that showed nothing.
    #[must_use]
    pub fn and_another(self, now: Timestamp) -> Self {
        Self { since: self.since.or(Some(now)), looks: self.looks + 1 }
    }

    fn is_believed(self, now: Timestamp) -> bool {
        self.looks >= LOOKS && self.since.is_some_and(|since| at_least(LOOKS_SPREAD, since, now))
    }
}

impl State {
    /// The intent to create a key whose outcome is not known.
    #[must_use]
    pub fn open_intent(&self) -> Option<&KeyIntent> {
        let is_first = self.status.settled_intent.is_none() && self.status.access_key_id.is_none();
        self.status.key_intent.as_ref().or(self.first_intent.as_ref().filter(|_| is_first))
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
        self.keys().iter().filter(|key| !self.status.keys.iter().any(|record| record.id == key.id))
    }

    /// Whether the principal of an interrupted creation may still appear.
    #[must_use]
    pub fn user_may_still_appear(&self, now: Timestamp) -> bool {
        self.principal == Principal::Absent && self.is_uncertain(now)
    }

    /// Whether a key of an interrupted creation may still appear.
    #[must_use]
    pub fn key_may_still_appear(&self, now: Timestamp) -> bool {
        // A key is created last: without principal or policy, its creation was never asked for.
        let asked_for = matches!(&self.principal, Principal::Ours(user) if user.policy != StoredPolicy::Absent);
        asked_for && self.orphans().is_empty() && self.is_uncertain(now)
    }

    fn is_uncertain(&self, now: Timestamp) -> bool {
        self.open_intent().is_some_and(|intent| !at_least(MAY_STILL_APPEAR, intent.started_at, now))
            && !self.absence.is_believed(now)
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
        self.principal = Principal::Ours(User { boundary, ..User::default() });
    }

    /// The policy was written.
    pub fn policy_put(&mut self, document: PolicyDocument) {
        self.status.policy = Some(PolicyStatus { digest: document.digest(), form: PolicyForm::Inline });
        self.user(|user| user.policy = StoredPolicy::Known(document));
    }

    /// Remembers what the policy was made for.
    pub fn access_recorded(&mut self, access: AccessRecord, previous: Vec<PreviousAccess>) {
        self.status.access = Some(access);
        self.status.previous_access = previous;
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

    /// A key was switched on or off.
    pub fn key_active(&mut self, id: &str, active: bool) {
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

/// Whether at least that much time lies between the two.
#[must_use]
pub fn at_least(duration: Duration, since: Timestamp, now: Timestamp) -> bool {
    since.checked_add(duration).is_ok_and(|due| due <= now)
}
