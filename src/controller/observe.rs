//! Reads everything that a decision needs.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use kube::ResourceExt;

use super::{
    error::Error,
    state::{Absence, State},
};
use crate::{
    api::{BackupTarget, backup_target::BackupTargetStatus},
    cluster::Cluster,
    names,
    store::{Principal, UserSpec, aws::Iam},
};

/// How the principal is looked at.
#[derive(Clone, Debug)]
pub enum Look {
    /// As it was when it was last seen or changed by this process; good enough to see that nothing is to do.
    Remembered(Principal),
    /// As IAM has it now.
    Live,
}

/// Observes a target's Secrets and principal.
///
/// # Errors
/// When one of them cannot be read.
pub async fn observe(
    cluster: &Cluster,
    iam: &Iam,
    target: &BackupTarget,
    user: &UserSpec,
    look: Look,
    absence: Absence,
    now: Timestamp,
) -> Result<State, Error> {
    let status = target.status.clone().unwrap_or_default();
    let finalizer = target.finalizers().iter().any(|finalizer| finalizer == names::TARGET_FINALIZER);
    let mut secrets = BTreeMap::new();
    for name in secret_names(target, &status) {
        let secret = cluster.secret(target, &name).await?;
        secrets.insert(name, secret);
    }
    let principal = match look {
        // Nothing is created before the finalizer is there; somebody may have taken it off since.
        _ if !finalizer && status.principal.is_none() => Principal::Absent,
        Look::Remembered(principal) => principal,
        Look::Live => iam.observe(user, &keys_in_question(&status, now)).await?,
    };
    let first_intent =
        target.annotations().get(names::INTENT_ANNOTATION).and_then(|json| serde_json::from_str(json).ok());
    Ok(State { status, finalizer, first_intent, principal, secrets, absence })
}

fn secret_names(target: &BackupTarget, status: &BackupTargetStatus) -> BTreeSet<String> {
    let wanted = target.spec.secret.name.clone().unwrap_or_else(|| target.name_any());
    std::iter::once(wanted)
        .chain(status.secret_name.clone())
        .chain(status.previous_secrets.iter().map(|previous| previous.name.clone()))
        .collect()
}

/// Replaced keys whose overlap has ended: whether they are still used decides what happens to them.
fn keys_in_question(status: &BackupTargetStatus, now: Timestamp) -> Vec<String> {
    let ended = |revoke: Timestamp| revoke <= now;
    status
        .keys
        .iter()
        .filter(|key| key.inactive_since.is_none() && key.revoke_at.is_some_and(ended))
        .map(|key| key.id.clone())
        .collect()
}
