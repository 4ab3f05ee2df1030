//! What a store's status says: whether its credentials work and for whom, and how safe what it allows is. Pure.

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    access::meeting::meetings,
    api::{
        BackupStore,
        backup_store::BackupStoreStatus,
        condition::{BOUNDED, Conditions, FOLDERS_APART, READY, RECONCILING, STALLED, Truth, reason},
    },
    controller::{connection::Error, looks::drift_interval, retry::Retry},
    names,
    store::clock::Skew,
};

/// What the store's credentials answered with.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The account that they belong to.
    pub account_id: String,
    /// By how much the store's clock differs from this machine's, when that matters.
    pub skew: Option<Skew>,
}

/// What a status depends on, beside the answer.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The store, with the status before.
    pub store: &'a BackupStore,
    /// Id of the cluster.
    pub cluster_id: &'a str,
    /// How often everything is compared with what the store has.
    pub resync: Duration,
    /// How many targets use it.
    pub targets: usize,
    /// How many of them have a principal.
    pub principals: usize,
    /// Now.
    pub now: Timestamp,
}

/// The status of a store whose credentials gave that answer.
#[must_use]
pub fn report(facts: Facts<'_>, answer: Result<&Identity, &Error>) -> BackupStoreStatus {
    let Facts { store, cluster_id, .. } = facts;
    let before = store.status.clone().unwrap_or_default();
    let mut conditions = Conditions::new(&before.conditions, store.metadata.generation, facts.now);
    let mut account_id = before.account_id.clone();
    match answer {
        Ok(_) if store.metadata.deletion_timestamp.is_some() => {
            // How many they are, the status says elsewhere: a count in here would be written with each that comes or goes.
            let message =
                "being deleted; BackupTargets still use this store (status.targets): delete them, and it goes";
            conditions.set(READY, Truth::False, reason::IN_USE, message);
            conditions.set(RECONCILING, Truth::True, reason::IN_USE, message);
        }
        Ok(identity) => {
            account_id.get_or_insert_with(|| identity.account_id.clone());
            let message = format!("the credentials work, in AWS account {}", identity.account_id);
            match &identity.skew {
                None => conditions.set(READY, Truth::True, reason::CREDENTIALS_VALID, message),
                // Decisions go by the store's clock, so nothing is wrong yet.
                Some(skew) => {
                    let message =
                        format!("{message}; {skew}: AWS refuses requests from clocks that differ by some minutes");
                    conditions.set(READY, Truth::True, reason::CLOCK_SKEWED, message);
                }
            }
        }
        Err(error) => {
            let abnormal = if error.retry() == Retry::Stalled { STALLED } else { RECONCILING };
            conditions.set(READY, Truth::False, error.reason(), error.to_string());
            conditions.set(abnormal, Truth::True, error.reason(), error.to_string());
        }
    }
    bounded(&mut conditions, store, cluster_id);
    apart(&mut conditions, store, cluster_id);
    BackupStoreStatus {
        observed_generation: store.metadata.generation,
        conditions: conditions.finish(),
        account_id,
        iam_path: Some(iam_path(store, cluster_id)),
        drift_interval: Some(drift_interval(store, facts.principals, facts.resync).into()),
        targets: Some(i64::try_from(facts.targets).unwrap_or(i64::MAX)),
        principals: Some(i64::try_from(facts.principals).unwrap_or(i64::MAX)),
    }
}

/// Whether anything limits what the principals can do, and with them whoever has the operator's credentials.
fn bounded(conditions: &mut Conditions<'_>, store: &BackupStore, cluster_id: &str) {
    let Some(boundary) = store.spec.iam.permissions_boundary.as_deref() else {
        let message = "the store names no permissions boundary, so whoever has the operator's credentials can give any right \
                       to its principals; `backup-target-operator render -o boundary` prints one for spec.iam";
        return conditions.set(BOUNDED, Truth::False, reason::NO_PERMISSIONS_BOUNDARY, message);
    };
    let path = iam_path(store, cluster_id);
    if boundary.contains(&format!(":policy{path}")) {
        let message = format!(
            "the permissions boundary lies under {path}, where the operator may change policies; move it to another path"
        );
        return conditions.set(BOUNDED, Truth::False, reason::BOUNDARY_WITHIN_PATH, message);
    }
    let message = format!("every principal has the permissions boundary {boundary}");
    conditions.set(BOUNDED, Truth::True, reason::PERMISSIONS_BOUNDARY, message);
}

/// Whether somebody who may create namespaces can reach what a rule keeps for others.
fn apart(conditions: &mut Conditions<'_>, store: &BackupStore, cluster_id: &str) {
    let meetings = meetings(&store.spec.allow, Some(cluster_id));
    if let Some(first) = meetings.first() {
        let more = if meetings.len() > 1 { format!("; and {} more", meetings.len() - 1) } else { String::new() };
        return conditions.set(FOLDERS_APART, Truth::False, reason::FOLDERS_MEET, format!("{first}{more}"));
    }
    let message = "no name of a namespace makes a folder of one rule that of another";
    conditions.set(FOLDERS_APART, Truth::True, reason::FOLDERS_APART, message);
}

fn iam_path(store: &BackupStore, cluster_id: &str) -> String {
    store.spec.iam.path.clone().unwrap_or_else(|| names::default_path(cluster_id))
}
