//! Surroundings that are not as they should be while a phase goes on: rights that are missing and clocks that are wrong.
//! Each is crossed with the phases that meet it; in the end all is as it was in the reference run, and the oracles hold.

use std::{fmt, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use testbed::{
    install::NAMESPACE,
    proxy::{Active, Call, Fault},
    wait::wait_until,
};

use crate::{corner::Corner, reference::Reference, run::Life, scenario::Phase, world::World};

/// What is not as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surrounding {
    /// Somebody took a right of the operator away, and gives it back once that was noticed.
    Forbidden(What),
    /// The store has another time than this machine: by so many seconds all the time, and then it is mended.
    Ahead(i64),
    /// The store's clock jumps so many seconds ahead in the middle of the phase, and then it is mended.
    Jumps(i64),
}

/// What somebody forbids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Secrets,
    /// What is about to be done cannot be remembered.
    Status,
    /// Nobody is told anything. This is never given back.
    Events,
}

/// Which phases meet it. A deletion waits for no Secret: what it may not read goes with its owner, for which a cluster has a
/// controller, and this one has none.
pub const ALL: [(Surrounding, &[Phase]); 9] = [
    (Surrounding::Forbidden(What::Secrets), &[Phase::Create, Phase::SecretLost, Phase::Move]),
    (Surrounding::Forbidden(What::Status), &[Phase::Create, Phase::SecretLost, Phase::Narrow, Phase::Withdraw]),
    (Surrounding::Forbidden(What::Events), &[Phase::KeyLost, Phase::DeleteLarge]),
    (Surrounding::Ahead(SOME_MINUTES), &OF_KEYS),
    (Surrounding::Ahead(-SOME_MINUTES), &OF_KEYS),
    (Surrounding::Ahead(AN_HOUR), &OF_KEYS),
    (Surrounding::Ahead(-AN_HOUR), &OF_KEYS),
    (Surrounding::Jumps(AN_HOUR), &OF_KEYS),
    (Surrounding::Jumps(-AN_HOUR), &OF_KEYS),
];

/// In which times are written down and compared.
const OF_KEYS: [Phase; 5] = [Phase::Create, Phase::SecretLost, Phase::KeyLost, Phase::Move, Phase::Delete];
/// More than an interrupted creation is waited for.
const SOME_MINUTES: i64 = 360;
const AN_HOUR: i64 = 3_600;

/// How often a right is missed before it is given back.
const REFUSALS: usize = 3;
/// How many answers of the store tell the wrong time before its clock is mended: fewer than a deletion asks for, so that the right
/// time is heard, too.
const ANSWERS: usize = 4;
/// How many answers tell the right one before the clock jumps.
const BEFORE_IT_JUMPS: usize = 3;
const SOON: Duration = Duration::from_secs(30);
/// How long it may take until all is well again.
const RECOVERS: Duration = Duration::from_mins(3);

/// A phase in surroundings.
pub async fn run(world: &Arc<World>, surrounding: Surrounding, phase: Phase, reference: &Reference) -> Result<()> {
    let corner = Corner::start(world).await?;
    phase.prepare(&corner).await.context("before the phase")?;
    let around = surrounding.begin(&corner);
    let life = Life { corner: &corner, phase, end: &reference.ends[&phase], late: false, within: RECOVERS };
    let met = life.lead(async |_| {
        wait_until("the operator to meet it", SOON, async || {
            ensure!(around.hits() >= surrounding.refusals(), "{} times", around.hits());
            Ok(())
        })
        .await?;
        Ok(surrounding.stays().then_some(around))
    });
    Box::pin(met).await?;
    Ok(())
}

impl Surrounding {
    fn begin(self, corner: &Corner) -> Active {
        let of_iam = |call: &Call| call.action.is_some();
        match self {
            Self::Forbidden(what) => corner.api.fault(Fault::Status(403), move |call| what.is_in(call)),
            Self::Ahead(seconds) => corner.aws.fault(Fault::ClockAhead(seconds), of_iam),
            Self::Jumps(seconds) => {
                corner.aws.fault_some(Fault::ClockAhead(seconds), BEFORE_IT_JUMPS..usize::MAX, of_iam)
            }
        }
    }

    /// Whether it goes on when all else is over.
    fn stays(self) -> bool {
        self == Self::Forbidden(What::Events)
    }

    fn refusals(self) -> usize {
        match self {
            Self::Forbidden(What::Events) => 1,
            Self::Forbidden(_) => REFUSALS,
            Self::Ahead(_) | Self::Jumps(_) => ANSWERS,
        }
    }
}

impl What {
    fn is_in(self, call: &Call) -> bool {
        let parts: Vec<&str> = call.path.trim_matches('/').split('/').collect();
        let is_about = |resource: &str| parts.contains(&resource) && !call.is_watch();
        match self {
            Self::Secrets => is_about("secrets") && call.namespace().is_some_and(|namespace| namespace != NAMESPACE),
            Self::Status => is_about("backuptargets") && parts.last() == Some(&"status"),
            Self::Events => is_about("events"),
        }
    }
}

impl fmt::Display for Surrounding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Forbidden(What::Secrets) => "Secrets are forbidden for a while",
            Self::Forbidden(What::Status) => "status is forbidden for a while",
            Self::Forbidden(What::Events) => "events are forbidden",
            Self::Ahead(seconds) => return write!(f, "the store's clock is {seconds} s ahead for a while"),
            Self::Jumps(seconds) => return write!(f, "the store's clock jumps {seconds} s ahead for a while"),
        })
    }
}
