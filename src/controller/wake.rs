//! Who wakes whom: what changes in one object is work for others.

use std::sync::Arc;

use futures::{
    Stream, StreamExt,
    channel::mpsc::{UnboundedReceiver, UnboundedSender},
    future::ready,
    stream,
};
use kube::{
    Resource, ResourceExt,
    runtime::{
        WatchStreamExt,
        reflector::{ObjectRef, Store, reflector, store::Writer},
        watcher::{self, Event},
    },
};

use super::{
    context::Context,
    namespaces::Namespaces,
    seen::{SeenNamespace, SeenSecret, SeenStore, SeenTarget},
    watches::{Changes, touched},
};
use crate::provider;

/// Keeps what is seen of targets, and wakes their stores; when one is gone, there may be a place for another. Their versions, which
/// the watch goes on by, nobody needs behind it: each would be kept several times, with what is kept and with what is to be done.
pub fn kept_targets(
    events: impl Stream<Item = Event<SeenTarget>> + Send + 'static,
    keep: Writer<SeenTarget>,
    wake: UnboundedSender<String>,
    freed: Vec<UnboundedSender<String>>,
) -> impl Stream<Item = Result<SeenTarget, watcher::Error>> + Send {
    let all = keep.as_reader();
    let events = events.map(Ok).modify(|target| target.meta_mut().resource_version = None);
    let kept = reflector(keep, events).inspect(move |event| {
        let Ok(event) = event else { return };
        if let Event::Apply(target) | Event::InitApply(target) | Event::Delete(target) = event
            && let Some(target) = target.readable()
        {
            let freed = freed.iter().filter(|_| matches!(event, Event::Delete(_)));
            for wake in freed.chain([&wake]) {
                // Nobody listens any more when the operator ends.
                let _ = wake.unbounded_send(target.store.to_string());
            }
        }
    });
    once_kept(kept, all)
}

/// Keeps what is seen of stores, and wakes their targets when a store came or went, when its rules changed, whether it is ready, or
/// what its administrator says about keys.
pub fn kept_stores(
    events: impl Stream<Item = Event<SeenStore>> + Send + 'static,
    keep: Writer<SeenStore>,
    context: Arc<Context>,
    wake: Vec<UnboundedSender<String>>,
) -> impl Stream<Item = Result<SeenStore, watcher::Error>> + Send {
    let (mut changes, mut due, all) = (Changes::default(), Vec::new(), keep.as_reader());
    let view = |store: &SeenStore| {
        let told = store.readable().map(|store| (store.account_id.clone(), store.ready, store.reactivate_at));
        (store.meta().generation, store.meta().uid.clone(), told)
    };
    let kept = reflector(keep, events.map(Ok)).then(move |event: watcher::Result<Event<SeenStore>>| {
        if let Ok(event) = &event {
            if changes.are_in(event, view)
                && let Some(store) = touched(event.clone())
            {
                due.push(store.name_any());
            }
            // Stores of a list are kept when the whole list is there; before, a target would be woken to find no store.
            if !matches!(event, Event::Init | Event::InitApply(_)) {
                for store in due.drain(..) {
                    for wake in &wake {
                        let _ = wake.unbounded_send(store.clone());
                    }
                }
            }
        }
        let context = context.clone();
        async move {
            if let Ok(Event::Delete(store)) = &event {
                context.connections.forget(&store.name_any()).await;
            }
            event
        }
    });
    once_kept(kept, all)
}

/// Objects that came or changed, once they are kept: those of a list are, when the whole list is there. Who is woken before finds no
/// object, and nothing wakes it again.
fn once_kept<K>(
    events: impl Stream<Item = watcher::Result<Event<K>>> + Send,
    all: Store<K>,
) -> impl Stream<Item = watcher::Result<K>> + Send
where
    K: Resource<DynamicType = ()> + Clone + Send + Sync + 'static,
{
    events.flat_map(move |event| {
        let listed = if matches!(event, Ok(Event::InitDone)) { all.state() } else { Vec::new() };
        let changed = match event {
            Ok(Event::Apply(object)) => Some(Ok(object)),
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        };
        stream::iter(listed.into_iter().map(|object| Ok((*object).clone())).chain(changed))
    })
}

/// The targets of a store that was woken.
pub fn targets_of_stores(
    woken: UnboundedReceiver<String>,
    all: Store<SeenTarget>,
) -> impl Stream<Item = ObjectRef<SeenTarget>> + Send {
    woken.flat_map(move |store| {
        let uses = |target: &SeenTarget| target.store().is_some_and(|meant| *meant == *store);
        stream::iter(refs(&all, uses))
    })
}

/// The targets that waited for a place in a store, when there may be one.
pub fn next_in_line(
    freed: UnboundedReceiver<String>,
    context: Arc<Context>,
    all: Store<SeenTarget>,
) -> impl Stream<Item = ObjectRef<SeenTarget>> + Send {
    freed.flat_map(move |store| {
        let next: Vec<_> = context.next_in_line(&store).into_iter().filter(|next| all.get(next).is_some()).collect();
        stream::iter(next)
    })
}

/// A namespace's targets, when its labels changed.
pub fn targets_of_namespaces(
    events: impl Stream<Item = Event<SeenNamespace>> + Send + 'static,
    labels: Arc<Namespaces>,
    all: Store<SeenTarget>,
) -> impl Stream<Item = ObjectRef<SeenTarget>> + Send {
    events.filter_map(|event| ready(touched(event))).flat_map(move |namespace| {
        let within = |target: &SeenTarget| target.meta().namespace == namespace.metadata.name;
        stream::iter(if labels.saw(&namespace.metadata) { refs(&all, within) } else { Vec::new() })
    })
}

/// Anybody may write Secrets that name targets as they like: only those that there are need to know.
pub fn targets_of_secrets(
    events: impl Stream<Item = Event<SeenSecret>> + Send + 'static,
    all: Store<SeenTarget>,
) -> impl Stream<Item = ObjectRef<SeenTarget>> + Send {
    events.filter_map(|event| ready(touched(event))).flat_map(move |secret| {
        let there: Vec<_> = secret.targets().filter(|target| all.get(target).is_some()).collect();
        stream::iter(there)
    })
}

/// The stores whose credentials are in a Secret. Where it has a key that was brought, the targets of its store are woken.
pub fn stores_of_secrets(
    events: impl Stream<Item = Event<SeenSecret>> + Send + 'static,
    all: Store<SeenStore>,
    wake: Vec<UnboundedSender<String>>,
) -> impl Stream<Item = ObjectRef<SeenStore>> + Send {
    events.filter_map(|event| ready(touched(event))).flat_map(move |secret| {
        let brings =
            |store: &SeenStore| store.readable().is_some_and(|store| provider::is_key_in(&store.spec, secret.name()));
        for store in all.state_filter(brings) {
            for wake in &wake {
                let _ = wake.unbounded_send(store.name_any());
            }
        }
        let uses = |store: &SeenStore| {
            store
                .readable()
                .and_then(|store| store.spec.credentials.as_ref())
                .is_some_and(|key| key.secret_ref.name == secret.name())
        };
        stream::iter(refs(&all, uses))
    })
}

/// Those that are wanted.
fn refs<K>(all: &Store<K>, wanted: impl Fn(&K) -> bool) -> Vec<ObjectRef<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    all.state_filter(wanted).iter().map(|object| ObjectRef::from_obj(object.as_ref())).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn target(name: &str) -> SeenTarget {
        let object = json!({"metadata": {"name": name, "namespace": "team-a", "uid": name}, "spec": {"bucket": "b-1"}});
        serde_json::from_value(object).expect("a target")
    }

    #[tokio::test]
    async fn whoever_is_woken_is_kept() {
        let keep = Writer::default();
        let all = keep.as_reader();
        let list = |names: [&str; 2]| {
            let listed = names.map(|name| Event::InitApply(target(name)));
            [Event::Init].into_iter().chain(listed).chain([Event::InitDone])
        };
        let events = list(["a", "b"]).chain([Event::Apply(target("c"))]).chain(list(["c", "d"]));
        let (wake, _woken) = futures::channel::mpsc::unbounded();
        let woken = kept_targets(stream::iter(events), keep, wake, Vec::new());
        let woken = woken.map(|object| {
            let object = object.expect("no error");
            assert!(all.get(&ObjectRef::from_obj(&object)).is_some(), "{} is not kept yet", object.name_any());
            object.name_any()
        });
        let mut names: Vec<String> = woken.collect().await;
        names[..2].sort();
        names[3..].sort();
        assert_eq!(names, ["a", "b", "c", "c", "d"]);
    }
}
