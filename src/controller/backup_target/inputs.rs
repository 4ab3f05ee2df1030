//! Reads what is needed to decide what should be: the store's terms, the namespace, who else asks, and whether the bucket is there.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;

use super::{
    decide::{self, Facts, Goal, Refusal},
    error::Error,
};
use crate::{
    access::{
        Terms,
        allow::{self, Namespace, Rival},
    },
    api::{
        BackupStore, BackupTarget, Reason,
        backup_target::{DeletionPolicy, Record},
    },
    controller::{context::Context, places::Full, urgency},
    names, probe,
    provider::{PrincipalSpec, connections::Connection},
};

/// What a decision depends on, beside the target and what is remembered of it.
pub struct Inputs<'a> {
    store: &'a BackupStore,
    connection: &'a Connection,
    terms: Terms,
    /// The principal as it is to be.
    pub spec: PrincipalSpec,
    pub namespace: Namespace,
    /// Who comes before it, where a rule serves only so many.
    rivals: Vec<Rival>,
    /// Whether its store has no place for its principal.
    full: Option<Full>,
}

impl<'a> Inputs<'a> {
    /// Reads them.
    ///
    /// # Errors
    /// When the store's spec breaks a rule, or the namespace cannot be read.
    pub async fn read(
        context: &Context,
        target: &BackupTarget,
        record: &Record,
        store: &'a BackupStore,
        connection: &'a Connection,
    ) -> Result<Self, Error> {
        let terms = connection
            .terms(&store.spec)
            .map_err(|_| Error::StoreNotReady { name: store.name_any(), why: Reason::InvalidSpec.to_string() })?;
        let namespace = namespace(context, target, store).await?;
        let has_limits = allow::have_limits(&store.spec.allow);
        let rivals = if has_limits { context.seen.rivals(target) } else { Vec::new() };
        let may_need_place = !record.made_something() && !target.spec.suspend && !is_deleting(target);
        let full = if may_need_place { context.full_for(target, store) } else { None };
        let spec = connection.provider.principal(decide::owner(target, &context.cluster_id));
        Ok(Self { store, connection, terms, spec, namespace, rivals, full })
    }

    /// All that the goal depends on.
    #[must_use]
    pub fn facts<'b>(&'b self, target: &'b BackupTarget, record: &'b Record, now: Timestamp) -> Facts<'b> {
        let annotation = self.store.annotations().get(names::REACTIVATE_KEYS_ANNOTATION);
        Facts {
            target,
            record,
            rules: &self.store.spec.allow,
            terms: &self.terms,
            limits: self.spec.limits,
            bound: self.spec.bound.as_deref(),
            namespace: &self.namespace,
            rivals: &self.rivals,
            full: self.full,
            reactivate_at: annotation.and_then(|time| time.parse().ok()),
            now,
        }
    }

    /// Whether rclone has to create the bucket, asked only where the rules let the target have that. `None` when nothing is
    /// known: only a clear answer changes what is remembered.
    pub async fn bucket_is_missing(&self, target: &BackupTarget, record: &Record, now: Timestamp) -> Option<bool> {
        let bucket = decide::bucket_to_create(self.facts(target, record, now))?;
        let reach = self.connection.reach(&self.store.spec);
        probe::bucket_is_missing(reach, self.spec.limits.verification, &bucket).await
    }

    /// How many come before it in the line for a rule that serves only so many, or for a place in the store.
    #[must_use]
    pub fn in_line(&self, goal: &Goal) -> Option<u32> {
        match goal {
            Goal::Withhold { why: Refusal::NoPlace(full) } => Some(full.before),
            Goal::Withhold { .. } if !self.rivals.is_empty() => {
                u32::try_from(self.rivals.iter().filter(|rival| matches!(rival, Rival::Wants(_))).count()).ok()
            }
            _ => None,
        }
    }

    /// The rules that the target is held against, in short.
    #[must_use]
    pub fn rules(&self) -> u64 {
        urgency::digest(&self.store.spec.allow, &self.namespace.labels)
    }
}

async fn namespace(context: &Context, target: &BackupTarget, store: &BackupStore) -> Result<Namespace, Error> {
    let name = target.namespace().unwrap_or_default();
    // Where nothing is to stay, no rule is asked.
    let ends = is_deleting(target) && target.spec.deletion_policy == DeletionPolicy::Delete;
    let metadata = if !ends && allow::need_namespace(&store.spec.allow) {
        context.cluster.namespace_metadata(&name).await?
    } else {
        ObjectMeta::default()
    };
    let (labels, uid) = (metadata.labels.unwrap_or_default(), metadata.uid.unwrap_or_default());
    Ok(Namespace { name, labels, uid, cluster: context.cluster_id.clone() })
}

fn is_deleting(target: &BackupTarget) -> bool {
    target.metadata.deletion_timestamp.is_some()
}
