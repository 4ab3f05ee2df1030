//! Finalizers of others. They are written as a whole list together with ours, and anybody may put thousands on an object: so
//! they are read only when ours is put on or taken off, and one list at a time.

use kube::{Api, ResourceExt, api::GetParams, core::Request};
use serde::Deserialize;
use tokio::sync::MutexGuard;

use super::{Cluster, Error, Kind, Lean, lean};

/// The finalizers of an object that are not ours.
pub(super) struct Others<'a> {
    names: Vec<String>,
    _one_at_a_time: Option<MutexGuard<'a, ()>>,
}

impl Others<'_> {
    /// All of them, and this one of ours if there is one.
    pub(super) fn and<'a>(&'a self, ours: Option<&'a str>) -> Vec<&'a str> {
        self.names.iter().map(String::as_str).chain(ours).collect()
    }
}

#[derive(Deserialize)]
struct Listed {
    metadata: Finalizers,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Finalizers {
    resource_version: Option<String>,
    #[serde(default)]
    finalizers: Vec<String>,
}

impl Cluster {
    /// The finalizers of an object apart from that one. Only where there are some does this cost a request.
    ///
    /// # Errors
    /// [`Kind::Conflict`] when the object changed since it was read.
    pub(super) async fn other_finalizers<K: lean::Kind>(
        &self,
        api: &Api<Lean<K>>,
        object: &K,
        ours: &str,
    ) -> Result<Others<'_>, Error> {
        if object.finalizers().iter().all(|listed| listed == ours) {
            return Ok(Others { names: Vec::new(), _one_at_a_time: None });
        }
        let what = "read all finalizers of an object";
        let one_at_a_time = self.whole.lock().await;
        let get = Request::new(api.resource_url()).get(&object.name_any(), &GetParams::default());
        let get = get.map_err(|_| Error::new(what, Kind::Invalid))?;
        let Finalizers { resource_version, mut finalizers } =
            self.within(what, self.client.request::<Listed>(get)).await?.metadata;
        if resource_version != object.meta().resource_version {
            return Err(Error::new(what, Kind::Conflict));
        }
        finalizers.retain(|listed| listed != ours);
        Ok(Others { names: finalizers, _one_at_a_time: Some(one_at_a_time) })
    }
}
