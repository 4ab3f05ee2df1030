//! Towards a principal, a key and a Secret that carry what is granted.

use secrecy::ExposeSecret;

use super::{
    Blocked, Fresh, KeyEnd, NewKey, Plan, Principal, PrincipalSpec, PutPolicy, SecretKey, SecretState, State, Step,
    Waiting, WriteSecret, bound, drift, keys, proof,
};
use crate::{
    access::{Access, Invalid, PolicyDocument, rclone::AccessKey},
    api::backup_target::{KeyRecord, PreviousAccess},
    controller::backup_target::decide::Provide,
    names::ObjectName,
    provider::{Brought, DeviationKind, Observed, Rights},
};

pub(super) fn plan(goal: &Provide, spec: &PrincipalSpec, state: &State, fresh: &Fresh) -> Plan {
    let in_place = drift::is_in_place(goal, state);
    let mut plan = Plan { unknown_keys: keys::left_alone(spec, state), in_place, ..Plan::default() };
    if let Principal::Foreign { whose } = &state.principal {
        plan.hold(state, fresh);
        plan.blocked = Some(Blocked::ForeignPrincipal { principal: spec.name.clone(), whose: whose.clone() });
        return plan;
    }
    plan.on_hold = matches!(&state.principal, Principal::Ours(ours) if ours.held);
    plan.blocked = in_the_way(goal, spec, state);
    let is_read = state.unread_secret().is_none();
    let works = plan.blocked.is_none() && !goal.suspended && is_read && !plan.on_hold;
    if !state.finalizer && (works || state.has_anything()) {
        plan.step(Step::Claim(fresh.intent(state, goal.secret_name.as_str())));
    }
    bound(&mut plan, spec, state);
    // What the rules take away goes first, whatever else stands in the way.
    let ours = cut_back(goal, spec, state, &mut plan);
    keys::delete_made_by_keys(&mut plan, spec, state);
    // What a Secret holds that cannot be read is no orphan.
    if is_read {
        keys::delete_orphans(&mut plan, state, state.pending(fresh.now).filter(|_| works).map(|created| &created.key));
    }
    if works {
        provide(goal, spec, ours, state, fresh, &mut plan);
    } else if goal.suspended && is_read && !plan.on_hold {
        suspended(goal, spec, state, fresh, &mut plan);
    }
    end_overlaps(goal, state, fresh, &mut plan);
    drift::hold_repairs(&mut plan, goal, state);
    drift::tell_unreadable(&mut plan, goal);
    if let Principal::Ours(ours) = &state.principal {
        plan.excess = drift::excess(&plan, ours);
        plan.denials = drift::denials(ours);
    }
    if works && plan.blocked.is_none() {
        proof::of_published(&mut plan, goal, state, fresh);
    }
    plan
}

fn in_the_way(goal: &Provide, spec: &PrincipalSpec, state: &State) -> Option<Blocked> {
    if let Some(invalid) = &goal.invalid {
        return Some(Blocked::Invalid(invalid.clone()));
    }
    if let SecretState::Foreign { owner } = state.secret(goal.secret_name.as_str()) {
        return Some(Blocked::ForeignSecret { name: goal.secret_name.to_string(), owner: owner.clone() });
    }
    if let Principal::Ours(ours) = &state.principal
        && ours.held
        && (state.record.access.is_none() || would_change(goal, spec, state))
    {
        return Some(Blocked::OnHold { principal: spec.name.clone() });
    }
    let ours = match &state.principal {
        Principal::Ours(ours) => Some(ours),
        Principal::Absent | Principal::Foreign { .. } => None,
    };
    if let Some(alarm) = ours.and_then(|ours| ours.deviating(DeviationKind::Alarm).next()) {
        return Some(Blocked::Compromised { alarm: alarm.what.clone(), principal: spec.name.clone() });
    }
    let Some(form) = spec.limits.form(&goal.document) else {
        return Some(Blocked::PolicyTooLarge { size: goal.document.size(), limit: spec.limits.largest_document() });
    };
    let occupied = ours.and_then(|ours| ours.rights.occupied.as_ref()).filter(|occupied| occupied.form == form)?;
    Some(Blocked::ForeignPolicy { name: occupied.name.clone(), why: occupied.why.clone() })
}

/// The published key, when somebody else switched it off: it stays so, and no other takes its place.
fn switched_off(goal: &Provide, spec: &PrincipalSpec, state: &State, fresh: &Fresh) -> Option<Blocked> {
    let current = state.current_key().filter(|key| stays_off(key, goal, fresh))?;
    state.keys().iter().find(|listed| listed.id == current.id && !listed.active)?;
    Some(Blocked::SwitchedOff { id: current.id.clone(), principal: spec.name.clone() })
}

/// Whether somebody else switched the key off, and the store's administrator has not said since that it may work again.
fn stays_off(key: &KeyRecord, goal: &Provide, fresh: &Fresh) -> bool {
    let said = goal.reactivate_at.filter(|at| *at <= fresh.now);
    key.off_since.is_some_and(|off_since| said.is_none_or(|said| said < off_since))
}

/// Takes what the rules no longer allow out of the policy; returns the principal as it is then.
fn cut_back(goal: &Provide, spec: &PrincipalSpec, state: &State, plan: &mut Plan) -> Option<Observed> {
    let Principal::Ours(user) = &state.principal else { return None };
    let mut user = user.clone();
    let allowed = goal.document_with(goal.still_needed().as_ref());
    let has = |document: &PolicyDocument| user.rights.are(document, spec.limits);
    if goal.cut && !user.rights.are_absent() && !has(&allowed) && !has(&goal.document) {
        let record = (allowed == goal.document).then(|| goal.record.clone());
        if let Some(put) = PutPolicy::new(spec, &allowed, record).filter(|_| !allowed.is_empty()) {
            user.rights = Rights::just(&put.document, put.form);
            plan.step(Step::CutBack(put));
        } else {
            plan.step(Step::DeletePolicy);
            user.rights = Rights::default();
        }
    }
    Some(user)
}

/// Limits by the rules hold for suspended targets too, and what a limit took comes back; everything else waits.
fn suspended(goal: &Provide, spec: &PrincipalSpec, state: &State, fresh: &Fresh, plan: &mut Plan) {
    if plan.blocked.is_none() {
        let waits = state.record.access.is_none() || would_change(goal, spec, state);
        plan.blocked = switched_off(goal, spec, state, fresh).or(waits.then_some(Blocked::Suspended));
    }
    let Principal::Ours(user) = &state.principal else { return };
    // Only a document that this operator has not written yet is due: an edit by somebody else is a repair, and waits.
    let written = state.record.policy.as_ref().map(|policy| policy.digest.as_str());
    let due = state.record.access.is_some() && written != Some(goal.document.digest().as_str());
    if state.record.access.is_some() && !due {
        plan.policy(remember(goal, spec, state));
    } else if due && !goal.document.is_empty() && !plan.has(|step| matches!(step, Step::CutBack(_))) {
        plan.policy(PutPolicy::new(spec, &goal.document, Some(goal.record.clone())).map(Step::PutPolicy));
    }
    for record in state.record.keys.iter().filter(|record| record.withheld) {
        if user.keys.iter().any(|key| key.id == record.id) {
            plan.step(Step::ActivateKey(record.id.clone()));
        }
    }
}

/// Whether anything would be done, were the target not suspended.
fn would_change(goal: &Provide, spec: &PrincipalSpec, state: &State) -> bool {
    let Principal::Ours(user) = &state.principal else { return true };
    let claimed = goal.grant.claimed.to_record();
    let in_place = state.published_key().is_some_and(|key| {
        let active = user.keys.iter().any(|listed| listed.id == key.id && listed.active);
        active && write_secret(goal, state, key).is_ok_and(|write| write.is_none())
    });
    let policy = user.rights.are(&goal.document, spec.limits);
    state.record.access.as_ref() != Some(&claimed) || !in_place || !policy
}

fn provide(
    goal: &Provide,
    spec: &PrincipalSpec,
    ours: Option<Observed>,
    state: &State,
    fresh: &Fresh,
    plan: &mut Plan,
) {
    // Keys go with their principal.
    let key = ours.as_ref().and_then(|_| state.published_key()).filter(|_| state.to_take().is_none());
    let ours = ours.unwrap_or_else(|| {
        if keys::reissue_limit(state, fresh.now).is_none() {
            open_intent(plan, &goal.secret_name, state, fresh);
        }
        plan.restore(Step::CreatePrincipal, format!("its {}, which was deleted", spec.name.words.principal));
        Observed::default()
    });
    for mark in ours.deviating(DeviationKind::Mark) {
        plan.restore(Step::Amend(mark.clone()), mark.what.clone());
    }
    drift::remove_additions(plan, &ours);
    let off = switched_off(goal, spec, state, fresh);
    let write = match key.map(|key| write_secret(goal, state, key)) {
        Some(Ok(write)) => write,
        Some(Err(unwritable)) => {
            plan.blocked = Some(Blocked::Invalid(unwritable));
            return;
        }
        None => Some(WriteSecret { name: goal.secret_name.clone(), key: SecretKey::Unpublished(new_key(state)) }),
    };
    let write = write.filter(|_| off.is_none());
    let (before, after) = policy_steps(goal, spec, state, &ours, write.is_some());
    let proof = proof::of_new_policy(goal, state, before.as_ref());
    plan.policy(before);
    activate(plan, goal, &ours, state, fresh);
    match write {
        Some(WriteSecret { key: SecretKey::Unpublished(why), .. }) => publish_new(plan, goal, spec, why, state, fresh),
        Some(write) => publish(plan, proof, write),
        None => {}
    }
    plan.policy(after);
    plan.blocked = plan.blocked.take().or(off);
}

/// Tries the key, and then writes the Secret.
fn publish(plan: &mut Plan, proof: Option<Step>, write: WriteSecret) {
    if let Some(proof) = proof {
        plan.prepare(proof);
    }
    let what = format!("Secret {}", write.name);
    plan.restore(Step::WriteSecret(write), what);
}

/// Why a key is needed where none is published.
fn new_key(state: &State) -> NewKey {
    let is_lost = state.record.access_key_id.is_some();
    match &state.principal {
        _ if !is_lost => NewKey::First,
        Principal::Absent if state.record.principal.is_some() => NewKey::LostWithPrincipal,
        _ if brings_another(state) => NewKey::Brought,
        _ => NewKey::Lost,
    }
}

/// Whether the key that is there to be taken is another one than was published last.
fn brings_another(state: &State) -> bool {
    let is_another = |brought: &Brought| state.current_key().is_none_or(|key| !brought.is_recorded_as(key));
    state.to_take().is_some_and(is_another)
}

/// The write that the Secret needs to carry this key, if any.
fn write_secret(goal: &Provide, state: &State, key: AccessKey) -> Result<Option<WriteSecret>, Invalid> {
    let wanted = goal.rclone.render(&key)?;
    let in_place = state.secret(goal.secret_name.as_str()).ours().is_some_and(|secret| {
        secret.well_formed
            && secret.rclone_conf.as_ref().is_some_and(|file| file.expose_secret() == wanted.expose_secret())
    }) && state.record.secret_name.as_deref() == Some(goal.secret_name.as_str());
    Ok((!in_place).then(|| WriteSecret { name: goal.secret_name.clone(), key: SecretKey::Published(key) }))
}

/// The policy before and after the Secret is written: wider first, narrower last, so that what is published always works.
fn policy_steps(
    goal: &Provide,
    spec: &PrincipalSpec,
    state: &State,
    ours: &Observed,
    writes_secret: bool,
) -> (Option<Step>, Option<Step>) {
    let has = |document: &PolicyDocument| ours.rights.are(document, spec.limits);
    let last = PutPolicy::new(spec, &goal.document, Some(goal.record.clone())).map(Step::PutPolicy);
    let needed = if has(&goal.document) { remember(goal, spec, state) } else { last.clone() };
    let union = if writes_secret { wider(goal, spec, ours) } else { None };
    match union.filter(|union| *union != goal.document) {
        None => (needed, None),
        Some(union) if has(&union) => (None, needed),
        Some(union) => (PutPolicy::new(spec, &union, None).map(Step::PutPolicy), last),
    }
}

/// Old and new access together, when the store has exactly the old one now.
fn wider(goal: &Provide, spec: &PrincipalSpec, ours: &Observed) -> Option<PolicyDocument> {
    let current = goal.current.as_ref()?;
    let has = |before: &Access| ours.rights.are(&goal.document_with(Some(before)), spec.limits);
    let before = goal.still_needed().into_iter().chain(goal.before.clone()).find(has)?;
    if !before.same_place(current) {
        // The former folder is among the former ones already.
        return None;
    }
    let union = Access {
        capabilities: before.capabilities.union(&current.capabilities).copied().collect(),
        ancestor_listing: before.ancestor_listing || current.ancestor_listing,
        ..current.clone()
    };
    Some(goal.document_with(Some(&union))).filter(|document| spec.limits.form(document).is_some())
}

/// Status remembers what the policy covers, also when a crash kept it from being written down.
fn remember(goal: &Provide, spec: &PrincipalSpec, state: &State) -> Option<Step> {
    let (access, previous) = goal.record.clone();
    let written = state.record.policy.as_ref().map(|policy| policy.digest.as_str());
    let known = state.record.access.as_ref() == Some(&access)
        && written == Some(goal.document.digest().as_str())
        && same(&state.record.previous_access, &previous);
    let put = PutPolicy::new(spec, &goal.document, Some((access, previous)))?;
    (!known).then_some(Step::Remember(put))
}

/// The same folders, none of which ends sooner.
fn same(known: &[PreviousAccess], wanted: &[PreviousAccess]) -> bool {
    known.len() == wanted.len()
        && known.iter().zip(wanted).all(|(known, wanted)| known.access == wanted.access && known.until <= wanted.until)
}

/// Keys of ours that are off by a withheld claim work again, and those for which an administrator said so.
fn activate(plan: &mut Plan, goal: &Provide, user: &Observed, state: &State, fresh: &Fresh) {
    // Of one whose overlap is over, status may not have been told any more that it was switched off.
    let lasts = |record: &KeyRecord| {
        record.inactive_since.is_none() && record.revoke_at.is_none_or(|revoke_at| revoke_at > fresh.now)
    };
    for record in state.record.keys.iter().filter(|record| lasts(record) && !stays_off(record, goal, fresh)) {
        // One that is on already, and that status takes for withheld, a crash has kept from being told.
        if user.keys.iter().any(|key| key.id == record.id && (!key.active || record.withheld)) {
            plan.step(Step::ActivateKey(record.id.clone()));
        }
    }
}

/// Publishes a new key, which may have to be created first.
fn publish_new(plan: &mut Plan, goal: &Provide, spec: &PrincipalSpec, why: NewKey, state: &State, fresh: &Fresh) {
    let secret = &goal.secret_name;
    let write = WriteSecret { name: secret.clone(), key: SecretKey::Unpublished(why) };
    if state.keys_are_brought() {
        return take(plan, goal, why, write, state, fresh);
    }
    if state.pending(fresh.now).is_some() {
        return publish(plan, proof::of_new_key(goal), write);
    }
    if state.key_may_still_appear(fresh.now) {
        plan.waiting = Some(Waiting::KeyMayAppear);
        return;
    }
    if let Some(until) = keys::reissue_limit(state, fresh.now) {
        plan.due_at(until);
        plan.waiting = Some(Waiting::ReissueLimit { until, keyless: state.current_key().is_none() });
        return;
    }
    if !make_room(plan, spec, secret, state) {
        plan.blocked = Some(Blocked::UnknownKeys { ids: state.unknown_keys(), principal: spec.name.clone() });
        return;
    }
    check_secret(plan, secret);
    open_intent(plan, secret, state, fresh);
    plan.restore(Step::CreateKey, "its access key, or the Secret that held it");
    publish(plan, proof::of_new_key(goal), write);
}

/// Publishes the key that was brought. To take it again is to take the same one, so that nothing is written down before, and as
/// often as it is lost.
fn take(plan: &mut Plan, goal: &Provide, why: NewKey, write: WriteSecret, state: &State, fresh: &Fresh) {
    if state.to_take().is_none() {
        return;
    }
    // What the administrator brings is asked for, and nothing that is put right.
    plan.in_place &= why == NewKey::Lost;
    if state.pending(fresh.now).is_none() {
        check_secret(plan, &goal.secret_name);
        plan.prepare(Step::CreateKey);
    }
    publish(plan, proof::of_new_key(goal), write);
}

/// Whether there is room for one more key; the one that was replaced first goes for it.
fn make_room(plan: &mut Plan, spec: &PrincipalSpec, secret: &ObjectName, state: &State) -> bool {
    let taken = state.keys().len() - state.orphans().len();
    if taken < spec.limits.keys {
        return true;
    }
    let Some(oldest) = keys::makes_room(state) else { return false };
    // What can be refused is refused before a key that still works has to go.
    check_secret(plan, secret);
    plan.prepare(Step::DeleteKey { id: oldest.id.clone(), why: KeyEnd::MakesRoom });
    true
}

/// Writes down what is about to be created, unless the first intent, which came with the finalizer, says it already.
fn open_intent(plan: &mut Plan, secret: &ObjectName, state: &State, fresh: &Fresh) {
    let opened = plan.has(|step| matches!(step, Step::OpenIntent(..)));
    let first = !state.finalizer && state.first_intent_counts();
    if opened || first {
        return;
    }
    check_secret(plan, secret);
    plan.prepare(Step::OpenIntent(fresh.intent(state, secret.as_str()), new_key(state)));
}

/// No key is created for a Secret that the API server would not take: its quota may be used up.
fn check_secret(plan: &mut Plan, name: &ObjectName) {
    if !plan.has(|step| matches!(step, Step::CheckSecret(_))) {
        plan.prepare(Step::CheckSecret(name.clone()));
    }
}

fn end_overlaps(goal: &Provide, state: &State, fresh: &Fresh, plan: &mut Plan) {
    if matches!(state.principal, Principal::Ours(_)) {
        keys::retire(plan, state, goal.grant.key_overlap, goal.grant.max_key_overlap, fresh.now);
    }
    keys::delete_former_secrets(plan, state, Some(goal.secret_name.as_str()), fresh.now);
    for former in state.record.previous_access.iter().filter(|former| former.until > fresh.now) {
        plan.due_at(former.until);
    }
}
