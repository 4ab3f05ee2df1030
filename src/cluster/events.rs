//! Events: what a person should notice.

use kube::{
    Resource,
    runtime::events::{Event, EventType},
};

use sha2::{Digest, Sha256};

use super::Cluster;

/// Something to notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Whether somebody should have a look.
    pub warning: bool,
    /// One of the reasons of [`crate::api::condition::reason`].
    pub reason: String,
    /// What happened, for people.
    pub message: String,
}

/// Kubernetes takes notes of less than 1 kB.
const LONGEST_NOTE: usize = 1_000;

impl Cluster {
    /// Publishes a note about an object. Events are a courtesy: one that cannot be written changes nothing.
    pub async fn publish<K>(&self, about: &K, note: &Note)
    where
        K: Resource<DynamicType = ()>,
    {
        let mut text = note.message.clone();
        text.truncate(text.floor_char_boundary(LONGEST_NOTE));
        // kube takes events of one reason and action for the same one, whatever they say, and would keep only the first text.
        let action = format!("Reconcile-{}", short_digest(&text));
        let event = Event {
            type_: if note.warning { EventType::Warning } else { EventType::Normal },
            reason: note.reason.clone(),
            note: Some(text),
            action,
            secondary: None,
        };
        let about = about.object_ref(&());
        if self.within("publish an event", self.recorder.publish(&event, &about)).await.is_err() {
            tracing::warn!(reason = note.reason, "an event could not be published");
        }
    }
}

fn short_digest(text: &str) -> String {
    let digest = Sha256::digest(text);
    let [a, b, c, d] = [digest[0], digest[1], digest[2], digest[3]];
    format!("{:08x}", u32::from_be_bytes([a, b, c, d]))
}
