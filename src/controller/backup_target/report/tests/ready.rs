//! What Ready says of a target that is provided for.

use super::*;
use crate::provider::aws::amazon;

const READY_FOR: (&str, Reason, Option<&str>) = ("True", Reason::Provisioned, None);

fn stalls(reason: Reason) -> (&'static str, Reason, Option<&'static str>) {
    ("False", reason, Some(STALLED))
}

fn goes_on(reason: Reason) -> (&'static str, Reason, Option<&'static str>) {
    ("False", reason, Some(RECONCILING))
}

#[test]
fn what_is_in_place_is_ready() {
    let held = base().with(Plan { on_hold: true, ..Plan::default() });
    let suspended = provides(&json!({"suspend": true}), &json!({}), &[]);
    let mut both = suspended.clone();
    both.result = held.result.clone();
    let table = [
        (base(), Reason::Provisioned),
        (tiers(&Capability::ALL), Reason::Provisioned),
        (suspended, Reason::Suspended),
        (held, Reason::OnHold),
        (both, Reason::OnHold),
    ];
    for (ended, reason) in table {
        let told = ended.told();
        assert_eq!(state(&told), ("True", reason, None));
        assert_eq!(told.observed_generation, Some(1));
    }
}

#[test]
fn what_is_in_the_way_needs_a_person() {
    for (blocked, reason) in in_the_way() {
        assert_eq!(state(&base().blocked(blocked.clone()).told()), stalls(reason), "{blocked:?}");
    }
}

#[test]
fn what_is_waited_for_goes_on_by_itself_but_for_a_fight() {
    let until = at(NOW + 60);
    let table = [
        (Waiting::KeyMayAppear, goes_on(Reason::KeyUncertain)),
        (Waiting::ReissueLimit { until, keyless: false }, goes_on(Reason::ReissueLimited)),
        (Waiting::ReissueLimit { until, keyless: true }, goes_on(Reason::ReissueLimited)),
        (Waiting::Contested { until }, stalls(Reason::Contested)),
    ];
    for (waiting, expected) in table {
        assert_eq!(state(&base().waiting(waiting.clone()).told()), expected, "{waiting:?}");
    }
}

#[test]
fn paused_repairs_stall_what_does_not_work_without_them() {
    let left = |lost| base().with(Plan { left: vec!["its tags".into()], lost, ..Plan::default() }).told();
    assert_eq!(state(&left(true)), stalls(Reason::DriftLeft));
    assert_eq!(state(&left(false)), READY_FOR);
    for status in [left(true), left(false)] {
        assert!(message(&status, READY).contains("its tags"), "{}", message(&status, READY));
        assert_eq!(status.record.applied, None, "not all of it was given");
    }
}

/// What the rules say comes before what suspension holds back.
#[test]
fn what_no_rule_allows_is_asked_of_the_administrator() {
    let asks = |spec: &Value| provides(spec, &json!({}), &[]);
    let acls = asks(&json!({"capabilities": ["ObjectAcls"]}));
    assert_eq!(state(&acls.told()), stalls(Reason::NotAllowed));
    let suspended = asks(&json!({"capabilities": ["ObjectAcls"], "suspend": true}));
    assert_eq!(state(&suspended.clone().told()), stalls(Reason::NotAllowed));
    assert_eq!(state(&suspended.blocked(Blocked::Suspended).told()), stalls(Reason::NotAllowed));
    assert_eq!(state(&acls.clone().blocked(Blocked::Invalid(invalid())).told()), stalls(Reason::InvalidSpec));
    let goes_with_it = "when this target is deleted, its credentials are deleted";
    assert!(!message(&acls.told(), READY).contains(goes_with_it));
    let retains = asks(&json!({"deletionPolicy": "Retain"})).told();
    assert_eq!(state(&retains), stalls(Reason::NotAllowed));
    assert!(message(&retains, READY).contains(goes_with_it), "{}", message(&retains, READY));
}

#[test]
fn what_a_proof_found_of_what_was_granted_decides() {
    let refused = |denier| Reading::Refused(denier);
    let table = [
        (Reading::Allowed, READY_FOR),
        (Reading::AclsDisabled, READY_FOR),
        (Reading::Inconclusive("Odd".into()), READY_FOR),
        (refused(Some(&amazon::BUCKET_POLICY)), stalls(Reason::NotWorking)),
        (refused(None), stalls(Reason::NotWorking)),
        (Reading::Unsupported, stalls(Reason::Unsupported)),
    ];
    for (reading, expected) in table {
        let told = tiers(&[ACLS]).tried(with(Verb::SetAcl, Expect::Works, &reading)).told();
        assert_eq!(state(&told), expected, "{reading:?}");
    }
    let mut young = tiers(&[ACLS]).tried(with(Verb::SetAcl, Expect::Works, &refused(None)));
    young.remember_proof(NOW - 60);
    assert_eq!(state(&young.told()), goes_on(Reason::Propagating));
    // What was not granted, and works all the same, is told by its own condition.
    let excess = base().tried(with(Verb::ListUploads, Expect::Refused, &Reading::Allowed)).told();
    assert_eq!(state(&excess), READY_FOR);
    assert_says(&excess, LEAST_PRIVILEGE, Truth::False, Reason::ExcessAccess);
}

#[test]
fn a_person_finds_in_ready_all_that_is_worth_knowing() {
    let said = |ended: &Ended| message(&ended.told(), READY).to_owned();
    let plain = said(&base());
    assert_eq!(plain, "Secret dataset-1 holds an rclone.conf whose remote backup: is x/ of bucket b-1");
    let mut moved = base();
    moved.record.previous_access = vec![former("w/", at(NOW + 60))];
    let with = |plan: Plan| base().with(plan);
    let some = |what: &str| vec![what.to_owned()];
    let table = [
        (moved, "w/ of bucket b-1 stays reachable until 1970-01-01T00:17:40Z"),
        (provides(&json!({"suspend": true}), &json!({}), &[]), "suspended, so changes and repairs wait"),
        (with(Plan { on_hold: true, ..Plan::default() }), "has the tag backup-target.dev/hold"),
        (
            with(Plan { left: some("its policy"), ..Plan::default() }),
            "somebody else changed its policy, and it is left",
        ),
        (
            with(Plan { denials: some("deny-all"), ..Plan::default() }),
            "put deny-all on the principal, which only denies",
        ),
        (
            with(Plan { unknown_keys: some("K9"), ..Plan::default() }),
            "access key K9 of its principal was not made by this",
        ),
    ];
    for (ended, words) in table {
        assert!(said(&ended).starts_with(&plain) && said(&ended).contains(words), "{}", said(&ended));
    }
}

#[test]
fn what_was_given_entirely_is_remembered_as_that() {
    let applied = |ended: &Ended| ended.told().record.applied.is_some();
    assert!(applied(&base()) && applied(&tiers(&Capability::ALL)));
    let partly = provides(&json!({"capabilities": ["ObjectAcls"]}), &json!({}), &[]);
    assert!(applied(&partly), "a part that no rule allows is not given later either");
    let until = at(NOW + 60);
    for ended in [
        base().blocked(Blocked::Suspended),
        base().waiting(Waiting::ReissueLimit { until, keyless: false }),
        base().with(Plan { left: vec!["its tags".into()], ..Plan::default() }),
        base().with(Plan { on_hold: true, ..Plan::default() }),
        provides(&json!({"suspend": true}), &json!({}), &[]),
        base().failed(unreachable()),
    ] {
        assert!(!applied(&ended));
    }
}
