//! Drift: what somebody else changed on what is ours, told apart from changes that were asked for.

use super::{KeyEnd, Plan, State, Step, Waiting};
use crate::{controller::backup_target::decide::Provide, store::User};

/// AWS attaches this to a user whose key it found in public. It is a warning, and only a person may take it off.
const QUARANTINE: &str = ":iam::aws:policy/AWSCompromisedKeyQuarantine";

/// The policy with which AWS warns of a key in public, if there is one.
pub(super) fn quarantine(user: &User) -> Option<&String> {
    user.additions.attached.iter().find(|arn| arn.contains(QUARANTINE))
}

/// Takes off what others put on the principal. Groups stay: the right to take a user out of one cannot be limited to our
/// users, so the operator does not have it and tells instead.
/// What only denies stays: whoever put it there contains the principal with it.
pub(super) fn remove_additions(plan: &mut Plan, user: &User) {
    let additions = &user.additions;
    let goes = |policy: &&String| !additions.may_contain(policy);
    plan.steps.extend(additions.inline.iter().filter(goes).cloned().map(Step::DeleteAddition));
    let attached = additions.attached.iter().filter(goes).filter(|arn| !arn.contains(QUARANTINE));
    plan.steps.extend(attached.cloned().map(Step::Detach));
}

/// The policies of others that only deny.
pub(super) fn denials(user: &User) -> Vec<String> {
    user.additions.denials.iter().filter(|policy| !policy.contains(QUARANTINE)).cloned().collect()
}

/// As [`remove_additions`], for a principal that goes: nothing may hang on it then.
pub(super) fn remove_all_additions(plan: &mut Plan, user: &User) {
    plan.steps.extend(user.additions.inline.iter().cloned().map(Step::DeleteAddition));
    plan.steps.extend(user.additions.attached.iter().cloned().map(Step::Detach));
}

/// What the principal may do besides what its policy says, once the steps are done: groups, and what is not taken off now.
pub(super) fn excess(plan: &Plan, user: &User) -> Vec<String> {
    let goes = |name: &String| {
        plan.steps.iter().any(|step| matches!(step, Step::DeleteAddition(gone) | Step::Detach(gone) if gone == name))
    };
    let stays = |name: &String| !user.additions.denials.contains(name) && !goes(name);
    let inline = user.additions.inline.iter().filter(|name| stays(name)).map(|name| format!("inline policy {name}"));
    let attached = user.additions.attached.iter().filter(|arn| stays(arn) && !arn.contains(QUARANTINE)).cloned();
    let groups = user.additions.groups.iter().map(|group| format!("group {group}, of which it is a member"));
    inline.chain(attached).chain(groups).collect()
}

/// Holds back what does nothing but undo somebody else's work, where that was asked for, or where it is a fight.
pub(super) fn hold_repairs(plan: &mut Plan, goal: &Provide, state: &State) {
    if !is_in_place(goal, state) {
        return;
    }
    plan.repairs.extend(boundary(plan, goal, state));
    let told: Vec<String> = plan.steps.iter().filter_map(|step| what(step, goal)).collect();
    if told.is_empty() {
        return;
    }
    if !goal.repairs_paused && state.contested_until.is_none() {
        plan.repairs.extend(told);
        return;
    }
    let lost = |step: &Step| matches!(step, Step::CreateUser | Step::CreateKey | Step::WriteSecret(_));
    plan.lost = plan.steps.iter().any(lost);
    plan.steps.retain(|step| what(step, goal).is_none() && !prepares(step));
    match state.contested_until.filter(|_| !goal.repairs_paused) {
        None => plan.left = told,
        Some(until) => {
            plan.due_at(until);
            plan.waiting = Some(Waiting::Contested { until });
        }
    }
}

/// What status cannot say any more is told as a repair once it is written anew; nothing holds that back.
pub(super) fn tell_unreadable(plan: &mut Plan, goal: &Provide) {
    let remembers = |step: &Step| match step {
        Step::PutPolicy(put) | Step::CutBack(put) => put.record.is_some(),
        Step::Remember(_) => true,
        _ => false,
    };
    if plan.steps.iter().any(remembers) {
        plan.repairs.extend(goal.unreadable.map(|field| format!("{field}, which could not be read")));
    }
}

/// The boundary is a limit, and put back whatever holds repairs; told as one, unless the store has only now been given it.
fn boundary(plan: &Plan, goal: &Provide, state: &State) -> Option<String> {
    let given = state.status.applied.as_ref().and_then(|applied| applied.boundary.clone());
    let is_known = given == goal.terms.boundary.as_ref().map(ToString::to_string);
    let is_set = plan.steps.iter().any(|step| matches!(step, Step::SetBoundary(_)));
    (is_known && is_set).then(|| "its permissions boundary".to_owned())
}

/// Whether nothing was asked for that was not given already: then what differs was changed by somebody else.
fn is_in_place(goal: &Provide, state: &State) -> bool {
    let status = &state.status;
    state.is_applied
        && status.policy.as_ref().is_some_and(|policy| policy.digest == goal.document.digest())
        && status.secret_name.as_deref() == Some(goal.secret_name.as_str())
        && status.access.as_ref() == Some(&goal.record.0)
        && status.applied.as_ref().is_some_and(|applied| applied.rclone == goal.rclone.digest())
}

/// What is done only so that something can be replaced.
fn prepares(step: &Step) -> bool {
    use Step::{CheckSecret, DeleteKey, OpenIntent, Prove};
    let makes_room = matches!(step, DeleteKey { why: KeyEnd::MakesRoom, .. });
    makes_room || matches!(step, CheckSecret(_) | OpenIntent(_) | Prove { publishes: true, .. })
}

/// What a step puts right, if that is all it does. A key that works again is never one that somebody else switched off without
/// being asked.
fn what(step: &Step, goal: &Provide) -> Option<String> {
    match step {
        Step::PutPolicy(_) => Some("its policy".to_owned()),
        Step::Tag => Some("its tags".to_owned()),
        Step::DeleteAddition(name) => Some(format!("an inline policy {name} that was added")),
        Step::Detach(arn) => Some(format!("the policy {arn} that was attached")),
        Step::CreateUser => Some("its IAM user, which was deleted".to_owned()),
        Step::CreateKey => Some("its access key, or the Secret that held it".to_owned()),
        Step::WriteSecret(_) => Some(format!("Secret {}", goal.secret_name)),
        _ => None,
    }
}
