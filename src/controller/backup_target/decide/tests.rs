//! claim × rules × what is remembered → goal.

mod retained;
mod unreadable;

use proptest::{prelude::*, sample::subsequence};
use serde_json::{Value, json};

use super::*;
use crate::{
    api::backup_target::BackupTargetStatus,
    controller::backup_target::fixtures::{
        access, access_to, at, claim, decided, deleted, former, given, limits, namespace, rule, target, terms,
    },
};

const ACLS: Capability = Capability::ObjectAcls;
const CREATE: Capability = Capability::CreateBucket;

fn kind(goal: &Result<Goal, Invalid>) -> &'static str {
    match goal {
        Ok(Goal::Provide(_)) => "provide",
        Ok(Goal::Withhold { why: Refusal::NotAllowed(_) }) => "not allowed",
        Ok(Goal::Withhold { why: Refusal::Invalid(_) }) => "invalid",
        Ok(Goal::Withhold { why: Refusal::Unreadable(_) }) => "unreadable",
        Ok(Goal::Withhold { why: Refusal::NoPlace(_) }) => "no place",
        Ok(Goal::Remove) => "remove",
        Ok(Goal::Retain { .. }) => "retain",
        Err(_) => "error",
    }
}

fn provided(target: &BackupTarget, record: &Record, rules: &[AllowRule]) -> Provide {
    match decided(target, record, rules) {
        Ok(Goal::Provide(provide)) => *provide,
        other => panic!("not provided: {other:?}"),
    }
}

fn nothing() -> Record {
    Record::default()
}

#[test]
fn a_live_claim_is_provided_or_withheld() {
    let plain = claim(&json!({}));
    let acls = claim(&json!({"capabilities": ["ObjectAcls"]}));
    let elsewhere = claim(&json!({"prefix": "y/"}));
    let unreadable = claim(&json!({"bucket": "NOT A BUCKET"}));
    let (base, all) = (rule(&json!({})), rule(&json!({"capabilities": ["ObjectAcls"]})));
    let has = given(&access(&[], false));
    let table = [
        ("a rule covers it", &plain, nothing(), vec![&base], "provide"),
        ("no rule", &plain, nothing(), vec![], "not allowed"),
        ("no rule any more", &plain, has.clone(), vec![], "not allowed"),
        ("one rule covers it all", &acls, nothing(), vec![&base, &all], "provide"),
        ("nothing begins with a part of it", &acls, nothing(), vec![&base], "not allowed"),
        ("what has begun goes on with a part of it", &acls, has.clone(), vec![&base], "provide"),
        ("no rule for the new folder", &elsewhere, nothing(), vec![&base], "not allowed"),
        ("the old folder stays", &elsewhere, has.clone(), vec![&base], "provide"),
        ("no rule for either folder", &elsewhere, has.clone(), vec![], "not allowed"),
        ("nothing to keep", &unreadable, nothing(), vec![&base], "error"),
        ("the old folder stays, whatever is written", &unreadable, has.clone(), vec![&base], "provide"),
        ("no rule for what it had", &unreadable, has, vec![], "not allowed"),
    ];
    for (what, target, record, rules, expected) in table {
        let rules: Vec<AllowRule> = rules.into_iter().cloned().collect();
        assert_eq!(kind(&decided(target, &record, &rules)), expected, "{what}");
    }
}

#[test]
fn what_was_given_is_cut_where_rules_or_time_end_it() {
    let had =
        |access: &Access, previous: &[PreviousAccess]| Record { previous_access: previous.to_vec(), ..given(access) };
    let (base, acls, listing) = (access(&[], false), access(&[ACLS], false), access(&[], true));
    let generous = rule(&json!({"capabilities": ["ObjectAcls"], "ancestorListing": "Allow", "prefixes": ["x/", "y/"]}));
    let narrow = rule(&json!({}));
    let table = [
        ("nothing was given", nothing(), &narrow, false),
        ("the same as before", had(&base, &[]), &narrow, false),
        ("less is asked for, which is a change", had(&acls, &[]), &generous, false),
        ("a tier is not allowed any more", had(&acls, &[]), &narrow, true),
        ("listing is not allowed any more", had(&listing, &[]), &narrow, true),
        ("a former folder is still allowed", had(&base, &[former("y/", at(60))]), &generous, false),
        ("a former folder is not allowed any more", had(&base, &[former("y/", at(60))]), &narrow, true),
        ("the time of a former folder is over", had(&base, &[former("y/", at(0))]), &generous, true),
    ];
    for (what, record, rule, cut) in table {
        let spec = json!({"ancestorListing": "Deny"});
        assert_eq!(provided(&claim(&spec), &record, std::slice::from_ref(rule)).cut, cut, "{what}");
    }
    let narrowed = provided(&claim(&json!({})), &had(&acls, &[]), &[narrow]);
    assert_eq!(narrowed.before, Some(base), "of what was given, what the rules still allow");
}

#[test]
fn a_folder_that_is_left_stays_reachable_for_the_overlap() {
    let rules = [rule(&json!({"prefixes": ["x/", "y/", "z/"], "maxKeyOverlap": "1h"}))];
    let had = |previous: &[PreviousAccess]| Record { previous_access: previous.to_vec(), ..given(&access(&[], false)) };
    let to = |prefix: &str, overlap: &str| claim(&json!({"prefix": prefix, "keyOverlap": overlap}));
    let table = [
        ("it stays where it is", to("x/", "30m"), had(&[]), vec![]),
        ("it moves", to("y/", "30m"), had(&[]), vec![former("x/", at(1_800))]),
        ("it moves without an overlap", to("y/", "0s"), had(&[]), vec![]),
        (
            "it moves on",
            to("y/", "30m"),
            had(&[former("z/", at(60))]),
            vec![former("z/", at(60)), former("x/", at(1_800))],
        ),
        ("it moves back", to("z/", "30m"), had(&[former("z/", at(60))]), vec![former("x/", at(1_800))]),
        (
            "the rule's maximum became shorter",
            to("x/", "30m"),
            had(&[former("z/", at(9_000))]),
            vec![former("z/", at(3_600))],
        ),
        ("it is over", to("x/", "30m"), had(&[former("z/", at(0))]), vec![]),
    ];
    for (what, target, record, expected) in table {
        let goal = provided(&target, &record, &rules);
        assert_eq!(goal.record.1, expected, "{what}");
        let accesses = goal.current.iter().chain(&goal.former);
        assert_eq!(goal.document, PolicyDocument::new(&terms(), accesses), "{what}: the policy has all of it");
        assert_eq!(goal.former.len(), expected.len(), "{what}");
    }
}

#[test]
fn a_suspended_target_keeps_what_it_was_given_within_the_rules() {
    let moved = |fields: &Value| {
        let mut target = claim(fields);
        target.spec.suspend = true;
        target
    };
    let (base, acls) = (access(&[], false), access(&[ACLS], false));
    let (narrow, wide) = (rule(&json!({})), rule(&json!({"prefixes": ["x/", "y/"], "capabilities": ["ObjectAcls"]})));
    let other = rule(&json!({"prefixes": ["y/"]}));
    let to_y = access_to("y/", &[], false);
    let table = [
        ("nothing was given yet", moved(&json!({})), nothing(), &narrow, Some(base.clone()), base.clone()),
        (
            "more is asked for",
            moved(&json!({"capabilities": ["ObjectAcls"]})),
            given(&base),
            &wide,
            Some(base.clone()),
            base.clone(),
        ),
        ("less is asked for", moved(&json!({})), given(&acls), &wide, Some(acls.clone()), acls.clone()),
        ("less is allowed", moved(&json!({})), given(&acls), &narrow, Some(base.clone()), acls),
        (
            "another folder is asked for",
            moved(&json!({"prefix": "y/"})),
            given(&base),
            &wide,
            Some(base.clone()),
            base.clone(),
        ),
        ("… and its own is not allowed any more", moved(&json!({"prefix": "y/"})), given(&base), &other, None, base),
        ("… and nothing was given", moved(&json!({"prefix": "y/"})), nothing(), &other, Some(to_y.clone()), to_y),
    ];
    for (what, target, record, rule, current, remembered) in table {
        let goal = provided(&target, &record, std::slice::from_ref(rule));
        assert!(goal.suspended && goal.missing.is_empty(), "{what}");
        assert_eq!((&goal.current, &goal.record.0), (&current, &remembered.to_record()), "{what}");
        assert!(goal.former.is_empty(), "{what}: nothing is left");
    }
}

#[test]
fn what_no_rule_covers_is_named_and_the_rest_is_given() {
    let rules = [rule(&json!({"maxKeyOverlap": "1h"}))];
    let had = given(&access(&[], false));
    let asks = json!({
        "capabilities": ["ObjectAcls"], "ancestorListing": "Allow", "deletionPolicy": "Retain", "keyOverlap": "2h",
    });
    let goal = provided(&claim(&asks), &had, &rules);
    assert_eq!((goal.missing.len(), goal.suspended), (4, false), "{:?}", goal.missing);
    assert_eq!((goal.current, goal.grant.claimed), (Some(access(&[], false)), access(&[ACLS], true)));
    let moved = provided(&claim(&json!({"prefix": "y/"})), &had, &rules);
    assert_eq!((moved.missing.len(), moved.suspended), (1, true), "kept as if suspended");
    assert_eq!(moved.current, Some(access(&[], false)));
}

#[test]
fn the_right_to_create_a_bucket_is_given_while_it_is_missing() {
    let rules = [rule(&json!({"capabilities": ["CreateBucket"], "retain": true}))];
    let asks = json!({"capabilities": ["CreateBucket"], "deletionPolicy": "Retain"});
    let creates = access(&[CREATE], false);
    for missing in [true, false] {
        let record = Record { bucket_missing: missing, ..given(&creates) };
        let goal = provided(&claim(&asks), &record, &rules);
        let needed = access(if missing { &[CREATE] } else { &[] }, false);
        assert_eq!((goal.current.as_ref(), goal.rclone.create_bucket), (Some(&needed), missing));
        assert_eq!(
            (&goal.grant.access, &goal.record.0),
            (&creates, &creates.to_record()),
            "it is granted all the same"
        );
        assert_eq!(goal.still_needed(), Some(needed.clone()));
        let Ok(Goal::Retain { document }) = decided(&deleted(claim(&asks)), &record, &rules) else {
            panic!("retained")
        };
        assert_eq!(document, PolicyDocument::new(&terms(), [&needed]));
    }
}

#[test]
fn a_bucket_is_looked_for_only_where_it_may_be_created() {
    let creates = rule(&json!({"capabilities": ["CreateBucket"]}));
    let asks = claim(&json!({"capabilities": ["CreateBucket"]}));
    let table = [
        ("asked for and allowed", &asks, Some(&creates), Some("b-1".to_owned())),
        ("not allowed", &asks, Some(&rule(&json!({}))), None),
        ("not asked for", &claim(&json!({})), Some(&creates), None),
        ("no rule for the folder", &claim(&json!({"prefix": "y/"})), Some(&creates), None),
        ("no rule", &asks, None, None),
        ("no bucket", &claim(&json!({"bucket": "NOT A BUCKET"})), Some(&creates), None),
    ];
    for (what, target, rule, expected) in table {
        let record = nothing();
        let (terms, namespace) = (terms(), namespace());
        let facts = Facts {
            rules: rule.map(std::slice::from_ref).unwrap_or_default(),
            ..facts(target, &record, &terms, &namespace)
        };
        assert_eq!(bucket_to_create(facts), expected, "{what}");
    }
}

fn facts<'a>(target: &'a BackupTarget, record: &'a Record, terms: &'a Terms, namespace: &'a Namespace) -> Facts<'a> {
    Facts {
        target,
        record,
        rules: &[],
        terms,
        limits: limits(),
        bound: None,
        namespace,
        rivals: &[],
        full: None,
        reactivate_at: None,
        now: at(0),
    }
}

#[test]
fn who_comes_before_it_takes_the_room_but_from_who_has_credentials() {
    let rules = [rule(&json!({"prefixes": [""], "maxTargets": 1}))];
    let (has, wants) = (Rival::Has(access_to("y/", &[], false)), {
        Rival::Wants(Claim::parse("other", &claim(&json!({"prefix": "z/"})).spec).expect("a claim"))
    });
    let served = given(&access(&[], false));
    let (terms, namespace, target) = (terms(), namespace(), claim(&json!({})));
    let table = [
        ("nobody comes before it", nothing(), vec![], "provide"),
        ("somebody has the place", nothing(), vec![has.clone()], "not allowed"),
        ("somebody asked before", nothing(), vec![wants.clone()], "not allowed"),
        ("it has credentials", served, vec![has, wants], "provide"),
    ];
    for (what, record, rivals, expected) in table {
        let facts = Facts { rules: &rules, rivals: &rivals, ..facts(&target, &record, &terms, &namespace) };
        assert_eq!(kind(&decide(facts)), expected, "{what}");
    }
}

#[test]
fn a_full_store_gives_nothing_that_its_rules_would() {
    let (record, terms, namespace, target) = (nothing(), terms(), namespace(), claim(&json!({})));
    let full = Some(Full { most: 7, before: 0 });
    for (rules, expected) in [(vec![rule(&json!({}))], "no place"), (Vec::new(), "not allowed")] {
        let facts = Facts { rules: &rules, full, ..facts(&target, &record, &terms, &namespace) };
        assert_eq!(kind(&decide(facts)), expected);
    }
}

#[test]
fn what_people_say_about_a_target_is_read() {
    let rules = [rule(&json!({}))];
    let said = |annotations: &Value| {
        let mut target = claim(&json!({"verification": "ReadOnly", "secret": {"name": "s", "remote": "r"}}));
        target.metadata.annotations = serde_json::from_value(annotations.clone()).expect("annotations");
        provided(&target, &nothing(), &rules)
    };
    let plain = said(&json!({}));
    assert_eq!((plain.verification, plain.verify_at, plain.repairs_paused), (Verification::ReadOnly, None, false));
    assert_eq!((plain.secret_name.as_str(), plain.rclone.remote.alias()), ("s", "r"));
    for (value, paused) in [("true", true), ("", true), ("false", false)] {
        assert_eq!(said(&json!({names::PAUSED_REPAIR_ANNOTATION: value})).repairs_paused, paused, "{value}");
    }
    for (value, asked) in [("1970-01-01T00:01:00Z", Some(at(60))), ("soon", None)] {
        assert_eq!(said(&json!({names::VERIFY_AT_ANNOTATION: value})).verify_at, asked, "{value}");
    }
    let (record, terms, namespace, target) = (nothing(), terms(), namespace(), claim(&json!({})));
    let facts = Facts { rules: &rules, reactivate_at: Some(at(7)), ..facts(&target, &record, &terms, &namespace) };
    let Ok(Goal::Provide(goal)) = decide(facts) else { panic!("provided") };
    assert_eq!(goal.reactivate_at, Some(at(7)));
}

#[test]
fn a_principal_follows_from_the_target_alone() {
    let mut target = claim(&json!({"bucket": "NOT A BUCKET"}));
    target.metadata.uid = Some("6f1c7b0e-8f0a-4f57-9d0b-0a3f4c6a2b11".to_owned());
    let record = Record { principal_id: Some("AIDA".to_owned()), ..nothing() };
    target.status = Some(BackupTargetStatus { record, ..BackupTargetStatus::default() });
    let owner = owner(&target, "prod");
    assert_eq!((owner.cluster.as_str(), Some(owner.uid)), ("prod", target.metadata.uid));
    assert_eq!((Some(owner.namespace), Some(owner.name)), (target.metadata.namespace, target.metadata.name));
    assert_eq!(owner.known_id.as_deref(), Some("AIDA"));
}

#[test]
fn nothing_works_under_an_alias_of_a_store() {
    let rules = [rule(&json!({"retain": true}))];
    let alias = |deleted| {
        let spec =
            json!({"bucket": "b-1", "prefix": "x/", "storeRef": {"name": "default#x"}, "deletionPolicy": "Retain"});
        if deleted { self::deleted(target(&spec)) } else { target(&spec) }
    };
    for record in [Record::default(), given(&access(&[], false))] {
        let Ok(Goal::Withhold { why: Refusal::Invalid(invalid) }) = decided(&alias(false), &record, &rules) else {
            panic!("it is withheld")
        };
        assert!(invalid.field == "spec.storeRef.name" && invalid.problem.ends_with("default"), "{invalid}");
        assert!(matches!(decided(&alias(true), &record, &rules), Ok(Goal::Remove)), "and can be deleted");
    }
}

fn any_rule() -> impl Strategy<Value = AllowRule> {
    let prefixes = prop_oneof![Just("x/"), Just("y/"), Just("")];
    let parts = (subsequence(Capability::ALL.to_vec(), 0..=4), any::<bool>(), any::<bool>(), prefixes);
    parts.prop_map(|(capabilities, retain, listing, prefix)| {
        let listing = if listing { "Allow" } else { "Deny" };
        rule(&json!({
            "capabilities": capabilities, "retain": retain, "ancestorListing": listing, "prefixes": [prefix],
        }))
    })
}
