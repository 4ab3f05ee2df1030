//! The runs of plans.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, anyhow};
use futures::future::try_join_all;
use serde_json::Value;
use testbed::proxy::Active;
use tokio::time::{Instant, sleep, timeout};

use crate::{
    corner::Corner,
    decoys, oracles,
    plan::{Break, Mode, Plan},
    pod::Pod,
    reference::Reference,
    scenario::{Before, Phase},
    tally::count,
    world::World,
};

/// Without any fault a phase is over after this time.
pub const UNDISTURBED: Duration = Duration::from_mins(1);
/// A call that still comes once the phase is over comes with the next resyncs.
const REACHED: Duration = Duration::from_secs(10);
/// When no further call of the kind comes within this time, none is left to break.
const LULL: Duration = Duration::from_secs(5);
/// No call waits longer for an answer.
const GIVES_UP: Duration = Duration::from_secs(30);
/// A plan that broke nothing says nothing, so it is run once more.
const RUNS: usize = 2;

/// Runs a plan and counts what came of it.
pub async fn plan(world: &Arc<World>, plan: &Plan, reference: &Reference) -> Result<()> {
    count(&world.tally.run);
    for _ in 0..RUNS {
        match Box::pin(try_plan(world, plan, &reference.ends[&plan.phase])).await {
            Ok(Hit::Something) => return Ok(()),
            Ok(Hit::Nothing) => {}
            Err(error) => {
                // At once, and not only when all plans are done.
                eprintln!("{plan}: {error:#}");
                return Err(error);
            }
        }
    }
    world.tally.broke_nothing(plan.to_string());
    Ok(())
}

/// Whether a plan broke anything. One whose calls are not made in its run shows no fault of the operator, and no strength.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hit {
    Something,
    Nothing,
}

async fn try_plan(world: &Arc<World>, plan: &Plan, end: &Value) -> Result<Hit> {
    let corner = Corner::start(world).await?;
    plan.phase.prepare(&corner).await.context("before the phase")?;
    let armed: Vec<(&Break, Active)> = plan.breaks.iter().map(|each| (each, arm(&corner, each))).collect();
    // A late write takes effect when the proof has cleaned up behind itself; only the next one could.
    let late = plan.breaks.iter().any(|each| each.mode == Mode::AppliedLate && each.call.is_proof());
    let within = plan.recovers_within();
    let life = Life { corner: &corner, phase: plan.phase, end, late, within };
    let disturbed = life.lead(async |before| disturb(&life, before, armed).await);
    let hit = Box::pin(disturbed).await?;
    if hit == Hit::Something {
        count(&world.tally.converged);
    }
    Ok(hit)
}

/// A phase that is disturbed, and what holds when it is over.
pub struct Life<'a> {
    pub corner: &'a Corner,
    pub phase: Phase,
    /// The state that the reference run ended in.
    pub end: &'a Value,
    /// Whether something may be left in the bucket.
    pub late: bool,
    /// How long it may take until all is well again.
    pub within: Duration,
}

impl Life<'_> {
    /// From the phase's beginning to the target's end. The disturbance begins with the phase, and is over when it returns.
    pub async fn lead<T>(&self, disturb: impl AsyncFnOnce(&Before) -> Result<T>) -> Result<T> {
        let &Self { corner, phase, late, .. } = self;
        let pod = if phase.has_pod() { Some(Pod::start(corner, phase).await?) } else { None };
        corner.aws.freeze();
        let before = phase.begin(corner).await?;
        let disturbed = disturb(&before).await?;
        let recovered = recover(self, &before).await;
        if let Some(pod) = &pod {
            pod.all_is_back();
        }
        let quiet = oracles::is_quiet(corner).await;
        // Whatever did not hold, a broken backup is told, too.
        let lived = match pod {
            Some(pod) => pod.stop().await,
            None => Ok(()),
        };
        let checked = if late { check_all_but_the_bucket(corner).await } else { check(corner).await };
        recovered.and(lived)?;
        quiet.context("after it converged")?;
        checked?;
        finish(corner, phase, late).await?;
        Ok(disturbed)
    }
}

fn arm(corner: &Corner, each: &Break) -> Active {
    corner.break_calls(&each.call, each.mode.fault(), each.nth, each.times())
}

/// Waits for each fault to happen, and kills the operator where the plan says so.
async fn disturb(life: &Life<'_>, before: &Before, armed: Vec<(&Break, Active)>) -> Result<Hit> {
    try_join_all(armed.iter().map(|(each, active)| disturb_once(life, before, each, active))).await?;
    // In a plan with several faults, one may keep the call of another from ever being made.
    Ok(if armed.iter().any(|(_, active)| active.hits() > 0) { Hit::Something } else { Hit::Nothing })
}

async fn disturb_once(life: &Life<'_>, before: &Before, each: &Break, active: &Active) -> Result<()> {
    let &Life { corner, phase, within, .. } = life;
    let over_without = async {
        phase.until_over(corner, before, within).await?;
        let _ = timeout(REACHED, active.happened()).await;
        Ok::<(), anyhow::Error>(())
    };
    tokio::select! {
        biased;
        () = active.happened() => {}
        over = over_without => over?,
    }
    if active.hits() == 0 {
        return Ok(());
    }
    // What came last may still wait for an answer.
    timeout(GIVES_UP, active.happened()).await.context("a broken call was not given up")?;
    if each.mode.kills() {
        corner.crash().await
    } else {
        lull(active, each.times()).await;
        Ok(())
    }
}

/// Waits until a fault has nothing more to break.
async fn lull(active: &Active, times: usize) {
    let (mut hits, mut since) = (active.hits(), Instant::now());
    while active.hits() < times && since.elapsed() < LULL {
        sleep(Duration::from_millis(50)).await;
        if active.hits() != hits {
            (hits, since) = (active.hits(), Instant::now());
        }
    }
}

/// Without a person, the state of the reference run comes back, and orphans go even before that.
async fn recover(life: &Life<'_>, before: &Before) -> Result<()> {
    let &Life { corner, phase, end, within, .. } = life;
    let orphans = async {
        let gone = oracles::orphans_go(corner).await;
        gone.inspect_err(|_| count(&corner.world.tally.leaks))
    };
    let over = async {
        phase.until_over(corner, before, within).await?;
        oracles::ends_as(corner, end).await
    };
    let (orphans, over) = futures::future::join(orphans, over).await;
    over.and(orphans)
}

/// What holds after a situation that has no reference run: all but the end state.
pub async fn settled(corner: &Corner, phase: Phase) -> Result<()> {
    oracles::orphans_go(corner).await?;
    oracles::is_quiet(corner).await?;
    check(corner).await?;
    finish(corner, phase, false).await
}

async fn check(corner: &Corner) -> Result<()> {
    oracles::nothing_lies_in_the_bucket(corner).await?;
    check_all_but_the_bucket(corner).await
}

async fn check_all_but_the_bucket(corner: &Corner) -> Result<()> {
    oracles::nothing_leaks(corner).await.inspect_err(|_| count(&corner.world.tally.leaks)).context("a leak")?;
    decoys::are_untouched(corner)
        .await
        .inspect_err(|_| count(&corner.world.tally.foreign))
        .context("something foreign was touched")?;
    oracles::nothing_is_told(corner).await?;
    oracles::never_panicked(corner).await
}

/// Every life ends: what the phase left must not keep the target from going, and nothing may stay.
async fn finish(corner: &Corner, phase: Phase, late: bool) -> Result<()> {
    if !phase.ends_without_target() {
        corner.delete_target().await?;
        corner.until_gone(UNDISTURBED).await.map_err(|error| anyhow!("the deletion in the end: {error:#}"))?;
        let checked = if late { check_all_but_the_bucket(corner).await } else { check(corner).await };
        checked.context("after the deletion in the end")?;
    }
    decoys::clear(corner).await
}
