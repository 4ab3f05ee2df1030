//! How a reconcile ended × what status said before → what status says.

mod failed;
mod leaving;
mod ready;
mod tiers;

use serde_json::{Value, json};

use super::*;
use crate::{
    api::{
        backup_target::{PolicyForm, PolicyStatus},
        condition,
    },
    cluster,
    controller::{
        backup_target::{
            conclude::conclude,
            fixtures::{access, at, claim, decided, deleted, former, given, in_the_way, invalid, rule, says},
        },
        retry::PATIENCE,
    },
    probe::{
        Depth, Probe,
        probes::{Expect, Verb},
        reading::Reading,
        sample::{self, with},
    },
    provider,
};

const NOW: i64 = 1_000;
const ACLS: Capability = Capability::ObjectAcls;
const UPLOADS: Capability = Capability::MultipartUploads;
const CREATE: Capability = Capability::CreateBucket;

/// A reconcile that ended: towards what, with what, and what is remembered by then.
#[derive(Clone)]
struct Ended {
    target: BackupTarget,
    record: Record,
    goal: Option<Goal>,
    disturbed: bool,
    proof: Option<Proof>,
    result: Result<Plan, Error>,
    failing: Duration,
}

/// One that decided what should be, has nothing left to do, and never said anything before.
fn settled(target: BackupTarget, record: Record, rules: &[Value]) -> Ended {
    let rules: Vec<_> = rules.iter().map(rule).collect();
    let goal = decided(&target, &record, &rules).expect("a decision");
    Ended {
        target,
        record,
        goal: Some(goal),
        disturbed: false,
        proof: None,
        result: Ok(Plan::default()),
        failing: PATIENCE,
    }
}

/// One that provides what such a spec asks for where a rule allows so much, to a target that was given that before.
fn provides(spec: &Value, rule: &Value, before: &[Capability]) -> Ended {
    let mut ended = settled(claim(spec), given(&access(before, false)), std::slice::from_ref(rule));
    let digest = ended.provide().document.digest();
    ended.record.policy = Some(PolicyStatus { digest, form: PolicyForm::Inline });
    ended.record.secret_name = Some("dataset-1".to_owned());
    ended
}

/// One that provides just base access.
fn base() -> Ended {
    provides(&json!({}), &json!({}), &[])
}

/// One that provides base access and some tiers.
fn tiers(capabilities: &[Capability]) -> Ended {
    let all = json!({"capabilities": capabilities});
    provides(&all, &all, capabilities)
}

impl Ended {
    fn provide(&mut self) -> &mut Provide {
        match &mut self.goal {
            Some(Goal::Provide(provide)) => provide,
            other => panic!("it does not provide: {other:?}"),
        }
    }

    fn with(self, plan: Plan) -> Self {
        Self { result: Ok(plan), ..self }
    }

    fn blocked(self, blocked: Blocked) -> Self {
        self.with(Plan { blocked: Some(blocked), ..Plan::default() })
    }

    fn waiting(self, waiting: Waiting) -> Self {
        self.with(Plan { waiting: Some(waiting), ..Plan::default() })
    }

    fn failed(self, error: Error) -> Self {
        Self { result: Err(error), ..self }
    }

    /// For just a moment.
    fn just_now(self) -> Self {
        Self { failing: Duration::ZERO, ..self }
    }

    fn disturbed(self) -> Self {
        Self { disturbed: true, ..self }
    }

    /// Whose key was tried, long after it got its policy, with all as it should be but for some answers.
    fn tried(mut self, but: impl Fn(&Probe) -> Option<Reading>) -> Self {
        self.remember_proof(0);
        let access = self.provide().current.clone().expect("something is given");
        Self { proof: Some(sample::proof(sample::plan(&access, Depth::Write), but)), ..self }
    }

    fn remember_proof(&mut self, since: i64) {
        let (key, policy) = ("K1".to_owned(), self.record.policy.clone().expect("a policy").digest);
        let (works, bucket_missing, conclusive) = (true, false, true);
        self.record.proof =
            Some(ProofRecord { key, policy, at: at(since), since: at(since), works, bucket_missing, conclusive });
    }

    /// What was told before.
    fn before(&mut self) -> &mut BackupTargetStatus {
        self.target.status.get_or_insert_default()
    }

    /// The next one, after status said that and the spec was not changed.
    fn after(mut self, before: &BackupTargetStatus) -> Self {
        self.target.status = Some(before.clone());
        self.record.proof.clone_from(&before.record.proof);
        self
    }

    fn told(&self) -> BackupTargetStatus {
        let outcome = Outcome {
            goal: self.goal.as_ref(),
            disturbed: self.disturbed,
            proof: self.proof.as_ref(),
            result: self.result.as_ref(),
            failing: self.failing,
        };
        let record = conclude(self.record.clone(), &self.target, &outcome);
        report(&self.target, record, &outcome, at(NOW))
    }
}

/// Status and reason of Ready, and which condition says that it goes on by itself or that it needs a person.
fn state(status: &BackupTargetStatus) -> (&str, Reason, Option<&'static str>) {
    let (ready, why) = says(&status.conditions, READY).expect("Ready is always told");
    let tells = |type_: &&str| says(&status.conditions, type_).is_some();
    let mut abnormal = [RECONCILING, STALLED].into_iter().filter(tells);
    let first = abnormal.next();
    assert_eq!(abnormal.next(), None, "it cannot be both");
    assert!(first.is_none_or(|type_| says(&status.conditions, type_).is_some_and(|(said, _)| said == "True")));
    (ready, why, first)
}

fn message<'a>(status: &'a BackupTargetStatus, type_: &str) -> &'a str {
    condition::find(&status.conditions, type_).map(|told| told.message.as_str()).expect("it is told")
}

/// What is said of a tier, or of [`LEAST_PRIVILEGE`].
#[track_caller]
fn assert_says(status: &BackupTargetStatus, type_: &str, truth: Truth, reason: Reason) {
    assert_eq!(says(&status.conditions, type_), Some((truth.as_str(), reason)), "{type_}");
}

fn unreachable() -> Error {
    provider::Error { kind: provider::Kind::Unreachable, action: "iam:GetUser" }.into()
}

fn denied() -> Error {
    provider::Error { kind: provider::Kind::Denied("allow it"), action: "iam:GetUser" }.into()
}
