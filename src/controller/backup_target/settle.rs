//! What was observed, held against what is remembered: keys that were published or are gone, and who switched one off. Pure.

use std::time::Duration;

use jiff::Timestamp;

use super::state::{MAY_STILL_APPEAR, State};
use crate::{
    api::backup_target::{KeyRecord, PreviousSecret},
    cluster::SecretState,
    controller::time::at_least,
    provider::{Principal, PrincipalSpec},
};

/// Takes in what the observation says about what is remembered: a published key that the record missed, keys that are
/// gone, overlaps that ended.
pub fn settle(state: &mut State, spec: &PrincipalSpec, overlap: Duration, now: Timestamp) {
    if matches!(state.principal, Principal::Ours(_)) {
        state.record.principal = Some(spec.name.name.clone());
    }
    if let Principal::Ours(ours) = &state.principal {
        state.record.principal_id = ours.unique_id();
    }
    adopt_published(state, overlap, now);
    forget_vanished(state, now);
    notice_switched_off(state, now);
    let gone: Vec<String> = state
        .record
        .previous_secrets
        .iter()
        .filter(|previous| {
            let found = state.secrets.get(previous.name.as_str());
            matches!(found, Some(SecretState::Absent | SecretState::Foreign { .. }))
        })
        .map(|previous| previous.name.clone())
        .collect();
    state.record.previous_secrets.retain(|previous| !gone.contains(&previous.name));
}

/// A key that is in our Secret and came after an open intent was published before the record could say so.
fn adopt_published(state: &mut State, overlap: Duration, now: Timestamp) {
    let orphans = state.orphans();
    let shown = state.secrets.iter().filter_map(|(name, secret)| Some((name.clone(), secret.shown_key()?)));
    let Some((name, key)) = shown.into_iter().find(|(_, key)| orphans.contains(&key.id)) else { return };
    let listed = state.keys().iter().find(|listed| listed.id == key.id);
    if let Some(created_at) = listed.map(|listed| listed.created_at) {
        let before = state.record.secret_name.replace(name.to_string());
        if let Some(before) = before.filter(|before| before != name.as_str()) {
            state.record.previous_secrets.push(PreviousSecret { name: before, until: now + overlap });
        }
        state.key_published(&key, created_at, overlap, now);
    }
}

/// Forgets keys that are no longer listed on our principal; a young key is believed to be there, since lists lag behind
/// (docs/decisions/key-creation.md). A principal that is gone or foreign says nothing about keys.
fn forget_vanished(state: &mut State, now: Timestamp) {
    let Principal::Ours(user) = &state.principal else { return };
    if state.keys_are_brought() {
        // One that was replaced, or whose place is not claimed now, may work as well as ever.
        return;
    }
    let listed: Vec<&str> = user.keys.iter().map(|key| key.id.as_str()).collect();
    let stays = |key: &KeyRecord| listed.contains(&key.id.as_str()) || !at_least(MAY_STILL_APPEAR, key.created_at, now);
    let gone = |key: &KeyRecord| (!stays(key)).then(|| key.id.clone());
    let forgotten: Vec<String> = state.record.keys.iter().filter_map(gone).collect();
    state.record.keys.retain(|key| !forgotten.contains(&key.id));
    state.forgotten.extend(forgotten);
}

/// A key that is off, and of which the record does not say that this operator switched it off, was switched off by somebody else. Whether it
/// works again is for them to say, or for the store's administrator.
fn notice_switched_off(state: &mut State, now: Timestamp) {
    let Principal::Ours(user) = &state.principal else { return };
    for record in &mut state.record.keys {
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
