//! Targets that go without being let go: somebody takes the operator's finalizer off, such as with `kubectl replace`, and deletes
//! the target before it is put back. What was made for a target is remembered here for as long as the target is there; once it is
//! not, and the operator did not let it go, all of it is removed from the store. Losing the memory, as at a restart, costs that.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;

use super::time::jittered;
use crate::{
    api::{
        BackupTarget,
        backup_target::{
            BackupTargetSpec, BackupTargetStatus, KeyIntent, KeyRecord, PolicyForm, PolicyStatus, Record, StoreRef,
        },
    },
    names,
};

const FIRST_RETRY: Duration = Duration::from_secs(5);
const LONGEST_RETRY: Duration = Duration::from_mins(5);

/// What was made for the targets that were not let go, by their UID. That is all targets, so it is kept small.
#[derive(Debug, Default)]
pub struct Departed(Mutex<HashMap<Box<str>, Box<Left>>>);

/// What a target leaves behind: enough to find it and to remove it.
#[derive(Clone, Debug)]
pub struct Left {
    /// Name of its store.
    pub store: Box<str>,
    pub namespace: Box<str>,
    pub name: Box<str>,
    principal_id: Option<Box<str>>,
    keys: Box<[(Box<str>, Timestamp)]>,
    form: Option<PolicyForm>,
    intent: Option<Box<KeyIntent>>,
    key_created_at: Option<Timestamp>,
    tries: u32,
    not_before: Option<Instant>,
}

impl Departed {
    /// Remembers what was made for a target.
    pub fn remember(&self, target: &BackupTarget, record: &Record) {
        if record.made_something() {
            self.left().insert(target.uid().unwrap_or_default().into(), Box::new(Left::of(target, record)));
        }
    }

    /// The operator lets a target go, or nothing of it is left.
    pub fn let_go(&self, uid: &str) {
        self.left().remove(uid);
    }

    /// How many targets of a store are gone and not removed yet: the store has to stay for them.
    #[must_use]
    pub fn count(&self, store: &str, seen: &HashSet<String>) -> usize {
        self.left().iter().filter(|(uid, left)| *left.store == *store && !seen.contains(&***uid)).count()
    }

    /// Those that are gone and whose turn it is.
    pub fn due(&self, seen: &HashSet<String>) -> Vec<(String, Left)> {
        let now = Instant::now();
        let is_due = |left: &Left| left.not_before.is_none_or(|not_before| not_before <= now);
        let left = self.left();
        let due = left.iter().filter(|(uid, left)| !seen.contains(&***uid) && is_due(left));
        due.map(|(uid, left)| (uid.to_string(), (**left).clone())).collect()
    }

    /// Tries it again later.
    pub fn put_off(&self, uid: &str) {
        if let Some(left) = self.left().get_mut(uid) {
            let wait = FIRST_RETRY.saturating_mul(1 << left.tries.min(9)).min(LONGEST_RETRY);
            left.tries = left.tries.saturating_add(1);
            left.not_before = Some(Instant::now() + jittered(wait));
        }
    }

    fn left(&self) -> MutexGuard<'_, HashMap<Box<str>, Box<Left>>> {
        // The map is whole after every line that holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Left {
    fn of(target: &BackupTarget, record: &Record) -> Self {
        Self {
            store: target.spec.store_ref.resolved().into(),
            namespace: target.namespace().unwrap_or_default().into(),
            name: target.name_any().into(),
            principal_id: record.principal_id.as_deref().map(Into::into),
            keys: record.keys.iter().map(|key| (key.id.as_str().into(), key.created_at)).collect(),
            form: record.policy.as_ref().map(|policy| policy.form),
            intent: record.key_intent.clone().map(Box::new),
            key_created_at: record.key_created_at,
            tries: 0,
            not_before: None,
        }
    }

    /// The target, as far as its removal needs it.
    pub fn target(&self, uid: &str) -> BackupTarget {
        let record = |(id, created_at): &(Box<str>, Timestamp)| KeyRecord {
            id: id.to_string(),
            created_at: *created_at,
            fingerprint: String::new(),
            superseded_at: None,
            revoke_at: None,
            inactive_since: None,
            off_since: None,
            withheld: false,
        };
        let record = Record {
            principal: Some(names::principal(uid)),
            principal_id: self.principal_id.as_deref().map(str::to_owned),
            keys: self.keys.iter().map(record).collect(),
            policy: self.form.map(|form| PolicyStatus { digest: String::new(), form }),
            key_intent: self.intent.as_deref().cloned(),
            key_created_at: self.key_created_at,
            ..Record::default()
        };
        let metadata = ObjectMeta {
            uid: Some(uid.to_owned()),
            namespace: Some(self.namespace.to_string()),
            name: Some(self.name.to_string()),
            ..ObjectMeta::default()
        };
        let store_ref = StoreRef { name: self.store.to_string() };
        BackupTarget {
            metadata,
            spec: BackupTargetSpec { store_ref, ..BackupTargetSpec::default() },
            status: Some(BackupTargetStatus { record, ..BackupTargetStatus::default() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(uid: &str) -> BackupTarget {
        let json = serde_json::json!({
            "apiVersion": "backup-target.dev/v1alpha1", "kind": "BackupTarget",
            "metadata": {"name": uid, "namespace": "backups", "uid": uid},
            "spec": {"bucket": "my-backups", "storeRef": {"name": "default#x"}},
        });
        serde_json::from_value(json).expect("a target")
    }

    fn made() -> Record {
        Record { principal: Some("btgt-1".into()), ..Record::default() }
    }

    fn uids(uids: &[&str]) -> HashSet<String> {
        uids.iter().map(|&uid| uid.to_owned()).collect()
    }

    fn due(departed: &Departed, seen: &[&str]) -> Vec<String> {
        departed.due(&uids(seen)).into_iter().map(|(uid, _)| uid).collect()
    }

    #[test]
    fn only_who_is_gone_without_being_let_go_has_left_something() {
        let departed = Departed::default();
        for uid in ["stays", "let-go", "vanished"] {
            departed.remember(&target(uid), &made());
        }
        departed.remember(&target("never-had-anything"), &Record::default());
        departed.let_go("let-go");
        assert_eq!(due(&departed, &["stays"]), ["vanished"]);
        assert_eq!((departed.count("default", &uids(&["stays"])), departed.count("other", &uids(&[]))), (1, 0));
        departed.put_off("vanished");
        assert!(due(&departed, &["stays"]).is_empty(), "its turn comes later");
        assert_eq!(departed.count("default", &uids(&["stays"])), 1, "and the store stays for it");
    }

    #[test]
    fn what_is_left_is_enough_to_remove_it() {
        let mut record = made();
        record.policy = Some(PolicyStatus { digest: "d".into(), form: PolicyForm::Managed });
        record.principal_id = Some("AIDA".into());
        let again = Left::of(&target("1"), &record).target("1");
        assert_eq!(names::qualified(&again), "backups/1");
        let kept = again.status.expect("a status").record;
        assert_eq!((kept.principal.as_deref(), kept.principal_id.as_deref()), (Some("btgt-1"), Some("AIDA")));
        assert!(kept.policy.is_some_and(|policy| policy.form == PolicyForm::Managed));
    }
}
