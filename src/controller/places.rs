//! Who comes first where a store keeps only so many principals. Pure.
//!
//! Who has a principal keeps it; then the oldest target comes first, in whatever namespace it is. One that waits for something
//! else than a place holds none, and neither does one that no rule serves, since anybody can make many of those.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;

use super::{brief::Standing, rivals::seniority, seen::SeenTarget};
use crate::{access::Claim, api::Reason};

/// A store that has no place for a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// How many principals the store keeps.
    pub most: u32,
    /// How many targets come before this one in the line.
    pub before: u32,
}

/// Whether a target has to wait for a place, of the targets of its store and so many principals there; `None` when there is one.
/// `is_served` says whether the rules would serve a target that was not looked at yet.
pub fn full<'a>(
    target: &ObjectMeta,
    all: impl IntoIterator<Item = &'a SeenTarget>,
    taken: usize,
    most: u32,
    is_served: impl Fn(&ObjectMeta, &Claim) -> bool,
) -> Option<Full> {
    let is_before = |other: &&SeenTarget| {
        let counts = |claim| is_told(other) || is_served(other.meta(), claim);
        seniority(other.meta()) < seniority(target) && waiting(other).is_some_and(counts)
    };
    let before = all.into_iter().filter(is_before).count();
    let has_room = usize::try_from(most).is_ok_and(|most| taken + before < most);
    (!has_room).then(|| Full { most, before: u32::try_from(before).unwrap_or(u32::MAX) })
}

/// Those whose turn it is, of all that were told to wait.
pub fn next<'a>(all: impl IntoIterator<Item = &'a SeenTarget>, taken: usize, most: u32) -> Vec<&'a SeenTarget> {
    let mut told: Vec<_> = all.into_iter().filter(|target| is_told(target) && waiting(target).is_some()).collect();
    told.sort_by_key(|target| seniority(target.meta()));
    told.truncate(usize::try_from(most).unwrap_or(usize::MAX).saturating_sub(taken));
    told
}

/// What a target asks for that has no principal and may be waiting for one.
fn waiting(seen: &SeenTarget) -> Option<&Claim> {
    let target = seen.readable()?;
    let is_new = target.ready.is_none_or(|(_, why)| why == Reason::Pending);
    match &target.standing {
        Standing::Wants(claim) if is_new || is_told(seen) => {
            (!target.has_anything && !target.is_suspended && !target.is_deleting).then_some(claim)
        }
        _ => None,
    }
}

fn is_told(seen: &SeenTarget) -> bool {
    let ready = seen.readable().and_then(|target| target.ready);
    ready.is_some_and(|(_, why)| why == Reason::LimitExceeded)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// A target that was made in that second, in the namespace of that name, and what its condition Ready says.
    fn target(namespace: &str, second: i64, fields: &serde_json::Value) -> SeenTarget {
        let created = jiff::Timestamp::from_second(second).expect("a time").to_string();
        let mut object = json!({
            "apiVersion": "backup-target.dev/v1alpha1", "kind": "BackupTarget",
            "metadata": {"name": "a", "namespace": namespace, "uid": namespace, "creationTimestamp": created},
            "spec": {"bucket": "b-1", "prefix": "x"},
        });
        object.as_object_mut().expect("an object").extend(fields.as_object().expect("fields").clone());
        serde_json::from_value(object).expect("a target")
    }

    fn told(why: &str) -> serde_json::Value {
        let ready = json!({
            "type": "Ready", "status": "False", "reason": why, "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z",
        });
        json!({"status": {"conditions": [ready]}})
    }

    fn place(target: &SeenTarget, all: &[SeenTarget], taken: usize, most: u32) -> Option<u32> {
        let serves = |other: &ObjectMeta, _: &Claim| other.namespace.as_deref() != Some("stranger");
        full(target.meta(), all, taken, most, serves).map(|full| full.before)
    }

    #[test]
    fn the_oldest_that_only_waits_for_a_place_comes_first() {
        let new = json!({});
        let all = [
            target("first", 1, &told("LimitExceeded")),
            target("second", 2, &new),
            target("third", 2, &new),
            target("stranger", 0, &new),
            target("foreign", 0, &told("SecretConflict")),
            target("refused", 0, &told("NotAllowed")),
            target("suspended", 0, &json!({"spec": {"bucket": "b-1", "prefix": "x", "suspend": true}})),
            target("served", 0, &json!({"status": {"principal": "btgt-1"}})),
        ];
        let table = [
            (1, [Some(0), Some(1), Some(2)]),
            (2, [None, Some(1), Some(2)]),
            (3, [None, None, Some(2)]),
            (4, [None; 3]),
        ];
        for (most, wanted) in table {
            let found = [0, 1, 2].map(|number| place(&all[number], &all, 1, most));
            assert_eq!(found, wanted, "of {most}");
        }
    }

    #[test]
    fn whose_turn_it_is_goes_by_age_and_by_what_is_free() {
        let all = [
            target("b", 2, &told("LimitExceeded")),
            target("a", 1, &told("LimitExceeded")),
            target("c", 0, &told("NotAllowed")),
        ];
        let names = |taken, most| {
            let next = next(&all, taken, most);
            next.iter().filter_map(|target| target.meta().namespace.clone()).collect::<Vec<_>>()
        };
        assert_eq!(names(3, 4), ["a"]);
        assert_eq!(names(3, 9), ["a", "b"]);
        assert!(names(4, 4).is_empty() && names(5, 4).is_empty());
    }

    proptest! {
        #[test]
        fn no_more_are_served_than_may_and_as_many_as_may(
            made in proptest::collection::vec((0..4_i64, any::<bool>()), 1..12), taken in 0..6_usize, most in 1..12_u32,
        ) {
            let all: Vec<SeenTarget> = made.iter().enumerate().map(|(number, (second, told_so))| {
                target(&format!("team-{number}"), *second, &if *told_so { told("LimitExceeded") } else { json!({}) })
            }).collect();
            let served = all.iter().filter(|target| place(target, &all, taken, most).is_none()).count();
            let room = usize::try_from(most).expect("few").saturating_sub(taken);
            prop_assert_eq!(served, room.min(all.len()));
        }
    }
}
