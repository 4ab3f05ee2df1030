//! Drift: what somebody else changed on what is ours, told apart from changes that were asked for.

use super::{Plan, State, Step, Waiting};
use crate::{controller::goal::Provide, store::User};

/// AWS attaches this to a user whose key it found in public. It is a warning, and only a person may take it off.
const QUARANTINE: &str = ":policy/AWSCompromisedKeyQuarantine";

/// The policy with which AWS warns of a key in public, if there is one.
pub(super) fn quarantine(user: &User) -> Option<&String> {
    user.additions.attached.iter().find(|arn| arn.contains(QUARANTINE))
}

/// Takes off what others put on the principal. Groups stay: the right to take a user out of one cannot be limited to our
/// users, so the operator does not have it and tells instead.
pub(super) fn remove_additions(plan: &mut Plan, user: &User) {
    plan.steps.extend(user.additions.inline.iter().cloned().map(Step::DeleteAddition));
    let attached = user.additions.attached.iter().filter(|arn| !arn.contains(QUARANTINE));
    plan.steps.extend(attached.cloned().map(Step::Detach));
}

/// As [`remove_additions`], for a principal that goes: nothing may hang on it then.
pub(super) fn remove_all_additions(plan: &mut Plan, user: &User) {
    plan.steps.extend(user.additions.inline.iter().cloned().map(Step::DeleteAddition));
    plan.steps.extend(user.additions.attached.iter().cloned().map(Step::Detach));
}

/// Groups give rights that no policy of ours says.
pub(super) fn excess(user: &User) -> Vec<String> {
    user.additions
        .groups
        .iter()
        .map(|group| format!("whatever group {group} allows, of which it is a member"))
        .collect()
}

/// Holds a plan back that does nothing but undo somebody else's work, where that was asked for, or where it is a fight.
pub(super) fn hold_repairs(plan: &mut Plan, goal: &Provide, state: &State) {
    if !is_repair(plan, goal, state) {
        return;
    }
    plan.repairs = plan.steps.iter().filter_map(|step| what(step, goal)).collect();
    if goal.repairs_paused {
        plan.left = std::mem::take(&mut plan.repairs);
        plan.steps.clear();
    } else if let Some(until) = state.contested_until {
        plan.repairs.clear();
        plan.steps.clear();
        plan.due_at(until);
        plan.waiting = Some(Waiting::Contested { until });
    }
}

/// Whether nothing was asked for that is not in place already: then what there is to do is a repair.
fn is_repair(plan: &Plan, goal: &Provide, state: &State) -> bool {
    let status = &state.status;
    let in_place = state.is_current
        && status.policy.as_ref().is_some_and(|policy| policy.digest == goal.document.digest())
        && status.secret_name.as_ref() == Some(&goal.secret_name)
        && status.access.as_ref() == Some(&goal.record.0);
    let withheld = |id: &String| status.keys.iter().any(|record| record.id == *id && record.withheld);
    let repairs = |step: &Step| match step {
        Step::ActivateKey(id) => !withheld(id),
        step => what(step, goal).is_some(),
    };
    in_place && !plan.steps.is_empty() && plan.steps.iter().all(repairs)
}

/// What a step puts right, if that is all it does.
fn what(step: &Step, goal: &Provide) -> Option<String> {
    match step {
        Step::PutPolicy(_) => Some("its policy".to_owned()),
        Step::SetBoundary(_) => Some("its permissions boundary".to_owned()),
        Step::Tag => Some("its tags".to_owned()),
        Step::DeleteAddition(name) => Some(format!("an inline policy {name} that was added")),
        Step::Detach(arn) => Some(format!("the policy {arn} that was attached")),
        Step::ActivateKey(id) => Some(format!("access key {id}, which was inactive")),
        Step::WriteSecret(write) if write.key.is_some() => Some(format!("Secret {}", goal.secret_name)),
        _ => None,
    }
}
