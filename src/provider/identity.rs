//! Whose a store is: nothing is done in one that is not the one that it is pinned to.

/// Whose the operator's credentials are, or where the store is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The account; where nobody can be asked, the store's address.
    pub account: String,
    /// The operator's own principal as the store writes it, where that says in which partition and account buckets are.
    pub caller: Option<String>,
}
