//! What must happen in a cell, and in which cells.

use backup_target_operator::api::Capability;

use crate::{releases::Release, tiers::TierSet};

/// Names of S3's calls.
pub type Calls = &'static [&'static str];

/// What must happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Must {
    /// It does its work, and S3 refuses nothing.
    Work,
    /// It does its work and ends well, and S3 refuses calls, of which it says this.
    Complain { calls: Calls, says: &'static str },
    /// S3 refuses calls, rclone says this and ends with an error, and nothing has changed.
    BeRefused { calls: Calls, says: &'static str },
    /// rclone ends with an error of its own, S3 refused nothing, and nothing has changed.
    Fail { says: &'static str },
}

impl Must {
    /// Whether it does its work.
    pub fn works(self) -> bool {
        matches!(self, Self::Work | Self::Complain { .. })
    }

    /// The calls that S3 refuses, and what rclone says.
    pub fn refusal(self) -> (Calls, &'static str) {
        match self {
            Self::Complain { calls, says } | Self::BeRefused { calls, says } => (calls, says),
            Self::Fail { says } => (&[], says),
            Self::Work => (&[], ""),
        }
    }
}

/// Where something holds.
#[derive(Clone, Copy, Debug)]
pub enum When {
    /// With this capability.
    With(Capability),
    /// Without this capability.
    Without(Capability),
    /// Where the way to the prefix can be listed.
    WithAncestors,
    /// With releases of this minor version and newer.
    Since(u32),
    /// With releases older than this minor version.
    Before(u32),
}

impl When {
    pub fn holds(self, release: Release, tiers: &TierSet) -> bool {
        match self {
            Self::With(capability) => tiers.has(capability),
            Self::Without(capability) => !tiers.has(capability),
            Self::WithAncestors => tiers.ancestor_listing,
            Self::Since(minor) => release.minor >= minor,
            Self::Before(minor) => release.minor < minor,
        }
    }
}

/// The first row whose conditions all hold is the one that counts.
pub type Rules = &'static [(&'static [When], Must)];
