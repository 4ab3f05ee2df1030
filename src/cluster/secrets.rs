//! The Secrets of targets: read with their owner, written only when they are the target's own.

use k8s_openapi::{
    ByteString,
    api::core::v1::Secret,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::{
    Api, Resource, ResourceExt,
    api::{DeleteParams, PostParams, Preconditions},
};
use secrecy::{ExposeSecret, SecretString};

use super::{Cluster, Error, Kind, OtherEntries, OwnedSecret, SecretOwner, SecretState};
use crate::{
    api::BackupTarget,
    names::{self, MANAGED_BY_LABEL, OPERATOR, ObjectName, RCLONE_CONF, RETAINED_LABEL, TARGET_LABEL},
};

const OPAQUE: &str = "Opaque";
/// Never written: only asked for.
const SCRATCH_NAME: &str = "backup-target-operator-check";

/// A Secret to write.
pub struct NewSecret<'a> {
    pub target: &'a BackupTarget,
    pub name: &'a ObjectName,
    pub rclone_conf: &'a SecretString,
}

impl Cluster {
    fn secrets(&self, target: &BackupTarget) -> Api<Secret> {
        // The namespace is the target's own and nothing else: no field of a target can name another (docs/decisions/secret.md).
        Api::namespaced(self.client(), &target.namespace().unwrap_or_default())
    }

    /// The Secret of that name, as this target sees it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn secret(&self, target: &BackupTarget, name: &ObjectName) -> Result<SecretState, Error> {
        match self.within("read the target's Secret", self.secrets(target).get_opt(name.as_str())).await {
            Ok(found) => Ok(found.map_or(SecretState::Absent, |secret| seen_by(target, secret))),
            // A namespace that goes takes its RoleBindings with it, in any order, and no Secret of it stays. What is left of
            // the target in the store must not wait for a right that never comes back.
            Err(error) if error.kind == Kind::Forbidden && self.goes_with_its_namespace(target).await? => {
                Ok(SecretState::Absent)
            }
            Err(error) => Err(error),
        }
    }

    async fn goes_with_its_namespace(&self, target: &BackupTarget) -> Result<bool, Error> {
        if target.metadata.deletion_timestamp.is_none() {
            return Ok(false);
        }
        let namespace = self.namespace_metadata(&target.namespace().unwrap_or_default()).await?;
        Ok(namespace.deletion_timestamp.is_some())
    }

    /// Creates a Secret; one of that name that exists is never touched.
    ///
    /// # Errors
    /// [`Kind::AlreadyExists`] when there is one.
    pub async fn create_secret(&self, new: &NewSecret<'_>) -> Result<OwnedSecret, Error> {
        let (api, secret) = (self.secrets(new.target), secret_manifest(new, None));
        let created = self.within("create the target's Secret", api.create(&PostParams::default(), &secret)).await?;
        Ok(owned(new.target, created))
    }

    /// Asks the API server whether it would take the Secret, without writing it.
    ///
    /// # Errors
    /// What the write itself would answer.
    pub async fn check_secret(&self, new: &NewSecret<'_>, before: Option<&OwnedSecret>) -> Result<(), Error> {
        let what = "write the target's Secret";
        let params = PostParams { dry_run: true, ..PostParams::default() };
        let api = self.secrets(new.target);
        match before {
            // It still stands under its own name.
            Some(before) if before.must_be_recreated => {
                let mut secret = secret_manifest(new, None);
                secret.metadata.name = Some(SCRATCH_NAME.to_owned());
                self.within(what, api.create(&params, &secret)).await.map(|_| ())
            }
            Some(before) => {
                let secret = secret_manifest(new, Some(before));
                self.within(what, api.replace(new.name.as_str(), &params, &secret)).await.map(|_| ())
            }
            None => {
                let secret = secret_manifest(new, None);
                self.within(what, api.create(&params, &secret)).await.map(|_| ())
            }
        }
    }

    /// Writes over a Secret of ours, if nobody changed it since it was read.
    ///
    /// # Errors
    /// [`Kind::Conflict`] when somebody did.
    pub async fn replace_secret(&self, new: &NewSecret<'_>, before: &OwnedSecret) -> Result<OwnedSecret, Error> {
        let (api, secret) = (self.secrets(new.target), secret_manifest(new, Some(before)));
        let replaced = self
            .within("update the target's Secret", api.replace(new.name.as_str(), &PostParams::default(), &secret))
            .await;
        replaced.map(|secret| owned(new.target, secret))
    }

    /// Deletes exactly this Secret; one that is gone is fine.
    ///
    /// # Errors
    /// When it cannot be deleted.
    pub async fn delete_secret(
        &self,
        target: &BackupTarget,
        name: &ObjectName,
        secret: &OwnedSecret,
    ) -> Result<(), Error> {
        let only_this = DeleteParams {
            preconditions: Some(Preconditions { uid: secret.metadata.uid.clone(), ..Preconditions::default() }),
            ..DeleteParams::default()
        };
        let api = self.secrets(target);
        match self.within("delete the target's Secret", api.delete(name.as_str(), &only_this)).await {
            Err(error) if error.kind == Kind::NotFound => Ok(()),
            other => other.map(|_| ()),
        }
    }

    /// Makes a Secret independent of its target, so that it stays when the target goes, and says so on it.
    ///
    /// # Errors
    /// [`Kind::Conflict`] when somebody changed it.
    pub async fn disown_secret(
        &self,
        target: &BackupTarget,
        name: &ObjectName,
        secret: &OwnedSecret,
    ) -> Result<(), Error> {
        let api = self.secrets(target);
        let mut found = self.within("read the target's Secret", api.get(name.as_str())).await?;
        found.metadata.resource_version.clone_from(&secret.metadata.resource_version);
        if let Some(owners) = &mut found.metadata.owner_references {
            owners.retain(|owner| Some(&owner.uid) != target.metadata.uid.as_ref());
        }
        let labels = found.labels_mut();
        labels.remove(MANAGED_BY_LABEL);
        labels.insert(RETAINED_LABEL.to_owned(), "true".to_owned());
        self.within("disown the target's Secret", api.replace(name.as_str(), &PostParams::default(), &found))
            .await
            .map(|_| ())
    }
}

/// The Secret as it is written over what was there before. Somebody else's labels and entries stay.
#[must_use]
pub fn secret_manifest(new: &NewSecret<'_>, before: Option<&OwnedSecret>) -> Secret {
    let (before, OtherEntries(mut data)) =
        before.map(|before| (before.metadata.clone(), before.others.clone())).unwrap_or_default();
    let mut labels = before.labels.unwrap_or_default();
    labels.extend(our_labels(new.target));
    data.insert(RCLONE_CONF.to_owned(), ByteString(new.rclone_conf.expose_secret().as_bytes().to_vec()));
    Secret {
        metadata: ObjectMeta {
            name: Some(new.name.to_string()),
            uid: before.uid,
            resource_version: before.resource_version,
            annotations: before.annotations,
            finalizers: before.finalizers,
            labels: Some(labels),
            owner_references: new.target.controller_owner_ref(&()).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        type_: Some(OPAQUE.to_owned()),
        data: Some(data),
        ..Secret::default()
    }
}

fn our_labels(target: &BackupTarget) -> [(String, String); 2] {
    // A label's value has at most 63 characters; names may have 253.
    let mut name = target.name_any();
    name.truncate(63);
    let name = name.trim_end_matches(['.', '-', '_']).to_owned();
    [(MANAGED_BY_LABEL.to_owned(), OPERATOR.to_owned()), (TARGET_LABEL.to_owned(), name)]
}

fn seen_by(target: &BackupTarget, secret: Secret) -> SecretState {
    if !is_owned_by(secret.owner_references(), target.metadata.uid.as_deref()) {
        return SecretState::Foreign { owner: seems_owned_by(target, &secret) };
    }
    SecretState::Ours(Box::new(owned(target, secret)))
}

fn seems_owned_by(target: &BackupTarget, secret: &Secret) -> SecretOwner {
    let [(_, operator), (_, name)] = our_labels(target);
    let has = |label: &str, value: &str| secret.labels().get(label).is_some_and(|found| found == value);
    match secret.owner_references().first() {
        Some(owner) => SecretOwner::Other(format!("{} {}", owner.kind, owner.name)),
        None if !has(TARGET_LABEL, &name) => SecretOwner::Nobody,
        None if has(RETAINED_LABEL, "true") => SecretOwner::Retained,
        None if has(MANAGED_BY_LABEL, &operator) => SecretOwner::Restored,
        None => SecretOwner::Nobody,
    }
}

/// Only the owner's UID shows whose a Secret is: names and labels can be written by anybody.
fn is_owned_by(owners: &[OwnerReference], uid: Option<&str>) -> bool {
    let kind = <BackupTarget as Resource>::kind(&());
    let ours = |owner: &OwnerReference| {
        owner.controller == Some(true)
            && owner.kind == kind
            && Some(owner.uid.as_str()) == uid
            && owner.api_version.starts_with(crate::api::GROUP)
    };
    uid.is_some() && owners.iter().any(ours)
}

fn owned(target: &BackupTarget, secret: Secret) -> OwnedSecret {
    let has_labels = our_labels(target).into_iter().all(|(key, value)| secret.labels().get(&key) == Some(&value));
    let has_owner = is_owned_by(secret.owner_references(), target.metadata.uid.as_deref());
    let mut data = secret.data.unwrap_or_default();
    let text = data.remove(RCLONE_CONF).and_then(|bytes| String::from_utf8(bytes.0).ok());
    let must_be_recreated = secret.immutable == Some(true) || secret.type_.as_deref() != Some(OPAQUE);
    OwnedSecret {
        metadata: secret.metadata,
        rclone_conf: text.map(SecretString::from),
        others: OtherEntries(data),
        well_formed: has_labels && has_owner && !must_be_recreated,
        must_be_recreated,
    }
}

/// The label selector of the Secret watch.
#[must_use]
pub fn managed_selector() -> String {
    format!("{}={}", names::MANAGED_BY_LABEL, names::OPERATOR)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(change: impl FnOnce(&mut OwnerReference)) -> Vec<OwnerReference> {
        let mut owner = OwnerReference {
            api_version: "backup-target.dev/v1alpha1".into(),
            kind: "BackupTarget".into(),
            name: "dataset-1".into(),
            uid: "uid-1".into(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        };
        change(&mut owner);
        vec![owner]
    }

    #[test]
    fn a_secret_without_an_owner_is_told_by_its_labels() {
        let target: BackupTarget = serde_json::from_value(serde_json::json!({
            "apiVersion": "backup-target.dev/v1alpha1", "kind": "BackupTarget",
            "metadata": {"name": "dataset-1", "uid": "uid-1"}, "spec": {"bucket": "my-backups"},
        }))
        .expect("a target");
        let ours = [(TARGET_LABEL, "dataset-1"), (MANAGED_BY_LABEL, OPERATOR)];
        let retained = [(TARGET_LABEL, "dataset-1"), (RETAINED_LABEL, "true")];
        let another = [(TARGET_LABEL, "dataset-2"), (MANAGED_BY_LABEL, OPERATOR)];
        let cases = [
            (&ours[..], SecretOwner::Restored),
            (&retained[..], SecretOwner::Retained),
            (&another[..], SecretOwner::Nobody),
            (&ours[..1], SecretOwner::Nobody),
            (&[], SecretOwner::Nobody),
        ];
        for (labels, wanted) in cases {
            let mut secret = Secret::default();
            secret.labels_mut().extend(labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
            let SecretState::Foreign { owner } = seen_by(&target, secret.clone()) else {
                panic!("{labels:?} is foreign")
            };
            assert_eq!(owner, wanted, "{labels:?}");
            secret.metadata.owner_references = Some(self::owner(|owner| owner.uid = "uid-2".into()));
            let seen = seen_by(&target, secret);
            assert!(matches!(seen, SecretState::Foreign { owner: SecretOwner::Other(_) }), "{seen:?}");
        }
    }

    #[test]
    fn entries_of_others_are_carried_along_and_not_shown() {
        let target: BackupTarget = serde_json::from_value(serde_json::json!({
            "apiVersion": "backup-target.dev/v1alpha1", "kind": "BackupTarget",
            "metadata": {"name": "dataset-1", "uid": "uid-1"}, "spec": {"bucket": "my-backups"},
        }))
        .expect("a target");
        let name = ObjectName::parse("dataset-1").expect("valid");
        let new = NewSecret { target: &target, name: &name, rclone_conf: &"[backup]".into() };
        let mut stored = secret_manifest(&new, None);
        stored.data.get_or_insert_default().insert("ca.crt".into(), ByteString(b"theirs".to_vec()));
        let seen = owned(&target, stored.clone());
        assert!(seen.well_formed, "it is as it should be");
        assert!(!format!("{seen:?}").contains("116, 104"), "{seen:?}");
        assert_eq!(secret_manifest(&new, Some(&seen)).data, stored.data);
    }

    #[test]
    fn only_the_controlling_target_of_that_uid_owns_a_secret() {
        assert!(is_owned_by(&owner(|_| {}), Some("uid-1")));
        assert!(!is_owned_by(&owner(|_| {}), Some("uid-2")));
        assert!(!is_owned_by(&owner(|_| {}), None));
        assert!(!is_owned_by(&[], Some("uid-1")));
        assert!(!is_owned_by(&owner(|owner| owner.kind = "Deployment".into()), Some("uid-1")));
        assert!(!is_owned_by(&owner(|owner| owner.api_version = "other.dev/v1".into()), Some("uid-1")));
        assert!(!is_owned_by(&owner(|owner| owner.controller = None), Some("uid-1")));
    }
}
