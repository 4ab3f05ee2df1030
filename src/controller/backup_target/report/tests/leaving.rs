//! What is said of a target whose claim is refused, or that is being deleted.

use super::*;
use crate::names::ObjectName;

/// One whose claim no rule covers, with or without a key from better times.
fn refused(has_key: bool) -> Ended {
    let record = if has_key { given(&access(&[], false)) } else { Record::default() };
    settled(claim(&json!({"capabilities": ["ObjectAcls"]})), record, &[])
}

/// One that names its store by an alias.
fn alias() -> Ended {
    let spec = json!({"storeRef": {"name": "default#x"}});
    settled(claim(&spec), given(&access(&[], false)), &[json!({})])
}

/// One that is suspended and whose status nobody can read any more.
fn garbled() -> Ended {
    let mut record = given(&access(&[], false));
    record.access.as_mut().expect("it was given something").bucket = "NOT A BUCKET".to_owned();
    settled(claim(&json!({"suspend": true, "capabilities": ["ObjectAcls"]})), record, &[json!({})])
}

fn deleting() -> Ended {
    let mut ended = settled(deleted(claim(&json!({}))), given(&access(&[], false)), &[json!({})]);
    ended.target.metadata.generation = Some(2);
    ended
}

#[test]
fn a_refusal_says_what_no_rule_covers() {
    for (ended, why) in [
        (refused(true), Reason::NotAllowed),
        (refused(false), Reason::NotAllowed),
        (alias(), Reason::InvalidSpec),
        (garbled(), Reason::ChangeSuspended),
    ] {
        let told = ended.told();
        assert_eq!(state(&told), ("False", why, Some(STALLED)));
        assert_says(&told, "BaseAccess", Truth::False, Reason::NotAllowed);
        assert_says(&told, LEAST_PRIVILEGE, Truth::Unknown, Reason::NotAllowed);
        assert_says(&told, "MultipartUploads", Truth::False, Reason::NotRequested);
    }
    assert_says(&refused(true).told(), "ObjectAcls", Truth::False, Reason::NotAllowed);
    let inactive = "the access key is inactive";
    for (ended, has) in [(refused(true), true), (refused(false), false), (alias(), true), (garbled(), true)] {
        let told = ended.told();
        assert_eq!(message(&told, READY).contains(inactive), has, "{}", message(&told, READY));
    }
}

#[test]
fn what_is_refused_is_tried_again_when_it_is_allowed_again() {
    let mut ended = refused(true);
    ended.record.policy = Some(PolicyStatus { digest: "d".to_owned(), form: PolicyForm::Inline });
    ended.before().tiers = Some("base".to_owned());
    ended.remember_proof(0);
    let told = ended.told();
    assert_eq!((told.record.proof, told.tiers), (None, None));
}

#[test]
fn a_secret_that_cannot_be_read_is_named() {
    let unread = || Unread {
        name: ObjectName::parse("locked").expect("valid"),
        error: cluster::Error { kind: cluster::Kind::Forbidden, what: "read the Secret" },
    };
    for ended in [refused(true), alias(), garbled()] {
        let told = ended.with(Plan { unread: Some(unread()), ..Plan::default() }).told();
        assert!(message(&told, READY).contains("Secret locked is left as it is"), "{}", message(&told, READY));
    }
}

#[test]
fn what_keeps_a_refusal_from_being_carried_out_is_told_first() {
    for (blocked, reason) in in_the_way() {
        let told = refused(true).blocked(blocked.clone()).told();
        assert_eq!(state(&told), ("False", reason, Some(STALLED)), "{blocked:?}");
        assert!(!message(&told, READY).starts_with(DELETION_WAITS), "nobody deletes it");
    }
}

#[test]
fn a_deletion_tells_what_it_waits_for() {
    let going = deleting().told();
    assert_eq!(state(&going), ("False", Reason::Deleting, Some(RECONCILING)));
    let until = at(NOW + 60);
    let (blocked, reason) = in_the_way()[1].clone();
    let table = [
        (deleting().blocked(blocked), reason, STALLED),
        (deleting().waiting(Waiting::KeyMayAppear), Reason::KeyUncertain, RECONCILING),
        (deleting().waiting(Waiting::Contested { until }), Reason::Contested, STALLED),
        (deleting().failed(denied()), Reason::AccessDenied, STALLED),
        (deleting().failed(unreachable()), Reason::StoreUnreachable, RECONCILING),
    ];
    for (ended, reason, abnormal) in table {
        let told = ended.told();
        assert_eq!(state(&told), ("False", reason, Some(abnormal)));
        assert!(message(&told, READY).starts_with(DELETION_WAITS), "{}", message(&told, READY));
        assert_eq!(told.observed_generation, Some(2));
    }
}

/// What its credentials can do is true until they are gone.
#[test]
fn a_deletion_leaves_the_tiers_as_they_were() {
    let proven = base().tried(|_| None).told();
    for ended in [deleting(), deleting().waiting(Waiting::KeyMayAppear), deleting().failed(unreachable())] {
        let told = ended.after(&proven).told();
        assert_eq!(
            condition::find(&told.conditions, "BaseAccess"),
            condition::find(&proven.conditions, "BaseAccess"),
            "nothing new was learnt"
        );
    }
    assert_says(&deleting().told(), "BaseAccess", Truth::Unknown, Reason::Pending);
}
