//! The store's time, as its answers tell it. Keys carry the store's times, so whatever is decided about them goes by the same
//! clock: that of this machine may be wrong, or jump.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use jiff::{SignedDuration, Timestamp};

/// Answers that differ by less say the same: they name whole seconds, and take some time to arrive.
const SAME: SignedDuration = SignedDuration::from_secs(5);
/// A machine whose clock differs by less is in nobody's way.
const WORTH_TELLING: SignedDuration = SignedDuration::from_mins(2);
/// What is told changes only when it differs by at least this.
const TELL_ANEW: SignedDuration = SignedDuration::from_secs(90);
/// AWS takes no request that is signed with a clock that differs by more.
const TOO_MUCH: SignedDuration = SignedDuration::from_mins(4);

/// The clock of one store. Copies are the same clock.
#[derive(Clone, Debug, Default)]
pub struct Clock(Arc<Mutex<Option<Heard>>>);

#[derive(Clone, Copy, Debug)]
struct Heard {
    /// What the store's clock showed …
    date: Timestamp,
    /// … at this moment, of a clock that never jumps.
    at: Instant,
    /// How far this machine's clock was ahead when that was last worth a word.
    ahead: SignedDuration,
}

/// How far this machine's clock is from the store's, in words for people: in whole minutes, so that it seldom changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skew {
    /// Minutes by which this machine's clock is ahead; negative when it is behind.
    pub minutes_ahead: i64,
    /// Whether a store may refuse requests for that.
    pub too_much: bool,
}

impl Clock {
    /// The store's time in the whole seconds that Kubernetes writes; this machine's, as long as the store has told none.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.heard().unwrap_or_else(|| whole_seconds(Timestamp::now()))
    }

    /// The store's time, if it has told it.
    #[must_use]
    pub fn heard(&self) -> Option<Timestamp> {
        self.lock().map(|heard| whole_seconds(heard.at_present(Instant::now())))
    }

    /// How far this machine's clock is from the store's, if that is worth telling.
    #[must_use]
    pub fn skew(&self) -> Option<Skew> {
        let ahead = self.lock().as_ref()?.ahead;
        let minutes = (ahead.as_secs() + 30 * i64::from(ahead.signum())) / 60;
        (ahead.abs() >= WORTH_TELLING).then_some(Skew { minutes_ahead: minutes, too_much: ahead.abs() >= TOO_MUCH })
    }

    /// An answer of the store that was written at that time by its clock.
    pub(super) fn hear(&self, date: Timestamp, own: Timestamp, at: Instant) {
        let mut heard = self.lock();
        let ahead = own.duration_since(date);
        let told = heard.map(|before| before.ahead).filter(|told| (ahead - *told).abs() < TELL_ANEW);
        let same = heard.filter(|before| date.duration_since(before.at_present(at)).abs() < SAME);
        // Time that goes on is better than time that steps back by a second with each answer.
        let (date, at) = same.map_or((date, at), |before| (before.date, before.at));
        *heard = Some(Heard { date, at, ahead: told.unwrap_or(ahead) });
    }

    fn lock(&self) -> MutexGuard<'_, Option<Heard>> {
        // What was heard is whole after every line that holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Heard {
    fn at_present(&self, now: Instant) -> Timestamp {
        self.date.saturating_add(now.saturating_duration_since(self.at)).unwrap_or(self.date)
    }
}

impl std::fmt::Display for Skew {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let direction = if self.minutes_ahead > 0 { "ahead of" } else { "behind" };
        let minutes = self.minutes_ahead.abs();
        write!(f, "the operator's clock is about {minutes} minutes {direction} the store's; mend the clock of its node")
    }
}

fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).expect("a valid time")
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_time_is_that_of_the_store_whatever_the_clock_of_the_machine_says() {
        let begin = Instant::now();
        for own in [-3_600, -360, 0, 360, 3_600] {
            let clock = Clock::default();
            assert_eq!(clock.heard(), None);
            clock.hear(at(0), at(own), begin);
            // The machine's clock jumps, and the store's time goes on.
            clock.hear(at(10), at(-own), begin + seconds(10));
            let heard = clock.lock().expect("it was heard");
            assert_eq!(heard.at_present(begin + seconds(70)), at(70));
        }
    }

    #[test]
    fn time_does_not_step_back_with_answers_that_took_a_while() {
        let (begin, clock) = (Instant::now(), Clock::default());
        clock.hear(at(0), at(0), begin);
        clock.hear(at(9), at(10), begin + seconds(10));
        assert_eq!(clock.lock().expect("it was heard").at_present(begin + seconds(10)), at(10));
        clock.hear(at(-100), at(11), begin + seconds(11));
        let heard = clock.lock().expect("it was heard");
        assert_eq!(heard.at_present(begin + seconds(11)), at(-100), "one that was set back is believed");
    }

    #[test]
    fn a_clock_that_is_off_is_told_in_whole_minutes_that_seldom_change() {
        let (begin, clock) = (Instant::now(), Clock::default());
        assert_eq!(clock.skew(), None);
        clock.hear(at(0), at(100), begin);
        assert_eq!(clock.skew(), None, "a small difference is in nobody's way");
        clock.hear(at(0), at(361), begin);
        assert_eq!(clock.skew(), Some(Skew { minutes_ahead: 6, too_much: true }));
        clock.hear(at(0), at(391), begin);
        assert_eq!(clock.skew().map(|skew| skew.minutes_ahead), Some(6), "half a minute more is no news");
        clock.hear(at(0), at(-1_201), begin);
        let skew = clock.skew().expect("it is off").to_string();
        assert!(skew.contains("about 20 minutes behind"), "{skew}");
        clock.hear(at(0), at(1), begin);
        assert_eq!(clock.skew(), None, "mended");
    }
}
