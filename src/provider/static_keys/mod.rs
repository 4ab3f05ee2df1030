//! The family of keys that a store's administrator made: whatever store speaks S3 is of it. Nothing is made, changed or deleted
//! there; a key is read from the Secret that the BackupStore names for just what a target claims (docs/decisions/static-keys.md).

mod brought;
mod connect;
pub mod entries;
pub mod store;

pub use connect::connect;

use std::sync::Arc;

use super::{
    Brought, CreatedKey, Error, Key, KeySource, Kind, Limits, Observed, Owner, PrincipalName, PrincipalSpec,
    clock::Clock,
};
use crate::{access::rclone::AccessKey, cluster::Cluster};
use entries::Entries;

/// What an error is about.
const ENTRIES: &str = "spec.staticKeys";

/// The keys of one store.
#[derive(Clone)]
pub struct StaticKeys {
    /// Where the Secrets are; nothing is read without.
    cluster: Option<Cluster>,
    clock: Clock,
    entries: Arc<Entries>,
}

impl StaticKeys {
    /// What the store can do.
    #[must_use]
    pub fn limits(&self) -> &'static Limits {
        &store::LIMITS
    }

    /// The store's clock: S3 alone is asked, and by others, so that it is this machine's.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Who has the key is told by the target's name: what the administrator calls it, nobody knows.
    #[must_use]
    pub fn principal(&self, owner: Owner) -> PrincipalSpec {
        let name = format!("{}/{}", owner.namespace, owner.name);
        let limits = self.limits();
        PrincipalSpec { name: PrincipalName { name, words: &limits.words }, limits, bound: None, access: None, owner }
    }

    /// The key that there is for what the principal is for, if it is for anything.
    pub(super) async fn observe(&self, spec: &PrincipalSpec) -> Result<Observed, Error> {
        let Some(key) = self.key(spec).await? else {
            return Ok(Observed { source: KeySource::Brought(None), ..Observed::default() });
        };
        let listed = Key { id: key.id.clone(), created_at: self.clock.now(), active: true, last_used: None };
        Ok(Observed { source: KeySource::Brought(Some(Brought::of(&key))), keys: vec![listed], ..Observed::default() })
    }

    /// Takes the key that there is: how old it is, nobody knows.
    pub(super) async fn take(&self, spec: &PrincipalSpec) -> Result<CreatedKey, Error> {
        let key = self.key(spec).await?.ok_or_else(|| not_brought(brought::NO_ENTRY))?;
        Ok(CreatedKey { key, created_at: self.clock.now() })
    }

    async fn key(&self, spec: &PrincipalSpec) -> Result<Option<AccessKey>, Error> {
        let Some(access) = &spec.access else { return Ok(None) };
        let entry = self.entries.find(access).ok_or_else(|| not_brought(brought::NO_ENTRY))?;
        let cluster = self.cluster.as_ref().ok_or(Error::new(ENTRIES, Kind::Unsupported))?;
        let found = cluster.own_secret(&entry.secret).await;
        let found = found.map_err(|error| Error::new(ENTRIES, Kind::Unread(error)))?;
        let found = found.ok_or_else(|| not_brought(brought::NO_SECRET))?;
        brought::read(|name| found.text(name)).map(Some).map_err(not_brought)
    }
}

impl std::fmt::Debug for StaticKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StaticKeys").field("entries", &self.entries).finish_non_exhaustive()
    }
}

fn not_brought(problem: &'static str) -> Error {
    Error::new(ENTRIES, Kind::NotBrought(problem))
}
