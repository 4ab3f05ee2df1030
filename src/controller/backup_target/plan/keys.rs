//! The life of a key: published, superseded, inactive, deleted; and what an interrupted creation leaves.

use super::{
    AccessKey, Cause, Duration, KeyEnd, Plan, Principal, PrincipalSpec, SecretState, State, Step, Timestamp, at_least,
};
use crate::{
    api::backup_target::{KeyRecord, PreviousSecret},
    controller::backup_target::state::MAY_STILL_APPEAR,
};

/// A lost Secret is replaced at once, and again after this time at the earliest.
const REISSUE_EVERY: Duration = Duration::from_mins(10);
/// A replaced key that was used within this time is taken for one in use, and gets as much more time.
const STILL_IN_USE: Duration = Duration::from_hours(1);
/// An inactive key is deleted after its overlap has passed once more, but no later than this.
pub(super) const LONGEST_INACTIVE: Duration = Duration::from_hours(1);
/// The most former Secrets that stay at once. A tenant can rename one as often as it likes, and each is read with every look.
pub(super) const FORMER_SECRETS: usize = 8;

/// A key that is in our Secret and came after an open intent was published before status could say so.
pub(super) fn adopt_published(state: &mut State, overlap: Duration, now: Timestamp) {
    let orphans = state.orphans();
    let shown = state.secrets.iter().filter_map(|(name, secret)| Some((name.clone(), secret.shown_key()?)));
    let Some((name, key)) = shown.into_iter().find(|(_, key)| orphans.contains(&key.id)) else { return };
    let listed = state.keys().iter().find(|listed| listed.id == key.id);
    if let Some(created_at) = listed.map(|listed| listed.created_at) {
        let before = state.status.secret_name.replace(name.to_string());
        if let Some(before) = before.filter(|before| before != name.as_str()) {
            state.status.previous_secrets.push(PreviousSecret { name: before, until: now + overlap });
        }
        state.key_published(&key, created_at, overlap, now);
    }
}

/// Forgets keys that are no longer listed on our principal; a young key is believed to be there, since lists lag behind
/// (docs/decisions/key-creation.md). A principal that is gone or foreign says nothing about keys.
pub(super) fn forget_vanished(state: &mut State, now: Timestamp) {
    let Principal::Ours(user) = &state.principal else { return };
    let listed: Vec<&str> = user.keys.iter().map(|key| key.id.as_str()).collect();
    let stays = |key: &KeyRecord| listed.contains(&key.id.as_str()) || !at_least(MAY_STILL_APPEAR, key.created_at, now);
    let gone = |key: &KeyRecord| (!stays(key)).then(|| key.id.clone());
    let forgotten: Vec<String> = state.status.keys.iter().filter_map(gone).collect();
    state.status.keys.retain(|key| !forgotten.contains(&key.id));
    state.forgotten.extend(forgotten);
}

/// A key that is off, and that status does not say this operator switched off, was switched off by somebody else. Whether it
/// works again is for them to say, or for the store's administrator.
pub(super) fn notice_switched_off(state: &mut State, now: Timestamp) {
    let Principal::Ours(user) = &state.principal else { return };
    for record in &mut state.status.keys {
        let Some(listed) = user.keys.iter().find(|key| key.id == record.id) else { continue };
        if listed.active || is_ours_to_give_back(record, now) {
            record.off_since = None;
        } else {
            record.off_since.get_or_insert(now);
        }
    }
}

/// Whether this operator switched the key off, or is about to: at the end of an overlap, a crash may have kept that from
/// being told.
fn is_ours_to_give_back(record: &KeyRecord, now: Timestamp) -> bool {
    let over = record.revoke_at.is_some_and(|revoke_at| revoke_at <= now);
    record.withheld || record.inactive_since.is_some() || over
}

/// Ends the overlap of replaced keys: inactive first, deleted some time after.
pub(super) fn retire(plan: &mut Plan, state: &State, overlap: Duration, max_overlap: Duration, now: Timestamp) {
    let goes = |plan: &Plan, id: &str| plan.has(|step| matches!(step, Step::DeleteKey { id: gone, .. } if gone == id));
    for record in &state.status.keys {
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
    let former = &state.status.previous_secrets;
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
    let last = state.status.last_reissue.filter(|last| is_believable(last) && state.open_intent().is_none())?;
    let until = last + REISSUE_EVERY;
    (until > now).then_some(until)
}

/// The published key that makes room for another: the one that was replaced first.
pub(super) fn makes_room(state: &State) -> Option<&KeyRecord> {
    state
        .status
        .keys
        .iter()
        .filter(|key| key.superseded_at.is_some() && state.keys().iter().any(|listed| listed.id == key.id))
        .min_by_key(|key| key.superseded_at)
}
