//! Towards less: a claim that is not allowed, and a target that is being deleted.

use super::{Blocked, Duration, KeyEnd, Plan, Principal, State, Step, Timestamp, UserSpec, Waiting, keys};
use crate::store::StoredPolicy;

/// No rule allows the claim: keys stop working, and everything stays for the day that a rule allows it again.
pub(super) fn withhold(state: &State, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    keys::delete_orphans(&mut plan, state);
    for key in state.keys().iter().filter(|key| key.active) {
        if state.status.keys.iter().any(|record| record.id == key.id) {
            plan.step(Step::DeactivateKey { id: key.id.clone(), retire: false });
        }
    }
    keys::retire(&mut plan, state, keys::LONGEST_INACTIVE, Duration::ZERO, now);
    plan
}

/// The target is being deleted: keys first, so that nothing works any more, then all the rest.
pub(super) fn remove(user: &UserSpec, state: &State, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    if !state.finalizer {
        return plan;
    }
    for id in state.orphans() {
        plan.delete_key(id, KeyEnd::Orphan);
    }
    for key in state.keys() {
        if state.status.keys.iter().any(|record| record.id == key.id) {
            plan.delete_key(&key.id, KeyEnd::TargetDeleted);
        }
    }
    if let Principal::Ours(ours) = &state.principal
        && ours.policy != StoredPolicy::Absent
    {
        plan.step(Step::DeletePolicy);
    }
    for (name, _) in state.secrets.iter().filter(|(_, secret)| secret.ours().is_some()) {
        plan.step(Step::DeleteSecret(name.clone()));
    }
    // Something of an interrupted creation may still appear; then the target must still be there (design §6.2).
    if state.key_may_still_appear(now) || state.user_may_still_appear(now) {
        plan.waiting = Some(Waiting::KeyMayAppear);
        return plan;
    }
    let unknown = state.unknown_keys();
    if !unknown.is_empty() {
        plan.blocked = Some(Blocked::UnknownKeys { ids: unknown, principal: user.name.clone() });
        return plan;
    }
    if matches!(state.principal, Principal::Ours(_)) {
        plan.step(Step::DeleteUser);
    }
    plan.step(Step::ReleaseTarget);
    plan
}

/// The target is being deleted and its credentials stay: nobody will look after them, so only what is in use remains.
pub(super) fn retain(user: &UserSpec, state: &State) -> Plan {
    let mut plan = Plan::default();
    if !state.finalizer {
        return plan;
    }
    let unknown = state.unknown_keys();
    if !unknown.is_empty() {
        plan.blocked = Some(Blocked::UnknownKeys { ids: unknown, principal: user.name.clone() });
        return plan;
    }
    keys::delete_orphans(&mut plan, state);
    for record in state.status.keys.iter().filter(|record| record.superseded_at.is_some()) {
        if state.keys().iter().any(|key| key.id == record.id) {
            plan.delete_key(&record.id, KeyEnd::Expired);
        }
    }
    if matches!(state.principal, Principal::Ours(_)) {
        plan.step(Step::TagRetained);
    }
    for (name, _) in state.secrets.iter().filter(|(_, secret)| secret.ours().is_some()) {
        plan.step(Step::DisownSecret(name.clone()));
    }
    plan.step(Step::ReleaseTarget);
    plan
}
