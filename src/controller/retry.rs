//! What an error says about trying again.

use std::time::Duration;

/// How long what is new at a store, keys and rights, may take to be known everywhere there, and what is old may linger; others wait as
/// long (docs/decisions/verification.md).
pub const PATIENCE: Duration = Duration::from_mins(2);

/// When to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Only a person can mend it; looked at again now and then, since not every mend can be watched.
    Stalled,
    /// It passes by itself, or with a change that is watched.
    Backoff,
    /// It passes by itself if it comes of something new at the store. Once it has lasted, only a person can mend it.
    Patience,
}

impl Retry {
    /// What that comes to when it has been so for some time.
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        match self {
            Self::Patience if time < PATIENCE => Self::Backoff,
            Self::Patience => Self::Stalled,
            known => known,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_ends() {
        let (soon, late) = (PATIENCE / 2, PATIENCE);
        for (retry, first, then) in [
            (Retry::Patience, Retry::Backoff, Retry::Stalled),
            (Retry::Stalled, Retry::Stalled, Retry::Stalled),
            (Retry::Backoff, Retry::Backoff, Retry::Backoff),
        ] {
            assert_eq!((retry.after(soon), retry.after(late)), (first, then), "{retry:?}");
        }
    }
}
