//! What a person should notice of what was done, of what is told now, and of what others did, in words. Pure.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::{
    decide::Goal,
    overlap,
    plan::{NewKey, Plan},
    state::State,
};
use crate::{
    api::{
        BackupTarget, Reason,
        backup_target::{BackupTargetStatus, DeletionPolicy, KeyRecord},
        condition::{self, READY, STALLED},
    },
    cluster::Note,
    controller::shared_keys,
    provider::{ForeignOwner, Principal, PrincipalName},
};

/// Something that a step did and that a person should notice.
#[derive(Clone, Debug)]
pub enum Happened {
    /// A replaced key reached the end of its overlap.
    KeyRevoked { id: String },
    /// What an interrupted creation had left was deleted.
    OrphanDeleted { id: String },
    /// A key that somebody made with a key of ours was deleted.
    MadeByKeyDeleted { id: String },
    /// A replaced key was deleted for a new one.
    MadeRoom(KeyRecord),
    /// A lost key has another in its place.
    KeyReissued {
        /// Why there is a new one.
        why: NewKey,
        /// Name of the Secret.
        secret: String,
        /// Id of the new key.
        key: String,
        /// The one that it took the place of.
        replaced: Option<KeyRecord>,
    },
    /// The store's administrator brought another key, which is published now.
    KeyFollowed {
        /// Name of the Secret.
        secret: String,
        /// Id of the key.
        key: String,
        /// Id of the one before, where it is another.
        before: Option<String>,
    },
    /// The target was let go.
    LetGo,
}

/// What an event's words depend on, beside what happened.
#[derive(Clone, Copy)]
pub struct About<'a> {
    /// What the steps led to.
    pub goal: &'a Goal,
    pub target: &'a BackupTarget,
    /// The state after the step.
    pub state: &'a State,
    /// Name of the principal.
    pub principal: &'a PrincipalName,
    pub now: Timestamp,
}

/// The event that tells it.
#[must_use]
pub fn event(happened: &Happened, about: About<'_>) -> Note {
    match happened {
        Happened::KeyRevoked { id } => normal(
            Reason::KeyRevoked,
            format!("the replaced access key {id} reached the end of its overlap and is inactive"),
        ),
        Happened::OrphanDeleted { id } => normal(
            Reason::OrphanDeleted,
            format!("access key {id}, left by an interrupted creation and never published, was deleted"),
        ),
        Happened::MadeByKeyDeleted { id } => warning(
            Reason::UnknownKey,
            format!(
                "access key {id} of {} was not made by this operator, and was deleted: in this store a key can make its \
                 principal more keys, which would outlive it. Find out who made it",
                about.principal
            ),
        ),
        Happened::MadeRoom(record) => {
            let (warning, message) = overlap::made_room(record, about.now);
            Note { warning, reason: Reason::KeyRevoked, message }
        }
        Happened::KeyReissued { why, secret, key, replaced } => {
            let lost = if *why == NewKey::LostWithPrincipal {
                format!("{} was deleted with its access keys, and is made anew", about.principal)
            } else {
                format!("Secret {secret}, or the access key that was in it, was lost or damaged")
            };
            let promise =
                replaced.as_ref().map(|replaced| format!("; {}", overlap::promise(replaced))).unwrap_or_default();
            warning(Reason::KeyReissued, format!("{lost}: Secret {secret} has a new access key {key}{promise}"))
        }
        Happened::KeyFollowed { secret, key, before } => {
            let before =
                before.as_ref().map(|before| format!(" in place of {before}, which works until it is revoked"));
            let message = format!(
                "the store's administrator brought access key {key}{}: it works, and Secret {secret} has it",
                before.unwrap_or_default()
            );
            normal(Reason::KeyFollowed, message)
        }
        Happened::LetGo => farewell(about),
    }
}

/// What is said when a target is let go: what is left, and whose it is.
fn farewell(about: About<'_>) -> Note {
    let About { goal, target, state, principal, .. } = about;
    let system = principal.words.system;
    if let Some(unrevoked) = principal.words.unrevoked.filter(|_| !matches!(goal, Goal::Retain { .. })) {
        let retain = match target.spec.deletion_policy {
            DeletionPolicy::Retain => "deletionPolicy Retain was asked for and no rule of the store allows it; ",
            DeletionPolicy::Delete => "",
        };
        let message = format!("{retain}the Secret goes with the target, and {unrevoked}; no object was deleted");
        return Note { warning: state.record.access_key_id.is_some(), reason: Reason::Deleted, message };
    }
    if let Some((name, error)) = state.unread_secret() {
        let message = format!(
            "all that the operator made for this target is gone from {system}, and Secret {name} is left: {error}. The key in it is \
             gone, and Kubernetes removes a Secret after its owner"
        );
        return warning(Reason::Deleted, message);
    }
    if let Principal::Foreign { whose: ForeignOwner::Cluster { id, path } } = &state.principal {
        let message = format!(
            "the target is gone from this cluster, and {principal} is left: it belongs to cluster {id} (path {path})"
        );
        return warning(Reason::Deleted, message);
    }
    if matches!((goal, &state.principal), (Goal::Retain { .. }, Principal::Ours(_))) {
        let message =
            format!("{principal}, its access key and the Secret stay and belong to nobody now; backups go on");
        return warning(Reason::Retained, message);
    }
    if target.spec.deletion_policy == DeletionPolicy::Retain {
        let message = format!(
            "deletionPolicy Retain was asked for and no rule of the store allows it, so all that the operator made for this \
             target is gone from {system} and from this namespace; no object was deleted"
        );
        return warning(Reason::Deleted, message);
    }
    let message = format!(
        "all that the operator made for this target is gone from {system} and from this namespace; no object was deleted"
    );
    normal(Reason::Deleted, message)
}

/// What status says that it did not say before. At most one event for an outcome: what was done says more than that the reason
/// changed.
#[must_use]
pub fn change(before: &BackupTargetStatus, after: &BackupTargetStatus, is_deleting: bool) -> Option<Note> {
    let (old, new) = (headline(before), headline(after)?);
    let why = |told: Option<&Condition>| told.and_then(Reason::of);
    // What keeps a target from going is told once more when it is to go.
    let is_to_go = is_deleting && before.observed_generation != after.observed_generation;
    let is_told = old.is_some() && why(old) == why(Some(new)) && !is_to_go;
    // A store whose credentials are being checked right now is nothing to notice.
    let reason = Reason::of(new).filter(|reason| !is_told && *reason != Reason::Pending)?;
    let well = new.type_ == READY && new.status == "True";
    Some(Note { warning: !well, reason, message: new.message.clone() })
}

/// What a person should know first: what stalls it, else what Ready says.
#[must_use]
pub fn headline(status: &BackupTargetStatus) -> Option<&Condition> {
    condition::find(&status.conditions, STALLED).or_else(|| condition::find(&status.conditions, READY))
}

/// What is not ours to change and is only told, if some of it was not reported before.
#[must_use]
pub fn left(plan: &Plan, reported: &[String]) -> Vec<Note> {
    let all = |what: &[String]| what.join(", ");
    let told = [
        (
            &plan.unknown_keys,
            Reason::UnknownKey,
            format!("access key {} was not made by this operator and is left alone", all(&plan.unknown_keys)),
        ),
        (&plan.excess, Reason::OtherPolicies, format!("the principal has rights from {}", all(&plan.excess))),
        (
            &plan.denials,
            Reason::OnHold,
            format!("somebody put {} on the principal, which only denies; it is left", all(&plan.denials)),
        ),
        (&plan.shared, Reason::KeyShared, shared_keys::in_words(&plan.shared)),
        (
            &plan.left,
            Reason::DriftLeft,
            format!("somebody else changed {}; it is left because repairs are paused", all(&plan.left)),
        ),
    ];
    let is_new = |what: &[String]| what.iter().any(|one| !reported.contains(one));
    told.into_iter().filter(|(what, ..)| is_new(what)).map(|(_, reason, message)| warning(reason, message)).collect()
}

/// All that is not ours to change, by name.
#[must_use]
pub fn of_others(plan: &Plan) -> Vec<String> {
    let all = [&plan.unknown_keys, &plan.excess, &plan.denials, &plan.shared, &plan.left].into_iter().flatten();
    all.cloned().collect::<BTreeSet<_>>().into_iter().collect()
}

fn normal(reason: Reason, message: String) -> Note {
    Note { warning: false, reason, message }
}

fn warning(reason: Reason, message: String) -> Note {
    Note { warning: true, reason, message }
}
