//! Targets that go without being let go: somebody takes the operator's finalizer off, such as with `kubectl replace`, and deletes
//! the target before it is put back. What was made for a target is remembered here for as long as the target is there; once it is
//! not, and the operator did not let it go, all of it is removed from the store. Losing the memory, as at a restart, costs that.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use tokio::{sync::watch, time::sleep};
use tracing::{info, warn};

use super::{
    context::{Context, jittered},
    error::Error,
    execute::{Executor, Tools},
    goal::{self, Goal},
    plan::{self, Fresh, Step},
    state::{Absence, State, made_something},
    stores::pinned_connection,
};
use crate::{
    access::claim::object_name,
    api::{
        BackupTarget,
        backup_target::{
            BackupTargetSpec, BackupTargetStatus, KeyIntent, KeyRecord, PolicyForm, PolicyStatus, StoreRef,
        },
        condition::reason,
    },
    cluster::Note,
    names,
    probe::Reach,
    store::{
        Principal,
        aws::Questions,
        throttle::{Turn, Urgency},
    },
};

/// How often it is looked which targets are gone.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How many are removed at once.
const AT_ONCE: usize = 8;
const FIRST_RETRY: Duration = Duration::from_secs(5);
const LONGEST_RETRY: Duration = Duration::from_mins(5);

/// What was made for the targets that were not let go, by their UID.
#[derive(Debug, Default)]
pub struct Departed(Mutex<HashMap<String, Left>>);

/// What a target leaves behind: enough to find it and to remove it.
#[derive(Clone, Debug)]
struct Left {
    store: String,
    namespace: String,
    name: String,
    principal_id: Option<String>,
    keys: Vec<(String, Timestamp)>,
    form: Option<PolicyForm>,
    intent: Option<KeyIntent>,
    key_created_at: Option<Timestamp>,
    tries: u32,
    not_before: Option<Instant>,
}

/// How far it got with a target that is gone.
enum Progress {
    /// It is there after all, nothing of it is left, or its store is another operator's.
    Nothing,
    /// All that was made for it is removed.
    Removed,
    /// Something may still appear.
    Waits,
}

impl Departed {
    /// Remembers what was made for a target.
    pub fn remember(&self, target: &BackupTarget, status: &BackupTargetStatus) {
        if made_something(status) {
            self.left().insert(target.uid().unwrap_or_default(), Left::of(target, status));
        }
    }

    /// The operator lets a target go, or nothing of it is left.
    pub fn let_go(&self, uid: &str) {
        self.left().remove(uid);
    }

    /// How many targets of a store are gone and not removed yet: the store has to stay for them.
    #[must_use]
    pub fn count(&self, store: &str, seen: &HashSet<String>) -> usize {
        self.left().iter().filter(|(uid, left)| left.store == store && !seen.contains(*uid)).count()
    }

    /// Those that are gone and whose turn it is.
    fn due(&self, seen: &HashSet<String>) -> Vec<(String, Left)> {
        let now = Instant::now();
        let is_due = |left: &Left| left.not_before.is_none_or(|not_before| not_before <= now);
        let left = self.left();
        let due = left.iter().filter(|(uid, left)| !seen.contains(*uid) && is_due(left));
        due.map(|(uid, left)| (uid.clone(), left.clone())).collect()
    }

    /// Tries it again later.
    fn put_off(&self, uid: &str) {
        if let Some(left) = self.left().get_mut(uid) {
            let wait = FIRST_RETRY.saturating_mul(1 << left.tries.min(9)).min(LONGEST_RETRY);
            left.tries = left.tries.saturating_add(1);
            left.not_before = Some(Instant::now() + jittered(wait));
        }
    }

    fn left(&self) -> MutexGuard<'_, HashMap<String, Left>> {
        // The map is whole after every line that holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Left {
    fn of(target: &BackupTarget, status: &BackupTargetStatus) -> Self {
        Self {
            store: target.spec.store_ref.resolved().into_owned(),
            namespace: target.namespace().unwrap_or_default(),
            name: target.name_any(),
            principal_id: status.principal_id.clone(),
            keys: status.keys.iter().map(|key| (key.id.clone(), key.created_at)).collect(),
            form: status.policy.as_ref().map(|policy| policy.form),
            intent: status.key_intent.clone(),
            key_created_at: status.key_created_at,
            tries: 0,
            not_before: None,
        }
    }

    /// The target, as far as its removal needs it.
    fn target(&self, uid: &str) -> BackupTarget {
        let record = |(id, created_at): &(String, Timestamp)| KeyRecord {
            id: id.clone(),
            created_at: *created_at,
            fingerprint: String::new(),
            superseded_at: None,
            revoke_at: None,
            inactive_since: None,
            off_since: None,
            withheld: false,
        };
        let status = BackupTargetStatus {
            principal: Some(names::principal(uid)),
            principal_id: self.principal_id.clone(),
            keys: self.keys.iter().map(record).collect(),
            policy: self.form.map(|form| PolicyStatus { digest: String::new(), form }),
            key_intent: self.intent.clone(),
            key_created_at: self.key_created_at,
            ..BackupTargetStatus::default()
        };
        let metadata = ObjectMeta {
            uid: Some(uid.to_owned()),
            namespace: Some(self.namespace.clone()),
            name: Some(self.name.clone()),
            ..ObjectMeta::default()
        };
        let store_ref = StoreRef { name: self.store.clone() };
        BackupTarget {
            metadata,
            spec: BackupTargetSpec { store_ref, ..BackupTargetSpec::default() },
            status: Some(status),
        }
    }
}

/// Looks again and again which targets are gone, and removes what is left of them, until the operator is to stop.
pub async fn tend(context: &Context, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            // An error means that the sender is gone, which is a reason to stop as well.
            _ = stop.wait_for(|stop| *stop) => return,
            () = sleep(LOOK_EVERY) => {}
        }
        let due = context.departed.due(&context.seen_uids());
        stream::iter(due).for_each_concurrent(AT_ONCE, async |(uid, left)| tell(context, &uid, &left).await).await;
    }
}

async fn tell(context: &Context, uid: &str, left: &Left) {
    let (name, principal) = (format!("{}/{}", left.namespace, left.name), names::principal(uid));
    match Box::pin(remove(context, uid, left)).await {
        Ok(Progress::Nothing) => context.departed.let_go(uid),
        Ok(Progress::Removed) => {
            info!(name, principal, "the target was deleted without being let go; all that was made for it is removed");
            context.departed.let_go(uid);
        }
        Ok(Progress::Waits) => context.departed.put_off(uid),
        Err(error) => {
            warn!(name, principal, %error, "the target was deleted without being let go; its IAM user waits to be removed");
            context.departed.put_off(uid);
        }
    }
}

async fn remove(context: &Context, uid: &str, left: &Left) -> Result<Progress, Error> {
    let found = context.cluster.target(&left.namespace, &left.name).await?;
    if found.is_some_and(|found| found.metadata.uid.as_deref() == Some(uid)) {
        return Ok(Progress::Nothing);
    }
    let name = object_name("spec.storeRef.name", &left.store)?;
    let Some(store) = context.cluster.store(&name).await? else {
        // What is left in a store that another operator has is for that one to remove.
        let is_anothers = context.cluster.is_store_of_another(&name).await?;
        return if is_anothers { Ok(Progress::Nothing) } else { Err(Error::StoreNotFound(name.to_string())) };
    };
    let connection = pinned_connection(context, &store).await?;
    let (terms, target) = (connection.terms(&store.spec)?, left.target(uid));
    let user = goal::user_spec(&target, &terms, &connection.account_id, &context.cluster_id);
    let turn = Turn { urgency: Urgency::Revocation, namespace: left.namespace.as_str().into(), end: None };
    let iam = connection.iam.for_turn(turn);
    let questions = Questions { keys: Vec::new(), managed_policy: true };
    let mut state = State {
        status: target.status.clone().unwrap_or_default(),
        finalizer: false,
        first_intent: None,
        principal: iam.observe(&user, &questions).await?,
        secrets: BTreeMap::new(),
        absence: Absence::default(),
        in_hand: None,
        is_applied: false,
        contested_until: None,
        forgotten: Vec::new(),
    };
    let was_there = state.principal != Principal::Absent;
    let clock = iam.clock();
    plan::settle(&mut state, &user, Duration::ZERO, clock.now());
    let fresh = Fresh { now: clock.now(), store_time: clock.heard(), nonce: String::new() };
    let plan = plan::plan(&Goal::Remove, &user, &state, &fresh);
    let endpoints = &store.spec.endpoints;
    let tools = Tools {
        cluster: &context.cluster,
        iam: &iam,
        hand: &context.hand,
        reach: Reach {
            config: &connection.config,
            s3: endpoints.s3.as_deref(),
            sts: endpoints.sts.as_deref(),
            fence: connection.fence(),
        },
    };
    let mut executor = Executor::new(tools, &user, &Goal::Remove, target, state);
    // There is nothing to let go, and another target may have its name by now.
    for step in plan.steps.into_iter().filter(|step| !matches!(step, Step::ReleaseTarget)) {
        executor.execute(step).await?;
    }
    match (plan.blocked, plan.waiting) {
        (Some(blocked), _) => Err(Error::Blocked(blocked)),
        (None, Some(_)) => Ok(Progress::Waits),
        (None, None) if was_there => {
            let message = format!(
                "BackupTarget {}/{} was deleted while the operator's finalizer was off it; its IAM user {}, access key and \
                 policy are removed",
                left.namespace, left.name, user.name
            );
            context.cluster.publish(&store, &Note { warning: true, reason: reason::DELETED.to_owned(), message }).await;
            Ok(Progress::Removed)
        }
        (None, None) => Ok(Progress::Nothing),
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

    fn made() -> BackupTargetStatus {
        BackupTargetStatus { principal: Some("btgt-1".into()), ..BackupTargetStatus::default() }
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
        departed.remember(&target("never-had-anything"), &BackupTargetStatus::default());
        departed.let_go("let-go");
        assert_eq!(due(&departed, &["stays"]), ["vanished"]);
        assert_eq!((departed.count("default", &uids(&["stays"])), departed.count("other", &uids(&[]))), (1, 0));
        departed.put_off("vanished");
        assert!(due(&departed, &["stays"]).is_empty(), "its turn comes later");
        assert_eq!(departed.count("default", &uids(&["stays"])), 1, "and the store stays for it");
    }

    #[test]
    fn what_is_left_is_enough_to_remove_it() {
        let mut status = made();
        status.policy = Some(PolicyStatus { digest: "d".into(), form: PolicyForm::Managed });
        status.principal_id = Some("AIDA".into());
        let again = Left::of(&target("1"), &status).target("1");
        assert_eq!(names::qualified(&again), "backups/1");
        let kept = again.status.expect("a status");
        assert_eq!((kept.principal.as_deref(), kept.principal_id.as_deref()), (Some("btgt-1"), Some("AIDA")));
        assert!(kept.policy.is_some_and(|policy| policy.form == PolicyForm::Managed));
    }
}
