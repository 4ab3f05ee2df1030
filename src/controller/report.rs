//! From what happened to the status that tells it. Pure; written on every outcome.

use jiff::Timestamp;

use super::{
    error::{Error, Retry},
    goal::{Goal, Provide},
    plan::{Blocked, Plan, Waiting},
};
use crate::{
    access::Access,
    api::{
        BackupTarget, Tier,
        backup_target::BackupTargetStatus,
        condition::{self, Conditions, LEAST_PRIVILEGE, READY, RECONCILING, STALLED, Truth, reason},
    },
    names::PAUSED_REPAIR_ANNOTATION,
};

/// How the message of a deletion begins that cannot go on now.
pub const DELETION_WAITS: &str = "deletion waits: ";

/// How a reconcile ended.
pub struct Outcome<'a> {
    /// What it worked towards, if it got that far.
    pub goal: Option<&'a Goal>,
    /// Whether something that is published, or was to be, was found missing or taken back.
    pub disturbed: bool,
    /// The last plan, or why there is none.
    pub result: Result<&'a Plan, &'a Error>,
}

/// The status to write; `memory` is what the steps left in it.
#[must_use]
pub fn report(
    target: &BackupTarget,
    memory: BackupTargetStatus,
    outcome: &Outcome<'_>,
    now: Timestamp,
) -> BackupTargetStatus {
    let generation = target.metadata.generation;
    let before = memory.conditions.clone();
    let mut conditions = Conditions::new(&before, generation, now);
    let mut status = memory;
    match outcome {
        Outcome { goal: Some(Goal::Provide(goal)), result: Ok(plan), .. } => {
            provided(&mut conditions, &mut status, target, goal, plan);
        }
        Outcome { goal: Some(Goal::Withhold { why }), result: Ok(plan), .. } if plan.blocked.is_none() => {
            withheld(&mut conditions, &mut status, target, why);
        }
        Outcome { goal: Some(_), result: Ok(plan), .. } => removing(&mut conditions, target, plan),
        Outcome { result: Err(error), .. } => failed(&mut conditions, &status, target, outcome, error),
        Outcome { goal: None, result: Ok(_), .. } => keep_tiers(&mut conditions),
    }
    status.conditions = conditions.finish();
    status.observed_generation = generation;
    status
}

fn provided(
    conditions: &mut Conditions<'_>,
    status: &mut BackupTargetStatus,
    target: &BackupTarget,
    goal: &Provide,
    plan: &Plan,
) {
    match (&plan.blocked, &plan.waiting) {
        // What the rules say comes before what suspension holds back.
        (Some(blocked), _) if *blocked != Blocked::Suspended || goal.missing.is_empty() => {
            let error = Error::Blocked(blocked.clone());
            not_ready(conditions, &error, &error.to_string());
        }
        (None, Some(waiting)) => wait(conditions, waiting, ""),
        _ if goal.missing.is_empty() => ready(conditions, status, goal, plan),
        _ => partly_allowed(conditions, goal),
    }
    let access = match &plan.blocked {
        None | Some(Blocked::Suspended | Blocked::UnknownKeys { .. } | Blocked::Compromised { .. }) => &goal.current,
        // Nothing of this spec was done: the key has what it had before, as far as that can be seen.
        Some(Blocked::ForeignPrincipal { .. }) => return keep_tiers(conditions),
        Some(
            Blocked::ForeignSecret { .. }
            | Blocked::PolicyTooLarge { .. }
            | Blocked::ForeignPolicy { .. }
            | Blocked::Unwritable(_),
        ) => &goal.before,
    };
    let Some(access) = access else {
        if plan.blocked.is_none() {
            nothing_allowed(conditions, status, target);
        } else {
            keep_tiers(conditions);
        }
        return;
    };
    if status.policy.is_none() {
        return keep_tiers(conditions);
    }
    status.tiers = Some(access.tiers().map(Tier::short).collect::<Vec<_>>().join(","));
    granted(conditions, access, goal);
    least_privilege(conditions, plan);
}

fn least_privilege(conditions: &mut Conditions<'_>, plan: &Plan) {
    if plan.excess.is_empty() {
        let message =
            "the policy allows the granted tiers and nothing else; this has not been tried with the key itself";
        return conditions.set(LEAST_PRIVILEGE, Truth::Unknown, reason::NOT_VERIFIED, message);
    }
    let message = format!("besides what its policy allows, the IAM user can do {}", plan.excess.join(", "));
    conditions.set(LEAST_PRIVILEGE, Truth::False, reason::EXCESS_ACCESS, message);
}

fn ready(conditions: &mut Conditions<'_>, status: &BackupTargetStatus, goal: &Provide, plan: &Plan) {
    let secret = status.secret_name.as_deref().unwrap_or(&goal.secret_name);
    let (why, held) = if goal.suspended {
        (reason::SUSPENDED, "; suspended, so changes and repairs wait")
    } else {
        (reason::PROVISIONED, "")
    };
    let unknown = match plan.unknown_keys.as_slice() {
        [] => String::new(),
        keys => format!(
            "; access key {} of its IAM user was not made by this operator and is left alone: delete it if nobody needs it",
            keys.join(", ")
        ),
    };
    let former = status.previous_access.iter().fold(String::new(), |text, former| {
        let (access, until) = (&former.access, former.until);
        text + &format!("; {} of bucket {} stays reachable until {until}", access.prefix, access.bucket)
    });
    let left = match plan.left.as_slice() {
        [] => String::new(),
        left => format!("; somebody else changed {}, and it is left because repairs are paused", left.join(", ")),
    };
    let access = &goal.rclone.access;
    let message = format!(
        "Secret {secret} holds an rclone.conf whose remote {}: is {} of bucket {}{former}{held}{left}{unknown}",
        goal.rclone.remote.alias(),
        access.prefix,
        access.bucket
    );
    conditions.set(READY, Truth::True, why, message);
}

fn partly_allowed(conditions: &mut Conditions<'_>, goal: &Provide) {
    let retain = if goal.missing.iter().any(|missing| missing.contains("Retain")) {
        "; when this target is deleted, its credentials are deleted"
    } else {
        ""
    };
    let message = format!(
        "no rule of the store allows {}; what else was given stays in place: ask for less, or ask the store's administrator for \
         a rule in spec.allow{retain}",
        goal.missing.join(", ")
    );
    stalled(conditions, reason::NOT_ALLOWED, &message);
}

fn granted(conditions: &mut Conditions<'_>, access: &Access, goal: &Provide) {
    for tier in Tier::ALL {
        let has = access.tiers().any(|granted| granted == tier);
        let asked = goal.grant.claimed.tiers().any(|asked| asked == tier);
        match (has, asked) {
            (true, _) => conditions.set(tier.name(), Truth::True, reason::GRANTED, "the policy allows it"),
            (false, true) if !goal.missing.is_empty() => {
                conditions.set(tier.name(), Truth::False, reason::NOT_ALLOWED, "no rule of the store allows it");
            }
            (false, true) => {
                conditions.set(tier.name(), Truth::False, reason::CHANGE_SUSPENDED, "asked for while suspended");
            }
            (false, false) => {
                conditions.set(
                    tier.name(),
                    Truth::False,
                    reason::NOT_REQUESTED,
                    "add it to spec.capabilities to have it",
                );
            }
        }
    }
}

fn withheld(conditions: &mut Conditions<'_>, status: &mut BackupTargetStatus, target: &BackupTarget, why: &str) {
    let store = &target.spec.store_ref.name;
    let kept = if status.access_key_id.is_some() {
        "; the access key is inactive, the Secret stays, and both work again when a rule allows it"
    } else {
        ""
    };
    let message = format!(
        "BackupStore {store} does not allow this claim: {why}{kept}; ask the store's administrator for a rule in spec.allow"
    );
    stalled(conditions, reason::NOT_ALLOWED, &message);
    nothing_allowed(conditions, status, target);
}

fn nothing_allowed(conditions: &mut Conditions<'_>, status: &mut BackupTargetStatus, target: &BackupTarget) {
    for tier in Tier::ALL {
        let asked = match tier {
            Tier::BaseAccess => true,
            Tier::Optional(capability) => target.spec.capabilities.contains(&capability),
        };
        let (reason, message) = if asked {
            (reason::NOT_ALLOWED, "no rule of the store allows the claim")
        } else {
            (reason::NOT_REQUESTED, "add it to spec.capabilities to have it")
        };
        conditions.set(tier.name(), Truth::False, reason, message);
    }
    conditions.set(LEAST_PRIVILEGE, Truth::Unknown, reason::NOT_ALLOWED, "no key works, so there is nothing to try");
    status.tiers = None;
}

fn removing(conditions: &mut Conditions<'_>, target: &BackupTarget, plan: &Plan) {
    let waits = if target.metadata.deletion_timestamp.is_some() { DELETION_WAITS } else { "" };
    if let Some(blocked) = &plan.blocked {
        let error = Error::Blocked(blocked.clone());
        not_ready(conditions, &error, &format!("{waits}{error}"));
    } else if let Some(waiting) = &plan.waiting {
        wait(conditions, waiting, waits);
    } else {
        pending(conditions, reason::DELETING, "the principal, its keys and the Secret are being removed");
    }
    keep_tiers(conditions);
}

fn failed(
    conditions: &mut Conditions<'_>,
    status: &BackupTargetStatus,
    target: &BackupTarget,
    outcome: &Outcome<'_>,
    error: &Error,
) {
    let stands = error.leaves_ready()
        && !outcome.disturbed
        && status.observed_generation == target.metadata.generation
        && target.metadata.deletion_timestamp.is_none()
        && condition::find(&status.conditions, READY).is_some_and(|ready| ready.status == "True");
    if stands {
        conditions.keep(READY);
        let message = format!("what is published stands; it cannot be checked: {error}");
        unfinished(conditions, error, &message);
    } else if target.metadata.deletion_timestamp.is_some() {
        not_ready(conditions, error, &format!("{DELETION_WAITS}{error}"));
    } else {
        not_ready(conditions, error, &error.to_string());
    }
    keep_tiers(conditions);
}

fn wait(conditions: &mut Conditions<'_>, waiting: &Waiting, waits: &str) {
    let (why, message) = match waiting {
        Waiting::KeyMayAppear => (
            reason::KEY_UNCERTAIN,
            "the creation of an access key was interrupted and it may still appear; waiting up to five minutes before \
             going on, so that no key is left behind"
                .to_owned(),
        ),
        Waiting::ReissueLimit { until } => (
            reason::REISSUE_LIMITED,
            format!(
                "the Secret was lost or damaged again within ten minutes; a new access key is created at {until}. Something \
                 deletes or edits the Secret: find out what"
            ),
        ),
        Waiting::Contested { until } => {
            let message = format!(
                "{waits}somebody else changes the Secret or the IAM user again and again; what differs is put right next at {until}. \
                 Find out who it is; the annotation {PAUSED_REPAIR_ANNOTATION} stops the repairs"
            );
            return stalled(conditions, reason::CONTESTED, &message);
        }
    };
    pending(conditions, why, &format!("{waits}{message}"));
}

fn pending(conditions: &mut Conditions<'_>, reason: &str, message: &str) {
    conditions.set(READY, Truth::False, reason, message);
    conditions.set(RECONCILING, Truth::True, reason, message);
}

fn stalled(conditions: &mut Conditions<'_>, reason: &str, message: &str) {
    conditions.set(READY, Truth::False, reason, message);
    conditions.set(STALLED, Truth::True, reason, message);
}

fn not_ready(conditions: &mut Conditions<'_>, error: &Error, message: &str) {
    conditions.set(READY, Truth::False, error.reason(), message);
    unfinished(conditions, error, message);
}

fn unfinished(conditions: &mut Conditions<'_>, error: &Error, message: &str) {
    let type_ = match error.retry() {
        Retry::Stalled => STALLED,
        Retry::Backoff => RECONCILING,
    };
    conditions.set(type_, Truth::True, error.reason(), message);
}

/// Nothing new is known about the tiers.
fn keep_tiers(conditions: &mut Conditions<'_>) {
    let types = std::iter::once(LEAST_PRIVILEGE).chain(Tier::ALL.into_iter().map(Tier::name));
    for type_ in types {
        if !conditions.keep(type_) {
            conditions.set(type_, Truth::Unknown, reason::PENDING, "not known yet");
        }
    }
}
