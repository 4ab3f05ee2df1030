//! What an error says about trying again.

/// When to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Only a person can mend it; looked at again now and then, since not every mend can be watched.
    Stalled,
    /// It passes by itself, or with a change that is watched.
    Backoff,
}
