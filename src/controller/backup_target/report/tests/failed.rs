//! What is said when a reconcile failed.

use super::*;
use crate::controller::backup_target::verification::Failure;

fn proven() -> BackupTargetStatus {
    base().tried(|_| None).told()
}

/// The next reconcile of a target that was ready.
fn fails(error: Error) -> Ended {
    base().failed(error).after(&proven())
}

fn not_proven(reason: &'static str, retry: Retry) -> Error {
    Error::NotProven(Failure { reason, message: "it was tried".to_owned(), retry })
}

#[test]
fn what_is_published_stands_while_nobody_can_look() {
    for (error, reason, abnormal) in [
        (unreachable(), reason::STORE_UNREACHABLE, RECONCILING),
        (denied(), reason::ACCESS_DENIED, STALLED),
        (Error::TimedOut, reason::TIMED_OUT, RECONCILING),
        (Error::StoreNotFound("default".into()), reason::STORE_NOT_FOUND, RECONCILING),
    ] {
        let told = fails(error).told();
        assert_eq!(state(&told), ("True", reason::PROVISIONED, Some(abnormal)));
        assert_says(&told, abnormal, Truth::True, reason);
        assert_says(&told, "BaseAccess", Truth::True, reason::VERIFIED);
        assert_eq!(told.proof, proven().proof);
    }
}

#[test]
fn ready_falls_when_anything_says_that_it_does_not_stand() {
    let (mut changed, mut unready, mut goes) = (fails(denied()), fails(denied()), fails(denied()));
    changed.target.metadata.generation = Some(2);
    unready.memory.conditions = base().waiting(Waiting::KeyMayAppear).told().conditions;
    goes.target = deleted(goes.target);
    let first = base().failed(denied());
    for (what, ended) in [
        ("what was published was found missing", fails(denied()).disturbed()),
        ("the spec asks for something else", changed),
        ("it was not ready before", unready),
        ("it is being deleted", goes),
        ("it is the first time", first),
    ] {
        assert_eq!(state(&ended.told()), ("False", reason::ACCESS_DENIED, Some(STALLED)), "{what}");
    }
    for (error, reason) in [
        (Error::Invalid(invalid()), reason::INVALID_SPEC),
        (Error::Blocked(Blocked::Suspended), reason::CHANGE_SUSPENDED),
    ] {
        assert_eq!(state(&fails(error).told()), ("False", reason, Some(STALLED)), "it is the target's own");
    }
}

#[test]
fn what_a_proof_found_is_told_although_it_failed() {
    let refused = with(Verb::Get, Expect::Works, &Reading::Refused(Some(Denier::BucketPolicy)));
    let found = |error| base().tried(&refused).failed(error).told();
    let told = found(not_proven(reason::NOT_WORKING, Retry::Stalled));
    assert_eq!(state(&told), ("False", reason::NOT_WORKING, Some(STALLED)));
    assert_says(&told, "BaseAccess", Truth::False, reason::NOT_WORKING);
    let later = found(unreachable());
    assert_says(&later, "BaseAccess", Truth::False, reason::NOT_WORKING);
    let spreads = found(not_proven(reason::PROPAGATING, Retry::Backoff));
    assert_eq!(state(&spreads), ("False", reason::PROPAGATING, Some(RECONCILING)));
}

/// A store that does not answer says nothing, and what was proven before stands.
#[test]
fn silence_says_nothing_of_the_tiers() {
    let silent = with(Verb::List, Expect::Works, &Reading::Unreachable);
    for reason in [reason::STORE_UNREACHABLE, reason::THROTTLED, reason::CLOCK_SKEWED] {
        let told = base().tried(&silent).failed(not_proven(reason, Retry::Backoff)).after(&proven()).told();
        assert_eq!(state(&told).0, "True");
        assert_says(&told, "BaseAccess", Truth::True, reason::VERIFIED);
    }
}

#[test]
fn before_anything_was_decided_all_that_was_said_of_the_tiers_stands() {
    let mut ended = fails(Error::StoreNotFound("default".into()));
    ended.goal = None;
    assert_says(&ended.told(), "BaseAccess", Truth::True, reason::VERIFIED);
    ended.memory.conditions.clear();
    assert_says(&ended.told(), "BaseAccess", Truth::Unknown, reason::PENDING);
}
