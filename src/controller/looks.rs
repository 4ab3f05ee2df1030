//! How often all principals of a store are looked at, so that looks leave most of its rate to others. Pure.

use std::time::Duration;

use crate::{api::BackupStore, provider};

/// How much of a store's rate looks may take.
const DRIFT_SHARE_TENTHS: u64 = 3;

/// The resync, stretched so that comparing all targets takes no more than its share of the store's rate. In whole minutes
/// beyond the resync itself, so that one principal more or less changes nothing.
#[must_use]
pub fn drift_interval(store: &BackupStore, principals: usize, resync: Duration) -> Duration {
    let time = time_for_looks(store, principals);
    let stretched = Duration::from_mins(time.as_secs().div_ceil(60));
    if time > resync { stretched } else { resync }
}

/// How long it takes to look at so many principals once with the share of the store's rate that looks may take.
#[must_use]
pub fn time_for_looks(store: &BackupStore, principals: usize) -> Duration {
    let requests = u64::try_from(principals)
        .unwrap_or(u64::MAX)
        .saturating_mul(provider::limits(store.spec.provider).requests_per_look * 10);
    Duration::from_secs(requests.div_ceil(u64::from(store.spec.requests_per_second.max(1)) * DRIFT_SHARE_TENTHS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(rate: u16) -> BackupStore {
        serde_json::from_value(serde_json::json!({
            "apiVersion": "backup-target.dev/v1alpha1", "kind": "BackupStore", "metadata": {"name": "default"},
            "spec": {"region": "r", "requestsPerSecond": rate},
        }))
        .expect("a store")
    }

    #[test]
    fn looks_leave_most_of_a_rate_to_others() {
        let resync = Duration::from_mins(10);
        // With three tenths of ten requests a second, one principal takes two seconds.
        let table = [
            (10, 0, 0, 10),
            (10, 1, 2, 10),
            (10, 300, 600, 10),
            (10, 301, 602, 11),
            (10, 330, 660, 11),
            (10, 331, 662, 12),
            (20, 301, 301, 10),
            (1, 100, 2_000, 34),
        ];
        for (rate, principals, seconds, minutes) in table {
            let (time, interval) =
                (time_for_looks(&store(rate), principals), drift_interval(&store(rate), principals, resync));
            assert_eq!(time, Duration::from_secs(seconds), "{principals} at {rate}");
            assert_eq!(interval, Duration::from_mins(minutes), "{principals} at {rate}");
        }
        assert!(drift_interval(&store(1), usize::MAX, resync) > resync, "no number is too large");
    }
}
