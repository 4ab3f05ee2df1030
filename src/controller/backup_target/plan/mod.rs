//! From what should be and what is to a list of steps. Pure: this is where crash safety is decided and tested.

mod drift;
mod keys;
mod proof;
mod provide;
mod remove;
#[cfg(test)]
mod tests;

pub use proof::{ASK_AGAIN, PATIENCE};

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;

use super::{decide::Goal, state::State};
use crate::{
    access::{Invalid, PolicyDocument, rclone::AccessKey},
    api::backup_target::{AccessRecord, KeyIntent, PolicyForm, PreviousAccess},
    cluster::{self, SecretOwner, SecretState},
    controller::time::at_least,
    names::ObjectName,
    probe::Depth,
    provider::{Deviation, DeviationKind, ForeignOwner, Principal, PrincipalName, PrincipalSpec},
};

/// One thing to do; each is idempotent, or guarded by an intent.
#[derive(Clone, Debug)]
pub enum Step {
    /// Puts the finalizer and the intent of the first key on the target, in one write.
    Claim(KeyIntent),
    /// Writes the intent of another key into status.
    OpenIntent(KeyIntent, NewKey),
    CreatePrincipal,
    /// Puts right what is not as this operator left it.
    Amend(Deviation),
    /// Writes the principal's policy.
    PutPolicy(PutPolicy),
    /// Takes out of the policy what the rules no longer allow. Where IAM does not take the narrower document, all of it goes.
    CutBack(PutPolicy),
    /// Remembers the policy that the principal has already.
    Remember(PutPolicy),
    /// Switches a key of ours on again.
    ActivateKey(String),
    /// Remembers in status that these keys are about to be switched off by this operator, and not by somebody else.
    Withhold(Vec<String>),
    /// Switches a key off.
    DeactivateKey {
        id: String,
        /// Whether its overlap has ended, so that it is deleted some time after.
        retire: bool,
    },
    /// Gives a replaced key that is still in use more time.
    ExtendKey {
        id: String,
        /// The new end of its overlap.
        until: Timestamp,
    },
    DeleteKey {
        id: String,
        why: KeyEnd,
    },
    /// Asks the API server whether it would take the Secret, without writing it.
    CheckSecret(ObjectName),
    /// Creates an access key; an intent is open.
    CreateKey,
    /// Tries the tiers with the key itself: the one that is not published yet, if there is one.
    Prove {
        /// Whether an object may be written for it.
        depth: Depth,
        /// Whether what follows is published only if base access works.
        publishes: bool,
    },
    WriteSecret(WriteSecret),
    /// Deletes a Secret of ours.
    DeleteSecret(ObjectName),
    /// Deletes the principal's policy.
    DeletePolicy,
    /// Removes what a principal left that somebody else deleted.
    RemoveRemains,
    RemovePrincipal,
    /// Marks the principal as left behind on purpose.
    MarkRetained,
    /// Makes a Secret independent of the target.
    DisownSecret(ObjectName),
    /// Lets the target go.
    ReleaseTarget,
}

impl Step {
    /// Whether it only takes rights away, and needs nothing that steps before it do. Neither a step that failed nor a deadline
    /// holds it back.
    #[must_use]
    pub fn takes_away(&self) -> bool {
        match self {
            Self::CutBack(_) | Self::DeletePolicy | Self::DeactivateKey { .. } => true,
            Self::Amend(deviation) => deviation.kind != DeviationKind::Mark,
            Self::DeleteKey { why, .. } => *why != KeyEnd::MakesRoom,
            _ => false,
        }
    }
}

/// What status remembers of accesses: the current one, and former folders.
pub type AccessMemory = (AccessRecord, Vec<PreviousAccess>);

/// A policy to write, and what status remembers of it.
#[derive(Clone, Debug)]
pub struct PutPolicy {
    pub document: PolicyDocument,
    /// How it is attached.
    pub form: PolicyForm,
    /// The access it was made for; `None` for a document in between.
    pub record: Option<AccessMemory>,
}

/// A Secret to write.
#[derive(Clone, Debug)]
pub struct WriteSecret {
    pub name: ObjectName,
    /// The key to write.
    pub key: SecretKey,
}

/// The key that a Secret is written with.
#[derive(Clone, Debug)]
pub enum SecretKey {
    /// The one that is published already.
    Published(AccessKey),
    /// The one that is not published yet.
    Unpublished(NewKey),
}

/// Why there is a new key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewKey {
    /// There was none before.
    First,
    /// The Secret, or the key that was in it, was lost or damaged.
    Lost,
    /// The store's administrator brought another.
    Brought,
    /// The principal was deleted together with its keys.
    LostWithPrincipal,
}

/// A step, and why it is taken.
#[derive(Clone, Debug)]
pub struct Planned {
    pub step: Step,
    /// Why it is taken.
    pub cause: Cause,
}

/// Why a step is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The spec, the rules or the time ask for it.
    Asked,
    /// It keeps the principal within its limits, and nothing holds it back; what it restores, if somebody else had changed it.
    Limit(Option<String>),
    /// It puts this right, which somebody else changed.
    Repair(String),
    /// It is taken only so that a repair can be.
    Preparation,
}

/// Why a key goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyEnd {
    /// An interrupted creation left it; nobody ever had it.
    Orphan,
    /// It was not made by this operator, in a store in which keys can make keys.
    MadeByKey,
    /// Its overlap is over.
    Expired,
    /// Both slots hold published keys and a third is needed.
    MakesRoom,
    /// The target is being deleted.
    TargetDeleted,
}

/// What to do, what to come back for, and what stands in the way.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The steps, in order.
    pub steps: Vec<Planned>,
    /// Whether all that is asked for was given already, so that what differs was changed by somebody else.
    pub(super) in_place: bool,
    /// What has to pass before it goes on.
    pub waiting: Option<Waiting>,
    /// What only a person can move out of the way, once the steps are done.
    pub blocked: Option<Blocked>,
    /// Keys on our principal that cannot be shown to be ours: told and left alone.
    pub unknown_keys: Vec<String>,
    /// What the principal may do besides what its policy says, and what is not taken away.
    pub excess: Vec<String>,
    /// What the steps put right, when they do nothing else.
    pub repairs: Vec<String>,
    /// What somebody else changed and is left, because repairs are paused.
    pub left: Vec<String>,
    /// Whether what is left keeps the published credentials from working.
    pub lost: bool,
    /// Whether the principal is on hold, so that nothing is given and nothing put right.
    pub on_hold: bool,
    /// Rights that somebody else put on the principal and that only deny: told and left alone.
    pub denials: Vec<String>,
    /// When something is due.
    pub due: Option<Timestamp>,
    /// A Secret that could not be read, and held back all that gives or that looks at it.
    pub unread: Option<Unread>,
    /// What is told of a key that was withheld, where it goes on working by itself.
    pub unrevoked: Option<&'static str>,
    /// Other targets that have the same key.
    pub shared: Vec<String>,
}

/// A Secret that could not be read, or not be deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    pub name: ObjectName,
    /// What the API server said.
    pub error: cluster::Error,
}

/// What has to pass before it goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// A key of an interrupted creation may still appear.
    KeyMayAppear,
    /// The Secret was lost again too soon.
    ReissueLimit {
        /// When the next key may be created.
        until: Timestamp,
        /// Whether the key itself is gone, and not only the Secret.
        keyless: bool,
    },
    /// Somebody else undoes the same again and again.
    Contested {
        /// When it is put right next.
        until: Timestamp,
    },
}

/// What only a person can move out of the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// A Secret of the wanted name is not ours.
    ForeignSecret {
        name: String,
        /// Whose it seems to be.
        owner: SecretOwner,
    },
    /// The principal of the target's name is not ours.
    ForeignPrincipal { principal: PrincipalName, whose: ForeignOwner },
    /// Keys on our principal that cannot be shown to be ours.
    UnknownKeys {
        ids: Vec<String>,
        /// Name of the principal.
        principal: PrincipalName,
    },
    /// The policy is larger than the store takes.
    PolicyTooLarge {
        /// Its size in characters.
        size: usize,
        /// The most that the store takes.
        limit: usize,
    },
    /// What is in the place that the policy needs is not ours.
    ForeignPolicy { name: String, why: String },
    /// The store found the key in public.
    Compromised {
        /// What the store says so with.
        alarm: String,
        /// Name of the principal.
        principal: PrincipalName,
    },
    /// `spec.suspend` holds back what is needed.
    Suspended,
    /// A mark on the principal holds back what is needed.
    OnHold {
        /// Name of the principal.
        principal: PrincipalName,
    },
    /// Somebody else switched the published key off.
    SwitchedOff {
        id: String,
        /// Name of the principal.
        principal: PrincipalName,
    },
    /// A field of the spec breaks a rule, or has a value that rclone.conf cannot carry.
    Invalid(Invalid),
}

/// Time and chance, handed in so that planning stays pure.
#[derive(Clone, Debug)]
pub struct Fresh {
    /// Now, by the store's clock where that is known.
    pub now: Timestamp,
    /// The store's time, if it has told it.
    pub store_time: Option<Timestamp>,
    /// A nonce that was never used.
    pub nonce: String,
}

impl Fresh {
    fn intent(&self, state: &State, secret: &str) -> KeyIntent {
        // What an open intent brought is still its own; without one, all that there is was there before.
        let orphans = if state.open_intent().is_some() { state.orphans() } else { Vec::new() };
        // What was there before an intent that is still open was there before this one, too, whether IAM shows it now or not.
        let before = state.open_intent().map(|intent| intent.existing.clone()).unwrap_or_default();
        let listed = state.keys().iter().map(|key| key.id.clone()).filter(|id| !orphans.contains(id));
        // So was what is gone: to take it for the new key, once an old list shows it again, would end the intent.
        let gone = state.forgotten.iter().chain(&state.record.access_key_id).cloned();
        let existing = before.into_iter().chain(listed).chain(gone).collect::<BTreeSet<_>>().into_iter().collect();
        // It may still bring what the one before was for, which came after that one.
        let earlier = state.open_intent().map(|intent| intent.store_time);
        KeyIntent {
            nonce: self.nonce.clone(),
            started_at: self.now,
            store_time: earlier.unwrap_or(self.store_time),
            existing,
            secret: secret.to_owned(),
        }
    }
}

/// Plans the way from the state to the goal. Planning again once the steps are done gives no steps.
#[must_use]
pub fn plan(goal: &Goal, spec: &PrincipalSpec, state: &State, fresh: &Fresh) -> Plan {
    let plan = match goal {
        Goal::Provide(provide) => provide::plan(provide, spec, state, fresh),
        Goal::Withhold { .. } => remove::withhold(spec, state, fresh),
        Goal::Remove => remove::remove(spec, state, fresh),
        Goal::Retain { document } => remove::retain(document, spec, state, fresh),
    };
    let unread = state.unread_secret().map(|(name, error)| Unread { name: name.clone(), error: error.clone() });
    Plan { unread, ..plan }
}

/// What bounds the principal goes before every policy: with the least rights for the operator, a store takes none without it. It
/// is a limit, so nothing holds it back; nor does it hold back what takes away, should the store refuse it. It is told as put
/// right, unless the store's administrator has only now asked for it.
fn bound(plan: &mut Plan, spec: &PrincipalSpec, state: &State) {
    let Principal::Ours(ours) = &state.principal else { return };
    let given = state.record.applied.as_ref().and_then(|applied| applied.bound.as_ref());
    for missing in ours.deviating(DeviationKind::Bound) {
        let restores = (plan.in_place && given == spec.bound.as_ref()).then(|| missing.what.clone());
        plan.push(Step::Amend(missing.clone()), Cause::Limit(restores));
    }
}

impl PutPolicy {
    /// `None` when the document is too large for every form.
    fn new(spec: &PrincipalSpec, document: &PolicyDocument, record: Option<AccessMemory>) -> Option<Self> {
        Some(Self { form: spec.limits.form(document)?, document: document.clone(), record })
    }
}

impl Plan {
    /// The finalizer goes back on a target for which something was made: somebody took it off, such as by `kubectl replace`.
    fn hold(&mut self, state: &State, fresh: &Fresh) {
        if !state.finalizer && state.has_anything() {
            self.step(Step::Claim(fresh.intent(state, state.record.secret_name.as_deref().unwrap_or_default())));
        }
    }

    fn due_at(&mut self, at: Timestamp) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// What is asked for.
    fn step(&mut self, step: Step) {
        self.push(step, Cause::Asked);
    }

    /// What puts something right, if it was in place before.
    fn restore(&mut self, step: Step, what: impl Into<String>) {
        let cause = if self.in_place { Cause::Repair(what.into()) } else { Cause::Asked };
        self.push(step, cause);
    }

    /// What is needed only for the steps after it.
    fn prepare(&mut self, step: Step) {
        let cause = if self.in_place { Cause::Preparation } else { Cause::Asked };
        self.push(step, cause);
    }

    /// Writes or remembers the policy; nothing is put that the store would not take.
    fn policy(&mut self, step: Option<Step>) {
        match step {
            Some(put @ Step::PutPolicy(_)) => self.restore(put, "its policy"),
            Some(other) => self.step(other),
            None => {}
        }
    }

    fn delete_key(&mut self, id: impl Into<String>, why: KeyEnd) {
        self.step(Step::DeleteKey { id: id.into(), why });
    }

    fn push(&mut self, step: Step, cause: Cause) {
        self.steps.push(Planned { step, cause });
    }

    fn has(&self, is_it: impl Fn(&Step) -> bool) -> bool {
        self.steps.iter().any(|planned| is_it(&planned.step))
    }
}
