//! What a store can do and what it is called there, as data: one constant for each dialect of each family.

use crate::{access::PolicyDocument, api::Capability, api::backup_target::PolicyForm, probe::Family};

/// What a store can do.
#[derive(Debug, PartialEq, Eq)]
pub struct Limits {
    /// What things are called there.
    pub words: Words,
    /// How many keys a principal may have.
    pub keys: usize,
    /// Whether the store's administrator brings the keys: none is made, switched off or deleted then, what a key can do is not seen,
    /// and a principal has the one key that was brought for what it is for.
    pub brings_keys: bool,
    /// Whether the store tells when a key was last used; where it does not, overlaps go by time alone.
    pub knows_last_use: bool,
    /// Whether a key can make its own principal more keys. Whatever keys are not this operator's are deleted then: they would
    /// outlive the one that made them.
    pub keys_make_keys: bool,
    /// How a policy can be stored, and how many characters it may have then; the first that fits is taken.
    pub forms: &'static [(PolicyForm, usize)],
    /// How many requests one look at a principal costs. Where it costs none, no look is spared.
    pub requests_per_look: u64,
    /// How the store answers when keys are tried.
    pub verification: &'static Family,
    /// What rclone calls it.
    pub rclone: &'static str,
    /// Tiers that the store cannot give to a key that is held to a folder, and why.
    pub unsupported: &'static [(Capability, &'static str)],
}

/// What things are called at a store.
#[derive(Debug, PartialEq, Eq)]
pub struct Words {
    /// A principal.
    pub principal: &'static str,
    /// What keeps the principals.
    pub system: &'static str,
    /// Whoever the principals belong to.
    pub account: &'static str,
    /// What is said once it is known whose the store is, with `{account}` in it.
    pub connected: &'static str,
    /// What a person has to look at when a key can do more than what was asked for.
    pub excess: &'static str,
    /// What is told of the key of a target that gets nothing any more, where the key itself goes on working.
    pub unrevoked: Option<&'static str>,
    /// Deletes a key, with `{principal}` and `{key}` in it.
    pub delete_key: &'static str,
    /// Switches a key on, likewise.
    pub activate_key: &'static str,
    /// Ends a hold on a principal, with `{principal}` in it.
    pub end_hold: &'static str,
}

impl Limits {
    /// Whether a policy that is stored so stays when its principal is deleted.
    #[must_use]
    pub fn outlives_principal(&self, form: PolicyForm) -> bool {
        form == PolicyForm::Managed
    }

    /// How a document is stored; `None` when it is too large for every way.
    #[must_use]
    pub fn form(&self, document: &PolicyDocument) -> Option<PolicyForm> {
        let size = document.size();
        self.forms.iter().find(|(_, limit)| size <= *limit).map(|(form, _)| *form)
    }

    /// The largest document that can be stored, in characters.
    #[must_use]
    pub fn largest_document(&self) -> usize {
        self.forms.iter().map(|(_, limit)| *limit).max().unwrap_or_default()
    }

    /// Why the store cannot give a tier, if so.
    #[must_use]
    pub fn unsupported(&self, capability: Capability) -> Option<&'static str> {
        self.unsupported.iter().find(|(unsupported, _)| *unsupported == capability).map(|(_, why)| *why)
    }
}
