//! What is watched, and what of it is worth waking somebody for.

use std::collections::HashMap;

use futures::{Stream, StreamExt, future::ready};
use kube::{
    Api, Resource, ResourceExt,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use serde::de::DeserializeOwned;
use tracing::warn;

/// The server ends a watch after this time and the client notices a dead one soon after; kube's default is five minutes.
const WATCH_SECONDS: u32 = 45;
/// Where an API server sends lists in pages, each page is in memory as a whole, and anybody can make objects of 1.5 MB.
const PAGE: u32 = 10;

/// How objects are watched: one after the other where the API server can, or in small pages.
#[must_use]
pub fn watched(streaming: bool) -> watcher::Config {
    let config = watcher::Config::default().timeout(WATCH_SECONDS).page_size(PAGE);
    if streaming { config.streaming_lists() } else { config }
}

/// Watches objects. When that fails it is told and taken up again, and keeps no other watch waiting.
pub fn watch<K>(api: Api<K>, config: watcher::Config) -> impl Stream<Item = Event<K>> + Send
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + 'static,
{
    watcher(api, config).default_backoff().filter_map(|event| {
        if let Err(error) = &event {
            warn!(kind = %K::kind(&()), %error, "a watch failed; it is taken up again");
        }
        ready(event.ok())
    })
}

/// The object of an event, whether it is there or gone.
#[must_use]
pub fn touched<K>(event: Event<K>) -> Option<K> {
    match event {
        Event::Apply(object) | Event::InitApply(object) | Event::Delete(object) => Some(object),
        Event::Init | Event::InitDone => None,
    }
}

/// Passes on only changes in what matters to others, so that status writes wake nobody, and forgets what is gone.
pub struct Changes<V> {
    seen: HashMap<String, V>,
    /// What was seen before a list that is being read anew.
    before: HashMap<String, V>,
}

impl<V> Default for Changes<V> {
    fn default() -> Self {
        Self { seen: HashMap::new(), before: HashMap::new() }
    }
}

impl<V: PartialEq> Changes<V> {
    /// Whether the event changes what matters of its object.
    pub fn are_in<K: Resource>(&mut self, event: &Event<K>, view: impl Fn(&K) -> V) -> bool {
        match event {
            Event::Init => {
                self.before = std::mem::take(&mut self.seen);
                false
            }
            Event::InitDone => {
                self.before = HashMap::new();
                false
            }
            Event::Delete(object) => {
                self.seen.remove(&object.name_any());
                true
            }
            Event::Apply(object) | Event::InitApply(object) => {
                let (name, now) = (object.name_any(), view(object));
                let before = self.before.remove(&name);
                let same = self.seen.get(&name).or(before.as_ref()) == Some(&now);
                self.seen.insert(name, now);
                !same
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Namespace;

    use super::*;

    fn namespace(name: &str, generation: i64) -> Namespace {
        let mut namespace = Namespace::default();
        namespace.metadata.name = Some(name.to_owned());
        namespace.metadata.generation = Some(generation);
        namespace
    }

    #[test]
    fn only_changes_are_passed_on_and_what_is_gone_is_forgotten() {
        let mut changes = Changes::default();
        let mut are_in = |event| changes.are_in(&event, |object: &Namespace| object.metadata.generation);
        assert!(!are_in(Event::Init));
        assert!(are_in(Event::InitApply(namespace("a", 1))));
        assert!(are_in(Event::InitApply(namespace("b", 1))));
        assert!(!are_in(Event::InitDone));
        assert!(!are_in(Event::Apply(namespace("a", 1))), "nothing changed");
        assert!(are_in(Event::Apply(namespace("a", 2))));
        assert!(!are_in(Event::Init), "the list is read anew");
        assert!(!are_in(Event::InitApply(namespace("a", 2))));
        assert!(!are_in(Event::InitDone));
        assert!(are_in(Event::Apply(namespace("b", 1))), "it was gone in between");
        assert!(are_in(Event::Delete(namespace("b", 1))));
        assert!(are_in(Event::Apply(namespace("b", 1))), "it came back");
        assert_eq!((changes.seen.len(), changes.before.len()), (2, 0));
    }
}
