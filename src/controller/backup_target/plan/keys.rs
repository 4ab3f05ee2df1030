//! The life of a key: published, superseded, inactive, deleted; and what an interrupted creation leaves.

use super::{AccessKey, Cause, Duration, KeyEnd, Plan, PrincipalSpec, SecretState, State, Step, Timestamp, at_least};
use crate::api::backup_target::KeyRecord;

/// A lost Secret is replaced at once, and again after this time at the earliest.
const REISSUE_EVERY: Duration = Duration::from_mins(10);
/// A replaced key that was used within this time is taken for one in use, and gets as much more time.
const STILL_IN_USE: Duration = Duration::from_hours(1);
/// An inactive key is deleted after its overlap has passed once more, but no later than this.
pub(super) const LONGEST_INACTIVE: Duration = Duration::from_hours(1);
/// The most former Secrets that stay at once. A tenant can rename one as often as it likes, and each is read with every look.
pub(super) const FORMER_SECRETS: usize = 8;

/// Ends the overlap of replaced keys: inactive first, deleted some time after.
pub(super) fn retire(plan: &mut Plan, state: &State, overlap: Duration, max_overlap: Duration, now: Timestamp) {
    let goes = |plan: &Plan, id: &str| plan.has(|step| matches!(step, Step::DeleteKey { id: gone, .. } if gone == id));
    for record in &state.record.keys {
        if goes(plan, &record.id) {
            continue;
        }
        if let Some(inactive) = record.inactive_since {
            let end = inactive + overlap.min(LONGEST_INACTIVE);
            if end <= now {
                plan.delete_key(&record.id, KeyEnd::Expired);
            } else {
                plan.due_at(end);
            }
        } else if let (Some(superseded), Some(revoke)) = (record.superseded_at, record.revoke_at) {
            // The rule's maximum may have become shorter since.
            let revoke = if max_overlap.is_zero() { revoke } else { revoke.min(superseded + max_overlap) };
            if revoke > now {
                plan.due_at(revoke);
            } else if let Some(until) = extension(state, record, superseded + max_overlap, now) {
                plan.step(Step::ExtendKey { id: record.id.clone(), until });
            } else {
                plan.step(Step::DeactivateKey { id: record.id.clone(), retire: true });
            }
        }
    }
}

fn extension(state: &State, record: &KeyRecord, latest: Timestamp, now: Timestamp) -> Option<Timestamp> {
    let last_used = state.keys().iter().find(|key| key.id == record.id)?.last_used?;
    let until = (now + STILL_IN_USE).min(latest);
    (!at_least(STILL_IN_USE, last_used, now) && until > now).then_some(until)
}

/// Removes what interrupted creations left, whatever else is planned; `but` is a key in hand that is to be published.
pub(super) fn delete_orphans(plan: &mut Plan, state: &State, but: Option<&AccessKey>) {
    for id in state.orphans().into_iter().filter(|id| but.is_none_or(|key| key.id != *id)) {
        plan.delete_key(id, KeyEnd::Orphan);
    }
}

/// Keys on our principal that cannot be shown to be ours, and that this operator leaves alone.
pub(super) fn left_alone(spec: &PrincipalSpec, state: &State) -> Vec<String> {
    if spec.limits.keys_make_keys { Vec::new() } else { state.unknown_keys() }
}

/// Where a key can make its principal more keys, those that are not ours are somebody's who has, or had, one of ours: they would
/// outlive it.
pub(super) fn delete_made_by_keys(plan: &mut Plan, spec: &PrincipalSpec, state: &State) {
    // Of what a Secret holds that cannot be read, nobody knows whose it is.
    if spec.limits.keys_make_keys && state.unread_secret().is_none() {
        for id in state.unknown_keys() {
            plan.push(Step::DeleteKey { id, why: KeyEnd::MadeByKey }, Cause::Limit(None));
        }
    }
}

/// Deletes Secrets with a former name whose overlap has ended; of more than may stay, the oldest go at once.
pub(super) fn delete_former_secrets(plan: &mut Plan, state: &State, keep: Option<&str>, now: Timestamp) {
    let former = &state.record.previous_secrets;
    let too_many = former.len().saturating_sub(FORMER_SECRETS);
    for (position, previous) in former.iter().enumerate() {
        if previous.until > now && position >= too_many {
            plan.due_at(previous.until);
        } else if let Some((name, SecretState::Ours(_))) = state.secrets.get_key_value(previous.name.as_str())
            && keep != Some(name.as_str())
        {
            plan.step(Step::DeleteSecret(name.clone()));
        }
    }
}

/// Until when no key may be created for a Secret that was lost again. What an open intent has not brought does not count;
/// nor does a time that is long to come, which a clock that was wrong has left.
pub(super) fn reissue_limit(state: &State, now: Timestamp) -> Option<Timestamp> {
    let is_believable = |last: &Timestamp| *last <= now + REISSUE_EVERY;
    let last = state.record.last_reissue.filter(|last| is_believable(last) && state.open_intent().is_none())?;
    let until = last + REISSUE_EVERY;
    (until > now).then_some(until)
}

/// The published key that makes room for another: the one that was replaced first.
pub(super) fn makes_room(state: &State) -> Option<&KeyRecord> {
    state
        .record
        .keys
        .iter()
        .filter(|key| key.superseded_at.is_some() && state.keys().iter().any(|listed| listed.id == key.id))
        .min_by_key(|key| key.superseded_at)
}
