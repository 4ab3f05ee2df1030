//! What is said of the tiers, and what is remembered with that.

use super::*;

const BASE: &str = "BaseAccess";

fn name(capability: Capability) -> &'static str {
    Tier::Optional(capability).name()
}

#[test]
fn what_was_not_tried_is_told_as_the_policy_has_it() {
    let told = tiers(&[ACLS]).told();
    for type_ in [BASE, name(ACLS)] {
        assert_says(&told, type_, Truth::True, Reason::Granted);
    }
    assert_says(&told, name(UPLOADS), Truth::False, Reason::NotRequested);
    assert_says(&told, LEAST_PRIVILEGE, Truth::Unknown, Reason::NotVerified);
    assert_eq!(told.tiers.as_deref(), Some("base,acls"));
}

#[test]
fn what_was_tried_is_told_as_it_was_found() {
    let told = tiers(&[ACLS]).tried(|_| None).told();
    for type_ in [BASE, name(ACLS), LEAST_PRIVILEGE] {
        assert_says(&told, type_, Truth::True, Reason::Verified);
    }
    assert_says(&told, name(UPLOADS), Truth::False, Reason::VerifiedDenied);
}

#[test]
fn what_was_proven_holds_for_that_key_and_that_policy() {
    let proven = base().tried(|_| None).told();
    let next = || Ended { proof: None, ..base() }.after(&proven);
    assert_eq!(next().told(), proven, "nothing is new");
    let mut generation = next();
    generation.target.metadata.generation = Some(2);
    let told = generation.told();
    assert_says(&told, BASE, Truth::True, Reason::Verified);
    assert!(told.conditions.iter().all(|told| told.observed_generation == Some(2)), "confirmed for the new spec");
    let (mut key, mut policy, mut unasked, mut untold) = (next(), next(), next(), next());
    key.record.access_key_id = Some("K2".to_owned());
    policy.record.policy = Some(PolicyStatus { digest: "another".to_owned(), form: PolicyForm::Inline });
    unasked.provide().verification = Verification::None;
    untold.before().conditions.clear();
    for ended in [key, policy, unasked, untold] {
        assert_says(&ended.told(), BASE, Truth::True, Reason::Granted);
        assert_says(&ended.told(), LEAST_PRIVILEGE, Truth::Unknown, Reason::NotVerified);
    }
}

/// It would stand for as long as what was proven does.
#[test]
fn what_tells_of_something_that_is_over_is_due_again() {
    let proven = tiers(&[ACLS]).tried(|_| None).told();
    let after = |ended: Ended, type_: &str, reason: Reason| {
        let mut before = proven.clone();
        let told = before.conditions.iter_mut().find(|told| told.type_ == type_).expect("it is told");
        told.reason = reason.to_string();
        ended.after(&before).told()
    };
    for why in [Reason::NotAllowed, Reason::ChangeSuspended, Reason::NotNeeded, Reason::Pending] {
        // What is given now, what nobody asks for any more, and what speaks of all of them.
        for type_ in [name(ACLS), name(UPLOADS), LEAST_PRIVILEGE] {
            let told = after(tiers(&[ACLS]), type_, why);
            assert_eq!(told.record.proof, None, "{type_} {why}");
            assert_says(&told, name(ACLS), Truth::True, Reason::Granted);
        }
    }
    assert_eq!(
        after(tiers(&[ACLS]), READY, Reason::Pending).record.proof,
        proven.record.proof,
        "Ready is told anew each time"
    );
    let mut lacks = provides(&json!({"capabilities": ["ObjectAcls"]}), &json!({}), &[]);
    lacks.remember_proof(0);
    let before = lacks.told();
    assert_eq!(lacks.after(&before).told().record.proof, before.record.proof, "what is still lacking is not over");
}

#[test]
fn rights_from_elsewhere_are_an_excess_until_they_are_gone() {
    let group = || Plan { excess: vec!["group admins".to_owned()], ..Plan::default() };
    let proven = base().tried(|_| None).told();
    let told = base().after(&proven).with(group()).told();
    assert_says(&told, LEAST_PRIVILEGE, Truth::False, Reason::OtherPolicies);
    assert_says(&told, BASE, Truth::True, Reason::Verified);
    assert!(message(&told, LEAST_PRIVILEGE).contains("group admins"));
    assert_eq!(state(&told).0, "True", "the credentials work");
    assert_eq!(base().after(&told).with(group()).told(), told, "nothing is new");
    let gone = base().after(&told).told();
    assert_says(&gone, LEAST_PRIVILEGE, Truth::Unknown, Reason::NotVerified);
    assert_eq!(gone.record.proof, None, "it is tried again");
    // What a proof found is over only when another proof says so.
    let found = base().tried(with(Verb::ListUploads, Expect::Refused, &Reading::Allowed)).told();
    let next = Ended { proof: None, ..base() }.after(&found).told();
    assert_says(&next, LEAST_PRIVILEGE, Truth::False, Reason::ExcessAccess);
    assert_eq!(next.record.proof, found.record.proof);
}

#[test]
fn a_tier_that_is_not_given_says_why() {
    let asks = |capability: Capability| json!({"capabilities": [capability.name()]});
    let conflict = || in_the_way()[0].0.clone();
    let mut missing_bucket = given(&access(&[CREATE], false));
    missing_bucket.bucket_missing = true;
    let creates = |record| {
        let mut ended = settled(claim(&asks(CREATE)), record, &[asks(CREATE)]);
        ended.record.policy = Some(PolicyStatus { digest: "d".to_owned(), form: PolicyForm::Inline });
        ended
    };
    let suspended = |asked: Capability| {
        let (mut spec, rule) = (asks(asked), json!({"capabilities": ["ObjectAcls"]}));
        spec["suspend"] = json!(true);
        provides(&spec, &rule, &[])
    };
    let both = json!({"capabilities": ["ObjectAcls", "MultipartUploads"], "suspend": true});
    let both = || provides(&both, &asks(ACLS), &[]);
    let table = vec![
        ("no rule", provides(&asks(ACLS), &json!({}), &[]), ACLS, Truth::False, Reason::NotAllowed),
        ("no rule, and suspended", suspended(UPLOADS), UPLOADS, Truth::False, Reason::NotAllowed),
        ("suspended", suspended(ACLS), ACLS, Truth::False, Reason::ChangeSuspended),
        ("suspended, while no rule allows another", both(), ACLS, Truth::False, Reason::ChangeSuspended),
        ("no rule, while another is suspended", both(), UPLOADS, Truth::False, Reason::NotAllowed),
        ("held up", provides(&asks(ACLS), &asks(ACLS), &[]).blocked(conflict()), ACLS, Truth::False, Reason::Pending),
        ("the bucket is there", creates(given(&access(&[CREATE], false))), CREATE, Truth::False, Reason::NotNeeded),
        ("the bucket is not there", creates(missing_bucket), CREATE, Truth::True, Reason::Granted),
    ];
    for (what, ended, tier, truth, why) in table {
        assert_eq!(says(&ended.told().conditions, name(tier)), Some((truth.as_str(), why)), "{what}");
    }
}

/// Of the tier that was asked for, and was not given yet when something came in the way.
#[test]
fn what_is_in_the_way_says_which_access_the_key_has() {
    let (new, old, kept) = ("the new one", "the old one", "nobody knows");
    let table = in_the_way().map(|(blocked, _)| {
        let has = match &blocked {
            Blocked::Suspended | Blocked::UnknownKeys { .. } | Blocked::Compromised { .. } => new,
            Blocked::ForeignPrincipal { .. } | Blocked::OnHold { .. } | Blocked::SwitchedOff { .. } => kept,
            Blocked::ForeignSecret { .. }
            | Blocked::PolicyTooLarge { .. }
            | Blocked::ForeignPolicy { .. }
            | Blocked::Invalid(_) => old,
        };
        (blocked, has)
    });
    let all = json!({"capabilities": ["ObjectAcls"]});
    for (blocked, expected) in table {
        let told = provides(&all, &all, &[]).blocked(blocked.clone()).told();
        let seen = match says(&told.conditions, name(ACLS)) {
            Some(("True", Reason::Granted)) => new,
            Some(("False", Reason::Pending)) => old,
            Some(("Unknown", Reason::Pending)) => kept,
            other => panic!("{other:?}"),
        };
        assert_eq!(seen, expected, "{blocked:?}");
    }
}

#[test]
fn before_anything_was_given_nothing_is_known() {
    let ended = settled(claim(&json!({})), Record::default(), &[json!({})]);
    let status = ended.waiting(Waiting::KeyMayAppear).told();
    for type_ in tier_types() {
        assert_says(&status, type_, Truth::Unknown, Reason::Pending);
    }
    assert_eq!(status.tiers, None);
}

#[test]
fn without_a_key_nothing_is_known_any_more() {
    let proven = base().tried(|_| None).told();
    let until = at(NOW + 60);
    let mut lost = base().waiting(Waiting::ReissueLimit { until, keyless: true }).after(&proven);
    lost.record.keys.clear();
    let mut failed = base().failed(unreachable()).disturbed().after(&proven);
    failed.record.keys.clear();
    for status in [lost.told(), failed.told()] {
        for type_ in tier_types() {
            assert_says(&status, type_, Truth::Unknown, Reason::Pending);
        }
        assert_eq!(status.record.proof, None);
    }
}

/// A suspended target keeps what it was given, and no rule allows that any more.
#[test]
fn where_nothing_is_left_nothing_is_allowed() {
    let spec = json!({"prefix": "y/", "suspend": true, "capabilities": ["ObjectAcls"]});
    let rule = json!({"prefixes": ["y/"], "capabilities": ["ObjectAcls"]});
    let ended = settled(claim(&spec), given(&access(&[ACLS], false)), &[rule]);
    let told = ended.told();
    for type_ in [BASE, name(ACLS)] {
        assert_says(&told, type_, Truth::False, Reason::NotAllowed);
    }
    assert_says(&told, name(UPLOADS), Truth::False, Reason::NotRequested);
    assert_says(&told, LEAST_PRIVILEGE, Truth::Unknown, Reason::NotAllowed);
    assert_eq!(told.tiers, None);
    let blocked = ended.blocked(Blocked::Suspended).told();
    assert_says(&blocked, BASE, Truth::Unknown, Reason::Pending);
}
