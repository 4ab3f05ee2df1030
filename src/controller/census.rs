//! What there is, for metrics. Pure.

use jiff::Timestamp;

use super::{brief::Brief, seen::StoreInBrief};
use crate::{
    api::{Reason, condition::Truth},
    telemetry::metrics::{Census, OfConditions, OfTargets},
};

/// Adds a target of a store.
pub fn count_target(census: &mut Census, target: &Brief, store: &str, now: Timestamp) {
    let (ready, reason) = target.ready.unwrap_or((Truth::Unknown, Reason::Pending));
    let of = OfTargets { store: store.to_owned(), ready: ready.as_str().to_owned(), reason: reason.to_string() };
    *census.targets.entry(of).or_default() += 1;
    for (condition, truth) in target.counted() {
        let of = OfConditions { condition: condition.to_owned(), status: truth.as_str().to_owned() };
        *census.conditions.entry(of).or_default() += 1;
    }
    if target.has_principal {
        *census.principals.entry(store.to_owned()).or_default() += 1;
    }
    if let Some(created_at) = target.key_created_at {
        let age = now.duration_since(created_at).as_secs().max(0);
        let oldest = census.oldest_keys.entry(store.to_owned()).or_default();
        *oldest = age.max(*oldest);
    }
}

/// Adds a target that cannot be read; which store it uses is not known.
pub fn count_unreadable(census: &mut Census) {
    let reason = Reason::Unreadable.to_string();
    *census.targets.entry(OfTargets { store: String::new(), ready: "Unknown".to_owned(), reason }).or_default() += 1;
}

pub fn count_store(census: &mut Census, name: &str, store: &StoreInBrief) {
    census.principals.entry(name.to_owned()).or_default();
    census.most_principals.extend(store.spec.max_principals.map(|most| (name.to_owned(), i64::from(most))));
    census.stores.insert(name.to_owned(), store.ready == Some(Truth::True));
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        api::{BackupStore, BackupTarget},
        controller::brief::tests::any_target,
    };

    proptest! {
        #[test]
        fn targets_in_brief_are_counted_as_whole_ones(all in proptest::collection::vec(any_target(), 0..20)) {
            let mut census = Census::default();
            let now = Timestamp::from_second(2_000_000_000).expect("a time");
            for target in &all {
                count_target(&mut census, &target.clone().into(), "default", now);
            }
            let statuses = || all.iter().filter_map(|target| target.status.as_ref());
            let with = |type_: &str, status: &str| {
                let is = |told: &Condition| told.type_ == type_ && told.status == status;
                i64::try_from(statuses().filter(|target| target.conditions.iter().any(is)).count()).ok()
            };
            for ready in ["True", "False", "Unknown"] {
                let of = OfTargets { store: "default".into(), ready: ready.into(), reason: "Provisioned".into() };
                prop_assert_eq!(census.targets.get(&of).copied().or(Some(0)), with("Ready", ready));
                let of = OfConditions { condition: "BaseAccess".into(), status: ready.into() };
                prop_assert_eq!(census.conditions.get(&of).copied().or(Some(0)), with("BaseAccess", ready));
            }
            let keys = statuses().filter(|status| status.record.access_key_id.is_some());
            let oldest = keys.filter_map(|status| Some(now.duration_since(status.record.key_created_at?).as_secs())).max();
            prop_assert_eq!(census.oldest_keys.get("default").copied(), oldest);
        }
    }

    fn told(ready: Option<(&str, Reason)>) -> Value {
        let condition = |(status, reason): (&str, Reason)| json!({"type": "Ready", "status": status, "reason": reason.as_str(), "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
        json!({"conditions": ready.map(condition).into_iter().collect::<Vec<_>>()})
    }

    fn target(ready: Option<(&str, Reason)>) -> Brief {
        let target: BackupTarget = serde_json::from_value(json!({
            "apiVersion": "backup-target.dev/v1alpha1", "kind": "BackupTarget",
            "metadata": {"name": "dataset-1", "namespace": "team-a"}, "spec": {"bucket": "b-1"}, "status": told(ready),
        }))
        .expect("a target");
        target.into()
    }

    #[test]
    fn targets_are_counted_by_what_is_told_of_them() {
        let mut census = Census::default();
        let (ready, stalled) = (Some(("True", Reason::Provisioned)), Some(("False", Reason::OnHold)));
        for (store, told) in
            [("default", ready), ("default", ready), ("default", stalled), ("default", None), ("fast", ready)]
        {
            count_target(&mut census, &target(told), store, Timestamp::UNIX_EPOCH);
        }
        count_unreadable(&mut census);
        let counted = [
            ("", "Unknown", Reason::Unreadable, 1),
            ("default", "False", Reason::OnHold, 1),
            ("default", "True", Reason::Provisioned, 2),
            ("default", "Unknown", Reason::Pending, 1),
            ("fast", "True", Reason::Provisioned, 1),
        ];
        let counted = counted.map(|(store, ready, reason, count)| {
            (OfTargets { store: store.to_owned(), ready: ready.to_owned(), reason: reason.to_string() }, count)
        });
        assert_eq!(census.targets, counted.into());
    }

    #[test]
    fn a_store_works_when_it_says_so_and_tells_how_many_it_may_have() {
        let mut census = Census::default();
        let (well, ill) = (Some(("True", Reason::CredentialsValid)), Some(("False", Reason::AccessDenied)));
        for (name, ready, most) in [("well", well, Some(7)), ("ill", ill, None), ("new", None, None)] {
            let store: BackupStore = serde_json::from_value(json!({
                "apiVersion": "backup-target.dev/v1alpha1", "kind": "BackupStore", "metadata": {"name": name},
                "spec": {"region": "eu-central-1", "maxPrincipals": most}, "status": told(ready),
            }))
            .expect("a store");
            count_store(&mut census, name, &store.into());
        }
        let stores = [("well", true), ("ill", false), ("new", false)].map(|(name, works)| (name.to_owned(), works));
        assert_eq!(census.stores, stores.into());
        assert_eq!(census.most_principals, [("well".to_owned(), 7)].into());
        assert_eq!(census.principals.len(), 3, "one that has none says so");
    }
}
