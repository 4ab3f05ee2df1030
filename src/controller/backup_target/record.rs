//! What each step leaves behind: in what is observed, and in what status remembers. Pure, and the same for the planner's tests.

use std::time::Duration;

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};

use super::{
    error::Error,
    events::Happened,
    plan::{ASK_AGAIN, KeyEnd, NewKey, PutPolicy, SecretKey, Step, WriteSecret},
    state::{OpenedIntent, State},
    verification::{self, Failure},
};
use crate::{
    access::rclone::AccessKey,
    api::backup_target::{KeyIntent, KeyRecord, PolicyStatus, PreviousSecret, ProofRecord, Record},
    cluster::{self, OwnedSecret, SecretState},
    controller::time::at_least,
    names::ObjectName,
    probe::{Limits, Proof},
    provider::{Brought, CreatedKey, Key, KeySource, Observed, Principal, PrincipalSpec, Rights, clock::Skew},
};

/// What a step brought back.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Nothing but that it is done.
    Done,
    /// A principal that was created.
    PrincipalCreated(Observed),
    /// A key that was created.
    KeyCreated(CreatedKey),
    /// What a key could do.
    Tried {
        key: String,
        /// What it could do.
        proof: Proof,
    },
    /// A Secret as it is now.
    SecretWritten(Box<Written>),
    /// A Secret that may not be touched, and is left.
    SecretLeft(cluster::Error),
}

/// A Secret that was written.
#[derive(Clone, Debug)]
pub struct Written {
    /// The Secret as it is now.
    pub secret: OwnedSecret,
    /// The rclone.conf that was sent.
    pub sent: SecretString,
    /// The key in it, if it was not published before.
    pub new_key: Option<CreatedKey>,
}

/// What the consequences of a step depend on, beside the state.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// The principal as it is to be.
    pub spec: &'a PrincipalSpec,
    /// How long a replaced key stays valid.
    pub overlap: Duration,
    /// Now, by the store's clock where that is known.
    pub now: Timestamp,
    /// How far this machine's clock is from the store's, if that is worth telling.
    pub skew: Option<Skew>,
}

impl State {
    /// Takes in what a step did.
    ///
    /// # Errors
    /// When it was done, and what came of it is not what is needed.
    pub fn apply(&mut self, step: &Step, outcome: Outcome, moment: &Moment<'_>) -> Result<Option<Happened>, Error> {
        match step {
            Step::Claim(intent) => self.claimed(intent.clone()),
            Step::OpenIntent(intent, why) => self.intent_opened(intent.clone(), *why),
            Step::CreatePrincipal => self.principal_created(moment.spec, outcome),
            Step::Amend(amended) => self.principal(|ours| ours.deviations.retain(|other| other != amended)),
            Step::PutPolicy(put) | Step::CutBack(put) | Step::Remember(put) => self.policy_put(put),
            Step::Withhold(ids) => self.keys_withheld(ids),
            Step::ActivateKey(id) => self.key_activated(id),
            Step::DeactivateKey { id, retire } => return Ok(self.key_deactivated(id, *retire, moment.now)),
            Step::ExtendKey { id, until } => self.key_record(id, |record| record.revoke_at = Some(*until)),
            Step::DeleteKey { id, why } => return Ok(self.key_ended(id, *why)),
            Step::CheckSecret(_) => {}
            Step::CreateKey => {
                if let Outcome::KeyCreated(created) = outcome {
                    self.key_created(created);
                }
            }
            Step::Prove { publishes, .. } => {
                if let Outcome::Tried { key, proof } = outcome {
                    self.tried(&key, &proof, *publishes, moment)?;
                }
            }
            Step::WriteSecret(write) => {
                if let Outcome::SecretWritten(written) = outcome {
                    return self.published(write, *written, moment);
                }
            }
            Step::DeleteSecret(name) | Step::DisownSecret(name) => match outcome {
                Outcome::SecretLeft(error) => self.secret_unknown(name, error),
                _ => self.secret_deleted(name),
            },
            Step::DeletePolicy | Step::RemoveRemains => self.policy_deleted(),
            Step::RemovePrincipal => self.principal_removed(),
            Step::MarkRetained => self.principal(|ours| ours.retained = true),
            Step::ReleaseTarget => {
                self.finalizer = false;
                return Ok(Some(Happened::LetGo));
            }
        }
        Ok(None)
    }

    /// Takes in that a step failed: nothing came of the intent that was opened just now, when the failure certainly made no key.
    pub fn failed(&mut self, step: &Step, error: &Error) {
        // A principal that was there all along, and that the store did not show, is no key, and none was asked for yet.
        let is_there_already = matches!(step, Step::CreatePrincipal) && error.is_there_already();
        if !error.is_definite() && !is_there_already {
            return;
        }
        let Some(opened) = self.opened.clone() else { return };
        let is_open = self.open_intent().is_some_and(|intent| intent.nonce == opened.nonce);
        if is_open && self.orphans().is_empty() {
            // No key was made, so none counts against the limit.
            self.record.last_reissue = opened.last_reissue;
            self.intent_settled();
        }
    }

    /// The Secret was written; with a new key in it, that is the published one now.
    fn published(
        &mut self,
        write: &WriteSecret,
        Written { secret, sent, new_key }: Written,
        moment: &Moment<'_>,
    ) -> Result<Option<Happened>, Error> {
        let altered = altered(&secret, &sent);
        self.secret_written(&write.name, secret, moment);
        if let Some(what) = altered {
            return Err(Error::Altered { name: write.name.to_string(), what });
        }
        let (SecretKey::Unpublished(why), Some(created)) = (&write.key, new_key) else { return Ok(None) };
        let before = self.record.access_key_id.clone();
        if self.keys_are_brought() {
            // Nobody here can end the one before, so nothing is promised of it.
            self.record.keys.clear();
        }
        self.key_published(&created.key, created.created_at, moment.overlap, moment.now);
        self.in_hand = None;
        if self.keys_are_brought() {
            let (secret, key) = (write.name.to_string(), created.key.id);
            let before = before.filter(|before| *before != key);
            return Ok((*why == NewKey::Brought).then_some(Happened::KeyFollowed { secret, key, before }));
        }
        let replaced = self.record.keys.iter().find(|record| record.superseded_at == Some(moment.now));
        Ok((*why != NewKey::First).then(|| Happened::KeyReissued {
            why: *why,
            secret: write.name.to_string(),
            key: created.key.id.clone(),
            replaced: replaced.cloned(),
        }))
    }

    fn note_opened(&mut self, intent: &KeyIntent) {
        // One that takes the place of another that is open stands for what that may still bring, too.
        let is_first = self.open_intent().is_none();
        let last_reissue = self.record.last_reissue;
        self.opened = is_first.then(|| OpenedIntent { nonce: intent.nonce.clone(), last_reissue });
    }

    /// The target has our finalizer, and with it an intent. Status remembers that from its next write on, since a tenant can
    /// take an annotation away.
    fn claimed(&mut self, intent: KeyIntent) {
        self.note_opened(&intent);
        self.finalizer = true;
        if self.first_intent_counts() {
            self.record.key_intent = Some(intent.clone());
        }
        self.first_intent = Some(intent);
    }

    /// The principal was created.
    fn principal_created(&mut self, spec: &PrincipalSpec, outcome: Outcome) {
        let Outcome::PrincipalCreated(created) = outcome else { return };
        self.record.principal = Some(spec.name.name.clone());
        self.record.principal_id = created.unique_id();
        // Keys go with the principal that they were made for.
        self.record.keys.clear();
        self.principal = Principal::Ours(created);
    }

    /// The principal was deleted, and is not waited for any more.
    fn principal_removed(&mut self) {
        self.record.key_created_at = None;
        self.principal = Principal::Absent;
    }

    /// The policy is that one; what it was made for is remembered.
    fn policy_put(&mut self, put: &PutPolicy) {
        self.record.policy = Some(PolicyStatus { digest: put.document.digest(), form: put.form });
        self.principal(|ours| ours.rights = Rights::just(&put.document, put.form));
        if let Some((access, previous)) = put.record.clone() {
            self.record.access = Some(access);
            self.record.previous_access = previous;
        }
    }

    /// The policy is gone.
    fn policy_deleted(&mut self) {
        self.record.policy = None;
        self.principal(|ours| ours.rights = Rights::default());
    }

    /// An intent to create a key is in status.
    fn intent_opened(&mut self, intent: KeyIntent, why: NewKey) {
        self.note_opened(&intent);
        if why != NewKey::First {
            self.record.last_reissue = Some(intent.started_at);
        }
        self.record.key_intent = Some(intent);
    }

    /// A key was created; nobody but this process has its secret half yet.
    fn key_created(&mut self, created: CreatedKey) {
        let (id, created_at) = (created.key.id.clone(), created.created_at);
        self.principal(|ours| match &ours.source {
            KeySource::Made => ours.keys.push(Key { id, created_at, active: true, last_used: None }),
            // It was there before; what is in hand is what it is now.
            KeySource::Brought(_) => ours.source = KeySource::Brought(Some(Brought::of(&created.key))),
        });
        self.in_hand = Some(created);
    }

    /// The key was tried, with the policy that it has. A store that does not answer says nothing, and what was proven before
    /// stands.
    fn tried(&mut self, key: &str, proof: &Proof, publishes: bool, moment: &Moment<'_>) -> Result<(), Error> {
        let since = self.tried_since(key).unwrap_or(moment.now);
        let failure = verification::failure(proof, publishes, verification::age(since, moment.now));
        let failure = failure.map(|failure| failure.with_skew(moment.skew));
        if !failure.as_ref().is_some_and(Failure::is_silence) {
            let record = ProofRecord {
                key: key.to_owned(),
                policy: self.record.policy.as_ref().map(|policy| policy.digest.clone()).unwrap_or_default(),
                at: moment.now,
                since,
                works: if publishes { failure.is_none() } else { proof.publishable() },
                bucket_missing: proof.is_bucket_missing(),
                conclusive: proof.complete() && proof.limits() == Limits::Held,
            };
            self.record.proof = Some(match self.record.proof.take() {
                // What waits for its key says the same for a while: each write would only have it looked at once more.
                Some(before) if failure.is_some() && says_the_same(&before, &record) => before,
                _ => record,
            });
        }
        failure.map_or(Ok(()), |failure| Err(Error::NotProven(failure)))
    }

    /// A key is in the Secret; the one before it is valid for as long as the overlap.
    pub(super) fn key_published(&mut self, key: &AccessKey, created_at: Timestamp, overlap: Duration, now: Timestamp) {
        if let Some(before) = self.record.keys.iter_mut().find(|old| old.superseded_at.is_none()) {
            before.superseded_at = Some(now);
            before.revoke_at = Some(now + overlap);
        }
        self.record.keys.push(KeyRecord {
            id: key.id.clone(),
            created_at,
            fingerprint: key.fingerprint(),
            superseded_at: None,
            revoke_at: None,
            inactive_since: None,
            off_since: None,
            withheld: false,
        });
        self.record.access_key_id = Some(key.id.clone());
        self.record.key_created_at = Some(created_at);
        self.intent_settled();
    }

    /// The outcome of the open intent is known.
    fn intent_settled(&mut self) {
        if let Some(nonce) = self.open_intent().map(|intent| intent.nonce.clone()) {
            self.record.settled_intent = Some(nonce);
            self.record.key_intent = None;
        }
    }

    /// A key works again.
    fn key_activated(&mut self, id: &str) {
        self.key_active(id, true);
        self.key_record(id, |record| (record.withheld, record.off_since) = (false, None));
    }

    /// Keys are about to be made inactive until a rule allows the claim again.
    fn keys_withheld(&mut self, ids: &[String]) {
        for id in ids {
            self.key_record(id, |record| record.withheld = true);
        }
    }

    /// A key was made inactive: for good, or until a rule allows the claim again.
    fn key_deactivated(&mut self, id: &str, retire: bool, now: Timestamp) -> Option<Happened> {
        self.key_active(id, false);
        self.key_record(id, |record| {
            record.inactive_since = if retire { Some(now) } else { record.inactive_since };
            record.withheld |= !retire;
        });
        retire.then(|| Happened::KeyRevoked { id: id.to_owned() })
    }

    fn key_active(&mut self, id: &str, active: bool) {
        self.principal(|user| {
            if let Some(key) = user.keys.iter_mut().find(|key| key.id == id) {
                key.active = active;
            }
        });
    }

    /// A key was deleted.
    fn key_ended(&mut self, id: &str, why: KeyEnd) -> Option<Happened> {
        let record = self.record.keys.iter().find(|record| record.id == id).cloned();
        self.key_deleted(id);
        match why {
            KeyEnd::Orphan => {
                // Nobody ever had it, so it does not count against the limit.
                self.record.last_reissue = None;
                Some(Happened::OrphanDeleted { id: id.to_owned() })
            }
            KeyEnd::MadeByKey => Some(Happened::MadeByKeyDeleted { id: id.to_owned() }),
            KeyEnd::MakesRoom => record.map(Happened::MadeRoom),
            KeyEnd::Expired | KeyEnd::TargetDeleted => None,
        }
    }

    /// A key is gone.
    fn key_deleted(&mut self, id: &str) {
        let may_be_of = |intent: &KeyIntent| !intent.existing.iter().any(|before| before == id);
        if self.open_intent().is_some_and(may_be_of) && self.orphans() == [id] {
            // One intent creates one key: with that key found, its outcome is known.
            self.intent_settled();
        }
        self.in_hand.take_if(|created| created.key.id == id);
        self.principal(|ours| ours.keys.retain(|key| key.id != id));
        self.record.keys.retain(|key| key.id != id);
    }

    /// The Secret of that name was written; a Secret with a former name stays for the overlap.
    fn secret_written(&mut self, name: &ObjectName, secret: OwnedSecret, moment: &Moment<'_>) {
        self.secrets.insert(name.clone(), SecretState::Ours(Box::new(secret)));
        self.record.previous_secrets.retain(|previous| previous.name != name.as_str());
        let before = self.record.secret_name.replace(name.to_string());
        if let Some(before) = before.filter(|before| before != name.as_str() && self.secret(before).ours().is_some()) {
            self.record.previous_secrets.push(PreviousSecret { name: before, until: moment.now + moment.overlap });
        }
    }

    /// A Secret is gone, or no longer ours.
    fn secret_deleted(&mut self, name: &ObjectName) {
        self.secrets.insert(name.clone(), SecretState::Absent);
        self.record.previous_secrets.retain(|previous| previous.name != name.as_str());
    }

    /// A Secret cannot be read, or not be deleted.
    fn secret_unknown(&mut self, name: &ObjectName, error: cluster::Error) {
        self.secrets.insert(name.clone(), SecretState::Unknown(error));
    }

    /// Changes the principal, if it is ours.
    pub fn principal(&mut self, change: impl FnOnce(&mut Observed)) {
        if let Principal::Ours(user) = &mut self.principal {
            change(user);
        }
    }

    /// Changes the record of a key.
    pub fn key_record(&mut self, id: &str, change: impl FnOnce(&mut KeyRecord)) {
        if let Some(record) = self.record.keys.iter_mut().find(|record| record.id == id) {
            change(record);
        }
    }
}

impl Record {
    /// The bucket was looked for; without a clear answer, nothing is learnt.
    pub fn bucket_looked_for(&mut self, missing: Option<bool>) {
        self.bucket_missing = missing.unwrap_or(self.bucket_missing);
    }
}

/// Where what the API server stored differs from what it was sent.
fn altered(written: &OwnedSecret, sent: &SecretString) -> Option<&'static str> {
    let stored = written.rclone_conf.as_ref().map(ExposeSecret::expose_secret);
    if stored != Some(sent.expose_secret()) {
        return Some("the content of rclone.conf");
    }
    (!written.well_formed).then_some("the operator's labels, the owner or the type")
}

/// Whether a record, a little later than the one before, says nothing new.
fn says_the_same(before: &ProofRecord, record: &ProofRecord) -> bool {
    let same = ProofRecord { at: before.at, ..record.clone() } == *before;
    same && before.at <= record.at && !at_least(ASK_AGAIN, before.at, record.at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::backup_target::fixtures::at;

    #[test]
    fn a_failed_proof_that_says_the_same_is_not_told_again_at_once() {
        let record = |second: i64, conclusive| ProofRecord {
            key: "K1".to_owned(),
            policy: "p".to_owned(),
            at: at(second),
            since: at(1_000),
            works: false,
            bucket_missing: true,
            conclusive,
        };
        let before = record(1_000, false);
        for (later, same) in [(1_000, true), (1_019, true), (1_020, false), (999, false)] {
            assert_eq!(says_the_same(&before, &record(later, false)), same, "{later}");
        }
        assert!(!says_the_same(&before, &record(1_001, true)), "that is new");
    }
}
