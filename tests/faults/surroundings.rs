//! Surroundings that are not as they should be while a phase goes on: rights that are missing and clocks that are wrong.
//! Each is crossed with the phases that meet it; in the end all is as it was in the reference run, and the oracles hold.

use std::{fmt, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};

use crate::{
    corner::Corner,
    reference::Reference,
    run::Life,
    scenario::Phase,
    testbed::{
        install::NAMESPACE,
        proxy::{Active, Call, Fault},
        wait::wait_until,
    },
    world::World,
};

/// What is not as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surrounding {
    /// Somebody took a right of the operator away, and gives it back once that was noticed.
    Forbidden(What),
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
pub const ALL: [(Surrounding, &[Phase]); 3] = [
    (Surrounding::Forbidden(What::Secrets), &[Phase::Create, Phase::SecretLost, Phase::Move]),
    (Surrounding::Forbidden(What::Status), &[Phase::Create, Phase::SecretLost, Phase::Narrow, Phase::Withdraw]),
    (Surrounding::Forbidden(What::Events), &[Phase::KeyLost, Phase::DeleteLarge]),
];

/// How often a right is missed before it is given back.
const REFUSALS: usize = 3;
const SOON: Duration = Duration::from_secs(30);

/// A phase in surroundings.
pub async fn run(world: &Arc<World>, surrounding: Surrounding, phase: Phase, reference: &Reference) -> Result<()> {
    let corner = Corner::start(world).await?;
    phase.prepare(&corner).await.context("before the phase")?;
    let around = surrounding.begin(&corner);
    let life = Life { corner: &corner, phase, end: &reference.ends[&phase], late: false };
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
        let Self::Forbidden(what) = self;
        corner.api.fault(Fault::Status(403), move |call| what.is_in(call))
    }

    /// Whether it goes on when all else is over.
    fn stays(self) -> bool {
        self == Self::Forbidden(What::Events)
    }

    fn refusals(self) -> usize {
        if self.stays() { 1 } else { REFUSALS }
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
        })
    }
}
