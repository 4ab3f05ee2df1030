//! Whose credentials outlive the target, and with what.

use proptest::{prelude::*, sample::subsequence};

use super::*;
use crate::api::backup_target::DeletionPolicy;

#[test]
fn credentials_outlive_a_target_only_where_all_agree() {
    let asks = |policy: &str| deleted(claim(&json!({"deletionPolicy": policy})));
    let has = given(&access(&[], false));
    let unpublished = Record { access_key_id: None, ..has.clone() };
    let (retains, does_not) = (rule(&json!({"retain": true})), rule(&json!({})));
    let unreadable = deleted(claim(&json!({"deletionPolicy": "Retain", "bucket": "NOT A BUCKET"})));
    let moved = deleted(claim(&json!({"deletionPolicy": "Retain", "prefix": "x/y/"})));
    let table = [
        ("all agree", asks("Retain"), has.clone(), vec![&retains], "retain"),
        ("nobody asked", asks("Delete"), has.clone(), vec![&retains], "remove"),
        ("the rule does not allow it", asks("Retain"), has.clone(), vec![&does_not], "remove"),
        ("there is no rule", asks("Retain"), has.clone(), vec![], "remove"),
        ("nothing was given", asks("Retain"), nothing(), vec![&retains], "remove"),
        ("nothing was published", asks("Retain"), unpublished, vec![&retains], "remove"),
        ("another folder is asked for than was given", moved, has.clone(), vec![&retains], "remove"),
        ("the spec cannot be read", unreadable, has, vec![&retains], "remove"),
    ];
    for (what, target, record, rules, expected) in table {
        let rules: Vec<AllowRule> = rules.into_iter().cloned().collect();
        assert_eq!(kind(&decided(&target, &record, &rules)), expected, "{what}");
    }
}

#[test]
fn two_rules_together_retain_nothing_that_neither_does() {
    let rules = [rule(&json!({"retain": true})), rule(&json!({"capabilities": ["ObjectAcls"]}))];
    let spec = json!({"bucket": "b-1", "prefix": "x/", "capabilities": ["ObjectAcls"], "deletionPolicy": "Retain"});
    let before = access(&[Capability::ObjectAcls], false);
    let Ok(Goal::Retain { document }) = decided(&deleted(target(&spec)), &given(&before), &rules) else {
        panic!("it is retained")
    };
    assert_eq!(document, PolicyDocument::new(&terms(), [&access(&[], false)]));
}

proptest! {
    #[test]
    fn what_is_retained_one_rule_allows(
        rules in proptest::collection::vec(any_rule(), 0..4),
        claimed in subsequence(Capability::ALL.to_vec(), 0..=4),
        had in subsequence(Capability::ALL.to_vec(), 0..=4),
        listing in any::<bool>(),
    ) {
        let listed = if listing { "Allow" } else { "Deny" };
        let spec = json!({
            "bucket": "b-1", "prefix": "x/", "capabilities": claimed, "ancestorListing": listed, "deletionPolicy": "Retain",
        });
        let target = deleted(target(&spec));
        prop_assert_eq!(target.spec.deletion_policy, DeletionPolicy::Retain);
        if let Ok(Goal::Retain { document }) = decided(&target, &given(&access(&had, true)), &rules) {
            let namespace = Namespace { name: "team-a".into(), ..Namespace::default() };
            let one_allows = rules.iter().filter(|rule| rule.retain).any(|rule| {
                let most = allow::limit(&access(&had, true), &namespace, std::slice::from_ref(rule));
                most.is_some_and(|most| within(&most).any(|kept| PolicyDocument::new(&terms(), [&kept]) == document))
            });
            prop_assert!(one_allows, "{}", document.to_json());
        }
    }
}

/// Every access that has no more than that one.
fn within(most: &Access) -> impl Iterator<Item = Access> {
    let all: Vec<Capability> = most.capabilities.iter().copied().collect();
    (0..1_u32 << all.len()).flat_map(move |mask| {
        let some: Vec<Capability> = (0..all.len()).filter(|at| mask & (1 << at) != 0).map(|at| all[at]).collect();
        [false, most.ancestor_listing].map(|listing| access(&some, listing))
    })
}
