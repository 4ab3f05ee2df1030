//! The sets of tiers that each release is tried with.

use backup_target_operator::api::Capability;

/// A set of tiers, and whether the way to the prefix can be listed.
#[derive(Clone, Copy, Debug)]
pub struct TierSet {
    /// As in names and in the table.
    pub name: &'static str,
    /// What is in it beyond base access.
    pub capabilities: &'static [Capability],
    /// `ancestorListing: Allow`.
    pub ancestor_listing: bool,
    /// What is tried with it.
    pub extent: Extent,
}

/// How much is tried with a set of tiers; each has what those before it have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Extent {
    /// A backup, and what can depend on any tier.
    Core,
    /// All that is quick.
    Most,
    /// Large files and deep folders too.
    Everything,
}

const PLAIN: TierSet = TierSet { name: "", capabilities: &[], ancestor_listing: false, extent: Extent::Core };

/// Base access, each capability alone, all of them together, and the way to the prefix.
///
/// Permissions add up and each call needs one of them, so pairs of capabilities can show nothing that these do not.
/// Uploads and their parts are what takes long, and only `MultipartUploads` speaks of them.
pub const ALL: [TierSet; 7] = [
    TierSet { name: "base", extent: Extent::Everything, ..PLAIN },
    TierSet { name: "multipart", capabilities: &[Capability::MultipartUploads], extent: Extent::Everything, ..PLAIN },
    TierSet { name: "acls", capabilities: &[Capability::ObjectAcls], ..PLAIN },
    TierSet { name: "list", capabilities: &[Capability::ListAllBuckets], ..PLAIN },
    TierSet { name: "create", capabilities: &[Capability::CreateBucket], ..PLAIN },
    TierSet { name: "all", capabilities: &Capability::ALL, extent: Extent::Most, ..PLAIN },
    TierSet { name: "ancestors", ancestor_listing: true, ..PLAIN },
];

impl TierSet {
    pub fn has(&self, capability: Capability) -> bool {
        self.capabilities.contains(&capability)
    }
}
