//! What there is, for metrics. Pure.

use jiff::Timestamp;

use crate::{
    api::{
        BackupStore, BackupTarget, Tier,
        condition::{self, LEAST_PRIVILEGE, READY},
    },
    telemetry::metrics::{Census, OfConditions, OfTargets},
};

/// Adds a target of a store.
pub fn count_target(census: &mut Census, target: &BackupTarget, store: &str, now: Timestamp) {
    let status = target.status.as_ref();
    let conditions = status.map(|status| status.conditions.as_slice()).unwrap_or_default();
    let (ready, reason) = match condition::find(conditions, READY) {
        Some(ready) => (ready.status.clone(), ready.reason.clone()),
        None => ("Unknown".to_owned(), condition::reason::PENDING.to_owned()),
    };
    *census.targets.entry(OfTargets { store: store.to_owned(), ready, reason }).or_default() += 1;
    let is_tier = |type_: &str| Tier::ALL.iter().any(|tier| tier.name() == type_);
    for told in conditions.iter().filter(|told| told.type_ == LEAST_PRIVILEGE || is_tier(&told.type_)) {
        let of = OfConditions { condition: told.type_.clone(), status: told.status.clone() };
        *census.conditions.entry(of).or_default() += 1;
    }
    let key = status.and_then(|status| status.key_created_at.filter(|_| status.access_key_id.is_some()));
    if let Some(created_at) = key {
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
pub fn count_store(census: &mut Census, store: &BackupStore) {
    let conditions = store.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let ready = condition::find(conditions, READY).is_some_and(|ready| ready.status == "True");
    census.stores.insert(store.metadata.name.clone().unwrap_or_default(), ready);
}
