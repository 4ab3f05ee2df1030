//! Plans: which call is broken in which phase, and how. Pure.

use std::{collections::BTreeMap, fmt, time::Duration};

use testbed::proxy::Fault;

use crate::{
    scenario::Phase,
    shape::{Server, Shape},
};

/// What a reference run recorded: the calls of each phase, in order.
pub type Calls = BTreeMap<Phase, Vec<Shape>>;

/// A phase of a target's life, and what is broken in it.
#[derive(Clone, Debug)]
pub struct Plan {
    pub phase: Phase,
    pub breaks: Vec<Break>,
    /// For a schedule that was drawn by chance: what it can be drawn with again.
    pub seed: Option<u64>,
}

/// One call that is broken.
#[derive(Clone, Debug)]
pub struct Break {
    pub call: Shape,
    /// Which call of this kind in the phase, from 0.
    pub nth: usize,
    pub mode: Mode,
}

/// How a call is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    KilledBefore,
    AppliedThenKilled,
    AnswerLost,
    ServerError,
    Throttled,
    AppliedLate,
    /// An old answer, as of an API server or an IAM that lags behind.
    Stale,
    NoAnswer,
}

const FOR_WRITES: [Mode; 6] = [
    Mode::KilledBefore,
    Mode::AppliedThenKilled,
    Mode::AnswerLost,
    Mode::ServerError,
    Mode::Throttled,
    Mode::AppliedLate,
];
/// One after the other in one plan: what a read does not tell now, it tells with the next.
const FOR_READS: [Mode; 4] = [Mode::Stale, Mode::ServerError, Mode::Throttled, Mode::NoAnswer];
/// The proof with the target's own key is broken in all ways where a first key is proven, of all tiers that a proof writes
/// for; where a key replaces another, a crash is enough.
const FOR_PROOFS: [Mode; 1] = [Mode::KilledBefore];

/// Every mode, for plans that are drawn by chance.
pub const MODES: [Mode; 8] = [
    Mode::KilledBefore,
    Mode::AppliedThenKilled,
    Mode::AnswerLost,
    Mode::ServerError,
    Mode::Throttled,
    Mode::AppliedLate,
    Mode::Stale,
    Mode::NoAnswer,
];
/// Within this time a key in doubt is settled, and a crash made good.
const UNDER_ONE_FAULT: Duration = Duration::from_mins(3);
/// Longer than a retry takes, and short enough for a test.
const LATE: Duration = Duration::from_secs(3);
/// The SDK tries three times; what fails only once is never seen by the operator.
const ATTEMPTS: usize = 3;
/// Failing once more leaves the operator in doubt for another minute, and shows nothing new.
const TRIED_ONCE: &str = "CreateAccessKey";

impl Mode {
    /// Whether the operator is killed.
    pub fn kills(self) -> bool {
        matches!(self, Self::KilledBefore | Self::AppliedThenKilled)
    }

    /// What the proxy does.
    pub fn fault(self) -> Fault {
        match self {
            Self::KilledBefore => Fault::HoldBefore,
            Self::AppliedThenKilled => Fault::HoldAfter,
            Self::AnswerLost => Fault::LoseAnswer,
            Self::ServerError => Fault::Status(500),
            Self::Throttled => Fault::Throttle,
            Self::AppliedLate => Fault::Late(LATE),
            Self::Stale => Fault::Stale,
            Self::NoAnswer => Fault::Hang,
        }
    }
}

impl Plan {
    /// How long it may take until all is well again: a key in doubt takes a minute, and a crash begins it anew. Each failure in a row
    /// makes the operator wait twice as long before the next try, up to five minutes, and a tenth more by chance.
    pub fn recovers_within(&self) -> Duration {
        let fails = |each: &&Break| !each.mode.kills() && each.mode != Mode::AppliedLate;
        let failures: usize = self.breaks.iter().filter(fails).map(Break::times).sum();
        let waits: u32 = (0..failures.min(16)).map(|before| (1 << before.min(9)).min(300)).sum();
        UNDER_ONE_FAULT + Duration::from_secs(waits.into()) * 11 / 10
    }
}

impl Break {
    /// How many calls in a row are broken.
    pub fn times(&self) -> usize {
        match self.mode {
            Mode::ServerError | Mode::Throttled if self.call.call == TRIED_ONCE => 1,
            Mode::ServerError | Mode::Throttled | Mode::Stale if self.call.server == Server::Aws => ATTEMPTS,
            _ => 1,
        }
    }

    /// Whether it leaves the operator in doubt about a key, which takes a minute to pass.
    fn is_slow(&self) -> bool {
        self.call.writes && self.mode == Mode::KilledBefore || self.call.call == TRIED_ONCE
    }
}

/// One plan for each write and each way to break it. Of reads, the first of each kind in each phase: one plan in which it
/// fails in all ways, one after the other. What a crash at a read leaves is what a crash at the next write leaves, so one
/// read of each phase stands for all. The slow plans come first.
pub fn all(calls: &Calls) -> Vec<Plan> {
    let mut plans: Vec<Plan> = calls.iter().flat_map(|(phase, calls)| of_phase(*phase, calls)).collect();
    plans.sort_by_key(|plan| !plan.breaks.iter().any(Break::is_slow));
    plans
}

fn of_phase(phase: Phase, calls: &[Shape]) -> Vec<Plan> {
    let mut plans: Vec<Vec<Break>> = Vec::new();
    let mut crashed_at_read = false;
    for (nth, call) in numbered(calls) {
        let broken = |mode: &Mode| vec![Break { call: call.clone(), nth, mode: *mode }];
        let modes: &[Mode] = match (call.is_proof(), phase) {
            (false, _) | (true, Phase::Create) => &FOR_WRITES,
            (true, Phase::SecretLost) => &FOR_PROOFS,
            (true, _) => &[],
        };
        if call.writes {
            plans.extend(modes.iter().map(broken));
        } else if nth == 0 && modes.len() == FOR_WRITES.len() {
            plans.push(in_a_row(&call));
            plans.extend((!crashed_at_read).then(|| broken(&Mode::KilledBefore)));
            crashed_at_read = true;
        }
    }
    plans.into_iter().map(|breaks| Plan { phase, breaks, seed: None }).collect()
}

fn in_a_row(call: &Shape) -> Vec<Break> {
    let mut nth = 0;
    let next = |mode| {
        let each = Break { call: call.clone(), nth, mode };
        nth += each.times();
        each
    };
    FOR_READS.into_iter().filter(|mode| *mode != Mode::Stale || is_stale_possible(call)).map(next).collect()
}

/// Kubernetes reads single objects with quorum, S3 has been consistent for long, and STS has nothing to lag behind.
pub fn is_stale_possible(call: &Shape) -> bool {
    !call.writes && call.server == Server::Aws && !call.is_proof() && call.call != "GetCallerIdentity"
}

/// Calls with how many of the same kind came before.
pub fn numbered(calls: &[Shape]) -> Vec<(usize, Shape)> {
    let mut seen: BTreeMap<&Shape, usize> = BTreeMap::new();
    let number = |call| {
        let count = seen.entry(call).or_default();
        *count += 1;
        (*count - 1, call.clone())
    };
    calls.iter().map(number).collect()
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.phase)?;
        for each in &self.breaks {
            write!(f, " | {} #{} {}", each.call, each.nth, each.mode)?;
        }
        match self.seed {
            Some(seed) => write!(f, " | SEED={seed} PLANS=1"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KilledBefore => "killed before",
            Self::AppliedThenKilled => "applied then killed",
            Self::AnswerLost => "answer lost",
            Self::ServerError => "server error",
            Self::Throttled => "throttled",
            Self::AppliedLate => "applied late",
            Self::Stale => "stale",
            Self::NoAnswer => "no answer",
        })
    }
}
