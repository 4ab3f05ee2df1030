//! Events: what a person should notice.

use std::{
    collections::VecDeque,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{
    Api, Resource,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;

use super::Cluster;
use crate::{api::Reason, names::OPERATOR};

/// Something to notice.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Note {
    /// Whether somebody should have a look.
    pub warning: bool,
    pub reason: Reason,
    /// What happened, for people.
    pub message: String,
}

/// Kubernetes takes notes of less than 1 kB.
const LONGEST_NOTE: usize = 1_000;
/// What is published again within this time is one event that happened several times.
const SAME_WITHIN: Duration = Duration::from_mins(6);
/// So many of the latest events are known again. kube's own recorder keeps all events of the last minutes whole, which is more
/// than all else that is kept of the targets that they are about.
const KNOWN: usize = 128;

impl Cluster {
    /// Publishes a note about an object. Events are a courtesy: one that cannot be written changes nothing.
    pub async fn publish<K>(&self, about: &K, note: &Note)
    where
        K: Resource<DynamicType = ()>,
    {
        let (about, now, what) = (about.object_ref(&()), Timestamp::now(), "publish an event");
        let events = Api::<Event>::namespaced(self.client(), about.namespace.as_deref().unwrap_or("default"));
        let happened = self.published.once_more(&about, note, now);
        let written = if happened.times == 1 {
            let event = event(&self.replica, &happened.name, about, note, now);
            self.within(what, events.create(&PostParams::default(), &event)).await
        } else {
            let series = json!({ "series": { "count": happened.times, "lastObservedTime": MicroTime(now) } });
            self.within(what, events.patch(&happened.name, &PatchParams::default(), &Patch::Merge(&series))).await
        };
        if written.is_err() {
            tracing::warn!(reason = %note.reason, "an event could not be published");
            return;
        }
        self.published.keep(happened);
    }
}

fn event(replica: &str, name: &str, about: ObjectReference, note: &Note, now: Timestamp) -> Event {
    let mut text = note.message.clone();
    text.truncate(text.floor_char_boundary(LONGEST_NOTE));
    Event {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: about.namespace.clone(),
            ..ObjectMeta::default()
        },
        type_: Some(if note.warning { "Warning" } else { "Normal" }.to_owned()),
        reason: Some(note.reason.to_string()),
        note: Some(text),
        action: Some("Reconcile".to_owned()),
        event_time: Some(MicroTime(now)),
        regarding: Some(about),
        reporting_controller: Some(OPERATOR.to_owned()),
        reporting_instance: Some(replica.to_owned()),
        ..Event::default()
    }
}

/// The latest events.
#[derive(Debug, Default)]
pub(super) struct Published(Mutex<VecDeque<Happened>>);

/// An event, and how often it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Happened {
    /// Object and note, in short.
    what: u64,
    name: String,
    times: u32,
    last: Timestamp,
}

impl Published {
    /// The event that says this of the object, as it is after it happened now.
    fn once_more(&self, about: &ObjectReference, note: &Note, now: Timestamp) -> Happened {
        let what = digest(about, note);
        let is_recent = |before: &Happened| now.duration_since(before.last).unsigned_abs() < SAME_WITHIN;
        if let Some(before) = self.forget(what).filter(is_recent) {
            return Happened { times: before.times + 1, last: now, ..before };
        }
        let object = about.name.as_deref().unwrap_or(OPERATOR);
        Happened { what, name: format!("{object}.{:x}", now.as_nanosecond()), times: 1, last: now }
    }

    fn keep(&self, happened: Happened) {
        let mut latest = self.latest();
        if latest.len() >= KNOWN {
            latest.pop_front();
        }
        latest.push_back(happened);
    }

    /// Until it is written it is not known: what cannot be added to any more is published anew.
    fn forget(&self, what: u64) -> Option<Happened> {
        let mut latest = self.latest();
        let at = latest.iter().position(|happened| happened.what == what)?;
        latest.remove(at)
    }

    fn latest(&self) -> MutexGuard<'_, VecDeque<Happened>> {
        // The list is whole after every line that holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn digest(about: &ObjectReference, note: &Note) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&about.kind, &about.uid, note).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(number: usize) -> ObjectReference {
        let (name, uid) = (Some("dataset-1".to_owned()), Some(format!("uid-{number}")));
        ObjectReference { name, uid, ..ObjectReference::default() }
    }

    fn note(message: &str) -> Note {
        Note { warning: true, reason: Reason::DriftRepaired, message: message.to_owned() }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    #[test]
    fn what_happens_again_soon_is_one_event() {
        let published = Published::default();
        let happens = |number: usize, message: &str, second: i64| {
            let happened = published.once_more(&target(number), &note(message), at(second));
            published.keep(happened.clone());
            (happened.name, happened.times)
        };
        let first = happens(1, "the policy", 0);
        assert_eq!(happens(1, "the policy", 300), (first.0.clone(), 2));
        assert_eq!(happens(1, "the policy", 600), (first.0.clone(), 3), "counted from the last time on");
        assert_eq!(happens(1, "the key", 601).1, 1, "it says something else");
        assert_eq!(happens(2, "the policy", 602).1, 1, "it is about another object");
        let later = happens(1, "the policy", 960);
        assert_eq!(later.1, 1, "that is long ago");
        assert_ne!(later.0, first.0);
    }

    #[test]
    fn an_event_that_could_not_be_written_is_not_known() {
        let published = Published::default();
        published.once_more(&target(1), &note("x"), at(0));
        assert_eq!(published.once_more(&target(1), &note("x"), at(1)).times, 1);
    }

    #[test]
    fn a_flood_of_events_leaves_few() {
        let published = Published::default();
        for number in 0..10_000 {
            published.keep(published.once_more(&target(number), &note("x"), at(0)));
        }
        assert_eq!(published.latest().len(), KNOWN);
        assert_eq!(published.once_more(&target(9_999), &note("x"), at(1)).times, 2, "the latest are known");
    }

    #[test]
    fn a_long_note_is_cut() {
        let long = event("pod-1", "x.1", target(1), &note(&"ü".repeat(1_000)), at(0));
        assert_eq!(long.note.map(|note| note.len()), Some(LONGEST_NOTE));
    }
}
