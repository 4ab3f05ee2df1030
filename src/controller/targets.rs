//! One reconcile of one BackupTarget: the table of contents of the operator.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{ResourceExt, runtime::controller::Action};
use tracing::{info, warn};

use super::{
    context::{Context, jittered},
    error::{Error, Retry},
    execute::Executor,
    goal::{self, Goal},
    now,
    observe::{Look, observe},
    plan::{self, Fresh, Plan, Waiting},
    report::{Outcome, report},
    state::State,
    stores::pinned_connection,
};
use crate::{
    access::{
        Claim,
        allow::{self, Namespace},
        rclone::RcloneConf,
    },
    api::{BackupStore, BackupTarget, backup_target::BackupTargetStatus, condition},
    cluster::Note,
    names,
    store::{UserSpec, connect::Connection},
};

/// No reconcile takes longer (design §6.6).
const DEADLINE: Duration = Duration::from_mins(1);
/// Planning again after the steps gives none; more rounds than this mean that somebody works against us.
const ROUNDS: usize = 4;
/// How soon to look again for something that may still appear.
const LOOK_AGAIN: Duration = Duration::from_secs(20);
/// How soon to look whether somebody moved what is in the way; most of it cannot be watched.
const STILL_BLOCKED: Duration = Duration::from_mins(1);

/// Reconciles the target that a watch event named. Never fails: every outcome is in the target's status.
pub async fn reconcile(seen: Arc<BackupTarget>, context: Arc<Context>) -> Action {
    let name = names::qualified(&seen);
    let uid = seen.uid().unwrap_or_default();
    let target = match context.cluster.target(&seen.namespace().unwrap_or_default(), &seen.name_any()).await {
        Ok(Some(target)) => target,
        Ok(None) => {
            context.forget(&uid);
            return Action::await_change();
        }
        Err(error) => {
            warn!(name, %error, "the target could not be read");
            return Action::requeue(context.failed(&uid));
        }
    };
    let stored = target.status.clone().unwrap_or_default();
    let reconcile = Reconcile { context: &context, name, memory: stored.clone(), stored, target, notes: Vec::new() };
    Box::pin(reconcile.run()).await
}

struct Reconcile<'a> {
    context: &'a Context,
    name: String,
    /// The target as it is now, after our own writes.
    target: BackupTarget,
    /// The status that the API server has.
    stored: BackupTargetStatus,
    /// What status has to remember, after the steps that were done.
    memory: BackupTargetStatus,
    notes: Vec<Note>,
}

/// How far it got.
enum Progress {
    /// The target is gone, or never needed anything.
    Gone,
    /// There is a plan with nothing left to do in it.
    Settled(Plan),
}

impl Reconcile<'_> {
    async fn run(mut self) -> Action {
        let mut goal = None;
        let result = match tokio::time::timeout(DEADLINE, self.pursue(&mut goal)).await {
            Ok(result) => result,
            Err(_) => Err(Error::TimedOut),
        };
        let action = self.next(&result);
        if !matches!(result, Ok(Progress::Gone)) {
            self.tell(goal.as_ref(), &result).await;
        }
        for note in &self.notes {
            self.context.cluster.publish(&self.target, note).await;
        }
        action
    }

    /// observe → parse → plan → execute, until nothing is left to do.
    async fn pursue(&mut self, told: &mut Option<Goal>) -> Result<Progress, Error> {
        let deleting = self.target.metadata.deletion_timestamp.is_some();
        let claimed = self.target.finalizers().iter().any(|finalizer| finalizer == names::TARGET_FINALIZER);
        if deleting && !claimed {
            self.context.forget(&self.target.uid().unwrap_or_default());
            return Ok(Progress::Gone);
        }
        let store = self.store().await?;
        let connection = pinned_connection(self.context, &store).await?;
        let namespace = self.namespace(&store).await?;
        let missing = self.bucket_is_missing(&store, &connection).await;
        let goal = told.insert(goal::decide(&self.target, &store, &namespace, missing, now())?).clone();
        let user = goal::user_spec(&self.target, &store, &self.context.cluster_id);
        self.work(&goal, &user, &connection).await
    }

    async fn work(&mut self, goal: &Goal, user: &UserSpec, connection: &Connection) -> Result<Progress, Error> {
        let uid = self.target.uid().unwrap_or_default();
        let remembered = self.remembered(&uid);
        let mut read_at = remembered.as_ref().map_or_else(Instant::now, |(_, at)| *at);
        let mut look = remembered.map_or(Look::Live, |(principal, _)| Look::Remembered(principal));
        for _ in 0..ROUNDS {
            let from_memory = matches!(look, Look::Remembered(_));
            let state = self.observe(user, connection, look).await?;
            let (plan, state) = planned(goal, user, state);
            if plan.steps.is_empty() {
                self.memory = state.status;
                // What may still appear, and what stands in the way, has to be looked at again.
                let settled = plan.blocked.is_none() && plan.waiting != Some(Waiting::KeyMayAppear);
                let known = settled.then_some((state.principal, read_at));
                self.context.remember(&uid, known, state.absence);
                return Ok(Progress::Settled(plan));
            }
            if from_memory {
                // Memory is good enough to see that nothing is to do, never to act on.
                (look, read_at) = (Look::Live, Instant::now());
                continue;
            }
            let state = self.execute(goal, user, connection, plan, state).await?;
            let Some(state) = state else {
                self.context.forget(&uid);
                return Ok(Progress::Gone);
            };
            // What was just written is as fresh as what was just read.
            look = Look::Remembered(state.principal);
            self.target.status = Some(state.status);
        }
        Err(Error::TimedOut)
    }

    async fn observe(&self, user: &UserSpec, connection: &Connection, look: Look) -> Result<State, Error> {
        let live = matches!(look, Look::Live);
        let absence = self.context.recall(&self.target.uid().unwrap_or_default()).absence;
        let mut state =
            observe(&self.context.cluster, &connection.iam, &self.target, user, look, absence, now()).await?;
        if live && (state.key_may_still_appear(now()) || state.user_may_still_appear(now())) {
            state.absence = absence.and_another(now());
        }
        Ok(state)
    }

    /// Does the steps; the memory is kept whatever happens. `None` when the target was let go.
    async fn execute(
        &mut self,
        goal: &Goal,
        user: &UserSpec,
        connection: &Connection,
        plan: Plan,
        state: State,
    ) -> Result<Option<State>, Error> {
        let mut executor =
            Executor::new(&self.context.cluster, &connection.iam, user, goal, self.target.clone(), state);
        let mut result = Ok(());
        for step in plan.steps {
            result = executor.execute(step).await;
            if result.is_err() {
                break;
            }
        }
        self.target = executor.target;
        self.stored = self.target.status.clone().unwrap_or_default();
        self.memory = executor.state.status.clone();
        self.notes.append(&mut executor.notes);
        result.map(|()| (!executor.released).then_some(executor.state))
    }

    async fn store(&self) -> Result<Arc<BackupStore>, Error> {
        let name = &self.target.spec.store_ref.name;
        // An error means that the operator is stopping.
        self.context.stores.wait_until_ready().await.map_err(|_| Error::StorePending(name.clone()))?;
        let found = self.context.stores.state().into_iter().find(|store| store.name_any() == *name);
        found.ok_or_else(|| Error::StoreNotFound(name.clone()))
    }

    async fn namespace(&self, store: &BackupStore) -> Result<Namespace, Error> {
        let name = self.target.namespace().unwrap_or_default();
        let labels = if allow::need_labels(&store.spec.allow) {
            self.context.cluster.namespace_labels(&name).await?
        } else {
            std::collections::BTreeMap::new()
        };
        Ok(Namespace { name, labels })
    }

    async fn bucket_is_missing(&self, store: &BackupStore, connection: &Connection) -> bool {
        let Ok(claim) = Claim::parse(&self.target.name_any(), &self.target.spec) else { return false };
        let endpoint = store.spec.endpoints.s3.as_deref();
        RcloneConf::may_create_bucket(&claim.capabilities)
            && crate::probe::bucket_is_missing(&connection.config, endpoint, claim.bucket.as_str()).await
    }

    fn remembered(&self, uid: &str) -> Option<(crate::store::Principal, Instant)> {
        let deleting = self.target.metadata.deletion_timestamp.is_some();
        self.context.recall(uid).principal.filter(|(_, at)| !deleting && at.elapsed() < self.context.resync)
    }

    /// Writes status, if it says something new, and notes what a person should notice.
    async fn tell(&mut self, goal: Option<&Goal>, result: &Result<Progress, Error>) {
        let outcome = Outcome {
            goal,
            result: match result {
                Ok(Progress::Settled(plan)) => Ok(plan),
                Ok(Progress::Gone) => return,
                Err(error) => Err(error),
            },
        };
        let status = report(&self.target, self.memory.clone(), &outcome, now());
        if status == self.stored {
            return;
        }
        self.note_change(&status);
        self.note_unknown_keys(result);
        if let Err(error) = self.context.cluster.write_target_status(&self.target, &status, false).await {
            warn!(name = self.name, %error, "status could not be written");
            self.context.failed(&self.target.uid().unwrap_or_default());
        }
    }

    /// At most one event for an outcome: what was done says more than that the reason changed.
    fn note_change(&mut self, after: &BackupTargetStatus) {
        let (old, new) = (headline(&self.stored), headline(after));
        let Some(new) = new.filter(|new| old.is_none_or(|old| old.reason != new.reason)) else { return };
        let well = new.type_ == condition::READY && new.status == "True";
        if well {
            info!(name = self.name, reason = new.reason, message = new.message, "reconciled");
        } else {
            warn!(name = self.name, reason = new.reason, message = new.message, "not reconciled");
        }
        // A store whose credentials are being checked right now is nothing to notice.
        if self.notes.is_empty() && new.reason != condition::reason::PENDING {
            self.notes.push(Note { warning: !well, reason: new.reason.clone(), message: new.message.clone() });
        }
    }

    /// Told once, when they are first seen: the status that names them is written only then.
    fn note_unknown_keys(&mut self, result: &Result<Progress, Error>) {
        if let Ok(Progress::Settled(plan)) = result
            && !plan.unknown_keys.is_empty()
            && plan.blocked.is_none()
        {
            self.notes.push(Note {
                warning: true,
                reason: condition::reason::UNKNOWN_KEY.to_owned(),
                message: format!(
                    "access key {} was not made by this operator and is left alone",
                    plan.unknown_keys.join(", ")
                ),
            });
        }
    }

    fn next(&self, result: &Result<Progress, Error>) -> Action {
        let uid = self.target.uid().unwrap_or_default();
        match result {
            Ok(Progress::Gone) => Action::await_change(),
            Ok(Progress::Settled(plan)) => {
                let waiting = plan.waiting.as_ref().map(|_| LOOK_AGAIN);
                let blocked = plan.blocked.as_ref().map(|_| jittered(STILL_BLOCKED));
                let due = plan.due.map(until);
                let resync = Some(jittered(self.context.resync));
                Action::requeue([waiting, blocked, due, resync].into_iter().flatten().min().unwrap_or(LOOK_AGAIN))
            }
            Err(error) => {
                let backoff = self.context.failed(&uid);
                let stalled = matches!(error.retry(), Retry::Stalled);
                Action::requeue(if stalled { backoff.max(jittered(LOOK_AGAIN)) } else { backoff })
            }
        }
    }
}

fn planned(goal: &Goal, user: &UserSpec, mut state: State) -> (Plan, State) {
    let now = now();
    let overlap = match goal {
        Goal::Provide(provide) => provide.grant.key_overlap,
        Goal::Withhold { .. } | Goal::Remove | Goal::Retain => Duration::ZERO,
    };
    plan::settle(&mut state, overlap, now);
    let fresh = Fresh { now, nonce: format!("{:016x}", fastrand::u64(..)) };
    (plan::plan(goal, user, &state, &fresh), state)
}

/// What a person should know first: what stalls it, else what Ready says.
fn headline(status: &BackupTargetStatus) -> Option<&Condition> {
    let stalled = condition::find(&status.conditions, condition::STALLED);
    stalled.or_else(|| condition::find(&status.conditions, condition::READY))
}

fn until(due: jiff::Timestamp) -> Duration {
    // A second more than due: both ends are whole seconds.
    let left = due.duration_since(now());
    Duration::try_from(left).unwrap_or(Duration::ZERO) + Duration::from_secs(1)
}
