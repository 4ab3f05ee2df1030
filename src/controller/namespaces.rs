//! The labels and UIDs of namespaces, as the watch saw them last: good enough to tell what is urgent, never to decide what is allowed.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Mutex, MutexGuard, PoisonError},
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// Labels of more characters are somebody's whim, and not kept.
const MOST_CHARACTERS: usize = 8_192;

type Labels = BTreeMap<String, String>;

/// The labels of all namespaces that live.
#[derive(Debug, Default)]
pub struct Namespaces(Mutex<HashMap<String, Seen>>);

#[derive(Debug)]
struct Seen {
    digest: u64,
    labels: Option<Labels>,
    uid: String,
}

impl Namespaces {
    /// Takes in what the watch saw, and says whether the labels are others than before. One that goes is forgotten: all that is
    /// in it goes, too.
    pub fn saw(&self, namespace: &ObjectMeta) -> bool {
        let name = namespace.name.clone().unwrap_or_default();
        if namespace.deletion_timestamp.is_some() {
            self.lock().remove(&name);
            return false;
        }
        let labels = namespace.labels.clone().unwrap_or_default();
        let mut hasher = DefaultHasher::new();
        labels.hash(&mut hasher);
        let characters: usize = labels.iter().map(|(key, value)| key.len() + value.len()).sum();
        let labels = (characters <= MOST_CHARACTERS).then_some(labels);
        let now = Seen { digest: hasher.finish(), labels, uid: namespace.uid.clone().unwrap_or_default() };
        let digest = now.digest;
        self.lock().insert(name, now).is_none_or(|before| before.digest != digest)
    }

    /// The labels of a namespace, when they are known.
    #[must_use]
    pub fn labels_of(&self, name: &str) -> Option<Labels> {
        self.lock().get(name)?.labels.clone()
    }

    /// The UID of a namespace, when it is known.
    #[must_use]
    pub fn uid_of(&self, name: &str) -> Option<String> {
        self.lock().get(name).map(|seen| seen.uid.clone())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Seen>> {
        // The map is whole after every line that holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    fn namespace(name: &str, labels: &[(&str, &str)]) -> ObjectMeta {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        ObjectMeta { name: Some(name.to_owned()), labels: Some(labels), ..ObjectMeta::default() }
    }

    #[test]
    fn only_changes_are_told_and_what_goes_is_forgotten() {
        let namespaces = Namespaces::default();
        let seen = namespace("a", &[("team", "x")]);
        assert!(namespaces.saw(&seen), "it is new");
        assert!(!namespaces.saw(&seen));
        assert!(namespaces.saw(&namespace("a", &[("team", "y")])));
        assert_eq!(namespaces.labels_of("a"), Some([("team".to_owned(), "y".to_owned())].into()));
        let going = ObjectMeta { deletion_timestamp: Some(Time(jiff::Timestamp::UNIX_EPOCH)), ..seen };
        assert!(!namespaces.saw(&going));
        assert_eq!((namespaces.labels_of("a"), namespaces.lock().len()), (None, 0));
    }

    #[test]
    fn labels_without_measure_are_not_kept() {
        let namespaces = Namespaces::default();
        let long = "v".repeat(MOST_CHARACTERS);
        assert!(namespaces.saw(&namespace("a", &[("k", &long)])));
        assert!(!namespaces.saw(&namespace("a", &[("k", &long)])));
        assert_eq!(namespaces.labels_of("a"), None);
    }
}
