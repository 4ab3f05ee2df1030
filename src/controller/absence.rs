//! How it is found out that something is not there, in a store whose answers may lag behind. Pure.

use std::time::Duration;

use jiff::Timestamp;

use super::time::at_least;

/// Absence is believed after this many looks …
const LOOKS: u32 = 3;
/// … spread over at least this time.
const LOOKS_SPREAD: Duration = Duration::from_mins(1);

/// Looks that did not show what an intent may still bring, or a principal that is young.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Absence {
    /// Nonce of the intent, or name of the principal.
    pub intent: String,
    /// When it was first missed.
    pub since: Option<Timestamp>,
    /// How many looks there were.
    pub looks: u32,
}

impl Absence {
    /// One more look for what this intent may bring, that showed nothing.
    #[must_use]
    pub fn and_another(self, intent: &str, now: Timestamp) -> Self {
        let before = if self.intent == intent { self } else { Self::default() };
        // A time that is still to come was told by a clock that was set back since.
        let since = before.since.filter(|since| *since <= now).unwrap_or(now);
        Self { intent: intent.to_owned(), since: Some(since), looks: before.looks + 1 }
    }

    /// Whether so many looks over so much time were for what this intent may bring that it is taken for gone.
    #[must_use]
    pub fn is_believed(&self, intent: &str, now: Timestamp) -> bool {
        self.intent == intent
            && self.looks >= LOOKS
            && self.since.is_some_and(|since| at_least(LOOKS_SPREAD, since, now))
    }
}
