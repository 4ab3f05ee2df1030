//! From what happened to the status that tells it. Pure; written on every outcome.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::{
    decide::{Goal, Provide, Refusal},
    error::Error,
    plan::{Blocked, Plan, Unread, Waiting},
    verification,
};
use crate::{
    access::{
        Access,
        allow::{self, Missing},
    },
    api::{
        BackupTarget, Capability, Reason, Tier,
        backup_target::{BackupTargetStatus, ProofRecord, Record, Verification},
        condition::{Conditions, LEAST_PRIVILEGE, READY, RECONCILING, STALLED, Truth},
    },
    controller::{retry::Retry, shared_keys},
    names::PAUSED_REPAIR_ANNOTATION,
    probe::Proof,
};

const CREATE_BUCKET: Tier = Tier::Optional(Capability::CreateBucket);
/// How the message of a deletion begins that cannot go on now.
const DELETION_WAITS: &str = "deletion waits: ";

/// How a reconcile ended.
pub struct Outcome<'a> {
    /// What it worked towards, if it got that far.
    pub goal: Option<&'a Goal>,
    /// Whether something that is published, or was to be, was found missing or taken back.
    pub disturbed: bool,
    /// What the key could do, if it was tried.
    pub proof: Option<&'a Proof>,
    /// The last plan, or why there is none.
    pub result: Result<&'a Plan, &'a Error>,
    /// How long it has failed for the same reason.
    pub failing: Duration,
}

/// What is told of a target, as it comes together.
struct Told<'a> {
    target: &'a BackupTarget,
    /// What is remembered by now.
    record: &'a Record,
    conditions: Conditions<'a>,
    tiers: Option<String>,
    now: Timestamp,
}

/// The status to write; `record` is what is remembered by now, and `target` what was told before.
#[must_use]
pub fn report(target: &BackupTarget, record: Record, outcome: &Outcome<'_>, now: Timestamp) -> BackupTargetStatus {
    let generation = target.metadata.generation;
    let before = target.status.as_ref();
    let conditions =
        Conditions::new(before.map(|told| told.conditions.as_slice()).unwrap_or_default(), generation, now);
    let tiers = before.and_then(|told| told.tiers.clone());
    let mut told = Told { target, record: &record, conditions, tiers, now };
    match outcome {
        Outcome { goal: Some(Goal::Provide(goal)), result: Ok(plan), .. } => {
            provided(&mut told, goal, plan, outcome.proof);
        }
        Outcome { goal: Some(Goal::Withhold { why }), result: Ok(plan), .. } if plan.blocked.is_none() => {
            withheld(&mut told, why, plan);
        }
        Outcome { goal: Some(_), result: Ok(plan), .. } => removing(&mut told, plan),
        Outcome { result: Err(error), .. } => failed(&mut told, outcome, error),
        Outcome { goal: None, result: Ok(_), .. } => keep_tiers(&mut told.conditions),
    }
    let (conditions, tiers) = (told.conditions.finish(), told.tiers);
    BackupTargetStatus { observed_generation: generation, conditions, tiers, record }
}

fn provided(told: &mut Told<'_>, goal: &Provide, plan: &Plan, proof: Option<&Proof>) {
    let conditions = &mut told.conditions;
    match (&plan.blocked, &plan.waiting) {
        // What the rules say comes before what suspension holds back.
        (Some(blocked), _) if *blocked != Blocked::Suspended || goal.missing.is_empty() => {
            let error = Error::Blocked(blocked.clone());
            not_ready(conditions, &error, Duration::ZERO, &error.to_string());
        }
        (None, Some(waiting)) => wait(conditions, waiting, ""),
        _ if plan.lost => {
            let message = format!(
                "somebody else changed {}, and it is left because repairs are paused: backups do not work. Take the annotation \
                 {PAUSED_REPAIR_ANNOTATION} off to have it put right",
                plan.left.join(", ")
            );
            stalled(conditions, Reason::DriftLeft, &message);
        }
        _ if goal.missing.is_empty() => ready(told, goal, plan),
        _ => partly_allowed(conditions, goal),
    }
    let access = match access_told(goal, plan) {
        Known::Access(access) if told.record.policy.is_some() => access,
        Known::Nothing if plan.blocked.is_none() => {
            return nothing_allowed(told, "no rule of the store allows the claim");
        }
        Known::Access(_) | Known::Nothing | Known::NotSeen => return keep_tiers(&mut told.conditions),
    };
    told.tiers = Some(access.tiers().map(Tier::short).collect::<Vec<_>>().join(","));
    match proof {
        _ if is_keyless(told.record) => without_key(&mut told.conditions),
        Some(proof) => proven(told, access, goal, proof),
        None if is_proven(told.record, goal) && confirm_tiers(&mut told.conditions) => {}
        None => granted(&mut told.conditions, access, goal),
    }
    let conditions = &mut told.conditions;
    not_granted(conditions, access, goal);
    if !plan.excess.is_empty() {
        let message =
            format!("besides what its policy allows, the principal has rights from {}", plan.excess.join(", "));
        conditions.set(LEAST_PRIVILEGE, Truth::False, Reason::OtherPolicies, message);
    }
    if plan.blocked.is_none() && plan.waiting.is_none() && !plan.lost && goal.missing.is_empty() {
        ready_if_it_works(conditions, access, goal);
    }
}

/// What is known of the access that the key has.
pub(super) enum Known<'a> {
    /// Nothing of this spec was done: the key has what it had before, as far as that can be seen.
    NotSeen,
    Nothing,
    Access(&'a Access),
}

/// The access that the key has by now.
pub(super) fn access_told<'a>(goal: &'a Provide, plan: &Plan) -> Known<'a> {
    let access = match &plan.blocked {
        None | Some(Blocked::Suspended | Blocked::UnknownKeys { .. } | Blocked::Compromised { .. }) => &goal.current,
        Some(Blocked::ForeignPrincipal { .. } | Blocked::OnHold { .. } | Blocked::SwitchedOff { .. }) => {
            return Known::NotSeen;
        }
        Some(
            Blocked::ForeignSecret { .. }
            | Blocked::PolicyTooLarge { .. }
            | Blocked::ForeignPolicy { .. }
            | Blocked::Invalid(_),
        ) => &goal.before,
    };
    access.as_ref().map_or(Known::Nothing, Known::Access)
}

/// Whether a condition says of a tier what held it back or added to it, and does not any more: it would stand for as long as
/// what was proven does.
pub(super) fn is_outdated(before: &[Condition], access: &Access, goal: &Provide, plan: &Plan) -> bool {
    let is_lacking = |type_: &str| lacking(access, goal).any(|tier| tier.name() == type_);
    let of_the_key = |told: &&Condition| tier_types().any(|type_| type_ == told.type_);
    before.iter().filter(of_the_key).any(|told| match Reason::of(told) {
        Some(Reason::NotAllowed | Reason::NotNeeded | Reason::ChangeSuspended | Reason::Pending) => {
            !is_lacking(&told.type_)
        }
        Some(Reason::OtherPolicies) => plan.excess.is_empty(),
        _ => false,
    })
}

/// Whether the last proof was of the key and the policy that are in place.
fn is_proven(record: &Record, goal: &Provide) -> bool {
    let policy = record.policy.as_ref().map(|policy| &policy.digest);
    let of_these =
        |proof: &ProofRecord| Some(&proof.key) == record.access_key_id.as_ref() && Some(&proof.policy) == policy;
    goal.verification != Verification::None && record.proof.as_ref().is_some_and(of_these)
}

fn proven(told: &mut Told<'_>, access: &Access, goal: &Provide, proof: &Proof) {
    let age = told.record.proof.as_ref().map_or(Duration::ZERO, |proof| verification::age(proof.since, told.now));
    verification::tell(&mut told.conditions, access, proof, age, &goal.limits.words);
}

/// What was granted and does not work, or not yet, makes a target unready, although its Secret is there.
fn ready_if_it_works(conditions: &mut Conditions<'_>, access: &Access, goal: &Provide) {
    let is_bad = |reason| matches!(reason, Reason::NotWorking | Reason::Unsupported | Reason::Propagating);
    let worst = access.tiers().chain(lacking(access, goal)).find_map(|tier| {
        let found = conditions.find(tier.name())?;
        let bad = Reason::of(found).filter(|reason| is_bad(*reason))?;
        Some((bad, format!("{}: {}", tier.name(), found.message)))
    });
    match worst {
        Some((Reason::Propagating, message)) => pending(conditions, Reason::Propagating, &message),
        Some((why, message)) => stalled(conditions, why, &message),
        None => {}
    }
}

fn ready(told: &mut Told<'_>, goal: &Provide, plan: &Plan) {
    let secret = told.record.secret_name.as_deref().unwrap_or(goal.secret_name.as_str());
    let (why, held) = if plan.on_hold {
        (Reason::OnHold, "; its principal has the tag backup-target.dev/hold, so changes and repairs wait")
    } else if goal.suspended {
        (Reason::Suspended, "; suspended, so changes and repairs wait")
    } else {
        (Reason::Provisioned, "")
    };
    let unknown = match plan.unknown_keys.as_slice() {
        [] => String::new(),
        keys => format!(
            "; access key {} of its principal was not made by this operator and is left alone: delete it if nobody needs it",
            keys.join(", ")
        ),
    };
    let former = told.record.previous_access.iter().fold(String::new(), |text, former| {
        let (access, until) = (&former.access, former.until);
        text + &format!("; {} of bucket {} stays reachable until {until}", access.prefix, access.bucket)
    });
    let left = match plan.left.as_slice() {
        [] => String::new(),
        left => format!("; somebody else changed {}, and it is left because repairs are paused", left.join(", ")),
    };
    let denials = match plan.denials.as_slice() {
        [] => String::new(),
        denials => format!(
            "; somebody put {} on the principal, which only denies, and it is left: whoever put it there has to take it off",
            denials.join(", ")
        ),
    };
    let shared = match plan.shared.as_slice() {
        [] => String::new(),
        shared => format!("; {}", shared_keys::in_words(shared)),
    };
    let access = &goal.rclone.access;
    let message = format!(
        "Secret {secret} holds an rclone.conf whose remote {}: is {} of bucket {}{former}{held}{left}{denials}{unknown}{shared}",
        goal.rclone.remote.alias(),
        access.prefix,
        access.bucket
    );
    told.conditions.set(READY, Truth::True, why, message);
}

fn partly_allowed(conditions: &mut Conditions<'_>, goal: &Provide) {
    let retain = if goal.missing.contains(&Missing::Retain) {
        "; when this target is deleted, its credentials are deleted"
    } else {
        ""
    };
    let message = format!(
        "no rule of the store allows {}; what else was given stays in place: ask for less, or ask the store's administrator for \
         a rule in spec.allow{retain}",
        allow::listed(&goal.missing)
    );
    stalled(conditions, Reason::NotAllowed, &message);
}

/// What the policy says, where nothing was tried.
fn granted(conditions: &mut Conditions<'_>, access: &Access, goal: &Provide) {
    for tier in Tier::ALL {
        if goal.limits.brings_keys {
            let message = "the store's administrator made the key, and it was not tried";
            conditions.set(tier.name(), Truth::Unknown, Reason::NotVerified, message);
        } else if access.tiers().any(|granted| granted == tier) {
            conditions.set(tier.name(), Truth::True, Reason::Granted, "the policy allows it");
        } else {
            conditions.set(tier.name(), Truth::False, Reason::NotRequested, "add it to spec.capabilities to have it");
        }
    }
    let message = if goal.limits.brings_keys {
        "what the key can do is for whoever made it to know; it has not been tried with the key itself"
    } else {
        "the policy allows the granted tiers and nothing else; this has not been tried with the key itself"
    };
    conditions.set(LEAST_PRIVILEGE, Truth::Unknown, Reason::NotVerified, message);
}

/// What was asked for and is not granted.
fn not_granted(conditions: &mut Conditions<'_>, access: &Access, goal: &Provide) {
    for tier in lacking(access, goal) {
        let (why, message) = if let Some(why) = unsupported(tier, goal) {
            (Reason::Unsupported, why)
        } else if !goal.grant.access.tiers().any(|granted| granted == tier) {
            (Reason::NotAllowed, "no rule of the store allows it")
        } else if tier == CREATE_BUCKET && !goal.rclone.create_bucket {
            (Reason::NotNeeded, "the bucket exists; the right comes back when the bucket is missing")
        } else if goal.suspended {
            (Reason::ChangeSuspended, "asked for while suspended")
        } else {
            (Reason::Pending, "not given yet; Ready tells what is in the way")
        };
        conditions.set(tier.name(), Truth::False, why, message);
    }
}

/// Why the store cannot give a tier, if so.
fn unsupported(tier: Tier, goal: &Provide) -> Option<&'static str> {
    match tier {
        Tier::BaseAccess => None,
        Tier::Optional(capability) => goal.limits.unsupported(capability),
    }
}

/// The tiers that were asked for and that an access lacks.
fn lacking(access: &Access, goal: &Provide) -> impl Iterator<Item = Tier> {
    goal.grant.claimed.tiers().filter(|tier| !access.tiers().any(|granted| granted == *tier))
}

fn withheld(told: &mut Told<'_>, why: &Refusal, plan: &Plan) {
    let unread = plan.unread.as_ref();
    let left =
        unread.map(|Unread { name, error }| format!("; Secret {name} is left as it is: {error}")).unwrap_or_default();
    let has_key = told.record.access_key_id.is_some();
    let gone =
        plan.unrevoked.map(|unrevoked| format!("; what was published is taken back until then, and {unrevoked}"));
    let off = if has_key { "; the access key is inactive" } else { "" };
    let off = gone.as_deref().unwrap_or(off);
    let store = told.target.spec.store_ref.resolved();
    match why {
        Refusal::NotAllowed(why) => {
            let kept = if let Some(gone) = &gone {
                gone
            } else if has_key {
                "; the access key is inactive, the Secret stays, and both work again when a rule allows it"
            } else {
                ""
            };
            let message = format!(
                "BackupStore {store} does not allow this claim: {why}{kept}{left}; ask the store's administrator for a rule in spec.allow"
            );
            stalled(&mut told.conditions, Reason::NotAllowed, &message);
            nothing_allowed(told, "no rule of the store allows the claim");
        }
        Refusal::Invalid(invalid) => {
            stalled(&mut told.conditions, Reason::InvalidSpec, &format!("{invalid}{off}{left}"));
            nothing_allowed(told, "the spec breaks a rule, see Ready");
        }
        Refusal::NoPlace(_) => {
            let message = format!(
                "BackupStore {store} {why}; this one gets credentials when one of them goes: delete a target that is not needed, \
                 or have the store's administrator raise the limit"
            );
            stalled(&mut told.conditions, Reason::LimitExceeded, &message);
            nothing_allowed(told, "the store has no place for it, see Ready");
        }
        Refusal::Unreadable(_) => {
            let message = format!(
                "{why}, so nobody knows what the key was given: nothing of it works{off}{left}; set spec.suspend to false to have \
                 it given anew within the store's rules"
            );
            stalled(&mut told.conditions, Reason::ChangeSuspended, &message);
            nothing_allowed(told, "what was given cannot be read, see Ready");
        }
    }
}

fn nothing_allowed(told: &mut Told<'_>, why: &'static str) {
    let conditions = &mut told.conditions;
    for tier in Tier::ALL {
        let asked = match tier {
            Tier::BaseAccess => true,
            Tier::Optional(capability) => told.target.spec.capabilities.contains(&capability),
        };
        let (reason, message) = if asked {
            (Reason::NotAllowed, why)
        } else {
            (Reason::NotRequested, "add it to spec.capabilities to have it")
        };
        conditions.set(tier.name(), Truth::False, reason, message);
    }
    conditions.set(
        LEAST_PRIVILEGE,
        Truth::Unknown,
        Reason::NotAllowed,
        "no key that works is published, so there is nothing to try",
    );
    told.tiers = None;
}

fn removing(told: &mut Told<'_>, plan: &Plan) {
    let conditions = &mut told.conditions;
    let waits = if told.target.metadata.deletion_timestamp.is_some() { DELETION_WAITS } else { "" };
    if let Some(blocked) = &plan.blocked {
        let error = Error::Blocked(blocked.clone());
        not_ready(conditions, &error, Duration::ZERO, &format!("{waits}{error}"));
    } else if let Some(waiting) = &plan.waiting {
        wait(conditions, waiting, waits);
    } else {
        pending(conditions, Reason::Deleting, "the principal, its keys and the Secret are being removed");
    }
    keep_tiers(conditions);
}

fn failed(told: &mut Told<'_>, outcome: &Outcome<'_>, error: &Error) {
    let (conditions, target) = (&mut told.conditions, told.target);
    let before = target.status.as_ref();
    let stands = error.leaves_ready()
        && !outcome.disturbed
        && before.and_then(|told| told.observed_generation) == target.metadata.generation
        && target.metadata.deletion_timestamp.is_none()
        && conditions.before(READY).is_some_and(|ready| ready.status == "True");
    if stands {
        conditions.keep(READY);
        let message = format!("what is published stands; it cannot be checked: {error}");
        unfinished(conditions, error, outcome.failing, &message);
    } else if target.metadata.deletion_timestamp.is_some() {
        not_ready(conditions, error, outcome.failing, &format!("{DELETION_WAITS}{error}"));
    } else {
        not_ready(conditions, error, outcome.failing, &error.to_string());
    }
    match (outcome.goal, proof_to_tell(outcome)) {
        // Whatever failed after the proof: it is remembered and not soon repeated, so this is the time to tell it.
        (Some(Goal::Provide(goal)), Some(proof)) => {
            if let Some(access) = &goal.current {
                proven(told, access, goal, proof);
            }
        }
        _ if outcome.disturbed && is_keyless(told.record) => without_key(&mut told.conditions),
        _ => keep_tiers(&mut told.conditions),
    }
}

/// The proof, unless the store did not answer: that says nothing.
pub(super) fn proof_to_tell<'a>(outcome: &Outcome<'a>) -> Option<&'a Proof> {
    let silence = matches!(outcome.result, Err(Error::NotProven(failure)) if failure.is_silence());
    outcome.proof.filter(|_| !silence)
}

/// Whether there was an access key, and is none now.
pub(super) fn is_keyless(record: &Record) -> bool {
    record.access_key_id.is_some() && record.keys.iter().all(|key| key.superseded_at.is_some())
}

/// What was found of a key that is gone says nothing any more.
fn without_key(conditions: &mut Conditions<'_>) {
    for type_ in tier_types() {
        conditions.set(type_, Truth::Unknown, Reason::Pending, "there is no access key");
    }
}

fn wait(conditions: &mut Conditions<'_>, waiting: &Waiting, waits: &str) {
    let (why, message) = match waiting {
        Waiting::KeyMayAppear => (
            Reason::KeyUncertain,
            "the creation of an access key was interrupted and it may still appear; waiting up to five minutes before \
             going on, so that no key is left behind"
                .to_owned(),
        ),
        Waiting::ReissueLimit { until, keyless: true } => (
            Reason::ReissueLimited,
            format!(
                "the principal or its access key was deleted again within ten minutes; a new access key is created at {until}. \
                 Something deletes them: find out what"
            ),
        ),
        Waiting::ReissueLimit { until, keyless: false } => (
            Reason::ReissueLimited,
            format!(
                "the Secret was lost or damaged again within ten minutes; a new access key is created at {until}. Something \
                 deletes or edits the Secret: find out what"
            ),
        ),
        Waiting::Contested { until } => {
            let message = format!(
                "{waits}somebody else changes the Secret or the principal again and again; what differs is put right next at {until}. \
                 Find out who it is; the annotation {PAUSED_REPAIR_ANNOTATION} stops the repairs"
            );
            return stalled(conditions, Reason::Contested, &message);
        }
    };
    pending(conditions, why, &format!("{waits}{message}"));
}

fn pending(conditions: &mut Conditions<'_>, reason: Reason, message: &str) {
    conditions.set(READY, Truth::False, reason, message);
    conditions.set(RECONCILING, Truth::True, reason, message);
}

fn stalled(conditions: &mut Conditions<'_>, reason: Reason, message: &str) {
    conditions.set(READY, Truth::False, reason, message);
    conditions.set(STALLED, Truth::True, reason, message);
}

fn not_ready(conditions: &mut Conditions<'_>, error: &Error, failing: Duration, message: &str) {
    conditions.set(READY, Truth::False, error.reason(), message);
    unfinished(conditions, error, failing, message);
}

fn unfinished(conditions: &mut Conditions<'_>, error: &Error, failing: Duration, message: &str) {
    // A process that has just started does not know for how long, and status does.
    let was_stalled = conditions.before(STALLED).and_then(Reason::of) == Some(error.reason());
    let type_ = match error.retry().after(if was_stalled { Duration::MAX } else { failing }) {
        Retry::Stalled => STALLED,
        Retry::Backoff | Retry::Patience => RECONCILING,
    };
    conditions.set(type_, Truth::True, error.reason(), message);
}

/// What was proven still holds; `false` when there is nothing to hold on to.
fn confirm_tiers(conditions: &mut Conditions<'_>) -> bool {
    tier_types().all(|type_| conditions.confirm(type_))
}

/// Nothing new is known about the tiers.
fn keep_tiers(conditions: &mut Conditions<'_>) {
    for type_ in tier_types() {
        if !conditions.keep(type_) {
            conditions.set(type_, Truth::Unknown, Reason::Pending, "not known yet");
        }
    }
}

/// The conditions of all tiers, and of what limits them.
fn tier_types() -> impl Iterator<Item = &'static str> {
    std::iter::once(LEAST_PRIVILEGE).chain(Tier::ALL.into_iter().map(Tier::name))
}

#[cfg(test)]
mod tests;
