//! What there is, for metrics. Pure.

use jiff::Timestamp;

use super::{brief::Brief, seen::StoreInBrief};
use crate::{
    api::condition::{Truth, reason},
    telemetry::metrics::{Census, OfConditions, OfTargets},
};

/// Adds a target of a store.
pub fn count_target(census: &mut Census, target: &Brief, store: &str, now: Timestamp) {
    let told = target.ready.as_ref().map(|(ready, reason)| (*ready, &**reason));
    let (ready, reason) = told.unwrap_or((Truth::Unknown, reason::PENDING));
    let of = OfTargets { store: store.to_owned(), ready: ready.as_str().to_owned(), reason: reason.to_owned() };
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
    let reason = reason::UNREADABLE.to_owned();
    *census.targets.entry(OfTargets { store: String::new(), ready: "Unknown".to_owned(), reason }).or_default() += 1;
}

/// Adds a store.
pub fn count_store(census: &mut Census, name: &str, store: &StoreInBrief) {
    census.principals.entry(name.to_owned()).or_default();
    census.most_principals.extend(store.spec.iam.max_principals.map(|most| (name.to_owned(), i64::from(most))));
    census.stores.insert(name.to_owned(), store.ready == Some(Truth::True));
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
    use proptest::prelude::*;

    use super::*;
    use crate::controller::brief::tests::any_target;

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
            let keys = statuses().filter(|status| status.access_key_id.is_some());
            let oldest = keys.filter_map(|status| Some(now.duration_since(status.key_created_at?).as_secs())).max();
            prop_assert_eq!(census.oldest_keys.get("default").copied(), oldest);
        }
    }
}
