//! What must happen in a cell, and in which cells.

use backup_target_operator::api::Capability;

use crate::{releases::Release, tiers::TierSet};

/// What must happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Must {
    /// It does its work, and S3 refuses nothing.
    Work,
    /// It does its work and ends well, and complains that S3 refused a call.
    Complain { call: &'static str, says: &'static str },
    /// S3 refuses a call, rclone says so and ends with an error, and nothing has changed.
    BeRefused { call: &'static str, says: &'static str },
    /// rclone ends with an error of its own, S3 refused nothing, and nothing has changed.
    Fail { says: &'static str },
    /// It is not tried.
    NotRun,
}

/// Where something holds.
#[derive(Clone, Copy, Debug)]
pub enum When {
    /// With this capability.
    With(Capability),
    /// Where the way to the prefix can be listed.
    WithAncestors,
    /// With releases of this minor version and newer.
    Since(u32),
    /// With releases older than this minor version.
    Before(u32),
    /// With the sets of tiers that are not tried with everything.
    Quick,
}

impl When {
    pub fn holds(self, release: Release, tiers: &TierSet) -> bool {
        match self {
            Self::With(capability) => tiers.has(capability),
            Self::WithAncestors => tiers.ancestor_listing,
            Self::Since(minor) => release.minor >= minor,
            Self::Before(minor) => release.minor < minor,
            Self::Quick => !tiers.thorough,
        }
    }
}

/// The first row whose conditions all hold says what must happen; when there is none, it must work.
pub type Rules = &'static [(&'static [When], Must)];

pub fn must(rules: Rules, release: Release, tiers: &TierSet) -> Must {
    let row = rules.iter().find(|(when, _)| when.iter().all(|when| when.holds(release, tiers)));
    row.map_or(Must::Work, |(_, must)| *must)
}
