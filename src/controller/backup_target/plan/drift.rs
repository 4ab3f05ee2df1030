//! Drift: what somebody else changed on what is ours, told apart from changes that were asked for.

use super::{Cause, Plan, Planned, State, Step, Waiting};
use crate::{
    controller::backup_target::decide::Provide,
    provider::{DeviationKind, Observed},
};

/// Takes off what others added to the principal. What only denies stays: whoever put it there contains the principal with it.
pub(super) fn remove_additions(plan: &mut Plan, ours: &Observed) {
    for addition in ours.deviating(DeviationKind::Addition) {
        plan.restore(Step::Amend(addition.clone()), format!("{}, which was added", addition.what));
    }
}

/// The policies of others that only deny.
pub(super) fn denials(ours: &Observed) -> Vec<String> {
    ours.deviating(DeviationKind::Denial).map(|denial| denial.what.clone()).collect()
}

/// As [`remove_additions`], for a principal that goes: nothing may hang on it then.
pub(super) fn remove_all_additions(plan: &mut Plan, ours: &Observed) {
    for hanging in ours.deviations.iter().filter(|deviation| deviation.kind.hangs_on()) {
        plan.step(Step::Amend(hanging.clone()));
    }
}

/// What the principal may do besides what its policy says, once the steps are done.
pub(super) fn excess(plan: &Plan, ours: &Observed) -> Vec<String> {
    use DeviationKind::{Addition, Beyond, Unread};
    let gives = ours.deviations.iter().filter(|deviation| matches!(deviation.kind, Addition | Unread | Beyond));
    let stays = gives.filter(|deviation| !plan.has(|step| matches!(step, Step::Amend(gone) if gone == *deviation)));
    stays.map(|deviation| deviation.what.clone()).collect()
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
    let status = &state.record;
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
    matches!(step, Step::CreatePrincipal | Step::CreateKey | Step::WriteSecret(_))
}

/// What somebody else changed and these steps put right.
fn restored(steps: &[Planned]) -> Vec<String> {
    let what = |planned: &Planned| match &planned.cause {
        Cause::Repair(what) | Cause::Limit(Some(what)) => Some(what.clone()),
        Cause::Asked | Cause::Limit(None) | Cause::Preparation => None,
    };
    steps.iter().filter_map(what).collect()
}
