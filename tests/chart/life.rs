//! A target's life as the API server tells it to those who watch: each state that anybody could have seen.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, ensure};
use futures::{StreamExt, TryStreamExt};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, GroupVersionKind, WatchEvent, WatchParams},
};
use serde_json::Value;
use tokio::task::JoinHandle;

/// The longest that an API server lets anybody watch.
const SECONDS: u32 = 290;

/// What was seen of one target so far; dropping it ends the watch.
pub struct Life {
    states: Arc<Mutex<Vec<Value>>>,
    watching: JoinHandle<Result<()>>,
}

impl Life {
    /// Watches from now on; a target that is there already is the first state.
    pub fn record(client: &Client, namespace: &str, name: &str) -> Self {
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("backup-target.dev", "v1alpha1", "BackupTarget"));
        let api = Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &kind);
        let only_this = WatchParams::default().fields(&format!("metadata.name={name}")).timeout(SECONDS);
        let states = Arc::<Mutex<Vec<Value>>>::default();
        let seen = states.clone();
        let watching = tokio::spawn(async move {
            let mut events = api.watch(&only_this, "0").await?.boxed();
            while let Some(event) = events.try_next().await? {
                // The last state before an object is gone comes once more with its deletion.
                if let WatchEvent::Added(object) | WatchEvent::Modified(object) = event {
                    seen.lock().unwrap_or_else(PoisonError::into_inner).push(serde_json::to_value(object)?);
                }
            }
            Ok(())
        });
        Self { states, watching }
    }

    /// All states until now.
    pub fn states(&self) -> Result<Vec<Value>> {
        ensure!(!self.watching.is_finished(), "the watch ended too early");
        Ok(self.states.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.watching.abort();
    }
}
