//! Reads everything that a decision needs.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use kube::ResourceExt;

use super::{error::Error, state::State};
use crate::{
    access::PolicyDocument,
    api::{
        BackupTarget,
        backup_target::{KeyIntent, PolicyStatus, Record},
    },
    cluster::{self, Cluster, Kind, SecretState},
    controller::absence::Absence,
    names::{self, ObjectName},
    provider::{CreatedKey, Principal, PrincipalSpec, Provider, Questions},
};

/// How many Secrets of one target are read at once.
const SECRETS_AT_ONCE: usize = 8;

/// How the principal is looked at.
#[derive(Clone, Debug)]
pub enum Look {
    /// As it was when it was last seen or changed by this process; good enough to see that nothing is to do.
    Remembered(Box<Principal>),
    /// As the store has it now.
    Live,
}

/// What is looked at, and with what.
pub struct Observation<'a> {
    pub cluster: &'a Cluster,
    pub provider: &'a Provider,
    pub target: &'a BackupTarget,
    /// What is remembered of it.
    pub record: &'a Record,
    pub spec: &'a PrincipalSpec,
    /// The policy that it should have, if any.
    pub wanted: Option<&'a PolicyDocument>,
    /// The key that this process created and has not published yet.
    pub in_hand: Option<CreatedKey>,
    /// Until when nothing is put right, because somebody else undoes it again and again.
    pub contested_until: Option<Timestamp>,
    /// Secrets that could not be read or deleted a moment ago.
    pub unread: &'a BTreeMap<ObjectName, cluster::Error>,
    pub now: Timestamp,
}

impl Observation<'_> {
    /// Observes the target's Secrets and principal.
    ///
    /// # Errors
    /// When one of them cannot be read.
    pub async fn observe(&self, look: Look, absence: Absence) -> Result<State, Error> {
        let annotation = self.target.annotations().get(names::INTENT_ANNOTATION);
        let first_intent: Option<KeyIntent> = annotation.and_then(|json| serde_json::from_str(json).ok());
        let finalizer = self.target.finalizers().iter().any(|finalizer| finalizer == names::TARGET_FINALIZER);
        let secrets = self.secrets(first_intent.as_ref()).await?;
        let principal = match look {
            // Nothing is created before finalizer and intent are there; somebody may have taken the finalizer off since.
            _ if !finalizer && first_intent.is_none() && !self.record.ever_worked_on() => Principal::Absent,
            Look::Remembered(principal) => *principal,
            Look::Live => self.provider.observe(self.spec, &self.questions()).await?,
        };
        Ok(State {
            record: self.record.clone(),
            finalizer,
            first_intent,
            principal,
            secrets,
            absence,
            in_hand: self.in_hand.clone(),
            opened: None,
            is_applied: self
                .record
                .applied
                .as_ref()
                .is_some_and(|applied| Some(applied.generation) == self.target.metadata.generation),
            contested_until: self.contested_until,
            forgotten: Vec::new(),
        })
    }

    /// The Secrets that matter. One that cannot be read holds up only what needs it.
    async fn secrets(&self, first_intent: Option<&KeyIntent>) -> Result<BTreeMap<ObjectName, SecretState>, Error> {
        let names = secret_names(self.target, self.record, first_intent);
        let read = stream::iter(names).map(async |name| {
            let secret = match self.unread.get(&name) {
                Some(error) => Err(error.clone()),
                None => self.cluster.secret(self.target, &name).await,
            };
            match secret {
                Err(error) if error.kind == Kind::NotLeading => Err(Error::from(error)),
                Err(error) => Ok((name, SecretState::Unknown(error))),
                Ok(secret) => Ok((name, secret)),
            }
        });
        read.buffer_unordered(SECRETS_AT_ONCE).try_collect().await
    }

    fn is_current(&self) -> bool {
        let observed = self.target.status.as_ref().and_then(|status| status.observed_generation);
        observed == self.target.metadata.generation
    }

    fn questions(&self) -> Questions {
        // One in another form is made only while the wanted policy is another one than status speaks of.
        let is_wanted = |policy: &&PolicyStatus| {
            let wanted = self.wanted.map(|wanted| (self.spec.limits.form(wanted), wanted.digest()));
            self.is_current() && wanted.is_some_and(|wanted| wanted == (Some(policy.form), policy.digest.clone()))
        };
        Questions {
            keys: keys_in_question(self.record, self.now),
            only: self.record.policy.as_ref().filter(is_wanted).map(|policy| policy.form),
        }
    }
}

/// The wanted one, those that status speaks of, and the one that an interrupted creation may have written.
fn secret_names(target: &BackupTarget, record: &Record, first_intent: Option<&KeyIntent>) -> BTreeSet<ObjectName> {
    let wanted = target.spec.secret.name.clone().unwrap_or_else(|| target.name_any());
    std::iter::once(wanted)
        .chain(record.secret_name.clone())
        .chain(record.previous_secrets.iter().map(|previous| previous.name.clone()))
        .chain(record.key_intent.as_ref().map(|intent| intent.secret.clone()))
        .chain(first_intent.filter(|_| record.access_key_id.is_none()).map(|intent| intent.secret.clone()))
        .filter_map(|name| ObjectName::parse(&name).ok())
        .collect()
}

/// Replaced keys whose overlap has ended: whether they are still used decides what happens to them.
fn keys_in_question(record: &Record, now: Timestamp) -> Vec<String> {
    let ended = |revoke: Timestamp| revoke <= now;
    record
        .keys
        .iter()
        .filter(|key| key.inactive_since.is_none() && key.revoke_at.is_some_and(ended))
        .map(|key| key.id.clone())
        .collect()
}
