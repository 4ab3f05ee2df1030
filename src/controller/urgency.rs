//! How urgent the work on a target is, as far as can be seen before it is looked at: from copies that the watches keep. Pure.
//!
//! A copy that lags, or labels that are not known yet, cost priority and never correctness.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use crate::{
    access::{
        Access,
        allow::{self, Namespace},
    },
    api::{BackupTarget, backup_store::AllowRule},
    fair::Urgency,
};

/// What is known of a target before it is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Sight<'a> {
    /// The target, as the watch sees it.
    pub target: &'a BackupTarget,
    /// The rules of its store, and its namespace, when they are known.
    pub rules: Option<(&'a [AllowRule], &'a Namespace)>,
    /// The rules that what it was given was held against last, in short.
    pub held_against: Option<u64>,
}

/// How urgent the work on a target is.
#[must_use]
pub fn urgency(sight: Sight<'_>) -> Urgency {
    let target = sight.target;
    let applied = target.status.as_ref().and_then(|status| status.applied.as_ref());
    if target.metadata.deletion_timestamp.is_some() || loses_something(sight) {
        Urgency::Revocation
    } else if applied.map(|applied| applied.generation) != target.metadata.generation {
        Urgency::Change
    } else {
        Urgency::Drift
    }
}

/// Whether the rules do not allow any more what the target was given, and it has not been held against them yet.
fn loses_something(sight: Sight<'_>) -> bool {
    let (Some(status), Some((rules, namespace))) = (&sight.target.status, sight.rules) else { return false };
    let mut given = status.access.iter().chain(status.previous_access.iter().map(|former| &former.access));
    let is_cut = |access: Access| allow::limit(&access, namespace, rules).is_none_or(|limited| limited != access);
    let works = status.policy.is_some();
    works
        && given.any(|record| Access::from_record(record).map_or(true, is_cut))
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
    use serde_json::{Value, json};

    use super::*;

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
        let (given, here) = (given(), namespace());
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
        given.status.as_mut().and_then(|status| status.access.as_mut()).expect("an access").bucket = "?".into();
        let sight = Sight { target: &given, rules: Some((&rules, &here)), held_against: None };
        assert_eq!(urgency(sight), Urgency::Revocation);
    }

    #[test]
    fn deletions_go_first_then_changes_then_looks() {
        let mut given = given();
        let unseen = |target: &BackupTarget| urgency(Sight { target, rules: None, held_against: None });
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
        withheld.status.as_mut().expect("a status").policy = None;
        for target in [never, withheld] {
            assert!(!loses_something(Sight { target: &target, rules: Some((&[], &here)), held_against: None }));
        }
    }
}
