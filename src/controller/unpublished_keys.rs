//! Keys that were created and are not published yet: in the memory of this process and nowhere else, and wiped when they go.
//! A process that ends loses them; the next one finds an orphan and deletes it.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::provider::CreatedKey;

/// The unpublished keys, by the UID of their target.
#[derive(Default)]
pub struct UnpublishedKeys(Mutex<HashMap<String, Held>>);

struct Held {
    key: CreatedKey,
    /// Whether a Secret may hold it, though no answer said so.
    maybe_written: bool,
}

impl UnpublishedKeys {
    /// Keeps a key until it is published.
    pub fn insert(&self, uid: &str, key: CreatedKey) {
        self.keys().insert(uid.to_owned(), Held { key, maybe_written: false });
    }

    /// The unpublished key of a target.
    #[must_use]
    pub fn get(&self, uid: &str) -> Option<CreatedKey> {
        self.keys().get(uid).map(|held| held.key.clone())
    }

    /// The key is about to be written into a Secret: from now on somebody may have it.
    pub fn about_to_be_written(&self, uid: &str) {
        if let Some(held) = self.keys().get_mut(uid) {
            held.maybe_written = true;
        }
    }

    /// The keys that certainly nobody else has, by the UID of their target.
    #[must_use]
    pub fn never_written(&self) -> Vec<(String, CreatedKey)> {
        self.keys()
            .iter()
            .filter(|(_, held)| !held.maybe_written)
            .map(|(uid, held)| (uid.clone(), held.key.clone()))
            .collect()
    }

    /// Forgets the key in hand: it is published, or gone.
    pub fn remove(&self, uid: &str) {
        self.keys().remove(uid);
    }

    /// Forgets the keys of all targets but these.
    pub fn keep(&self, living: &HashSet<String>) {
        self.keys().retain(|uid, _| living.contains(uid));
    }

    fn keys(&self) -> MutexGuard<'_, HashMap<String, Held>> {
        // The map is whole after every line that holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
