//! What the end of a reconcile changes in what is remembered. Pure; the steps' own changes are made by [`State::apply`].
//!
//! [`State::apply`]: super::state::State::apply

use super::{
    decide::{Goal, Provide},
    events,
    plan::Plan,
    report::{Known, Outcome, access_told, is_keyless, is_outdated, proof_to_tell},
};
use crate::api::{
    BackupTarget,
    backup_target::{Applied, Record},
};

/// Takes in how a reconcile ended; `target` has what was told before.
#[must_use]
pub fn conclude(record: Record, target: &BackupTarget, outcome: &Outcome<'_>) -> Record {
    let keeps_proof = keeps_proof(&record, target, outcome);
    let mut record = record;
    record.proof = record.proof.filter(|_| keeps_proof);
    if let (Some(Goal::Provide(goal)), Ok(plan)) = (outcome.goal, outcome.result)
        && is_whole(&record, goal, plan)
    {
        let generation = target.metadata.generation.unwrap_or_default();
        record.applied = Some(Applied { generation, rclone: goal.rclone.digest(), bound: goal.bound.clone() });
    }
    if let Ok(plan) = outcome.result
        && plan.blocked.is_none()
    {
        record.reported = events::of_others(plan);
    }
    record
}

/// Whether what was found out with the key still says something.
fn keeps_proof(record: &Record, target: &BackupTarget, outcome: &Outcome<'_>) -> bool {
    match (outcome.goal, outcome.result) {
        (Some(Goal::Provide(goal)), Ok(plan)) => match access_told(goal, plan) {
            Known::Access(access) if record.policy.is_some() => {
                let before = target.status.as_ref().map(|told| told.conditions.as_slice()).unwrap_or_default();
                let is_new = outcome.proof.is_some();
                // What an outdated condition said of the proof is not told any more, so the proof is due again.
                !is_keyless(record) && (is_new || !is_outdated(before, access, goal, plan))
            }
            _ => true,
        },
        // When it is allowed again, everything is to be tried again.
        (Some(Goal::Withhold { .. }), Ok(plan)) => plan.blocked.is_some(),
        (Some(Goal::Provide(_)), Err(_)) if proof_to_tell(outcome).is_some() => true,
        (_, Err(_)) => !(outcome.disturbed && is_keyless(record)),
        (_, Ok(_)) => true,
    }
}

/// Whether all that the target asks for is in place.
fn is_whole(record: &Record, goal: &Provide, plan: &Plan) -> bool {
    let is_given = matches!(access_told(goal, plan), Known::Access(_)) && record.policy.is_some();
    let is_done = plan.blocked.is_none() && plan.waiting.is_none() && plan.left.is_empty();
    is_given && is_done && !goal.suspended && !plan.on_hold
}
