//! A target's life as the API server tells it to those who watch: each state that anybody could have seen.

use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt;
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, GroupVersionKind},
    runtime::{
        WatchStreamExt,
        watcher::{self, watcher},
    },
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// What was seen of one target so far; dropping it ends the watch.
pub struct Life {
    states: Arc<Mutex<Vec<Value>>>,
    watching: JoinHandle<()>,
}

impl Life {
    /// Watches from now on; a target that is there already is the first state. The API server ends each watch when the
    /// definition changes, as in an upgrade; as every client does, this begins again then.
    pub fn record(client: &Client, namespace: &str, name: &str) -> Self {
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("backup-target.dev", "v1alpha1", "BackupTarget"));
        let api = Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &kind);
        let only_this = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let states = Arc::<Mutex<Vec<Value>>>::default();
        let seen = states.clone();
        let watching = tokio::spawn(async move {
            let mut objects = watcher(api, only_this).default_backoff().applied_objects().boxed();
            while let Some(object) = objects.next().await {
                seen.lock().unwrap_or_else(PoisonError::into_inner).extend(object.map(|object| json!(object)));
            }
        });
        Self { states, watching }
    }

    /// All states until now.
    pub fn states(&self) -> Vec<Value> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.watching.abort();
    }
}
