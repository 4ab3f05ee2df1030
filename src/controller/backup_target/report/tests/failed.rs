//! What is said when a reconcile failed.

use super::*;
use crate::controller::backup_target::verification::Failure;
use crate::provider::aws::amazon;

fn proven() -> BackupTargetStatus {
    base().tried(|_| None).told()
}

/// The next reconcile of a target that was ready.
fn fails(error: Error) -> Ended {
    base().failed(error).after(&proven())
}

fn not_proven(reason: Reason, retry: Retry) -> Error {
    Error::NotProven(Failure { reason, message: "it was tried".to_owned(), retry })
}

#[test]
fn what_is_published_stands_while_nobody_can_look() {
    for (error, reason, abnormal) in [
        (unreachable(), Reason::StoreUnreachable, RECONCILING),
        (denied(), Reason::AccessDenied, STALLED),
        (Error::TimedOut, Reason::TimedOut, RECONCILING),
        (Error::StoreNotFound("default".into()), Reason::StoreNotFound, RECONCILING),
    ] {
        let told = fails(error).told();
        assert_eq!(state(&told), ("True", Reason::Provisioned, Some(abnormal)));
        assert_says(&told, abnormal, Truth::True, reason);
        assert_says(&told, "BaseAccess", Truth::True, Reason::Verified);
        assert_eq!(told.record.proof, proven().record.proof);
    }
}

/// What somebody allowed a moment ago is not known everywhere yet, and calls nobody.
#[test]
fn what_is_refused_may_be_new() {
    let young = fails(denied()).just_now().told();
    assert_eq!(state(&young), ("True", Reason::Provisioned, Some(RECONCILING)));
    let first = base().failed(denied()).just_now();
    assert_eq!(state(&first.told()), ("False", Reason::AccessDenied, Some(RECONCILING)));
    let lasting = base().failed(denied()).told();
    assert_eq!(state(&lasting), ("False", Reason::AccessDenied, Some(STALLED)));
    let restarted = first.clone().after(&lasting).told();
    assert_eq!(state(&restarted), ("False", Reason::AccessDenied, Some(STALLED)), "that is known already");
    let another = Ended { result: Err(Error::Invalid(invalid())), ..first };
    assert_eq!(state(&another.told()), ("False", Reason::InvalidSpec, Some(STALLED)), "a person alone mends it");
}

#[test]
fn ready_falls_when_anything_says_that_it_does_not_stand() {
    let (mut changed, mut unready, mut goes) = (fails(denied()), fails(denied()), fails(denied()));
    changed.target.metadata.generation = Some(2);
    unready.before().conditions = base().waiting(Waiting::KeyMayAppear).told().conditions;
    goes.target = deleted(goes.target);
    let first = base().failed(denied());
    for (what, ended) in [
        ("what was published was found missing", fails(denied()).disturbed()),
        ("the spec asks for something else", changed),
        ("it was not ready before", unready),
        ("it is being deleted", goes),
        ("it is the first time", first),
    ] {
        assert_eq!(state(&ended.told()), ("False", Reason::AccessDenied, Some(STALLED)), "{what}");
    }
    for (error, reason) in [
        (Error::Invalid(invalid()), Reason::InvalidSpec),
        (Error::Blocked(Blocked::Suspended), Reason::ChangeSuspended),
    ] {
        assert_eq!(state(&fails(error).told()), ("False", reason, Some(STALLED)), "it is the target's own");
    }
}

#[test]
fn what_a_proof_found_is_told_although_it_failed() {
    let refused = with(Verb::Get, Expect::Works, &Reading::Refused(Some(&amazon::BUCKET_POLICY)));
    let found = |error| base().tried(&refused).failed(error).told();
    let told = found(not_proven(Reason::NotWorking, Retry::Stalled));
    assert_eq!(state(&told), ("False", Reason::NotWorking, Some(STALLED)));
    assert_says(&told, "BaseAccess", Truth::False, Reason::NotWorking);
    let later = found(unreachable());
    assert_says(&later, "BaseAccess", Truth::False, Reason::NotWorking);
    let spreads = found(not_proven(Reason::Propagating, Retry::Backoff));
    assert_eq!(state(&spreads), ("False", Reason::Propagating, Some(RECONCILING)));
}

/// A store that does not answer says nothing, and what was proven before stands.
#[test]
fn silence_says_nothing_of_the_tiers() {
    let silent = with(Verb::List, Expect::Works, &Reading::Unreachable);
    for reason in [Reason::StoreUnreachable, Reason::Throttled, Reason::ClockSkewed] {
        let told = base().tried(&silent).failed(not_proven(reason, Retry::Backoff)).after(&proven()).told();
        assert_eq!(state(&told).0, "True");
        assert_says(&told, "BaseAccess", Truth::True, Reason::Verified);
    }
}

#[test]
fn before_anything_was_decided_all_that_was_said_of_the_tiers_stands() {
    let mut ended = fails(Error::StoreNotFound("default".into()));
    ended.goal = None;
    assert_says(&ended.told(), "BaseAccess", Truth::True, Reason::Verified);
    ended.before().conditions.clear();
    assert_says(&ended.told(), "BaseAccess", Truth::Unknown, Reason::Pending);
}
