//! Reference runs, and the runs of plans.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::{Context, Result, anyhow, ensure};
use futures::{StreamExt, TryStreamExt, future::try_join_all, stream};
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

use crate::{
    corner::Corner,
    decoys, end, oracles,
    plan::{Break, Calls, Mode, Plan},
    pod::Pod,
    scenario::{Before, PHASES, Phase},
    shape::{Server, Shape},
    tally::count,
    testbed::proxy::{Active, Call},
    world::World,
};

/// What reference runs showed.
pub struct Reference {
    pub calls: Calls,
    ends: BTreeMap<Phase, Value>,
}

const REFERENCES_AT_ONCE: usize = 6;
/// Without any fault a phase is over after this time.
const UNDISTURBED: Duration = Duration::from_mins(1);
/// A key in doubt takes a minute, and a crash begins it anew.
const RECOVERS: Duration = Duration::from_mins(3);
/// A call that still comes once the phase is over comes with the next resyncs.
const REACHED: Duration = Duration::from_secs(10);
/// When no further call of the kind comes within this time, none is left to break.
const LULL: Duration = Duration::from_secs(5);

/// Runs each phase without any fault.
pub async fn reference(world: &Arc<World>) -> Result<Reference> {
    let runs: Vec<(Phase, Vec<Shape>, Value)> = stream::iter(PHASES)
        .map(async |phase| reference_of(world, phase).await.with_context(|| format!("the reference run of `{phase}`")))
        .buffer_unordered(REFERENCES_AT_ONCE)
        .try_collect()
        .await?;
    let (mut calls, mut ends) = (BTreeMap::new(), BTreeMap::new());
    for (phase, seen, end) in runs {
        calls.insert(phase, seen);
        ends.insert(phase, end);
    }
    if std::env::var_os("SHOW").is_some() {
        for (phase, seen) in &calls {
            println!("{phase}:\n  {}", seen.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n  "));
        }
    }
    Ok(Reference { calls, ends })
}

async fn reference_of(world: &Arc<World>, phase: Phase) -> Result<(Phase, Vec<Shape>, Value)> {
    let corner = Corner::start(world).await?;
    phase.prepare(&corner).await?;
    let (api, aws) = (corner.api.mark(), corner.aws.mark());
    let before = phase.begin(&corner).await?;
    phase.until_over(&corner, &before, UNDISTURBED).await?;
    // Events come after the status that they are about.
    oracles::is_quiet(&corner).await?;
    let end = end::state(&corner).await?;
    let mut calls: Vec<Shape> = Vec::new();
    for (server, mark) in [(Server::Api, api), (Server::Aws, aws)] {
        let all = corner.proxy(server).calls_since(mark, |call: &Call| call.fault.is_none());
        calls.extend(all.iter().filter_map(|call| Shape::of(server, call)));
    }
    // The count of a store's targets comes when it comes.
    if phase != Phase::Store {
        calls.retain(|call| !(call.writes && call.call.contains("backupstores")));
    }
    Ok((phase, calls, end))
}

/// Runs a plan and counts what came of it.
pub async fn plan(world: &Arc<World>, plan: &Plan, reference: &Reference) -> Result<(), String> {
    count(&world.tally.run);
    let outcome = Box::pin(try_plan(world, plan, &reference.ends[&plan.phase])).await;
    outcome.map_err(|error| {
        // At once, and not only when all plans are done.
        eprintln!("{plan}: {error:#}");
        format!("{error:#}")
    })
}

async fn try_plan(world: &Arc<World>, plan: &Plan, end: &Value) -> Result<()> {
    let corner = Corner::start(world).await?;
    plan.phase.prepare(&corner).await.context("before the phase")?;
    let pod = if plan.phase.has_pod() { Some(Pod::start(&corner, plan.phase).await?) } else { None };
    corner.aws.freeze();
    let armed: Vec<(&Break, Active)> = plan.breaks.iter().map(|each| (each, arm(&corner, each))).collect();
    let before = plan.phase.begin(&corner).await?;
    disturb(&corner, plan.phase, &before, &armed).await?;
    drop(armed);
    let recovered = recover(&corner, plan.phase, &before, end).await;
    if let Some(pod) = &pod {
        pod.all_is_back();
    }
    let quiet = oracles::is_quiet(&corner).await;
    // Whatever did not hold, a broken backup is told, too.
    let lived = match pod {
        Some(pod) => pod.stop().await,
        None => Ok(()),
    };
    // A late write takes effect when the proof has cleaned up behind itself; only the next one could.
    let late = plan.breaks.iter().any(|each| each.mode == Mode::AppliedLate && each.call.is_proof());
    let checked = if late { check_all_but_the_bucket(&corner).await } else { check(&corner).await };
    recovered.and(lived)?;
    quiet.context("after it converged")?;
    count(&world.tally.converged);
    checked?;
    finish(&corner, plan.phase, late).await
}

fn arm(corner: &Corner, each: &Break) -> Active {
    corner.break_calls(&each.call, each.mode.fault(), each.nth, each.times())
}

/// Waits for each fault to happen, and kills the operator where the plan says so.
async fn disturb(corner: &Corner, phase: Phase, before: &Before, armed: &[(&Break, Active)]) -> Result<()> {
    try_join_all(armed.iter().map(|(each, active)| disturb_once(corner, phase, before, each, active))).await?;
    let missed: Vec<&Break> = armed.iter().filter(|(_, active)| active.hits() == 0).map(|(each, _)| *each).collect();
    // In a plan with several faults, one may keep the call of another from ever being made, but not all of them.
    ensure!(missed.len() < armed.len(), "these calls were never made: {missed:?}");
    Ok(())
}

async fn disturb_once(corner: &Corner, phase: Phase, before: &Before, each: &Break, active: &Active) -> Result<()> {
    let over_without = async {
        phase.until_over(corner, before, RECOVERS).await?;
        let _ = timeout(REACHED, active.happened()).await;
        Ok::<(), anyhow::Error>(())
    };
    tokio::select! {
        biased;
        () = active.happened() => {}
        over = over_without => over?,
    }
    if !active.has_happened() {
        return Ok(());
    }
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
async fn recover(corner: &Corner, phase: Phase, before: &Before, end: &Value) -> Result<()> {
    let orphans = async {
        let gone = oracles::orphans_go(corner).await;
        gone.inspect_err(|_| count(&corner.world.tally.leaks))
    };
    let over = async {
        phase.until_over(corner, before, RECOVERS).await?;
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
