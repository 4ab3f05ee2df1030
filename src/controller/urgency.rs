//! How urgent the work on a target is, as far as can be seen before it is looked at: from copies that the watches keep. Pure.
//!
//! A copy that lags, or labels that are not known yet, cost priority and never correctness.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use super::brief::Brief;
use crate::{
    access::{
        Access,
        allow::{self, Namespace},
    },
    api::backup_store::AllowRule,
    fair::Urgency,
};

/// What is known of a target before it is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Sight<'a> {
    /// The target, as the watch sees it.
    pub target: &'a Brief,
    /// The rules of its store, and its namespace, when they are known.
    pub rules: Option<(&'a [AllowRule], &'a Namespace)>,
    /// The rules that what it was given was held against last, in short.
    pub held_against: Option<u64>,
}

/// How urgent the work on a target is.
#[must_use]
pub fn urgency(sight: Sight<'_>) -> Urgency {
    if sight.target.is_deleting || loses_something(sight) {
        Urgency::Revocation
    } else if sight.target.is_applied {
        Urgency::Drift
    } else {
        Urgency::Change
    }
}

/// Whether the rules do not allow any more what the target was given, and it has not been held against them yet.
fn loses_something(sight: Sight<'_>) -> bool {
    let Some((rules, namespace)) = sight.rules else { return false };
    let is_cut = |access: &Access| allow::limit(access, namespace, rules).is_none_or(|limited| limited != *access);
    let target = sight.target;
    target.has_policy
        && (target.is_unclear || target.given().any(is_cut))
        && sight.held_against != Some(digest(rules, &namespace.labels))
}

/// Rules, and the labels that they look at, in short.
#[must_use]
pub fn digest(rules: &[AllowRule], labels: &BTreeMap<String, String>) -> u64 {
    let mut hasher = DefaultHasher::new();
    serde_json::to_string(rules).unwrap_or_default().hash(&mut hasher);
    asked(rules, labels).hash(&mut hasher);
    hasher.finish()
}

/// Of labels, those that rules look at.
#[must_use]
pub fn asked(rules: &[AllowRule], labels: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let asked = |key: &String| rules.iter().any(|rule| rule.namespaces.match_labels.contains_key(key));
    labels.iter().filter(|(key, _)| asked(key)).map(|(key, value)| (key.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::{api::BackupTarget, controller::brief::tests::any_target};

    fn target(fields: &Value) -> BackupTarget {
        let mut object = json!({
            "apiVersion": "backup-target.dev/v1alpha1", "kind": "BackupTarget",
            "metadata": {"name": "a", "namespace": "team-a", "generation": 1}, "spec": {"bucket": "b-1"},
        });
        let fields = fields.as_object().expect("fields").clone();
        object.as_object_mut().expect("an object").extend(fields);
        serde_json::from_value(object).expect("a target")
    }

    fn given() -> BackupTarget {
        let access =
            json!({"bucket": "b-1", "prefix": "x/", "capabilities": ["ObjectAcls"], "ancestorListing": "Deny"});
        target(&json!({"status": {
            "access": access, "policy": {"digest": "d", "form": "Inline"},
            "applied": {"generation": 1, "rclone": "r"},
        }}))
    }

    fn rules(capabilities: &[&str], names: &[&str]) -> Vec<AllowRule> {
        let rule = json!({
            "namespaces": {"names": names}, "buckets": ["b-1"], "prefixes": [""], "capabilities": capabilities,
        });
        vec![serde_json::from_value(rule).expect("a rule")]
    }

    fn namespace() -> Namespace {
        Namespace { name: "team-a".to_owned(), ..Namespace::default() }
    }

    #[test]
    fn what_the_rules_take_away_is_a_revocation_from_its_first_moment() {
        let (given, here) = (Brief::from(given()), namespace());
        let table = [
            ("nothing changed", rules(&["ObjectAcls"], &["team-a"]), Urgency::Drift),
            ("a rule more", [rules(&["ObjectAcls"], &["team-a"]), rules(&[], &["team-b"])].concat(), Urgency::Drift),
            ("the rule is gone", Vec::new(), Urgency::Revocation),
            ("it names others", rules(&["ObjectAcls"], &["team-b"]), Urgency::Revocation),
            ("a capability less", rules(&[], &["team-a"]), Urgency::Revocation),
        ];
        for (what, rules, wanted) in table {
            let sight = Sight { target: &given, rules: Some((&rules, &here)), held_against: None };
            assert_eq!(urgency(sight), wanted, "{what}");
            let held = Sight { held_against: Some(digest(&rules, &here.labels)), ..sight };
            assert_eq!(urgency(held), Urgency::Drift, "{what}: it was held against them");
            let unknown = Sight { rules: None, ..sight };
            assert_eq!(urgency(unknown), Urgency::Drift, "{what}: nobody knows");
        }
    }

    #[test]
    fn what_cannot_be_read_is_lost() {
        let (mut given, here, rules) = (given(), namespace(), rules(&["ObjectAcls"], &["team-a"]));
        given.status.as_mut().and_then(|status| status.record.access.as_mut()).expect("an access").bucket = "?".into();
        let sight = Sight { target: &given.into(), rules: Some((&rules, &here)), held_against: None };
        assert_eq!(urgency(sight), Urgency::Revocation);
    }

    #[test]
    fn deletions_go_first_then_changes_then_looks() {
        let mut given = given();
        let unseen =
            |target: &BackupTarget| urgency(Sight { target: &target.clone().into(), rules: None, held_against: None });
        assert_eq!(unseen(&target(&json!({}))), Urgency::Change);
        assert_eq!(unseen(&given), Urgency::Drift);
        given.metadata.generation = Some(2);
        assert_eq!(unseen(&given), Urgency::Change);
        let now = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH);
        given.metadata.deletion_timestamp = Some(now);
        assert_eq!(unseen(&given), Urgency::Revocation);
    }

    #[test]
    fn what_has_nothing_loses_nothing() {
        let (never, here) = (target(&json!({})), namespace());
        let mut withheld = given();
        withheld.status.as_mut().expect("a status").record.policy = None;
        for target in [never, withheld] {
            assert!(!loses_something(Sight { target: &target.into(), rules: Some((&[], &here)), held_against: None }));
        }
    }

    /// The same from the whole object.
    fn urgency_of_whole(target: &BackupTarget, rules: &[AllowRule], here: &Namespace) -> Urgency {
        let record = target.status.clone().unwrap_or_default().record;
        let records = record.access.iter().chain(record.previous_access.iter().map(|former| &former.access));
        let mut given = records.map(Access::from_record);
        let is_cut = |access: Access| allow::limit(&access, here, rules) != Some(access);
        let loses = record.policy.is_some() && given.any(|given| given.map_or(true, is_cut));
        let applied = record.applied.map(|applied| applied.generation);
        match target.metadata.deletion_timestamp.is_some() || loses {
            true => Urgency::Revocation,
            false if applied == target.metadata.generation => Urgency::Drift,
            false => Urgency::Change,
        }
    }

    proptest! {
        #[test]
        fn a_target_in_brief_is_as_urgent_as_the_whole_one(target in any_target(), allows in any::<bool>()) {
            let (rules, here) = (rules(if allows { &["ObjectAcls"] } else { &[] }, &["team-a"]), namespace());
            let brief = Brief::from(target.clone());
            let sight = Sight { target: &brief, rules: Some((&rules, &here)), held_against: None };
            prop_assert_eq!(urgency(sight), urgency_of_whole(&target, &rules, &here));
        }
    }
}
