//! Keys that a store's administrator brings: they are taken as they are, and never made, switched off or deleted.

use super::*;
use crate::provider::{Brought, KeySource, static_keys::store::LIMITS};

/// The principal in a store to which keys are brought.
fn holder() -> PrincipalSpec {
    PrincipalSpec { limits: &LIMITS, bound: None, access: Some(access("a", &[])), ..spec() }
}

fn wanted() -> Goal {
    let Goal::Provide(provide) = provide(&access("a", &[]), false) else { unreachable!("it provides") };
    Goal::Provide(Box::new(Provide { limits: &LIMITS, bound: None, ..*provide }))
}

fn with_key(id: Option<&str>) -> Observed {
    let listed = id.map(|id| Key { id: id.to_owned(), created_at: now(), active: true, last_used: None });
    let source = KeySource::Brought(id.map(|id| Brought::of(&key(id))));
    Observed { source, keys: listed.into_iter().collect(), ..Observed::default() }
}

/// One whose Secret has that key.
fn has(id: &str) -> State {
    let content = rclone(&access("a", &[])).render(&key(id)).expect("renders");
    let before = published(&access("a", &[]));
    State {
        record: Record {
            keys: vec![record(id, None, 0, None)],
            access_key_id: Some(id.to_owned()),
            proof: before.record.proof.clone().map(|proof| ProofRecord { key: id.to_owned(), ..proof }),
            policy: Some(PolicyStatus { digest: document(&access("a", &[])).digest(), form: PolicyForm::External }),
            ..before.record
        },
        principal: Principal::Ours(with_key(Some(id))),
        secrets: [(name(SECRET), SecretState::Ours(Box::new(owned(content.expose_secret()))))].into(),
        ..before
    }
}

/// Plans and does until nothing is left, where that key is the one that is brought; the names of the steps, what is told as put
/// right, and what happened.
fn pursue(state: &mut State, goal: &Goal, id: Option<&str>) -> (Vec<&'static str>, Vec<String>, Vec<Happened>) {
    let (spec, mut steps, mut repairs, mut events) = (holder(), Vec::new(), Vec::new(), Vec::new());
    let moment = Moment { spec: &spec, overlap: OVERLAP, now: now(), skew: None };
    for _ in 0..4 {
        settle(state, &spec, OVERLAP, now());
        let plan = plan(goal, &spec, state, &Fresh { now: now(), store_time: None, nonce: "n".into() });
        assert_eq!((&plan.waiting, &plan.blocked), (&None, &None));
        if plan.steps.is_empty() {
            return (steps, repairs, events);
        }
        steps.extend(cases::names_of(&plan));
        repairs.extend(plan.repairs.clone());
        for Planned { step, .. } in &plan.steps {
            let made = || CreatedKey { key: key(id.expect("a key was brought")), created_at: now() };
            let outcome = match step {
                Step::CreatePrincipal => Outcome::PrincipalCreated(with_key(id)),
                Step::CreateKey => Outcome::KeyCreated(made()),
                _ => outcome(state, goal, step, now(), &mut 0),
            };
            events.extend(state.apply(step, outcome, &moment).expect("what came of it is well"));
            if matches!(step, Step::ReleaseTarget) {
                return (steps, repairs, events);
            }
        }
    }
    panic!("no end of steps: {steps:?}");
}

fn published_id(state: &State) -> Option<String> {
    state.published_key().map(|key| key.id)
}

#[test]
fn a_first_key_is_taken_tried_and_published() {
    let mut state = fresh();
    let (steps, ..) = pursue(&mut state, &wanted(), Some("K1"));
    assert_eq!(steps, ["claim", "user", "remember", "check", "key", "prove", "secret"]);
    assert_eq!(published_id(&state).as_deref(), Some("K1"));
    assert!(pursue(&mut state, &wanted(), Some("K1")).0.is_empty());
}

#[test]
fn what_is_as_it_was_brought_is_left() {
    assert!(pursue(&mut has("K1"), &wanted(), Some("K1")).0.is_empty());
}

#[test]
fn another_key_is_followed_and_nothing_is_promised_of_the_one_before() {
    let mut state = has("K1");
    state.principal = Principal::Ours(with_key(Some("K2")));
    let (steps, repairs, events) = pursue(&mut state, &wanted(), Some("K2"));
    assert_eq!(steps, ["check", "key", "prove", "secret"]);
    assert!(repairs.is_empty(), "it was asked for: {repairs:?}");
    let is_told = |event: &Happened| matches!(event, Happened::KeyFollowed { key, before, .. } if key == "K2" && before.as_deref() == Some("K1"));
    assert!(events.iter().any(is_told), "{events:?}");
    let ids: Vec<&str> = state.record.keys.iter().map(|record| record.id.as_str()).collect();
    assert_eq!((ids, published_id(&state).as_deref()), (vec!["K2"], Some("K2")));
}

#[test]
fn a_key_stays_published_until_another_works() {
    let mut state = has("K1");
    state.principal = Principal::Ours(with_key(Some("K2")));
    state.in_hand = Some(CreatedKey { key: key("K2"), created_at: now() });
    settle(&mut state, &holder(), OVERLAP, now());
    assert_eq!(state.key_to_try(now()).map(|key| key.id).as_deref(), Some("K2"));
    assert_eq!(published_id(&state).as_deref(), Some("K1"));
    // The one in hand is not what is brought any more.
    state.principal = Principal::Ours(with_key(Some("K3")));
    assert!(state.pending(now()).is_none() && state.to_take().is_some_and(|brought| brought.id == "K3"));
    // And the administrator went back to the one before.
    state.principal = Principal::Ours(with_key(Some("K1")));
    assert!(state.to_take().is_none() && pursue(&mut state, &wanted(), Some("K1")).0.is_empty());
}

#[test]
fn a_lost_secret_comes_again_as_often_as_it_is_lost() {
    let mut state = has("K1");
    for _ in 0..3 {
        state.secrets.clear();
        let (steps, repairs, events) = pursue(&mut state, &wanted(), Some("K1"));
        assert_eq!(steps, ["check", "key", "prove", "secret"]);
        assert_eq!((repairs.as_slice(), events.len()), ([format!("Secret {SECRET}")].as_slice(), 0));
        assert_eq!(published_id(&state).as_deref(), Some("K1"));
    }
}

#[test]
fn what_is_withheld_loses_its_secret_and_gets_it_back() {
    let mut state = has("K1");
    state.principal = Principal::Ours(with_key(None));
    assert_eq!(pursue(&mut state, &withhold(), None).0, ["delete-secret", "delete-policy"]);
    let told = plan(&withhold(), &holder(), &state, &Fresh { now: now(), store_time: None, nonce: "n".into() });
    assert!(told.unrevoked.is_some_and(|told| told.contains("works until")), "{told:?}");
    state.principal = Principal::Ours(with_key(Some("K1")));
    pursue(&mut state, &wanted(), Some("K1"));
    assert_eq!(published_id(&state).as_deref(), Some("K1"));
}

#[test]
fn what_is_deleted_goes_at_once_and_its_key_stays() {
    let mut state = has("K1");
    state.principal = Principal::Ours(with_key(None));
    let steps = pursue(&mut state, &Goal::Remove, None).0;
    assert_eq!(steps, ["remove", "delete-secret", "release"]);
    // Nothing may still appear of an intent that never brought a key.
    let mut state = fresh();
    state.finalizer = true;
    let intent = Fresh { now: now(), store_time: None, nonce: "n".into() }.intent(&state, SECRET);
    state.record.key_intent = Some(intent);
    state.principal = Principal::Ours(with_key(None));
    assert_eq!(pursue(&mut state, &Goal::Remove, None).0, ["remove", "release"]);
}
