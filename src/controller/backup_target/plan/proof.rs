//! When the key is tried: before anything is published, after each change of access, and now and then for ever.

use super::{Duration, Fresh, Plan, State, Step, Timestamp, at_least};
pub use crate::controller::retry::PATIENCE;
use crate::{
    api::backup_target::{ProofRecord, Verification},
    controller::backup_target::decide::Provide,
    probe::Depth,
};

/// How soon an answer that may change by itself is asked for again.
pub const ASK_AGAIN: Duration = Duration::from_secs(20);
/// How often it is looked whether somebody mended what a proof found.
const UNSETTLED_EVERY: Duration = Duration::from_mins(30);
/// How often it is looked what the key can do while somebody else's change is left as it is.
const LEFT_EVERY: Duration = Duration::from_mins(10);
/// How often a proof is repeated; each target adds a part of an hour of its own.
const EVERY: Duration = Duration::from_hours(6);

/// The proof of a new key, which goes before it is published.
pub(super) fn of_new_key(goal: &Provide) -> Option<Step> {
    depth(goal, true).map(|depth| Step::Prove { depth, publishes: true })
}

/// The proof of the published key with the policy that it has once a step is done, before its Secret speaks of that.
pub(super) fn of_new_policy(goal: &Provide, state: &State, step: Option<&Step>) -> Option<Step> {
    let policy = match step {
        Some(Step::PutPolicy(put)) => Some(put.document.digest()),
        _ => state.record.policy.as_ref().map(|policy| policy.digest.clone()),
    };
    let key = state.record.access_key_id.as_ref();
    let known = state.record.proof.as_ref();
    let known = known.filter(|proof| Some(&proof.key) == key && Some(&proof.policy) == policy.as_ref());
    if known.is_some_and(|proof| proof.works) {
        return None;
    }
    depth(goal, true).map(|depth| Step::Prove { depth, publishes: true })
}

/// Plans the next proof of what is published, now or when it is due.
pub(super) fn of_published(plan: &mut Plan, goal: &Provide, state: &State, fresh: &Fresh) {
    let proves = plan.has(|step| matches!(step, Step::Prove { .. }));
    let Some(current) = state.current_key().filter(|_| state.published_key().is_some()) else { return };
    if proves || plan.waiting.is_some() || goal.current.is_none() {
        return;
    }
    let changed = changes_access(goal, state);
    let policy = goal.document.digest();
    // Of a bucket that was not there nothing is known once it is.
    let appeared = |proof: &&ProofRecord| proof.bucket_missing && !state.record.bucket_missing;
    let known = state.record.proof.as_ref().filter(|proof| proof.key == current.id && proof.policy == policy);
    let known = known.filter(|proof| !appeared(proof));
    let left = !plan.left.is_empty();
    // A time that is still to come was told by a clock that was wrong.
    let next =
        |proof: &ProofRecord| if proof.at > fresh.now + ASK_AGAIN { fresh.now } else { next(proof, goal, state, left) };
    match known.map(next).filter(|_| !changed) {
        Some(later) if later > fresh.now => plan.due_at(later),
        // All of it is tried once per change of access; once that has said something, nothing is written any more.
        _ => {
            let whole = changed || known.is_none();
            if let Some(depth) = depth(goal, whole) {
                plan.step(Step::Prove { depth, publishes: false });
            }
        }
    }
}

/// Whether the key is to be given other access than before.
fn changes_access(goal: &Provide, state: &State) -> bool {
    state.record.access.as_ref() != Some(&goal.record.0)
}

fn depth(goal: &Provide, changed: bool) -> Option<Depth> {
    match goal.verification {
        Verification::Full if changed => Some(Depth::Write),
        Verification::Full | Verification::ReadOnly => Some(Depth::Quiet),
        Verification::None => None,
    }
}

fn next(proof: &ProofRecord, goal: &Provide, state: &State, left: bool) -> Timestamp {
    let may_change = !proof.conclusive && !at_least(PATIENCE, proof.since, proof.at);
    let later = match (left, proof.conclusive) {
        (true, _) => LEFT_EVERY,
        (false, true) => EVERY + spread(state),
        (false, false) => UNSETTLED_EVERY,
    };
    let regular = proof.at + if may_change { ASK_AGAIN } else { later };
    goal.verify_at.filter(|asked| *asked > proof.at).map_or(regular, |asked| regular.min(asked))
}

/// The same for a target at all times, so that a restart changes no schedule.
fn spread(state: &State) -> Duration {
    let name = state.record.principal.as_deref().unwrap_or_default();
    Duration::from_secs(name.bytes().fold(0, |sum, byte| (sum * 31 + u64::from(byte)) % 3_600))
}
