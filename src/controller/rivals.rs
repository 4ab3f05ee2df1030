//! Who comes first where a rule serves only so many targets of a namespace. Pure.
//!
//! Who has credentials comes before who has none; then the oldest comes first, and of the same age the first by name. Two that
//! are made in one moment may both be served: what has credentials keeps them.

use jiff::Timestamp;

use crate::{
    access::{Access, Claim, allow::Rival},
    api::BackupTarget,
};

/// Of other targets, those of the same namespace and store that come before this one.
pub fn rivals<'a>(target: &BackupTarget, others: impl IntoIterator<Item = &'a BackupTarget>) -> Vec<Rival> {
    let is_other = |other: &&BackupTarget| {
        other.metadata.uid != target.metadata.uid
            && other.metadata.namespace == target.metadata.namespace
            && other.spec.store_ref.resolved() == target.spec.store_ref.resolved()
    };
    others.into_iter().filter(is_other).filter_map(|other| rival(target, other)).collect()
}

fn rival(target: &BackupTarget, other: &BackupTarget) -> Option<Rival> {
    let status = other.status.as_ref();
    let given = status.filter(|status| status.made_something()).and_then(|status| status.access.as_ref());
    // One whose memory cannot be read comes by its age, as does the operator's work on it.
    if let Some(given) = given.and_then(|given| Access::from_record(given).ok()) {
        return Some(Rival::Has(given));
    }
    let waits = other.metadata.deletion_timestamp.is_none() && seniority(other) < seniority(target);
    let name = other.metadata.name.as_deref().unwrap_or_default();
    Claim::parse(name, &other.spec).ok().filter(|_| waits).map(Rival::Wants)
}

/// None of it is the tenant's to choose once the object is there.
#[must_use]
pub fn seniority(target: &BackupTarget) -> (Option<Timestamp>, Option<&str>, Option<&str>) {
    let metadata = &target.metadata;
    let created = metadata.creation_timestamp.as_ref().map(|created| created.0);
    (created, metadata.namespace.as_deref(), metadata.name.as_deref())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        access::{
            Verdict,
            allow::{self, Namespace},
        },
        api::backup_store::AllowRule,
    };

    fn target(name: &str, second: i64, fields: &Value) -> BackupTarget {
        let created = Timestamp::from_second(second).expect("a time").to_string();
        let mut object = json!({
            "apiVersion": "backup-target.dev/v1alpha1", "kind": "BackupTarget",
            "metadata": {"name": name, "namespace": "team-a", "uid": name, "creationTimestamp": created},
            "spec": {"bucket": "b-1", "prefix": name},
        });
        let fields = fields.as_object().expect("fields").clone();
        object.as_object_mut().expect("an object").extend(fields);
        serde_json::from_value(object).expect("a target")
    }

    fn served(place: &str) -> Value {
        let access = json!({"bucket": "b-1", "prefix": place, "capabilities": [], "ancestorListing": "Deny"});
        json!({"status": {"access": access, "principal": "btgt-1"}})
    }

    fn rule(most: u32) -> AllowRule {
        let rule =
            json!({"namespaces": {"names": ["team-a"]}, "buckets": ["b-1"], "prefixes": [""], "maxTargets": most});
        serde_json::from_value(rule).expect("a rule")
    }

    fn is_served(target: &BackupTarget, all: &[BackupTarget], rules: &[AllowRule]) -> bool {
        let namespace = Namespace { name: "team-a".to_owned(), ..Namespace::default() };
        let claim = Claim::parse(target.metadata.name.as_deref().expect("a name"), &target.spec).expect("valid");
        matches!(allow::decide(&claim, &namespace, rules, &rivals(target, all)), Verdict::Allowed(_))
    }

    #[test]
    fn who_has_credentials_comes_first_and_then_the_oldest() {
        let going = json!({"metadata": {
            "name": "0", "namespace": "team-a", "uid": "0", "creationTimestamp": "1970-01-01T00:00:00Z",
            "deletionTimestamp": "1970-01-01T00:00:00Z",
        }});
        let elsewhere = json!({"spec": {"bucket": "b-2", "prefix": "x"}});
        let other_store = json!({"spec": {"bucket": "b-1", "prefix": "x", "storeRef": {"name": "other"}}});
        let all = [
            target("0", 0, &going),
            target("1", 1, &elsewhere),
            target("2", 2, &other_store),
            target("a", 10, &json!({})),
            target("b", 10, &json!({})),
            target("c", 9, &json!({})),
            target("d", 11, &served("d/")),
        ];
        let table = [(1, ""), (2, "c"), (3, "ca"), (4, "cab")];
        for (most, wanted) in table {
            for name in ["a", "b", "c"] {
                let target = all.iter().find(|target| target.metadata.name.as_deref() == Some(name)).expect("there");
                assert_eq!(is_served(target, &all, &[rule(most)]), wanted.contains(name), "{name} of {most}");
            }
        }
    }

    #[test]
    fn a_refusal_names_the_limit() {
        let all = [target("a", 1, &served("a/")), target("b", 2, &json!({}))];
        let namespace = Namespace { name: "team-a".to_owned(), ..Namespace::default() };
        let claim = Claim::parse("b", &all[1].spec).expect("valid");
        let Verdict::Refused { why } = allow::decide(&claim, &namespace, &[rule(1)], &rivals(&all[1], &all)) else {
            panic!("there is no room");
        };
        assert!(why.contains("serves 1 targets of namespace team-a (maxTargets)"), "{why}");
    }

    proptest! {
        #[test]
        fn no_more_are_served_than_may_and_as_many_as_may(
            made in proptest::collection::vec((0..5_i64, any::<bool>()), 1..12), most in 1..12_u32,
        ) {
            let all: Vec<BackupTarget> = made.iter().enumerate().map(|(number, (second, has))| {
                let name = format!("t{number}");
                target(&name, *second, &if *has { served(&format!("{name}/")) } else { json!({}) })
            }).collect();
            let had = made.iter().filter(|(_, has)| *has).count();
            let new = all.iter().filter(|target| target.status.is_none());
            let served = new.filter(|target| is_served(target, &all, &[rule(most)])).count();
            let room = usize::try_from(most).expect("few").saturating_sub(had);
            prop_assert_eq!(served, room.min(made.len() - had));
        }
    }
}
