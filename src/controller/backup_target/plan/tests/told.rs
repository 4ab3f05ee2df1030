//! What is told follows from the facts alone: not from the moment at which somebody looks.

use super::*;
use crate::{
    api::{BackupTarget, backup_target::BackupTargetStatus},
    controller::backup_target::{
        conclude::conclude,
        report::{Outcome, report},
    },
};

fn target() -> BackupTarget {
    let mut target: BackupTarget = serde_json::from_value(serde_json::json!({
        "apiVersion": "backup-target.dev/v1alpha1", "kind": "BackupTarget",
        "metadata": {"name": "dataset-1", "namespace": "backups"}, "spec": {"bucket": "my-backups"},
    }))
    .expect("a target");
    target.metadata.generation = Some(1);
    target
}

/// What is told with that remembered, after that was told.
fn told(
    goal: &Goal,
    record: &Record,
    before: Option<&BackupTargetStatus>,
    plan: &Plan,
    now: Timestamp,
) -> BackupTargetStatus {
    let outcome =
        Outcome { goal: Some(goal), disturbed: false, proof: None, result: Ok(plan), failing: Duration::ZERO };
    let mut target = target();
    target.status = before.cloned();
    let record = conclude(record.clone(), &target, &outcome);
    report(&target, record, &outcome, now)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn equal_facts_are_told_alike_whenever_one_looks(
        goal in any_goal(), mut state in any_state(), contested in option::of(1..600_i64), later in -5..3_000_i64,
    ) {
        state.contested_until = contested.map(|seconds| ago(-seconds));
        let goal = facing(&goal, &state);
        let end = converge(&mut state, &goal);
        let first = told(&goal, &state.record, None, &end, now());
        state.record = first.record.clone();

        let due = end.due.map_or(i64::MAX, |due| due.duration_since(now()).as_secs());
        let then = ago(-later.min(due - 1));
        let again = plan(&facing(&goal, &state), &spec(), &state, &Fresh { now: then, store_time: Some(then), nonce: "later".into() });
        // What may still appear is waited for until the clock says that it will not.
        let waited = end.waiting == Some(Waiting::KeyMayAppear) && again.waiting != end.waiting;
        prop_assume!(again.steps.is_empty() && !waited);
        prop_assert_eq!(told(&goal, &state.record, Some(&first), &again, then), first);
    }
}
