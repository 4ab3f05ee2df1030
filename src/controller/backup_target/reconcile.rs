//! One reconcile of one BackupTarget: the table of contents of the operator.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use kube::{Resource, ResourceExt, runtime::controller::Action};
use tracing::{info, warn};

use super::{
    conclude::conclude,
    decide::{self, Goal},
    error::Error,
    events,
    failure::{Begin, may_begin},
    inputs::Inputs,
    observe::{Look, Observation},
    perform::{Performer, Tools},
    plan::{self, Fresh, Plan, Planned, Step, Waiting},
    report::{Outcome, report},
    requeue::{End, LOOK_AGAIN, Pace},
    settle::settle,
    state::State,
};
use crate::{
    access::{PolicyDocument, claim::object_name},
    api::{
        BackupStore, BackupTarget, Reason, Tier,
        backup_target::{BackupTargetStatus, Record},
    },
    cluster::{self, Note, SecretState},
    controller::{
        cache::Remembered, connection::pinned, context::Context, looks::time_for_looks, seen::SeenTarget, shared_keys,
        time::jittered,
    },
    names::{self, ObjectName},
    probe::Proof,
    provider::{
        Principal, PrincipalSpec,
        clock::Clock,
        rate_limiter::{Turn, Urgency},
    },
};

/// No step is begun later than this; each is bounded by itself (docs/decisions/time-limits.md).
const DEADLINE: Duration = Duration::from_mins(1);
/// Planning again after the steps gives none; more rounds than this mean that somebody works against us.
const ROUNDS: usize = 4;
/// How soon to come again where too many of the same namespace wait.
const COME_AGAIN: Duration = Duration::from_secs(3);

/// Reconciles the target that a watch event named. Never fails: every outcome is in the target's status.
pub async fn reconcile(seen: Arc<SeenTarget>, context: Arc<Context>) -> Action {
    let Some(_slot) = context.slot(&seen).await else { return Action::requeue(jittered(COME_AGAIN)) };
    // What it takes to work is large, and thousands may wait for their turn.
    Box::pin(work_on(&seen, &context)).await
}

async fn work_on(seen: &SeenTarget, context: &Context) -> Action {
    let (name, uid) = (names::qualified(seen), seen.uid().unwrap_or_default());
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
    let reconcile = Reconcile {
        uid: target.uid().unwrap_or_default(),
        record: target.status.clone().unwrap_or_default().record,
        end: Instant::now() + DEADLINE,
        notes: Vec::new(),
        disturbed: false,
        proof: None,
        pace: Pace::new(context.resync, jittered),
        unread: BTreeMap::new(),
        let_go: false,
        underway: None,
        clock: Clock::default(),
        context,
        name,
        target,
    };
    Box::pin(reconcile.run()).await
}

struct Reconcile<'a> {
    context: &'a Context,
    name: String,
    uid: String,
    /// The target as the API server has it, after our own writes.
    target: BackupTarget,
    /// What is to be remembered, after the steps that were done.
    record: Record,
    notes: Vec<Note>,
    /// Whether something that is published, or was to be, was found missing or is taken back.
    disturbed: bool,
    /// What the key could do when it was tried last.
    proof: Option<Proof>,
    /// When to come back.
    pace: Pace,
    /// The store's clock, by which everything goes once it is known.
    clock: Clock,
    /// When no further step is begun, unless it only takes away.
    end: Instant,
    /// Secrets that could not be read or deleted in this reconcile.
    unread: BTreeMap<ObjectName, cluster::Error>,
    /// Whether the target was let go, or may have been, or was left to another operator.
    let_go: bool,
    /// The principal as the last steps left it.
    underway: Option<Remembered>,
}

/// How far it got.
enum Progress {
    /// The target is gone, or never needed anything.
    Gone,
    /// It is being deleted, so whether all was well does not matter any more.
    GaveWay,
    /// Its store is another operator's by now.
    Left,
    /// There is a plan with nothing left to do in it.
    Settled(Box<Plan>),
}

/// The principal as this process saw or left it.
struct Known {
    principal: Principal,
    at: Instant,
    /// Whether it is as good as what was just read.
    goes_on: bool,
}

/// What all rounds of one reconcile have in common.
struct Work<'a> {
    goal: &'a Goal,
    spec: &'a PrincipalSpec,
    tools: Tools<'a>,
    /// The rules that the target is held against, in short.
    rules: u64,
}

impl Reconcile<'_> {
    async fn run(mut self) -> Action {
        let mut goal = None;
        let result = Box::pin(self.pursue(&mut goal)).await;
        if !self.let_go {
            self.context.departed.remember(&self.target, &self.record);
        }
        let failing = match &result {
            Err(error) => self.context.failed_for(&self.uid, error.reason()),
            Ok(_) => Duration::ZERO,
        };
        let mut action = self.next(&result, failing);
        if let (Some(underway), Err(Error::NotProven(_))) = (self.underway.take(), &result) {
            self.context.remember_underway(&self.uid, underway);
        }
        if !self.tell(goal.as_ref(), &result, failing).await {
            action = Action::requeue(self.context.failed(&self.uid));
        }
        for note in &self.notes {
            self.log(note);
            self.context.cluster.publish(&self.target, note).await;
        }
        action
    }

    /// inputs → decide → observe → settle → plan → perform, until nothing is left to do.
    async fn pursue(&mut self, told: &mut Option<Goal>) -> Result<Progress, Error> {
        let claimed = self.target.finalizers().iter().any(|finalizer| finalizer == names::TARGET_FINALIZER);
        if self.is_deleting() && !claimed && !self.is_held_by_others() {
            self.context.forget(&self.uid);
            return Ok(Progress::Gone);
        }
        let Some(store) = self.store().await? else { return self.go_on_without_store().await };
        let name = store.name_any();
        if store.metadata.deletion_timestamp.is_some() && !claimed && !self.record.ever_worked_on() {
            return Err(Error::StoreNotReady { name, why: "it is being deleted".to_owned() });
        }
        let interval = store.status.as_ref().and_then(|status| status.drift_interval).map(Duration::from);
        let principals = self.context.seen.principals_of(&name);
        self.pace = self.pace.of_store(interval.unwrap_or_default(), time_for_looks(&store, principals));
        let connection = pinned(self.context, &store).await.map_err(|error| Error::of_store(error, name.as_str()))?;
        self.clock = connection.provider.clock().clone();
        let inputs = Inputs::read(self.context, &self.target, &self.record, &store, &connection).await?;
        let asked = inputs.bucket_is_missing(&self.target, &self.record, self.clock.now()).await;
        self.record.bucket_looked_for(asked);
        let goal = decide::decide(inputs.facts(&self.target, &self.record, self.clock.now()))?;
        let goal = told.insert(goal).clone();
        self.pace.in_line = inputs.in_line(&goal);
        let spec = PrincipalSpec { access: goal.access().cloned(), ..inputs.spec.clone() };
        let urgency = self.urgency(&goal);
        // What takes away has its share of the rate, and waits for it as long as it takes.
        let end = (urgency != Urgency::Revocation).then(|| self.end.into());
        let namespace = inputs.namespace.name.as_str().into();
        let provider = connection.provider.for_turn(Turn { urgency, namespace, end });
        let tools = Tools {
            cluster: &self.context.cluster,
            provider: &provider,
            unpublished_keys: &self.context.unpublished_keys,
            reach: connection.reach(&store.spec),
        };
        Box::pin(self.work(&Work { goal: &goal, spec: &spec, tools, rules: inputs.rules() })).await
    }

    /// Whether something else than the operator keeps a target that is being deleted, although something was made for it:
    /// somebody took the operator's finalizer off, and what was made must not stay.
    fn is_held_by_others(&self) -> bool {
        !self.target.finalizers().is_empty() && self.record.ever_worked_on()
    }

    async fn store(&self) -> Result<Option<BackupStore>, Error> {
        match object_name("spec.storeRef.name", &self.target.spec.store_ref.resolved()) {
            Ok(name) => Ok(self.context.cluster.store(&name).await?),
            // There never was a store of such a name.
            Err(_) if self.is_deleting() => Ok(None),
            Err(invalid) => Err(invalid.into()),
        }
    }

    async fn go_on_without_store(&mut self) -> Result<Progress, Error> {
        let name = object_name("spec.storeRef.name", &self.target.spec.store_ref.resolved());
        if let Ok(name) = name
            && self.context.cluster.is_store_of_another(&name).await?
        {
            self.let_go = true;
            self.context.leave(&self.uid);
            return Ok(Progress::Left);
        }
        self.let_go_without_store().await
    }

    /// A store stays for as long as a target has something in it. One that has a finalizer of ours, no memory and no store got
    /// the finalizer from somebody else.
    async fn let_go_without_store(&mut self) -> Result<Progress, Error> {
        if !self.is_deleting() || self.record.ever_worked_on() {
            return Err(Error::StoreNotFound(self.target.spec.store_ref.resolved().into_owned()));
        }
        self.context.cluster.release(&self.target).await?;
        self.context.forget(&self.uid);
        Ok(Progress::Gone)
    }

    async fn work(&mut self, work: &Work<'_>) -> Result<Progress, Error> {
        let known = self.remembered(work);
        // The work of a moment ago goes on, and its key is known by now or not.
        let goes_on = matches!(work.goal, Goal::Provide(_)) && known.as_ref().is_some_and(|known| known.goes_on);
        let (mut look, mut read_at) = match known {
            Some(Known { principal, at, .. }) => (Look::Remembered(Box::new(principal)), at),
            None => (Look::Live, Instant::now()),
        };
        let mut executed = 0;
        while executed < ROUNDS {
            let from_memory = executed == 0 && !goes_on && matches!(look, Look::Remembered(_));
            let (plan, state) = match self.look(work, look).await {
                Some(planned) => planned?,
                None => return Ok(Progress::GaveWay),
            };
            if plan.steps.is_empty() {
                return self.end(work, plan, state, read_at);
            }
            if from_memory {
                // Memory is good enough to see that nothing is to do, never to act on.
                (look, read_at) = (Look::Live, Instant::now());
                continue;
            }
            let Some(principal) = self.execute(work, plan, state, read_at).await? else {
                self.context.forget(&self.uid);
                return Ok(Progress::Gone);
            };
            // What was just written is as fresh as what was just read.
            look = Look::Remembered(Box::new(principal));
            executed += 1;
        }
        Err(Error::TimedOut)
    }

    /// Plans; a mere look whether all is well gives way to a deletion.
    async fn look(&self, work: &Work<'_>, look: Look) -> Option<Result<(Plan, State), Error>> {
        if self.urgency(work.goal) != Urgency::Drift {
            return Some(self.plan(work, look).await);
        }
        tokio::select! {
            planned = self.plan(work, look) => Some(planned),
            () = self.context.until_deleted(&self.target) => None,
        }
    }

    async fn plan(&self, work: &Work<'_>, look: Look) -> Result<(Plan, State), Error> {
        let live = matches!(look, Look::Live);
        let memory = self.context.recall(&self.uid);
        let observation = Observation {
            cluster: &self.context.cluster,
            provider: work.tools.provider,
            target: &self.target,
            record: &self.record,
            spec: work.spec,
            wanted: wanted(work.goal),
            unread: &self.unread,
            in_hand: self.context.unpublished_keys.get(&self.uid),
            contested_until: memory.repairs.contested_until(self.clock.now()),
            now: self.clock.now(),
        };
        let mut state = observation.observe(look, memory.absence.clone()).await?;
        if live && let Some(expected) = state.in_doubt(self.clock.now()) {
            state.absence = state.absence.and_another(&expected, self.clock.now());
        }
        let overlap = match work.goal {
            Goal::Provide(provide) => provide.grant.key_overlap,
            Goal::Withhold { .. } | Goal::Remove | Goal::Retain { .. } => Duration::ZERO,
        };
        settle(&mut state, work.spec, overlap, self.clock.now());
        let fresh = Fresh {
            now: self.clock.now(),
            store_time: self.clock.heard(),
            nonce: format!("{:016x}", fastrand::u64(..)),
        };
        Ok((plan::plan(work.goal, work.spec, &state, &fresh), state))
    }

    /// Nothing is left to do, or nothing that can be done without a Secret that could not be read.
    fn end(&mut self, work: &Work<'_>, mut plan: Plan, state: State, read_at: Instant) -> Result<Progress, Error> {
        match plan.unread {
            Some(unread) if !matches!(work.goal, Goal::Withhold { .. }) => {
                self.record = state.record;
                Err(unread.error.into())
            }
            _ => {
                plan.shared = self.shared(work.spec, &state);
                self.settled(work, &plan, state, read_at);
                Ok(Progress::Settled(Box::new(plan)))
            }
        }
    }

    /// Who else has the key: one that was made for a target nobody else has, but who brings keys may bring one for several.
    fn shared(&self, spec: &PrincipalSpec, state: &State) -> Vec<String> {
        let key = state.record.access_key_id.as_ref().filter(|_| spec.limits.brings_keys);
        let others = key.map(|key| self.context.seen.others_with_key(&self.target, key)).unwrap_or_default();
        shared_keys::others(&self.target.metadata, others.iter().map(|other| other.meta()))
    }

    fn settled(&mut self, work: &Work<'_>, plan: &Plan, state: State, read_at: Instant) {
        self.record = state.record;
        self.context.held_against(&self.uid, work.rules);
        // What may still appear, and what stands in the way, has to be looked at again.
        let settled = plan.blocked.is_none() && plan.unread.is_none() && plan.waiting != Some(Waiting::KeyMayAppear);
        let remembered = settled.then(|| Remembered::new(state.principal, read_at, work.spec, wanted(work.goal)));
        self.context.remember(&self.uid, remembered, state.absence);
    }

    /// Does the steps. Whatever happens, what was done is remembered. `None` when the target was let go.
    async fn execute(
        &mut self,
        work: &Work<'_>,
        plan: Plan,
        mut state: State,
        read_at: Instant,
    ) -> Result<Option<Principal>, Error> {
        let mut performer = Performer::new(work.tools, work.spec, work.goal, self.target.clone());
        let disturbs =
            |planned: &Planned| matches!(planned.step, Step::CreatePrincipal | Step::CreateKey | Step::WriteSecret(_));
        self.disturbed |= plan.steps.iter().any(disturbs) || matches!(work.goal, Goal::Withhold { .. });
        let mut result = Ok(());
        for Planned { step, .. } in &plan.steps {
            // Between steps and never within one: an answer that nobody waits for is an answer lost.
            match may_begin(step, &state, &result, Instant::now() >= self.end) {
                Begin::Yes => {
                    self.before_it_is_gone(step);
                    result = result.and(performer.take(step, &mut state).await);
                }
                Begin::Later => {}
                Begin::No => result = result.and(Err(Error::TimedOut)),
            }
        }
        self.take_in(performer, &state);
        if result.is_ok() && !plan.repairs.is_empty() {
            self.note_repairs(&plan.repairs);
        }
        if matches!(result, Err(Error::NotProven(_))) {
            self.underway = Some(Remembered::new(state.principal, read_at, work.spec, wanted(work.goal)));
            return result.map(|()| None);
        }
        result.map(|()| (!is_let_go(&plan)).then_some(state.principal))
    }

    /// Before the target can be seen to be gone, it is known to have been let go.
    fn before_it_is_gone(&mut self, step: &Step) {
        if matches!(step, Step::ReleaseTarget) {
            self.let_go = true;
            self.context.departed.let_go(&self.uid);
        }
    }

    fn take_in(&mut self, performer: Performer<'_>, state: &State) {
        let unread = state.secrets.iter().filter_map(|(name, secret)| match secret {
            SecretState::Unknown(error) => Some((name.clone(), error.clone())),
            _ => None,
        });
        self.unread.extend(unread);
        self.record = state.record.clone();
        let Performer { target, mut notes, proof, .. } = performer;
        self.target = target;
        if let Some(proof) = &proof {
            for tier in Tier::ALL {
                self.context.telemetry.metrics.proven(tier.name(), proof.tier(tier).name());
            }
        }
        self.proof = proof.or(self.proof.take());
        self.notes.append(&mut notes);
    }

    fn note_repairs(&mut self, repairs: &[String]) {
        self.context.repaired(&self.uid, self.clock.now());
        let store = self.target.spec.store_ref.resolved();
        self.context.telemetry.metrics.repaired(self.context.seen.known(&store));
        let message = format!("somebody else changed {}; it was put right", repairs.join(", "));
        self.notes.push(Note { warning: true, reason: Reason::DriftRepaired, message });
    }

    /// What must no longer work goes before what is new, and that before looks whether all is well.
    fn urgency(&self, goal: &Goal) -> Urgency {
        match goal {
            // Nothing was ever given, as far as status knows: it is only looked whether that is so.
            Goal::Withhold { .. } if !self.record.made_something() => Urgency::Change,
            Goal::Withhold { .. } | Goal::Remove | Goal::Retain { .. } => Urgency::Revocation,
            Goal::Provide(provide) if provide.cut => Urgency::Revocation,
            Goal::Provide(_) if self.is_applied() => Urgency::Drift,
            Goal::Provide(_) => Urgency::Change,
        }
    }

    fn is_applied(&self) -> bool {
        let applied = self.record.applied.as_ref().map(|applied| applied.generation);
        applied.is_some() && applied == self.target.metadata.generation
    }

    fn is_deleting(&self) -> bool {
        self.target.metadata.deletion_timestamp.is_some()
    }

    fn remembered(&self, work: &Work<'_>) -> Option<Known> {
        if work.spec.limits.requests_per_look == 0 {
            // A look costs the store nothing, and shows what its administrator changed.
            return None;
        }
        // A little less than the resync, so that it is not missed by a moment and put off by another whole one.
        let lasts = self.pace.resync.mul_f64(0.85);
        let fresh = |known: &Remembered| !self.is_deleting() && known.at.elapsed() < lasts;
        let known = self.context.recall(&self.uid).principal.filter(|known| fresh(known))?;
        let (at, goes_on) = (known.at, known.is_as_just_read());
        Some(Known { principal: known.principal(work.spec, wanted(work.goal))?, at, goes_on })
    }

    /// Writes status, if it says something new, and notes what a person should notice. `false` when it could not be written.
    async fn tell(&mut self, goal: Option<&Goal>, result: &Result<Progress, Error>, failing: Duration) -> bool {
        let outcome = Outcome {
            goal,
            failing,
            disturbed: self.disturbed,
            proof: self.proof.as_ref(),
            result: match result {
                Ok(Progress::Settled(plan)) => Ok(plan),
                Ok(Progress::Gone) => {
                    let kind = BackupTarget::kind(&());
                    self.context.telemetry.metrics.reconciled(&kind, true, Reason::Deleted.as_str());
                    return true;
                }
                // It comes again at once, or another operator tells what becomes of it.
                Ok(Progress::GaveWay | Progress::Left) => return true,
                Err(error) => Err(error),
            },
        };
        let record = conclude(self.record.clone(), &self.target, &outcome);
        let status = report(&self.target, record, &outcome, self.clock.now());
        let why = events::headline(&status).map(|told| told.reason.as_str()).unwrap_or_default();
        let well = matches!(result, Ok(Progress::Settled(plan)) if plan.blocked.is_none());
        self.context.telemetry.metrics.reconciled(&BackupTarget::kind(&()), well, why);
        let before = self.target.status.clone().unwrap_or_default();
        if status == before {
            return true;
        }
        self.note(&before, &status, result);
        let written = self.context.cluster.report_target_status(&self.target, &status).await;
        if let Err(error) = &written {
            warn!(name = self.name, %error, "status could not be written");
        }
        written.is_ok()
    }

    /// What was done says more than that the reason changed; what others did is told beside both.
    fn note(&mut self, before: &BackupTargetStatus, after: &BackupTargetStatus, result: &Result<Progress, Error>) {
        if self.notes.is_empty() {
            self.notes.extend(events::change(before, after, self.is_deleting()));
        }
        if let Ok(Progress::Settled(plan)) = result
            && plan.blocked.is_none()
        {
            self.notes.extend(events::left(plan, &before.record.reported));
        }
    }

    /// Every event is in the log, too: events are gone after an hour.
    fn log(&self, note: &Note) {
        let (name, principal, key) = (&self.name, &self.record.principal, &self.record.access_key_id);
        if note.warning {
            warn!(name, principal, key, reason = %note.reason, "{}", note.message);
        } else {
            info!(name, principal, key, reason = %note.reason, "{}", note.message);
        }
    }

    fn next(&self, result: &Result<Progress, Error>, failing: Duration) -> Action {
        let end = match result {
            Ok(Progress::Gone) => End::Gone,
            Ok(Progress::GaveWay) => End::GaveWay,
            Ok(Progress::Left) => End::Left,
            Ok(Progress::Settled(plan)) => End::Settled(plan),
            Err(error) => {
                let for_a_while = self.context.recall(&self.uid).has_failed_for(LOOK_AGAIN / 2);
                End::Failed { error, failing, for_a_while, backoff: self.context.failed(&self.uid) }
            }
        };
        let pace = Pace { now: self.clock.now(), ..self.pace };
        pace.next(&end).map_or_else(Action::await_change, Action::requeue)
    }
}

/// The policy that the principal should have, if any.
fn wanted(goal: &Goal) -> Option<&PolicyDocument> {
    match goal {
        Goal::Provide(provide) => Some(&provide.document),
        Goal::Withhold { .. } | Goal::Remove | Goal::Retain { .. } => None,
    }
}

fn is_let_go(plan: &Plan) -> bool {
    plan.steps.iter().any(|planned| matches!(planned.step, Step::ReleaseTarget))
}
