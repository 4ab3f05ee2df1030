//! Drift: what somebody else changed on what is ours, told apart from changes that were asked for.

use super::{Cause, Plan, Planned, State, Step, Waiting};
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
    for name in additions.inline.iter().filter(goes) {
        plan.restore(Step::DeleteAddition(name.clone()), format!("an inline policy {name} that was added"));
    }
    for arn in additions.attached.iter().filter(goes).filter(|arn| !arn.contains(QUARANTINE)) {
        plan.restore(Step::Detach(arn.clone()), format!("the policy {arn} that was attached"));
    }
}

/// The policies of others that only deny.
pub(super) fn denials(user: &User) -> Vec<String> {
    user.additions.denials.iter().filter(|policy| !policy.contains(QUARANTINE)).cloned().collect()
}

/// As [`remove_additions`], for a principal that goes: nothing may hang on it then.
pub(super) fn remove_all_additions(plan: &mut Plan, user: &User) {
    user.additions.inline.iter().for_each(|name| plan.step(Step::DeleteAddition(name.clone())));
    user.additions.attached.iter().for_each(|arn| plan.step(Step::Detach(arn.clone())));
}

/// What the principal may do besides what its policy says, once the steps are done: groups, and what is not taken off now.
pub(super) fn excess(plan: &Plan, user: &User) -> Vec<String> {
    let goes = |name: &String| {
        plan.has(|step| matches!(step, Step::DeleteAddition(gone) | Step::Detach(gone) if gone == name))
    };
    let stays = |name: &String| !user.additions.denials.contains(name) && !goes(name);
    let inline = user.additions.inline.iter().filter(|name| stays(name)).map(|name| format!("inline policy {name}"));
    let attached = user.additions.attached.iter().filter(|arn| stays(arn) && !arn.contains(QUARANTINE)).cloned();
    let groups = user.additions.groups.iter().map(|group| format!("group {group}, of which it is a member"));
    inline.chain(attached).chain(groups).collect()
}

/// What status cannot say any more is told as a repair once it is written anew; nothing holds that back.
pub(super) fn tell_unreadable(plan: &mut Plan, goal: &Provide) {
    let remembers = |step: &Step| match step {
        Step::PutPolicy(put) | Step::CutBack(put) => put.record.is_some(),
        Step::Remember(_) => true,
        _ => false,
    };
    if plan.has(remembers) {
        plan.repairs.extend(goal.unreadable.map(|field| format!("{field}, which could not be read")));
    }
}

/// Whether nothing was asked for that was not given already: then what differs was changed by somebody else.
pub(super) fn is_in_place(goal: &Provide, state: &State) -> bool {
    let status = &state.status;
    state.is_applied
        && status.policy.as_ref().is_some_and(|policy| policy.digest == goal.document.digest())
        && status.secret_name.as_deref() == Some(goal.secret_name.as_str())
        && status.access.as_ref() == Some(&goal.record.0)
        && status.applied.as_ref().is_some_and(|applied| applied.rclone == goal.rclone.digest())
}

/// Holds back what does nothing but undo somebody else's work, where that was asked for, or where it is a fight.
pub(super) fn hold_repairs(plan: &mut Plan, goal: &Provide, state: &State) {
    plan.repairs = restored(&plan.steps);
    let repairs = plan.steps.iter().any(|planned| matches!(planned.cause, Cause::Repair(_)));
    if !repairs || !goal.repairs_paused && state.contested_until.is_none() {
        return;
    }
    let waits = |planned: &Planned| matches!(planned.cause, Cause::Repair(_) | Cause::Preparation);
    let (held, goes_on): (Vec<Planned>, Vec<Planned>) = plan.steps.drain(..).partition(waits);
    plan.lost = held.iter().any(|planned| breaks_credentials(&planned.step));
    plan.repairs = restored(&goes_on);
    plan.steps = goes_on;
    match state.contested_until.filter(|_| !goal.repairs_paused) {
        None => plan.left = restored(&held),
        Some(until) => {
            plan.due_at(until);
            plan.waiting = Some(Waiting::Contested { until });
        }
    }
}

/// Whether the published credentials do not work for as long as this waits.
fn breaks_credentials(step: &Step) -> bool {
    matches!(step, Step::CreateUser | Step::CreateKey | Step::WriteSecret(_))
}

/// What somebody else changed and these steps put right.
fn restored(steps: &[Planned]) -> Vec<String> {
    let what = |planned: &Planned| match &planned.cause {
        Cause::Repair(what) | Cause::Limit(Some(what)) => Some(what.clone()),
        Cause::Asked | Cause::Limit(None) | Cause::Preparation => None,
    };
    steps.iter().filter_map(what).collect()
}
