//! What should be: a target's spec, its store and the store's rules, parsed into one goal.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use crate::{
    access::{
        Access, Claim, Grant, Invalid, Partition, PolicyDocument, Verdict,
        allow::{self, Namespace},
        rclone::RcloneConf,
    },
    api::{
        BackupStore, BackupTarget,
        backup_target::{AccessRecord, BackupTargetStatus, PreviousAccess},
    },
    names::{self, tag},
    store::UserSpec,
};

/// What a reconcile works towards.
#[derive(Clone, Debug)]
pub enum Goal {
    /// Principal, key and Secret carry what is granted.
    Provide(Box<Provide>),
    /// The claim is not allowed (any more): what exists must not work.
    Withhold {
        /// What no rule covers.
        why: String,
    },
    /// The target is being deleted: nothing of it remains.
    Remove,
    /// The target is being deleted: its credentials stay and belong to nobody.
    Retain,
}

/// What to provide.
#[derive(Clone, Debug)]
pub struct Provide {
    /// What the rules grant.
    pub grant: Grant,
    /// What was asked for and is not granted.
    pub missing: Vec<String>,
    /// The accesses that the policy covers now: the current one first, then former folders.
    pub accesses: Vec<Access>,
    /// The partition of the store.
    pub partition: Partition,
    /// The policy's document.
    pub document: PolicyDocument,
    /// What status remembers of the accesses; `None` while suspended.
    pub record: Option<(AccessRecord, Vec<PreviousAccess>)>,
    /// Name of the Secret.
    pub secret_name: String,
    /// Content of the Secret, apart from the key.
    pub rclone: RcloneConf,
    /// Whether changes and repairs are held back.
    pub suspended: bool,
}

/// The principal of a target: known from the target's identity alone, so that it can be removed whatever the spec says.
#[must_use]
pub fn user_spec(target: &BackupTarget, store: &BackupStore, cluster_id: &str) -> UserSpec {
    let metadata = &target.metadata;
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let uid = text(&metadata.uid);
    UserSpec {
        name: names::principal(&uid),
        path: store.spec.iam.path.clone().unwrap_or_else(|| names::default_path(cluster_id)),
        boundary: store.spec.iam.permissions_boundary.clone(),
        tags: BTreeMap::from([
            (tag::CLUSTER.to_owned(), cluster_id.to_owned()),
            (tag::NAMESPACE.to_owned(), text(&metadata.namespace)),
            (tag::NAME.to_owned(), text(&metadata.name)),
            (tag::UID.to_owned(), uid),
        ]),
    }
}

/// Decides what should be.
///
/// # Errors
/// When the spec of a live target breaks a rule.
pub fn decide(
    target: &BackupTarget,
    store: &BackupStore,
    namespace: &Namespace,
    bucket_is_missing: bool,
    now: Timestamp,
) -> Result<Goal, Invalid> {
    let name = target.metadata.name.as_deref().unwrap_or_default();
    let claim = Claim::parse(name, &target.spec);
    let rules = &store.spec.allow;
    if target.metadata.deletion_timestamp.is_some() {
        let retain = claim.is_ok_and(|claim| match allow::decide(&claim, namespace, rules) {
            Verdict::Allowed(grant) | Verdict::Partly { grant, .. } => grant.retain,
            Verdict::Refused { .. } => false,
        });
        return Ok(if retain { Goal::Retain } else { Goal::Remove });
    }
    let claim = claim?;
    let (grant, missing) = match allow::decide(&claim, namespace, rules) {
        Verdict::Allowed(grant) => (grant, Vec::new()),
        Verdict::Partly { grant, missing } => (grant, missing),
        Verdict::Refused { why } => return Ok(Goal::Withhold { why }),
    };
    let status = target.status.clone().unwrap_or_default();
    if !missing.is_empty() && status.access.is_none() {
        // Nothing is created for a claim that no rule covers entirely; what exists is cut back instead.
        return Ok(Goal::Withhold { why: format!("no rule allows {}", missing.join(", ")) });
    }
    let limited = |access: &Access| allow::limit(access, namespace, rules);
    provide(target, store, claim, grant, missing, &status, bucket_is_missing, &limited, now)
        .map(|provide| Goal::Provide(Box::new(provide)))
}

#[expect(clippy::too_many_arguments, reason = "the one place where all of a target's facts meet")]
fn provide(
    target: &BackupTarget,
    store: &BackupStore,
    claim: Claim,
    grant: Grant,
    missing: Vec<String>,
    status: &BackupTargetStatus,
    bucket_is_missing: bool,
    limited: &dyn Fn(&Access) -> Option<Access>,
    now: Timestamp,
) -> Result<Provide, Invalid> {
    let suspended = target.spec.suspend;
    let before = status.access.as_ref().map(Access::from_record).transpose()?;
    let previous = previous_accesses(status, before.as_ref(), &grant, suspended, now);
    // A suspended target keeps what it was given, within what the rules still allow.
    let current = match &before {
        Some(before) if suspended => limited(before),
        _ => Some(grant.access.clone()),
    };
    let mut accesses: Vec<Access> = current.into_iter().collect();
    for former in &previous {
        accesses.extend(limited(&Access::from_record(&former.access)?));
    }
    let partition = Partition::of_region(&store.spec.region);
    Ok(Provide {
        document: PolicyDocument::new(partition, &accesses),
        accesses,
        partition,
        record: (!suspended).then(|| (grant.claimed.to_record(), previous)),
        secret_name: claim.secret_name,
        rclone: RcloneConf {
            remote: claim.remote,
            access: grant.access.clone(),
            region: store.spec.region.clone(),
            endpoint: store.spec.endpoints.s3.clone(),
            create_bucket: bucket_is_missing && RcloneConf::may_create_bucket(&grant.access.capabilities),
        },
        grant,
        missing,
        suspended,
    })
}

/// The former folders that stay reachable: those of before, and the one that this change leaves.
fn previous_accesses(
    status: &BackupTargetStatus,
    before: Option<&Access>,
    grant: &Grant,
    suspended: bool,
    now: Timestamp,
) -> Vec<PreviousAccess> {
    let current = if suspended { before.unwrap_or(&grant.claimed) } else { &grant.claimed };
    let is_current =
        |record: &AccessRecord| record.bucket == current.bucket.as_str() && record.prefix == current.prefix.as_str();
    let left = before
        .filter(|before| !suspended && !before.same_place(&grant.claimed) && grant.key_overlap > Duration::ZERO)
        .map(|before| PreviousAccess { access: before.to_record(), until: now + grant.key_overlap });
    let mut previous: Vec<PreviousAccess> = status
        .previous_access
        .iter()
        .filter(|former| former.until > now && !is_current(&former.access))
        .cloned()
        .collect();
    if let Some(left) = left {
        previous.retain(|former| {
            (&former.access.bucket, &former.access.prefix) != (&left.access.bucket, &left.access.prefix)
        });
        previous.push(left);
    }
    previous
}
