//! The words of status: condition types, and how a condition keeps its transition time.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::{Reason, Tier};

/// Summary: the published credentials are in place and carry what the spec asks for.
pub const READY: &str = "Ready";
/// Abnormal-true: the operator is working on it or waiting for something (kstatus: in progress).
pub const RECONCILING: &str = "Reconciling";
/// Abnormal-true: only a person can go on from here (kstatus: failed).
pub const STALLED: &str = "Stalled";
/// BackupStore: whether a permissions boundary limits what its principals can ever do.
pub const BOUNDED: &str = "Bounded";
/// BackupStore: whether nobody can reach the folder of others by the name of a namespace.
pub const FOLDERS_APART: &str = "FoldersApart";
/// Everything outside the request was tried with the key and refused.
pub const LEAST_PRIVILEGE: &str = "LeastPrivilege";

/// `True`, `False` or `Unknown`, as Kubernetes writes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// It is so.
    True,
    /// It is not so.
    False,
    /// It could not be found out.
    Unknown,
}

impl Truth {
    /// What a condition says.
    #[must_use]
    pub fn of(condition: &Condition) -> Self {
        match condition.status.as_str() {
            "True" => Self::True,
            "False" => Self::False,
            _ => Self::Unknown,
        }
    }

    /// As a condition's status.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// Collects the conditions of one reconcile; what is not set again is gone.
pub struct Conditions<'a> {
    before: &'a [Condition],
    generation: Option<i64>,
    now: Timestamp,
    after: Vec<Condition>,
}

impl<'a> Conditions<'a> {
    /// Starts from the conditions that the object has.
    #[must_use]
    pub fn new(before: &'a [Condition], generation: Option<i64>, now: Timestamp) -> Self {
        Self { before, generation, now, after: Vec::new() }
    }

    /// What was set so far.
    #[must_use]
    pub fn find(&self, type_: &str) -> Option<&Condition> {
        find(&self.after, type_)
    }

    /// What the object's condition of that type says.
    #[must_use]
    pub fn before(&self, type_: &str) -> Option<&Condition> {
        find(self.before, type_)
    }

    /// Sets one condition, also anew; its transition time moves only when its status does.
    pub fn set(&mut self, type_: &str, truth: Truth, reason: Reason, message: impl Into<String>) {
        let status = truth.as_str();
        let since = self
            .before
            .iter()
            .find(|old| old.type_ == type_ && old.status == status)
            .map_or(Time(self.now), |old| old.last_transition_time.clone());
        self.after.retain(|set| set.type_ != type_);
        self.after.push(Condition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: reason.to_string(),
            message: message.into(),
            observed_generation: self.generation,
            last_transition_time: since,
        });
    }

    /// Keeps what a condition says, for the present generation.
    pub fn confirm(&mut self, type_: &str) -> bool {
        let old = find(self.before, type_).cloned();
        let found = old.is_some();
        self.after.extend(old.map(|old| Condition { observed_generation: self.generation, ..old }));
        found
    }

    /// Keeps a condition that the object has, when nothing new was learnt about it.
    pub fn keep(&mut self, type_: &str) -> bool {
        let old = find(self.before, type_).cloned();
        let found = old.is_some();
        self.after.extend(old);
        found
    }

    /// The finished list, always in the same order: one that only looks different would be written for nothing.
    #[must_use]
    pub fn finish(mut self) -> Vec<Condition> {
        self.after.sort_by_key(|condition| rank(&condition.type_));
        self.after
    }
}

/// What a person wants to know first comes first.
fn rank(type_: &str) -> usize {
    let first = [READY, RECONCILING, STALLED, BOUNDED, FOLDERS_APART, LEAST_PRIVILEGE];
    let tiers = Tier::ALL.into_iter().map(Tier::name);
    first.into_iter().chain(tiers).position(|known| known == type_).unwrap_or(usize::MAX)
}

/// The condition of that type, if there is one.
#[must_use]
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transition_time_moves_only_with_the_status() {
        let then = Timestamp::UNIX_EPOCH;
        let now = Timestamp::from_second(1_000).expect("a valid time");
        let mut first = Conditions::new(&[], Some(1), then);
        first.set(READY, Truth::False, Reason::Pending, "not yet");
        let first = first.finish();

        let mut same = Conditions::new(&first, Some(2), now);
        same.set(READY, Truth::False, Reason::Deleting, "going");
        assert_eq!(same.finish()[0].last_transition_time.0, then);

        let mut flipped = Conditions::new(&first, Some(2), now);
        flipped.set(READY, Truth::True, Reason::Provisioned, "there");
        assert_eq!(flipped.finish()[0].last_transition_time.0, now);
    }
}
