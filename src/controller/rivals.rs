//! Who comes first where a rule serves only so many targets of a namespace. Pure.
//!
//! Who has credentials comes before who has none; then the oldest comes first, and of the same age the first by name. Two that
//! are made in one moment may both be served: what has credentials keeps them.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::brief::{Brief, Standing};
use crate::{access::allow::Rival, api::BackupTarget};

/// Of other targets, those of the same namespace and store that come before this one.
pub fn rivals<'a>(target: &BackupTarget, others: impl IntoIterator<Item = (&'a ObjectMeta, &'a Brief)>) -> Vec<Rival> {
    let (metadata, store) = (&target.metadata, target.spec.store_ref.resolved());
    let is_other = |(other, brief): &(&ObjectMeta, &Brief)| {
        other.uid != metadata.uid && other.namespace == metadata.namespace && *brief.store == *store
    };
    let others = others.into_iter().filter(is_other);
    others.filter_map(|(other, brief)| rival(brief, seniority(other) < seniority(metadata))).collect()
}

fn rival(other: &Brief, is_senior: bool) -> Option<Rival> {
    match &other.standing {
        Standing::Has(access) => Some(Rival::Has(access.clone())),
        Standing::Wants(claim) if is_senior && !other.is_deleting => Some(Rival::Wants((**claim).clone())),
        Standing::Wants(_) | Standing::Neither => None,
    }
}

/// None of it is the tenant's to choose once the object is there.
#[must_use]
pub fn seniority(metadata: &ObjectMeta) -> (Option<Timestamp>, Option<&str>, Option<&str>) {
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
            Access, Claim, Verdict,
            allow::{self, Namespace},
        },
        api::backup_store::AllowRule,
        controller::brief::tests::any_target,
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

    fn rivals_of(target: &BackupTarget, all: &[BackupTarget]) -> Vec<Rival> {
        let all: Vec<_> = all.iter().map(|other| (&other.metadata, Brief::from(other.clone()))).collect();
        rivals(target, all.iter().map(|(metadata, brief)| (*metadata, brief)))
    }

    fn is_served(target: &BackupTarget, all: &[BackupTarget], rules: &[AllowRule]) -> bool {
        let namespace = Namespace { name: "team-a".to_owned(), ..Namespace::default() };
        let claim = Claim::parse(target.metadata.name.as_deref().expect("a name"), &target.spec).expect("valid");
        matches!(allow::decide(&claim, &namespace, rules, &rivals_of(target, all)), Verdict::Allowed(_))
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
        let Verdict::Refused { why } = allow::decide(&claim, &namespace, &[rule(1)], &rivals_of(&all[1], &all)) else {
            panic!("there is no room");
        };
        assert!(why.contains("serves 1 targets of namespace team-a (maxTargets)"), "{why}");
    }

    /// The same from whole objects.
    fn rival_of_whole(target: &BackupTarget, other: &BackupTarget) -> Option<Rival> {
        let store = |target: &BackupTarget| target.spec.store_ref.resolved().into_owned();
        let (here, there) = (&target.metadata, &other.metadata);
        if here.uid == there.uid || here.namespace != there.namespace || store(target) != store(other) {
            return None;
        }
        let given = other.status.as_ref().and_then(|status| status.record.access.as_ref());
        if let Some(given) = given.and_then(|given| Access::from_record(given).ok()) {
            return Some(Rival::Has(given));
        }
        let age = |metadata: &ObjectMeta| metadata.creation_timestamp.as_ref().map(|created| created.0);
        let is_senior = (age(there), &there.name) < (age(here), &here.name);
        let claim = Claim::parse(there.name.as_deref().expect("a name"), &other.spec).ok()?;
        (is_senior && there.deletion_timestamp.is_none()).then_some(Rival::Wants(claim))
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

        #[test]
        fn targets_in_brief_are_the_same_rivals_as_whole_ones(
            target in any_target(), all in proptest::collection::vec(any_target(), 0..6),
        ) {
            let whole: Vec<Rival> = all.iter().filter_map(|other| rival_of_whole(&target, other)).collect();
            prop_assert_eq!(rivals_of(&target, &all), whole);
        }
    }
}
