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
    /// Whether what takes long is tried with it as well.
    pub thorough: bool,
}

const PLAIN: TierSet = TierSet { name: "", capabilities: &[], ancestor_listing: false, thorough: false };

/// Base access, each capability alone, all of them together, and the way to the prefix.
///
/// Permissions add up and each call needs one of them, so pairs of capabilities can show nothing that these do not.
pub const ALL: [TierSet; 7] = [
    TierSet { name: "base", thorough: true, ..PLAIN },
    TierSet { name: "multipart", capabilities: &[Capability::MultipartUploads], thorough: true, ..PLAIN },
    TierSet { name: "acls", capabilities: &[Capability::ObjectAcls], ..PLAIN },
    TierSet { name: "list", capabilities: &[Capability::ListAllBuckets], ..PLAIN },
    TierSet { name: "create", capabilities: &[Capability::CreateBucket], ..PLAIN },
    TierSet { name: "all", capabilities: &Capability::ALL, ..PLAIN },
    TierSet { name: "ancestors", ancestor_listing: true, ..PLAIN },
];

impl TierSet {
    pub fn has(&self, capability: Capability) -> bool {
        self.capabilities.contains(&capability)
    }
}
