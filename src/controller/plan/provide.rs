//! Towards a principal, a key and a Secret that carry what is granted.

use secrecy::ExposeSecret;

use super::{
    Blocked, Fresh, KeyEnd, Plan, Principal, PutPolicy, SecretState, State, Step, UserSpec, WriteSecret, keys,
};
use crate::{
    access::{Access, PolicyDocument, policy::INLINE_LIMIT, rclone::AccessKey},
    controller::goal::Provide,
    store::{StoredPolicy, User},
};

pub(super) fn plan(goal: &Provide, user: &UserSpec, state: &State, fresh: &Fresh) -> Plan {
    let blocked = in_the_way(goal, user, state);
    let mut plan = Plan { blocked, unknown_keys: state.unknown_keys(), ..Plan::default() };
    if goal.suspended {
        suspended(goal, state, &mut plan);
    } else if plan.blocked.is_none() {
        provide(goal, user, state, fresh, &mut plan);
    }
    if state.finalizer {
        end_overlaps(goal, state, fresh, &mut plan);
    }
    plan
}

/// Checked before anything is touched.
fn in_the_way(goal: &Provide, user: &UserSpec, state: &State) -> Option<Blocked> {
    if let Principal::Foreign { why } = &state.principal {
        return Some(Blocked::ForeignPrincipal { name: user.name.clone(), why: why.clone() });
    }
    if let SecretState::Foreign { owner } = state.secret(&goal.secret_name) {
        return Some(Blocked::ForeignSecret { name: goal.secret_name.clone(), owner: owner.clone() });
    }
    let size = goal.document.size();
    (size > INLINE_LIMIT).then_some(Blocked::PolicyTooLarge { size })
}

/// Limits by the rules hold for suspended targets too; everything else waits.
fn suspended(goal: &Provide, state: &State, plan: &mut Plan) {
    if plan.blocked.is_none() && (state.status.access.is_none() || would_change(goal, state)) {
        plan.blocked = Some(Blocked::Suspended);
    }
    let Principal::Ours(user) = &state.principal else { return };
    // Only a document that this operator has not written yet is due: an edit by somebody else is a repair, and waits.
    let written = state.status.policy.as_ref().map(|policy| policy.digest.as_str());
    if state.status.access.is_some() && written != Some(goal.document.digest().as_str()) {
        plan.step(Step::PutPolicy(PutPolicy { document: goal.document.clone(), record: None }));
    }
    activate(plan, user, state);
}

fn would_change(goal: &Provide, state: &State) -> bool {
    let claimed = goal.grant.claimed.to_record();
    let content =
        state.published_key().is_some_and(|key| write_secret(goal, state, Some(key)).is_ok_and(|w| w.is_none()));
    state.status.access.as_ref() != Some(&claimed) || !content
}

fn provide(goal: &Provide, user: &UserSpec, state: &State, fresh: &Fresh, plan: &mut Plan) {
    if !state.finalizer {
        plan.step(Step::Claim(fresh.intent(state)));
    }
    let ours = match &state.principal {
        Principal::Ours(ours) => ours.clone(),
        Principal::Absent | Principal::Foreign { .. } => {
            plan.step(Step::CreateUser);
            User { boundary: user.boundary.clone(), ..User::default() }
        }
    };
    if let Some(boundary) = user.boundary.as_ref().filter(|boundary| ours.boundary.as_ref() != Some(boundary)) {
        plan.step(Step::SetBoundary(boundary.clone()));
    }
    activate(plan, &ours, state);
    keys::delete_orphans(plan, state);

    let key = state.published_key().filter(|key| key_is_listed(state, &key.id));
    let write = match &key {
        Some(_) => write_secret(goal, state, key.clone()),
        None => Ok(Some(WriteSecret { name: goal.secret_name.clone(), key: None })),
    };
    let write = match write {
        Ok(write) => write,
        Err(unwritable) => {
            plan.blocked = Some(Blocked::Unwritable(unwritable));
            return;
        }
    };
    let (before, after) = policy_steps(goal, state, &ours, write.is_some());
    plan.steps.extend(before);
    match write {
        Some(write) if write.key.is_none() => new_key(plan, write, state, fresh),
        Some(write) => plan.step(Step::WriteSecret(write)),
        None => {}
    }
    plan.steps.extend(after);
}

/// A recorded key that is missing from the list was deleted by somebody, unless it is so young that the list may lag.
fn key_is_listed(state: &State, id: &str) -> bool {
    state.status.keys.iter().any(|record| record.id == id)
}

/// The write that the Secret needs to carry this key, if any.
fn write_secret(
    goal: &Provide,
    state: &State,
    key: Option<AccessKey>,
) -> Result<Option<WriteSecret>, crate::access::Invalid> {
    let Some(key) = key else { return Ok(None) };
    let wanted = goal.rclone.render(&key)?;
    let in_place = state.secret(&goal.secret_name).ours().is_some_and(|secret| {
        secret.well_formed
            && secret.rclone_conf.as_ref().is_some_and(|file| file.expose_secret() == wanted.expose_secret())
    }) && state.status.secret_name.as_ref() == Some(&goal.secret_name);
    Ok((!in_place).then(|| WriteSecret { name: goal.secret_name.clone(), key: Some(key) }))
}

/// The policy before and after the Secret is written: wider first, narrower last, so that what is published always works.
fn policy_steps(goal: &Provide, state: &State, ours: &User, writes_secret: bool) -> (Option<Step>, Option<Step>) {
    let has = |document: &PolicyDocument| ours.policy == StoredPolicy::Known(document.clone());
    let put = |document: &PolicyDocument, record| Step::PutPolicy(PutPolicy { document: document.clone(), record });
    let last = put(&goal.document, goal.record.clone());
    let needed = if has(&goal.document) { remember(goal, state) } else { Some(last.clone()) };
    let union = if writes_secret { wider(goal, state, ours) } else { None };
    match union.filter(|union| *union != goal.document) {
        None => (needed, None),
        Some(union) if has(&union) => (None, needed),
        Some(union) => (Some(put(&union, None)), Some(last)),
    }
}

/// Old and new access together, when the store has exactly the old one now.
fn wider(goal: &Provide, state: &State, ours: &User) -> Option<PolicyDocument> {
    let (Some(current), Some(before)) = (goal.accesses.first(), state.status.access.as_ref()) else { return None };
    let before = Access::from_record(before).ok()?;
    if !before.same_place(current) {
        // The former folder is among the accesses already.
        return None;
    }
    let union = Access {
        capabilities: before.capabilities.union(&current.capabilities).copied().collect(),
        ancestor_listing: before.ancestor_listing || current.ancestor_listing,
        ..current.clone()
    };
    let with = |first: &Access| PolicyDocument::new(goal.partition, std::iter::once(first).chain(&goal.accesses[1..]));
    // What the rules no longer allow must leave at once: then the store does not have the old access, or must not.
    let had = ours.policy == StoredPolicy::Known(with(&before));
    let document = with(&union);
    (goal.missing.is_empty() && had && document.size() <= INLINE_LIMIT).then_some(document)
}

fn remember(goal: &Provide, state: &State) -> Option<Step> {
    let (access, previous) = goal.record.clone()?;
    let known = state.status.access.as_ref() == Some(&access) && same_places(&state.status.previous_access, &previous);
    (!known).then_some(Step::RecordAccess(access, previous))
}

/// Each plan computes the end of a new overlap anew, so ends are not compared.
fn same_places(
    known: &[crate::api::backup_target::PreviousAccess],
    wanted: &[crate::api::backup_target::PreviousAccess],
) -> bool {
    known.len() == wanted.len() && known.iter().zip(wanted).all(|(known, wanted)| known.access == wanted.access)
}

/// Keys that a withheld claim switched off work again.
fn activate(plan: &mut Plan, user: &User, state: &State) {
    for key in user.keys.iter().filter(|key| !key.active) {
        if state.status.keys.iter().any(|record| record.id == key.id && record.inactive_since.is_none()) {
            plan.step(Step::ActivateKey(key.id.clone()));
        }
    }
}

/// A new key: the first one, or one for a Secret that was lost.
fn new_key(plan: &mut Plan, write: WriteSecret, state: &State, fresh: &Fresh) {
    if state.key_may_still_appear(fresh.now) {
        plan.waiting = Some(super::Waiting::KeyMayAppear);
        return;
    }
    let reissue = state.status.access_key_id.is_some();
    if reissue && let Some(limit) = keys::reissue_limit(state, fresh.now) {
        if let super::Waiting::ReissueLimit { until } = limit {
            plan.due_at(until);
        }
        plan.waiting = Some(limit);
        return;
    }
    let orphans = state.orphans();
    let taken = state.keys().len() - orphans.len();
    if taken >= keys::SLOTS {
        let Some(oldest) = keys::makes_room(state) else {
            plan.blocked = Some(Blocked::UnknownKeys {
                ids: state.unknown_keys(),
                principal: state.status.principal.clone().unwrap_or_default(),
            });
            return;
        };
        plan.delete_key(&oldest.id, KeyEnd::MakesRoom);
    }
    if state.finalizer {
        plan.step(Step::OpenIntent(fresh.intent(state)));
    }
    plan.step(Step::CreateKey);
    plan.step(Step::WriteSecret(write));
}

fn end_overlaps(goal: &Provide, state: &State, fresh: &Fresh, plan: &mut Plan) {
    keys::retire(plan, state, goal.grant.key_overlap, goal.grant.max_key_overlap, fresh.now);
    for previous in &state.status.previous_secrets {
        if previous.until > fresh.now {
            plan.due_at(previous.until);
        } else if previous.name != goal.secret_name && state.secret(&previous.name).ours().is_some() {
            plan.step(Step::DeleteSecret(previous.name.clone()));
        }
    }
    for former in goal.record.iter().flat_map(|(_, previous)| previous) {
        plan.due_at(former.until);
    }
}
