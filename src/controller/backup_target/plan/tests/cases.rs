//! Single cases, each named after what must hold.

use super::*;

pub(super) fn names_of(plan: &Plan) -> Vec<&'static str> {
    plan.steps
        .iter()
        .map(|planned| match &planned.step {
            Step::Claim(_) => "claim",
            Step::OpenIntent(..) => "intent",
            Step::CreatePrincipal => "user",
            Step::Amend(deviation) => match deviation.kind {
                DeviationKind::Bound => "bound",
                DeviationKind::Mark => "mark",
                _ => "take-off",
            },
            Step::Prove { .. } => "prove",
            Step::PutPolicy(_) => "policy",
            Step::CutBack(_) => "cut-back",
            Step::Remember(_) => "remember",
            Step::CheckSecret(_) => "check",
            Step::ActivateKey(_) => "activate",
            Step::Withhold(_) => "withhold",
            Step::DeactivateKey { .. } => "deactivate",
            Step::ExtendKey { .. } => "extend",
            Step::DeleteKey { .. } => "delete-key",
            Step::CreateKey => "key",
            Step::WriteSecret(_) => "secret",
            Step::DeleteSecret(_) => "delete-secret",
            Step::DeletePolicy => "delete-policy",
            Step::RemoveRemains => "remove-remains",
            Step::RemovePrincipal => "remove",
            Step::MarkRetained => "tag",
            Step::DisownSecret(_) => "disown",
            Step::ReleaseTarget => "release",
        })
        .collect()
}

/// The step that opens an intent.
fn opening(plan: &Plan) -> Step {
    let opening = plan.steps.iter().find(|planned| matches!(planned.step, Step::OpenIntent(..)));
    opening.expect("a new key is made").step.clone()
}

fn planned(goal: &Goal, state: &State) -> Plan {
    settle_and_plan(&mut state.clone(), &facing(goal, state), 0)
}

fn drifted() -> State {
    let mut state = published(&access("a", &[]));
    state.record.secret_name = Some(SECRET.into());
    state.principal(|ours| {
        ours.rights.places[0].document = StoredPolicy::Other;
        ours.deviations = vec![
            deviation(DeviationKind::Bound, "its permissions boundary"),
            deviation(DeviationKind::Mark, "its tags"),
            deviation(DeviationKind::Addition, "more"),
            deviation(DeviationKind::Addition, "admin"),
            deviation(DeviationKind::Beyond, "a group"),
        ];
    });
    state
}

#[test]
fn what_somebody_else_changed_is_put_right() {
    let plan = planned(&provide(&access("a", &[]), false), &drifted());
    let steps = ["bound", "mark", "take-off", "take-off", "policy"];
    assert_eq!(names_of(&plan), steps);
    assert_eq!(plan.repairs.len(), steps.len(), "all of it is told: {:?}", plan.repairs);
    assert_eq!(plan.excess, ["a group"]);
}

#[test]
fn a_change_that_was_asked_for_is_no_repair() {
    let acls = access("a", &[Capability::ObjectAcls]);
    assert!(planned(&provide(&acls, false), &drifted()).repairs.is_empty());
    let mut older = drifted();
    older.is_applied = false;
    assert!(planned(&provide(&access("a", &[]), false), &older).repairs.is_empty());
}

#[test]
fn paused_repairs_are_only_told() {
    let Goal::Provide(mut goal) = provide(&access("a", &[]), false) else { panic!("it provides") };
    goal.repairs_paused = true;
    let plan = planned(&Goal::Provide(goal.clone()), &drifted());
    assert_eq!(names_of(&plan), ["bound"], "a limit is never held back");
    assert_eq!((plan.left.len(), plan.excess.len()), (4, 3), "{:?} {:?}", plan.left, plan.excess);
    // Nothing is held back that is no repair.
    let Goal::Provide(mut acls) = provide(&access("a", &[Capability::ObjectAcls]), false) else {
        panic!("it provides")
    };
    acls.repairs_paused = true;
    assert!(!planned(&Goal::Provide(acls), &drifted()).steps.is_empty());
}

#[test]
fn a_fight_is_told_and_not_fought() {
    let mut state = drifted();
    state.contested_until = Some(ago(-60));
    let plan = planned(&provide(&access("a", &[]), false), &state);
    assert_eq!((names_of(&plan), plan.due), (vec!["bound"], Some(ago(-60))));
    assert!(matches!(plan.waiting, Some(Waiting::Contested { .. })));
}

#[test]
fn what_is_on_hold_is_given_nothing_and_loses_what_it_must() {
    let (base, acls) = (access("a", &[]), access("a", &[Capability::ObjectAcls]));
    let hold = |state: &mut State| state.principal(|ours| ours.held = true);
    let mut settled = published(&base);
    hold(&mut settled);
    let plan = planned(&provide(&base, false), &settled);
    assert!(plan.on_hold && plan.blocked.is_none() && plan.steps.is_empty(), "{plan:?}");
    let mut state = drifted();
    hold(&mut state);
    for goal in [provide(&base, false), provide(&base, true), provide(&acls, false)] {
        let plan = planned(&goal, &state);
        assert_eq!(names_of(&plan), ["bound"], "a limit is never held back");
        assert!(matches!(plan.blocked, Some(Blocked::OnHold { .. })), "{plan:?}");
    }
    let mut lost = settled.clone();
    lost.secrets.clear();
    assert_eq!(names_of(&planned(&provide(&base, false), &lost)), [""; 0], "no new key");
    // What a rule, an overlap or a deletion takes away goes.
    let Goal::Provide(mut narrowed) = provide(&base, false) else { panic!("provided") };
    (narrowed.before, narrowed.cut) = (Some(base.clone()), true);
    let mut wide = published(&acls);
    hold(&mut wide);
    assert_eq!(names_of(&settle_and_plan(&mut wide, &Goal::Provide(narrowed), 0)), ["cut-back"]);
    let withheld = planned(&withhold(), &state);
    assert_eq!(names_of(&withheld), ["delete-policy", "withhold", "deactivate"], "and additions stay");
    let removed = planned(&Goal::Remove, &state);
    assert!(["delete-key", "take-off", "remove"].iter().all(|step| names_of(&removed).contains(step)));
    let retained = planned(&Goal::Retain { document: document(&base) }, &state);
    assert!(matches!(retained.blocked, Some(Blocked::OnHold { .. })) && retained.steps.is_empty(), "{retained:?}");
}

#[test]
fn what_only_denies_is_told_and_stays() {
    let mut state = drifted();
    state.principal(|ours| {
        ours.deviations[2].kind = DeviationKind::Unread;
        ours.deviations[3].kind = DeviationKind::Denial;
    });
    let goals = [provide(&access("a", &[]), false), withhold()];
    for goal in goals.into_iter().chain([Goal::Retain { document: document(&access("a", &[])) }]) {
        let steps = names_of(&planned(&goal, &state));
        assert!(!steps.contains(&"take-off"), "{steps:?}");
    }
    let plan = planned(&provide(&access("a", &[]), false), &state);
    assert_eq!((plan.denials, plan.excess.len()), (vec!["admin".to_owned()], 2), "{:?}", plan.excess);
    let removed = planned(&Goal::Remove, &state);
    let taken_off = names_of(&removed).into_iter().filter(|step| *step == "take-off").count();
    assert_eq!(taken_off, 2, "nothing may hang on a principal that goes");
}

#[test]
fn a_key_that_somebody_else_switched_off_stays_off_until_somebody_who_may_says_so() {
    let base = access("a", &[]);
    let Goal::Provide(goal) = provide(&base, false) else { panic!("it provides") };
    let mut state = published(&base);
    state.principal(|ours| ours.keys[0].active = false);
    let mut lost = state.clone();
    lost.secrets.clear();
    for state in [&state, &lost] {
        for paused in [false, true] {
            let goal = Provide { repairs_paused: paused, verify_at: Some(now()), ..(*goal).clone() };
            let plan = planned(&Goal::Provide(Box::new(goal)), state);
            assert_eq!(names_of(&plan), [""; 0]);
            assert!(matches!(plan.blocked, Some(Blocked::SwitchedOff { .. })), "{plan:?}");
        }
    }
    settle(&mut state, &spec(), OVERLAP, now());
    assert_eq!(state.record.keys[0].off_since, Some(now()), "since it was seen");
    for (said, steps) in [(-60, vec![]), (60, vec![]), (0, vec!["activate"])] {
        let goal = Provide { reactivate_at: Some(ago(said)), ..(*goal).clone() };
        let plan = planned(&Goal::Provide(Box::new(goal)), &state);
        assert_eq!((names_of(&plan), plan.repairs.len()), (steps, 0), "said {said} s ago");
    }
    act(&mut state, &provide(&access("a", &[]), false), &Step::ActivateKey("K1".into()), &mut 0);
    assert_eq!(state.record.keys[0].off_since, None);
    // Rules that took the claim away and gave it back change nothing about it.
    state.principal(|ours| ours.keys[0].active = false);
    converge(&mut state, &withhold());
    assert!(!state.record.keys[0].withheld, "it was not this operator");
    let back = planned(&provide(&base, false), &state);
    assert!(!names_of(&back).contains(&"activate") && back.blocked.is_some(), "{back:?}");
}

/// Wherever a crash cuts the withholding off, the key comes back when a rule allows the claim again.
#[test]
fn a_crash_does_not_make_a_withheld_key_look_like_one_that_somebody_else_switched_off() {
    let base = access("a", &[]);
    for steps in 0..5 {
        let mut state = published(&base);
        cut_after(&mut state, &withhold(), steps, Cut::Crash, &mut 0);
        let end = converge(&mut state, &provide(&base, false));
        assert_eq!(end.blocked, None, "after {steps} steps");
        assert!(state.keys()[0].active);
    }
}

#[test]
fn only_a_person_takes_off_the_warning_of_a_store() {
    let mut state = published(&access("a", &[]));
    let alarm = deviation(DeviationKind::Alarm, "a warning");
    state.principal(|ours| ours.deviations = vec![alarm]);
    let plan = planned(&provide(&access("a", &[]), false), &state);
    assert!(matches!(plan.blocked, Some(Blocked::Compromised { .. })) && plan.steps.is_empty(), "{plan:?}");
    assert!(
        names_of(&planned(&Goal::Remove, &state)).contains(&"take-off"),
        "but a principal that goes must be free of it"
    );
}

/// Where a key can make keys, whoever has one could keep another when it is taken away.
#[test]
fn keys_that_keys_made_go_where_that_is_possible() {
    let base = access("a", &[]);
    let seaweedfs = PrincipalSpec { limits: &seaweedfs::SEAWEEDFS.limits, ..spec() };
    let mut state = published(&base);
    let more = Key { id: UNKNOWN.into(), created_at: ago(5), active: true, last_used: None };
    state.principal(|ours| ours.keys.push(more));
    let goals = [provide(&base, false), provide(&base, true), withhold(), Goal::Remove];
    for goal in goals.into_iter().chain([Goal::Retain { document: document(&base) }]) {
        for (spec, goes) in [(&seaweedfs, true), (&spec(), false)] {
            let plan =
                plan(&facing(&goal, &state), spec, &state, &Fresh { now: now(), store_time: None, nonce: "n".into() });
            let is_gone = |step: &Step| matches!(step, Step::DeleteKey { id, why: KeyEnd::MadeByKey } if id == UNKNOWN);
            assert_eq!(plan.has(is_gone), goes, "{goal:?}");
        }
    }
}

#[test]
fn a_policy_that_outgrows_its_form_moves_in_one_step() {
    let short = access("a", &[]);
    let long = Access { ancestor_listing: true, ..access(&long_prefix(), &Capability::ALL) };
    assert_eq!((form(&short), form(&long)), (PolicyForm::Inline, PolicyForm::Managed));
    for (before, after) in [(&short, &long), (&long, &short)] {
        let plan = planned(&provide(after, false), &published(before));
        assert_eq!(names_of(&plan), ["policy", "prove", "secret"]);
    }
    let mut foreign = published(&short);
    let occupied = Occupied { form: PolicyForm::Managed, name: "arn:p".into(), why: "tags".into() };
    foreign.principal(|ours| ours.rights.occupied = Some(occupied));
    assert!(matches!(planned(&provide(&long, false), &foreign).blocked, Some(Blocked::ForeignPolicy { .. })));
    assert!(planned(&provide(&short, false), &foreign).steps.is_empty(), "nobody's business while it is inline");
}

#[test]
fn a_new_target_takes_the_shortest_way() {
    let plan = planned(&provide(&access("a", &[]), false), &fresh());
    assert_eq!(names_of(&plan), ["claim", "user", "policy", "check", "key", "prove", "secret"]);
}

#[test]
fn a_settled_target_needs_nothing() {
    let wanted = access("a", &[]);
    assert_eq!(names_of(&planned(&provide(&wanted, false), &published(&wanted))), [""; 0]);
}

#[test]
fn wider_goes_to_the_policy_first_and_narrower_to_the_secret_first() {
    let (base, acls) = (access("a", &[]), access("a", &[Capability::ObjectAcls]));
    assert_eq!(names_of(&planned(&provide(&acls, false), &published(&base))), ["policy", "prove", "secret"]);
    assert_eq!(names_of(&planned(&provide(&base, false), &published(&acls))), ["secret", "policy", "prove"]);
    let multipart = access("a", &[Capability::MultipartUploads]);
    assert_eq!(
        names_of(&planned(&provide(&multipart, false), &published(&acls))),
        ["policy", "prove", "secret", "policy"]
    );
}

#[test]
fn a_foreign_secret_stops_everything_before_it_begins() {
    let mut state = fresh();
    state.secrets.insert(name(SECRET), SecretState::Foreign { owner: "Deployment web".into() });
    let plan = planned(&provide(&access("a", &[]), false), &state);
    assert_eq!(names_of(&plan), [""; 0]);
    assert!(matches!(plan.blocked, Some(Blocked::ForeignSecret { .. })));
}

#[test]
fn a_lost_secret_gets_a_new_key_once_and_then_waits() {
    let wanted = access("a", &[]);
    let goal = provide(&wanted, false);
    let mut state = published(&wanted);
    state.secrets.insert(name(SECRET), SecretState::Absent);
    assert_eq!(names_of(&planned(&goal, &state)), ["check", "intent", "key", "prove", "secret"]);

    let end = converge(&mut state, &goal);
    assert_eq!(end.waiting, None);
    assert_eq!(state.record.keys.len(), 2, "the old key stays for the overlap");
    assert_eq!(state.record.keys[0].revoke_at, Some(now() + OVERLAP));

    state.secrets.insert(name(SECRET), SecretState::Absent);
    let again = planned(&goal, &state);
    assert_eq!(names_of(&again), [""; 0]);
    assert!(matches!(again.waiting, Some(Waiting::ReissueLimit { .. })));

    state.record.last_reissue = Some(ago(601));
    assert_eq!(names_of(&planned(&goal, &state)), ["check", "delete-key", "intent", "key", "prove", "secret"]);
}

#[test]
fn an_edited_key_id_is_put_right_with_the_same_key() {
    use secrecy::ExposeSecret;
    let wanted = access("a", &[]);
    let mut state = published(&wanted);
    let content = rclone(&wanted).render(&key("K1")).expect("renders");
    let edited = content.expose_secret().replace("access_key_id = K1", "access_key_id = AKIAEDITED");
    state.secrets.insert(name(SECRET), SecretState::Ours(Box::new(owned(&edited))));
    assert_eq!(names_of(&planned(&provide(&wanted, false), &state)), ["secret"]);
}

#[test]
fn an_interrupted_creation_is_cleared_before_the_next() {
    let wanted = access("a", &[]);
    let goal = provide(&wanted, false);
    let mut state = published(&wanted);
    let (access, policy) = (state.record.access.clone(), state.record.policy.clone());
    state.record = Record { policy, access, ..Record::default() };
    state.secrets.clear();
    state.principal(|ours| ours.keys[0].created_at = ago(9));
    state.first_intent = Some(KeyIntent {
        nonce: "n".into(),
        started_at: ago(10),
        store_time: None,
        existing: Vec::new(),
        secret: SECRET.into(),
    });
    assert_eq!(names_of(&planned(&goal, &state)), ["delete-key", "check", "intent", "key", "prove", "secret"]);

    state.principal(|ours| ours.keys.clear());
    assert_eq!(planned(&goal, &state).waiting, Some(Waiting::KeyMayAppear));
    state.absence = Absence { intent: "n".into(), since: Some(ago(61)), looks: 3 };
    assert_eq!(names_of(&planned(&goal, &state)), ["check", "intent", "key", "prove", "secret"]);
    state.absence = Absence::default();
    state.first_intent = Some(KeyIntent {
        nonce: "n".into(),
        started_at: ago(301),
        store_time: None,
        existing: Vec::new(),
        secret: SECRET.into(),
    });
    assert_eq!(names_of(&planned(&goal, &state)), ["check", "intent", "key", "prove", "secret"]);
}

#[test]
fn a_key_in_hand_is_what_the_intent_brought_and_others_are_left() {
    let wanted = access("a", &[]);
    let mut state = published(&wanted);
    let (access, policy) = (state.record.access.clone(), state.record.policy.clone());
    state.record = Record { policy, access, ..Record::default() };
    state.secrets.clear();
    state.principal(|ours| {
        ours.keys[0].created_at = ago(9);
        ours.keys.push(Key { id: UNKNOWN.into(), created_at: ago(5), active: true, last_used: None });
    });
    state.first_intent = Some(KeyIntent {
        nonce: "n".into(),
        started_at: ago(10),
        store_time: None,
        existing: Vec::new(),
        secret: SECRET.into(),
    });
    state.in_hand = Some(in_hand_since("K1", 10));
    let plan = planned(&provide(&wanted, false), &state);
    assert_eq!(names_of(&plan), ["prove", "secret"]);
    assert_eq!(plan.unknown_keys, [UNKNOWN]);
}

#[test]
fn a_key_older_than_the_intent_was_not_brought_by_it() {
    let wanted = access("a", &[]);
    let mut state = published(&wanted);
    state.record = Record::default();
    state.secrets.clear();
    state.first_intent = Some(KeyIntent {
        nonce: "n".into(),
        started_at: ago(10),
        store_time: Some(ago(10)),
        existing: Vec::new(),
        secret: SECRET.into(),
    });
    assert_eq!((state.orphans(), state.unknown_keys()), (Vec::new(), vec!["K1".to_owned()]));
    // Of a key that this process made itself there is no doubt, whatever the clocks say.
    state.in_hand = Some(in_hand_since("K1", 10));
    assert_eq!((state.orphans(), state.unknown_keys()), (vec!["K1".to_owned()], Vec::new()));
}

/// The operator's clock is ahead of the store's by more than a key is old.
#[test]
fn a_key_that_spreads_is_not_taken_for_somebody_elses_by_a_wrong_clock() {
    let wanted = access("a", &[]);
    let mut state = published(&wanted);
    let (access, policy) = (state.record.access.clone(), state.record.policy.clone());
    state.record = Record { policy, access, ..Record::default() };
    state.secrets.clear();
    state.principal(|ours| ours.keys[0].created_at = ago(360));
    state.first_intent = Some(KeyIntent {
        nonce: "n".into(),
        started_at: ago(10),
        store_time: None,
        existing: Vec::new(),
        secret: SECRET.into(),
    });
    assert_eq!((state.orphans(), state.unknown_keys()), (vec!["K1".to_owned()], Vec::new()));
    state.in_hand = Some(in_hand_since("K1", 10));
    assert_eq!(names_of(&planned(&provide(&wanted, false), &state)), ["prove", "secret"]);
}

/// Somebody deleted both keys; an intent for a new one was written, and a crash came. What IAM shows then may be old.
#[test]
fn a_key_that_was_gone_before_the_intent_was_not_brought_by_it() {
    let goal = provide(&access("a", &[]), false);
    let mut state = published(&access("a", &[]));
    state.record.keys.insert(0, record("K0", Some(90_000), -10, None));
    let shown = |id: &str| Key { id: id.into(), created_at: ago(20), active: true, last_used: None };
    state.principal(|ours| ours.keys.clear());
    let plan = settle_and_plan(&mut state, &goal, 0);
    act(&mut state, &goal, &opening(&plan), &mut 0);
    for id in ["K0", "K1"] {
        let mut after = State { forgotten: Vec::new(), ..state.clone() };
        after.principal(|ours| ours.keys = vec![shown(id)]);
        settle(&mut after, &spec(), OVERLAP, now());
        assert_eq!((after.orphans(), after.record.keys.len()), (Vec::new(), 0), "{id} is no key of this intent");
        assert!(after.open_intent().is_some(), "which is still open");
    }
}

/// IAM may not show a principal that is there. What the open intent may have brought must not be forgotten for that.
#[test]
fn an_intent_that_takes_the_place_of_an_open_one_stands_for_both() {
    let wanted = access("a", &[]);
    let mut state = published(&wanted);
    state.record = Record::default();
    state.secrets.clear();
    let before = KeyIntent {
        nonce: "n".into(),
        started_at: ago(10),
        store_time: None,
        existing: vec![UNKNOWN.into()],
        secret: SECRET.into(),
    };
    state.first_intent = Some(before);
    let keys = state.keys().to_vec();
    state.principal = Principal::Absent;
    let plan = planned(&provide(&wanted, false), &state);
    act(&mut state, &provide(&wanted, false), &opening(&plan), &mut 0);
    assert_eq!(state.open_intent().expect("it is renewed").existing, [UNKNOWN]);
    state.principal = Principal::Ours(Observed { keys, ..Observed::default() });
    state.principal(|ours| ours.keys[0].created_at = ago(9));
    assert_eq!(state.orphans(), ["K1"]);
}

#[test]
fn a_key_that_was_published_before_status_could_say_so_is_kept() {
    let wanted = access("a", &[]);
    let mut state = published(&wanted);
    state.record = Record::default();
    state.principal(|ours| ours.keys[0].created_at = ago(9));
    state.first_intent = Some(KeyIntent {
        nonce: "n".into(),
        started_at: ago(10),
        store_time: None,
        existing: Vec::new(),
        secret: SECRET.into(),
    });
    let goal = provide(&wanted, false);
    let end = converge(&mut state, &goal);
    assert_eq!((end.blocked, end.waiting), (None, None));
    assert_eq!(state.record.keys.len(), 1);
    assert_eq!(state.record.access_key_id.as_deref(), Some("K1"));
}

#[test]
fn a_replaced_key_in_use_is_kept_up_to_the_maximum() {
    let wanted = access("a", &[]);
    let goal = provide(&wanted, false);
    let mut state = published(&wanted);
    state.record.keys.insert(0, record("K0", Some(90_000), 10, None));
    let used =
        |seconds: i64| Key { id: "K0".into(), created_at: ago(200_000), active: true, last_used: Some(ago(seconds)) };
    state.principal(|ours| ours.keys.push(used(60)));
    assert_eq!(names_of(&planned(&goal, &state)), ["extend"]);
    state.principal(|ours| ours.keys[1] = used(4_000));
    assert_eq!(names_of(&planned(&goal, &state)), ["deactivate"]);
    state.principal(|ours| ours.keys[1] = used(60));
    state.record.keys[0].superseded_at = Some(ago(8 * 86_400));
    assert_eq!(names_of(&planned(&goal, &state)), ["deactivate"], "seven times the overlap is the maximum here");
}

#[test]
fn suspended_targets_are_limited_and_not_repaired() {
    let (base, acls) = (access("a", &[]), access("a", &[Capability::ObjectAcls]));
    let mut tampered = published(&base);
    tampered.principal(|ours| ours.rights.places[0].document = StoredPolicy::Other);
    assert_eq!(names_of(&planned(&provide(&base, true), &tampered)), [""; 0], "a repair waits");
    let Goal::Provide(mut narrowed) = provide(&acls, true) else { panic!("provided") };
    narrowed.document = document(&base);
    let plan = planned(&Goal::Provide(narrowed), &published(&acls));
    assert_eq!(names_of(&plan), ["policy"], "a limit does not");
}

#[test]
fn an_unknown_key_keeps_the_principal_and_is_named() {
    let wanted = access("a", &[]);
    let mut state = published(&wanted);
    state.principal(|ours| {
        ours.keys.push(Key { id: UNKNOWN.into(), created_at: ago(5), active: true, last_used: None });
    });
    let plan = planned(&Goal::Remove, &state);
    assert_eq!(names_of(&plan), ["delete-key", "delete-policy", "delete-secret"]);
    assert!(matches!(plan.blocked, Some(Blocked::UnknownKeys { ids, .. }) if ids == [UNKNOWN]));
}

#[test]
fn what_the_rules_take_away_goes_whatever_is_in_the_way() {
    let (base, acls) = (access("a", &[]), access("a", &[Capability::ObjectAcls]));
    let Goal::Provide(mut narrowed) = provide(&base, false) else { panic!("provided") };
    narrowed.before = Some(base.clone());
    narrowed.cut = true;
    let mut state = published(&acls);
    state.secrets.insert(name(SECRET), SecretState::Foreign { owner: "Deployment web".into() });
    let plan = settle_and_plan(&mut state, &Goal::Provide(narrowed.clone()), 0);
    assert_eq!(names_of(&plan), ["cut-back"], "a foreign Secret blocks the rest only");
    narrowed.suspended = true;
    let plan = settle_and_plan(&mut state, &Goal::Provide(narrowed.clone()), 0);
    assert_eq!(names_of(&plan), ["cut-back"], "so does suspension");
    narrowed.before = None;
    narrowed.current = None;
    narrowed.document = narrowed.document_with(None);
    let plan = settle_and_plan(&mut state, &Goal::Provide(narrowed), 0);
    assert_eq!(names_of(&plan), ["delete-policy"], "a document that allows nothing cannot be stored");
}

#[test]
fn a_finalizer_that_was_taken_off_comes_back() {
    let base = access("a", &[]);
    for goal in [provide(&base, false), provide(&base, true), withhold()] {
        let mut state = published(&base);
        state.finalizer = false;
        assert_eq!(names_of(&planned(&goal, &state)).first(), Some(&"claim"), "{goal:?}");
        state.record.principal = Some("btgt-1".into());
        for principal in [Principal::Absent, Principal::Foreign { whose: elsewhere() }] {
            state.principal = principal;
            assert_eq!(names_of(&planned(&goal, &state)).first(), Some(&"claim"), "{goal:?} {:?}", state.principal);
        }
    }
}

#[test]
fn what_was_made_is_removed_also_without_the_finalizer() {
    let mut state = published(&access("a", &[]));
    state.finalizer = false;
    let steps = ["delete-key", "delete-policy", "remove", "delete-secret", "release"];
    assert_eq!(names_of(&planned(&Goal::Remove, &state)), steps);
    assert_eq!(names_of(&planned(&Goal::Remove, &fresh())), [""; 0], "nothing was made for this one");
}

#[test]
fn a_user_of_another_cluster_is_left_to_it() {
    let mut state = published(&access("a", &[]));
    state.record.principal = Some("btgt-1".into());
    state.principal = Principal::Foreign { whose: elsewhere() };
    assert_eq!(names_of(&planned(&Goal::Remove, &state)), ["delete-secret", "release"]);
    for goal in [provide(&access("a", &[]), false), withhold()] {
        let plan = planned(&goal, &state);
        assert!(matches!(plan.blocked, Some(Blocked::ForeignPrincipal { .. })) && plan.steps.is_empty(), "{plan:?}");
        let mut settled = state.clone();
        settle(&mut settled, &spec(), OVERLAP, now());
        assert_eq!(settled.record, state.record, "all is remembered for the day that the id is right again");
    }
}

#[test]
fn a_boundary_that_is_refused_holds_back_no_limit() {
    let (base, acls) = (access("a", &[]), access("a", &[Capability::ObjectAcls]));
    let Goal::Provide(mut narrowed) = provide(&base, false) else { panic!("provided") };
    (narrowed.before, narrowed.cut) = (Some(base), true);
    let mut state = published(&acls);
    state.principal(|ours| ours.deviations = vec![deviation(DeviationKind::Bound, "its boundary")]);
    let plan = settle_and_plan(&mut state, &Goal::Provide(narrowed), 0);
    assert_eq!(names_of(&plan)[..2], ["bound", "cut-back"]);
    assert!(plan.steps[..2].iter().all(|planned| planned.step.takes_away()), "neither waits for the other");
}

#[test]
fn a_spec_that_cannot_be_read_holds_back_no_limit() {
    let (base, acls) = (access("a", &[]), access("a", &[Capability::ObjectAcls]));
    let Goal::Provide(mut narrowed) = provide(&base, true) else { panic!("provided") };
    (narrowed.before, narrowed.cut) = (Some(base.clone()), true);
    let invalid = crate::access::BucketName::parse("NOT").expect_err("invalid");
    narrowed.invalid = Some(invalid.clone());
    let mut state = published(&acls);
    state.record.keys.insert(0, record("K0", Some(90_000), 10, None));
    state.principal(|ours| {
        ours.keys.push(Key { id: "K0".into(), created_at: ago(200_000), active: true, last_used: None });
    });
    state.secrets.insert(name(SECRET), SecretState::Absent);
    let plan = settle_and_plan(&mut state, &Goal::Provide(narrowed), 0);
    assert_eq!(names_of(&plan), ["cut-back", "deactivate"], "and nothing is given");
    assert_eq!(plan.blocked, Some(Blocked::Invalid(invalid)));
}

#[test]
fn what_is_retained_has_only_what_is_allowed_now() {
    let (base, acls) = (access("a", &[]), access("a", &[Capability::ObjectAcls]));
    let goal = Goal::Retain { document: document(&base) };
    assert_eq!(names_of(&planned(&goal, &published(&acls))), ["cut-back", "tag", "disown", "release"]);
    let mut marked = published(&acls);
    marked.principal(|ours| ours.retained = true);
    assert_eq!(names_of(&planned(&goal, &marked)), ["disown", "release"], "what is marked can be given nothing more");
}

#[test]
fn a_principal_of_ours_that_looks_foreign_is_not_let_go() {
    let mut state = published(&access("a", &[]));
    state.record.principal = Some("btgt-1".into());
    state.principal = Principal::Foreign { whose: ForeignOwner::Other("its tag is gone".into()) };
    let plan = planned(&Goal::Remove, &state);
    assert_eq!(names_of(&plan), [""; 0]);
    assert!(matches!(plan.blocked, Some(Blocked::ForeignPrincipal { .. })));
    let mut settled = state.clone();
    settle(&mut settled, &spec(), OVERLAP, now());
    assert_eq!(settled.record.keys, state.record.keys, "and no key is forgotten");
}
