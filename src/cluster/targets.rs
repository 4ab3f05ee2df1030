//! BackupTargets: read as they are now, and written only if nobody changed them since.

use std::collections::HashSet;

use kube::{
    Api, ResourceExt,
    api::{ListParams, Patch},
};
use serde_json::json;

use super::{Cluster, Error, Kind, Lean, by_us, finalizers::Others, status::open};
use crate::{
    api::{
        BackupTarget,
        backup_target::{BackupTargetStatus, KeyIntent},
    },
    names,
};

/// How often a status is written anew when the object changes under our hands.
const STATUS_TRIES: usize = 4;

impl Cluster {
    pub(super) fn targets(&self, namespace: &str) -> Api<Lean<BackupTarget>> {
        Api::namespaced(self.client(), namespace)
    }

    /// The target as it is now, not as the watch saw it last.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn target(&self, namespace: &str, name: &str) -> Result<Option<BackupTarget>, Error> {
        let what = "read the BackupTarget";
        self.within(what, self.targets(namespace).get_opt(name)).await?.map(|found| open(what, found)).transpose()
    }

    /// The UIDs of all targets.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub async fn target_uids(&self) -> Result<HashSet<String>, Error> {
        let all: Api<BackupTarget> = Api::all(self.client());
        let listed = self.within("list the BackupTargets", all.list_metadata(&ListParams::default())).await?;
        Ok(listed.items.into_iter().filter_map(|target| target.metadata.uid).collect())
    }

    /// Puts finalizer and intent on a target in one write, unless somebody changed it since it was read.
    ///
    /// # Errors
    /// [`Kind::Conflict`] when the target changed meanwhile.
    pub async fn claim(&self, target: &BackupTarget, intent: &KeyIntent) -> Result<BackupTarget, Error> {
        let others = self.others_on(target).await?;
        let intent = serde_json::to_string(intent).unwrap_or_default();
        let patch = json!({ "metadata": {
            "resourceVersion": target.metadata.resource_version,
            "finalizers": others.and(Some(names::TARGET_FINALIZER)),
            "annotations": { names::INTENT_ANNOTATION: intent },
        }});
        self.patch_target(target, "put the finalizer on the BackupTarget", &patch).await
    }

    /// Takes the finalizer off, so that the target can go.
    ///
    /// # Errors
    /// [`Kind::Conflict`] when the target changed meanwhile.
    pub async fn release(&self, target: &BackupTarget) -> Result<(), Error> {
        let released = async {
            let others = self.others_on(target).await?;
            let patch = json!({ "metadata": {
                "resourceVersion": target.metadata.resource_version,
                "finalizers": others.and(None),
            }});
            self.patch_target(target, "take the finalizer off the BackupTarget", &patch).await
        };
        match released.await {
            Err(error) if error.kind == Kind::NotFound => Ok(()),
            other => other.map(|_| ()),
        }
    }

    async fn others_on(&self, target: &BackupTarget) -> Result<Others<'_>, Error> {
        let api = self.targets(&target.namespace().unwrap_or_default());
        self.other_finalizers(&api, target, names::TARGET_FINALIZER).await
    }

    async fn patch_target(
        &self,
        target: &BackupTarget,
        what: &'static str,
        patch: &serde_json::Value,
    ) -> Result<BackupTarget, Error> {
        let api = self.targets(&target.namespace().unwrap_or_default());
        open(what, self.within(what, api.patch(&target.name_any(), &by_us(), &Patch::Merge(patch))).await?)
    }

    /// Writes a target's status, if nobody changed the target since it was read.
    ///
    /// # Errors
    /// [`Kind::Conflict`] when somebody did.
    pub async fn write_target_status(
        &self,
        target: &BackupTarget,
        status: &BackupTargetStatus,
    ) -> Result<BackupTarget, Error> {
        self.write_status(&self.targets(&target.namespace().unwrap_or_default()), target, status).await
    }

    /// Writes what a reconcile found out, also when the target changed meanwhile, as long as it is the same target and
    /// nobody else wrote its status: what was done must be remembered.
    ///
    /// # Errors
    /// [`Kind::Conflict`] when the status is another one, [`Kind::NotFound`] when the target is.
    pub async fn report_target_status(&self, target: &BackupTarget, status: &BackupTargetStatus) -> Result<(), Error> {
        let mut now = target.clone();
        for _ in 0..STATUS_TRIES {
            match self.write_target_status(&now, status).await {
                Err(error) if error.kind == Kind::Conflict => {}
                other => return other.map(|_| ()),
            }
            let found = self.target(&target.namespace().unwrap_or_default(), &target.name_any()).await?;
            // The API server does not compare the UID of a status.
            let same = found.filter(|found| found.metadata.uid == target.metadata.uid);
            now = same.ok_or(Error::new("write status", Kind::NotFound))?;
            if now.status != target.status {
                break;
            }
        }
        Err(Error::new("write status", Kind::Conflict))
    }
}
