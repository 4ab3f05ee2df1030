//! Towards less: a claim that is not allowed, and a target that is being deleted.

use super::{
    Blocked, Duration, Fresh, KeyEnd, Plan, PolicyDocument, Principal, PrincipalSpec, PutPolicy, SecretState, State,
    Step, Waiting, bound, drift, keys,
};
use crate::{
    api::backup_target::{KeyRecord, PolicyStatus},
    cluster,
    provider::{ForeignOwner, Key, Observed},
};

/// No rule allows the claim: nothing works, and everything stays for the day that a rule allows it again.
pub(super) fn withhold(spec: &PrincipalSpec, state: &State, fresh: &Fresh) -> Plan {
    let mut plan = Plan::default();
    if let Principal::Foreign { whose } = &state.principal
        && state.has_anything()
    {
        plan.blocked = Some(Blocked::ForeignPrincipal { principal: spec.name.clone(), whose: whose.clone() });
    }
    plan.hold(state, fresh);
    let Principal::Ours(ours) = &state.principal else { return plan };
    if state.keys_are_brought() {
        withdraw(&mut plan, spec, state);
        return plan;
    }
    keys::delete_made_by_keys(&mut plan, spec, state);
    // Without a policy no key works, whoever made it. What a crash kept from being remembered is done once more.
    if ours.rights.are_absent() && state.record.policy.is_some() {
        plan.step(Step::DeletePolicy);
    }
    delete_policy(&mut plan, ours);
    if !ours.held {
        drift::remove_additions(&mut plan, ours);
    }
    // What a Secret holds that cannot be read is no orphan; without a policy it does not work either.
    if state.unread_secret().is_none() {
        keys::delete_orphans(&mut plan, state, None);
    }
    let is_told = |record: &KeyRecord| record.withheld || record.inactive_since.is_some() || record.off_since.is_some();
    let stays_off =
        |key: &Key| !key.active && state.record.keys.iter().any(|record| record.id == key.id && is_told(record));
    let works: Vec<&Key> = ours.keys.iter().filter(|key| state.is_recorded(&key.id) && !stays_off(key)).collect();
    let untold = |key: &&&Key| !state.record.keys.iter().any(|record| record.id == key.id && record.withheld);
    let untold: Vec<String> = works.iter().filter(untold).map(|key| key.id.clone()).collect();
    if !untold.is_empty() {
        // A crash must not leave a key that looks as if somebody else had switched it off.
        plan.step(Step::Withhold(untold));
    }
    for key in works {
        plan.step(Step::DeactivateKey { id: key.id.clone(), retire: false });
    }
    keys::retire(&mut plan, state, keys::LONGEST_INACTIVE, Duration::ZERO, fresh.now);
    keys::delete_former_secrets(&mut plan, state, state.record.secret_name.as_deref(), fresh.now);
    plan
}

/// A key that nobody here can switch off is taken out of the target's hands: its Secrets go, and come back when a rule allows it
/// again.
fn withdraw(plan: &mut Plan, spec: &PrincipalSpec, state: &State) {
    plan.unrevoked = spec.limits.words.unrevoked.filter(|_| state.record.access_key_id.is_some());
    for (name, _) in state.secrets.iter().filter(|(_, secret)| secret.ours().is_some()) {
        plan.step(Step::DeleteSecret(name.clone()));
    }
    if state.record.policy.is_some() {
        plan.step(Step::DeletePolicy);
    }
}

/// The target is being deleted: keys first, so that nothing works any more, then all the rest.
pub(super) fn remove(spec: &PrincipalSpec, state: &State, fresh: &Fresh) -> Plan {
    let mut plan = Plan::default();
    if !state.finalizer && !state.has_anything() {
        return plan;
    }
    match &state.principal {
        // The other cluster looks after it.
        Principal::Foreign { whose: ForeignOwner::Cluster { .. } } => {
            end_secrets(&mut plan, state, true);
            return plan;
        }
        // This operator made a principal of that name once; that it looks like somebody else's now is no end.
        Principal::Foreign { whose } if state.has_anything() => {
            plan.blocked = Some(Blocked::ForeignPrincipal { principal: spec.name.clone(), whose: whose.clone() });
            return plan;
        }
        _ => {}
    }
    if let Principal::Ours(ours) = &state.principal {
        keys::delete_made_by_keys(&mut plan, spec, state);
        keys::delete_orphans(&mut plan, state, None);
        for key in ours.keys.iter().filter(|key| state.is_recorded(&key.id)) {
            plan.delete_key(&key.id, KeyEnd::TargetDeleted);
        }
        delete_policy(&mut plan, ours);
        drift::remove_all_additions(&mut plan, ours);
    }
    let outlives = |policy: &PolicyStatus| spec.limits.outlives_principal(policy.form);
    if state.record.policy.as_ref().is_some_and(outlives) && state.principal == Principal::Absent {
        // Somebody deleted the user alone.
        plan.step(Step::RemoveRemains);
    }
    let may_end = may_end(&mut plan, spec, state, fresh);
    if may_end && matches!(state.principal, Principal::Ours(_)) {
        plan.step(Step::RemovePrincipal);
    }
    end_secrets(&mut plan, state, may_end);
    plan
}

/// Deletes the Secrets, and lets the target go if it may. What they hold is dead by now, so nothing else waits for them.
fn end_secrets(plan: &mut Plan, state: &State, may_end: bool) {
    for (name, _) in state.secrets.iter().filter(|(_, secret)| secret.ours().is_some()) {
        plan.step(Step::DeleteSecret(name.clone()));
    }
    // One that the operator may not touch goes with its owner; one that was just not read is looked at again.
    let lets_go = state.secrets.values().all(|secret| match secret {
        SecretState::Unknown(error) => error.kind == cluster::Kind::Forbidden,
        _ => true,
    });
    if may_end && lets_go {
        plan.step(Step::ReleaseTarget);
    }
}

/// The target is being deleted and its credentials stay: nobody will look after them, so only what is in use remains, and
/// only with what the rules allow now.
pub(super) fn retain(document: &PolicyDocument, spec: &PrincipalSpec, state: &State, fresh: &Fresh) -> Plan {
    let mut plan = Plan::default();
    let Principal::Ours(ours) = &state.principal else { return remove(spec, state, fresh) };
    if ours.retained {
        // A crash kept it from being let go; it can be given nothing more.
        if state.unread_secret().is_none() {
            leave_behind(&mut plan, state);
        }
        return plan;
    }
    if ours.held {
        // Nobody looks after what is retained, so whoever holds it would hold it for ever.
        plan.blocked = Some(Blocked::OnHold { principal: spec.name.clone() });
        return plan;
    }
    bound(&mut plan, spec, state);
    if !ours.rights.are(document, spec.limits) {
        plan.policy(PutPolicy::new(spec, document, None).map(Step::CutBack));
    }
    drift::remove_additions(&mut plan, ours);
    keys::delete_made_by_keys(&mut plan, spec, state);
    if let Some(current) = state.current_key().filter(|current| current.withheld) {
        plan.step(Step::ActivateKey(current.id.clone()));
    }
    if state.unread_secret().is_none() {
        keys::delete_orphans(&mut plan, state, None);
    }
    for record in state.record.keys.iter().filter(|record| record.superseded_at.is_some()) {
        if ours.keys.iter().any(|key| key.id == record.id) {
            plan.delete_key(&record.id, KeyEnd::Expired);
        }
    }
    // A Secret that still belongs to the target would go with it.
    if !may_end(&mut plan, spec, state, fresh) || state.unread_secret().is_some() {
        return plan;
    }
    plan.step(Step::MarkRetained);
    leave_behind(&mut plan, state);
    plan
}

fn leave_behind(plan: &mut Plan, state: &State) {
    for (name, _) in state.secrets.iter().filter(|(_, secret)| secret.ours().is_some()) {
        plan.step(Step::DisownSecret(name.clone()));
    }
    plan.step(Step::ReleaseTarget);
}

fn delete_policy(plan: &mut Plan, ours: &Observed) {
    if !ours.rights.are_absent() {
        plan.step(Step::DeletePolicy);
    }
}

/// Whether the target may go. What an interrupted creation may still bring, and keys that are not ours, keep it
/// (docs/decisions/key-creation.md).
fn may_end(plan: &mut Plan, spec: &PrincipalSpec, state: &State, fresh: &Fresh) -> bool {
    if state.key_may_still_appear(fresh.now) || state.user_may_still_appear(fresh.now) {
        plan.waiting = Some(Waiting::KeyMayAppear);
        return false;
    }
    let unknown = keys::left_alone(spec, state);
    if !unknown.is_empty() {
        plan.blocked = Some(Blocked::UnknownKeys { ids: unknown, principal: spec.name.clone() });
        return false;
    }
    true
}
