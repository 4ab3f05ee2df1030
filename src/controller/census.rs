//! What there is, for metrics. Pure.

use jiff::Timestamp;

use super::seen::Told;
use crate::{
    api::{BackupStore, BackupTarget, condition},
    telemetry::metrics::{Census, OfConditions, OfTargets},
};

/// Adds a target of a store.
pub fn count_target(census: &mut Census, target: &BackupTarget, told: &Told, store: &str, now: Timestamp) {
    let (ready, reason) =
        told.ready.clone().unwrap_or_else(|| ("Unknown".to_owned(), condition::reason::PENDING.to_owned()));
    *census.targets.entry(OfTargets { store: store.to_owned(), ready, reason }).or_default() += 1;
    for (tier, status) in &told.tiers {
        let of = OfConditions { condition: (*tier).to_owned(), status: status.clone() };
        *census.conditions.entry(of).or_default() += 1;
    }
    if target.status.as_ref().is_some_and(|status| status.principal.is_some()) {
        *census.principals.entry(store.to_owned()).or_default() += 1;
    }
    let published = target.status.as_ref().filter(|status| status.access_key_id.is_some());
    if let Some(created_at) = published.and_then(|status| status.key_created_at) {
        let age = now.duration_since(created_at).as_secs().max(0);
        let oldest = census.oldest_keys.entry(store.to_owned()).or_default();
        *oldest = age.max(*oldest);
    }
}

/// Adds a target that cannot be read; which store it uses is not known.
pub fn count_unreadable(census: &mut Census) {
    let reason = condition::reason::UNREADABLE.to_owned();
    *census.targets.entry(OfTargets { store: String::new(), ready: "Unknown".to_owned(), reason }).or_default() += 1;
}

/// Adds a store.
pub fn count_store(census: &mut Census, store: &BackupStore, told: &Told) {
    let name = store.metadata.name.clone().unwrap_or_default();
    let ready = told.ready.as_ref().is_some_and(|(status, _)| status == "True");
    census.principals.entry(name.clone()).or_default();
    census.most_principals.extend(store.spec.iam.max_principals.map(|most| (name.clone(), i64::from(most))));
    census.stores.insert(name, ready);
}
