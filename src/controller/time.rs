//! Time as the controller counts it.

use std::time::Duration;

use jiff::Timestamp;

/// Now, in the whole seconds that Kubernetes writes.
#[must_use]
pub fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// Whether at least that much time lies between the two.
#[must_use]
pub fn at_least(duration: Duration, since: Timestamp, now: Timestamp) -> bool {
    since.checked_add(duration).is_ok_and(|due| due <= now)
}

/// Within ten per cent, so that many objects do not come at the same moment for ever.
#[must_use]
pub fn jittered(duration: Duration) -> Duration {
    duration.mul_f64(0.9 + 0.2 * fastrand::f64())
}
