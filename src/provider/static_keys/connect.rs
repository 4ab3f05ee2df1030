//! There is nobody to ask whose a store is: it is known by its address.

use std::sync::Arc;

use super::{StaticKeys, entries::Entries};
use crate::{
    api::backup_store::BackupStoreSpec,
    cluster::Cluster,
    provider::{Identity, clock::Clock},
};

/// The store, and what it is known by: keys of one must never be sent to another.
#[must_use]
pub fn connect(
    spec: &BackupStoreSpec,
    entries: Entries,
    cluster: Option<Cluster>,
    clock: Clock,
) -> (StaticKeys, Identity) {
    let address = spec.endpoint.as_deref().unwrap_or_default().trim_end_matches('/').to_owned();
    (StaticKeys { cluster, clock, entries: Arc::new(entries) }, Identity { account: address, caller: None })
}
