//! How each finished step changes the state; the executor and the planner's tests share it.

use std::time::Duration;

use jiff::Timestamp;

use super::state::State;
use crate::{
    access::{PolicyDocument, rclone::AccessKey},
    api::backup_target::{
        AccessRecord, KeyIntent, KeyRecord, PolicyForm, PolicyStatus, PreviousAccess, PreviousSecret, ProofRecord,
    },
    cluster::{self, OwnedSecret, SecretState},
    names::ObjectName,
    store::{Key, Policies, Principal, User},
};

/// What a proof found, in short.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// Whether base access works, or can once the bucket is there.
    pub works: bool,
    /// Whether there is no bucket yet.
    pub bucket_missing: bool,
    /// Whether everything was answered as it should be.
    pub conclusive: bool,
}

impl State {
    /// The target has our finalizer, and with it an intent. Status remembers that from its next write on, since a tenant can
    /// take an annotation away.
    pub fn claimed(&mut self, intent: KeyIntent) {
        self.finalizer = true;
        if self.first_intent_counts() {
            self.status.key_intent = Some(intent.clone());
        }
        self.first_intent = Some(intent);
    }

    /// The principal was created.
    pub fn user_created(&mut self, name: &str, id: String, boundary: Option<String>) {
        self.status.principal = Some(name.to_owned());
        self.status.principal_id = Some(id.clone());
        // Keys go with the principal that they were made for.
        self.status.keys.clear();
        self.principal = Principal::Ours(User { id, boundary, tagged: true, ..User::default() });
    }

    /// The principal was deleted, and is not waited for any more.
    pub fn user_deleted(&mut self) {
        self.status.key_created_at = None;
        self.principal = Principal::Absent;
    }

    /// The policy was written.
    pub fn policy_put(&mut self, document: &PolicyDocument, form: PolicyForm) {
        self.status.policy = Some(PolicyStatus { digest: document.digest(), form });
        self.user(|user| user.policies = Policies::with(document, form));
    }

    /// The policy is gone.
    pub fn policy_deleted(&mut self) {
        self.status.policy = None;
        self.user(|user| user.policies = Policies::default());
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
    pub fn key_created(&mut self, key: AccessKey, created_at: Timestamp) {
        self.user(|user| {
            user.keys.push(Key { id: key.id.clone(), created_at, active: true, last_used: None });
        });
        self.in_hand = Some(key);
    }

    /// The key was tried, with the policy that it has.
    pub fn key_tried(&mut self, key: &str, found: Found, now: Timestamp) {
        let policy = self.status.policy.as_ref().map(|policy| policy.digest.clone()).unwrap_or_default();
        let since = self.tried_since(key).unwrap_or(now);
        let Found { works, bucket_missing, conclusive } = found;
        let key = key.to_owned();
        self.status.proof = Some(ProofRecord { key, policy, at: now, since, works, bucket_missing, conclusive });
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
            off_since: None,
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
        self.key_record(id, |record| (record.withheld, record.off_since) = (false, None));
    }

    /// Keys are about to be made inactive until a rule allows the claim again.
    pub fn keys_withheld(&mut self, ids: &[String]) {
        for id in ids {
            self.key_record(id, |record| record.withheld = true);
        }
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
        let may_be_of = |intent: &KeyIntent| !intent.existing.iter().any(|before| before == id);
        if self.open_intent().is_some_and(may_be_of) && self.orphans() == [id] {
            // One intent creates one key: with that key found, its outcome is known.
            self.intent_settled();
        }
        self.in_hand.take_if(|key| key.id == id);
        self.user(|user| user.keys.retain(|key| key.id != id));
        self.status.keys.retain(|key| key.id != id);
    }

    /// The Secret of that name was written; a Secret with a former name stays for the overlap.
    pub fn secret_written(&mut self, name: &ObjectName, secret: OwnedSecret, overlap: Duration, now: Timestamp) {
        self.secrets.insert(name.clone(), SecretState::Ours(Box::new(secret)));
        self.status.previous_secrets.retain(|previous| previous.name != name.as_str());
        let before = self.status.secret_name.replace(name.to_string());
        if let Some(before) = before.filter(|before| before != name.as_str() && self.secret(before).ours().is_some()) {
            self.status.previous_secrets.push(PreviousSecret { name: before, until: now + overlap });
        }
    }

    /// A Secret is gone, or no longer ours.
    pub fn secret_deleted(&mut self, name: &ObjectName) {
        self.secrets.insert(name.clone(), SecretState::Absent);
        self.status.previous_secrets.retain(|previous| previous.name != name.as_str());
    }

    /// A Secret cannot be read, or not be deleted.
    pub fn secret_unknown(&mut self, name: &ObjectName, error: cluster::Error) {
        self.secrets.insert(name.clone(), SecretState::Unknown(error));
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
