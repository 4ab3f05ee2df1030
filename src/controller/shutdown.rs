//! What is done at a stop: a key that was never written into a Secret would be lost with this process, so it goes at once.
//! Should that fail, the next start finds an orphan and deletes it. One that a Secret may hold is left to the next start, which
//! looks.

use kube::Resource;
use tracing::{info, warn};

use super::{
    backup_target::{decide, error::Error},
    connection::pinned,
    context::Context,
    seen::SeenTarget,
};
use crate::{access::claim::object_name, names, provider::CreatedKey};

/// Deletes the unpublished keys that nobody else can have.
pub async fn revoke_unpublished_keys(context: &Context) {
    for (uid, created) in context.unpublished_keys.never_written() {
        let Some(target) = context.seen.target_of(&uid) else { continue };
        let (name, key) = (names::qualified(&*target), created.key.id.clone());
        match Box::pin(revoke(context, &target, &created)).await {
            Ok(false) => {}
            Ok(true) => info!(name, key, "the access key was not published yet and was deleted"),
            Err(error) => warn!(name, key, %error, "the access key was not published yet; the next start deletes it"),
        }
    }
}

/// Whether the key was deleted: where keys are brought, it is not the operator's to delete, nor lost with this process.
async fn revoke(context: &Context, seen: &SeenTarget, created: &CreatedKey) -> Result<bool, Error> {
    let (namespace, name) = (seen.meta().namespace.as_deref(), seen.meta().name.as_deref());
    let now = context.cluster.target(namespace.unwrap_or_default(), name.unwrap_or_default()).await?;
    let target = now.filter(|now| now.metadata.uid == seen.meta().uid).ok_or(Error::Overtaken)?;
    let mut status = target.status.clone().unwrap_or_default();
    let name = object_name("spec.storeRef.name", &target.spec.store_ref.resolved())?;
    let store = context.cluster.store(&name).await?.ok_or(Error::Overtaken)?;
    let connection = pinned(context, &store).await.map_err(|error| Error::of_store(error, name.as_str()))?;
    let spec = connection.provider.principal(decide::owner(&target, &context.cluster_id));
    if spec.limits.brings_keys {
        return Ok(false);
    }
    let intent = status.record.key_intent.take().ok_or(Error::Overtaken)?;
    connection.provider.delete_key(&spec, &created.key.id).await?;
    // Its outcome is known, and nobody ever had the key.
    status.record.settled_intent = Some(intent.nonce);
    status.record.last_reissue = None;
    context.cluster.write_target_status(&target, &status).await?;
    Ok(true)
}
