//! Reference runs: what each phase does without any fault, in two runs side by side. Plans are made for what both did: one run
//! alone may have a call more than others, such as an event that a busy machine brought about.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::Value;
use testbed::proxy::Call;

use crate::{
    Check,
    corner::Corner,
    end, oracles,
    plan::Calls,
    run::UNDISTURBED,
    scenario::{PHASES, Phase},
    shape::{Server, Shape},
    world::World,
};

/// What reference runs showed.
pub struct Reference {
    pub calls: Calls,
    pub ends: BTreeMap<Phase, Value>,
}

/// What one reference run of a phase showed.
struct Recording {
    calls: Vec<Shape>,
    end: Value,
}

/// Phases, of two runs each.
const AT_ONCE: usize = 6;

pub const CHECKS: &[Check] = &[
    ("reference: a call that one run alone made is not planned for", a_call_that_one_run_alone_made_is_left_out),
    ("reference: of calls that both made in another order none is lost", the_order_of_both_does_not_matter),
];

/// Runs each phase twice without any fault.
pub async fn record(world: &Arc<World>) -> Result<Reference> {
    let runs: Vec<(Phase, Recording)> = stream::iter(PHASES)
        .map(async |phase| {
            let recorded = record_phase(world, phase).await.with_context(|| format!("the reference runs of `{phase}`"));
            recorded.map(|recording| (phase, recording))
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    let (mut calls, mut ends) = (BTreeMap::new(), BTreeMap::new());
    for (phase, recording) in runs {
        calls.insert(phase, recording.calls);
        ends.insert(phase, recording.end);
    }
    if std::env::var_os("SHOW").is_some() {
        for (phase, seen) in &calls {
            println!("{phase}:\n  {}", seen.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n  "));
        }
    }
    Ok(Reference { calls, ends })
}

async fn record_phase(world: &Arc<World>, phase: Phase) -> Result<Recording> {
    let (first, second) = tokio::try_join!(Box::pin(record_run(world, phase)), Box::pin(record_run(world, phase)))?;
    let mut differences = Vec::new();
    end::compare("", &first.end, &second.end, &mut differences);
    ensure!(
        differences.is_empty(),
        "without any fault, two runs ended in different states: {}",
        differences.join("\n")
    );
    Ok(Recording { calls: in_both(&first.calls, &second.calls), end: first.end })
}

async fn record_run(world: &Arc<World>, phase: Phase) -> Result<Recording> {
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
    Ok(Recording { calls, end })
}

/// The calls that both runs made, each as often as both did, in the order of the first.
fn in_both(first: &[Shape], second: &[Shape]) -> Vec<Shape> {
    let mut unmatched: BTreeMap<&Shape, usize> = BTreeMap::new();
    for call in second {
        *unmatched.entry(call).or_default() += 1;
    }
    let mut both = Vec::new();
    for call in first {
        if let Some(count @ 1..) = unmatched.get_mut(call) {
            *count -= 1;
            both.push(call.clone());
        }
    }
    both
}

fn calls(names: &[&str]) -> Vec<Shape> {
    names.iter().map(|name| Shape { server: Server::Api, call: (*name).to_owned(), writes: true }).collect()
}

fn a_call_that_one_run_alone_made_is_left_out() -> Result<()> {
    let (first, second) = (calls(&["status", "event", "secret", "event"]), calls(&["status", "secret", "event"]));
    let both = calls(&["status", "event", "secret"]);
    ensure!(in_both(&first, &second) == both, "the second event: {:?}", in_both(&first, &second));
    ensure!(in_both(&second, &first) == second, "{:?}", in_both(&second, &first));
    ensure!(in_both(&first, &[]).is_empty() && in_both(&[], &first).is_empty(), "out of nothing comes nothing");
    let read = Shape { writes: false, ..second[0].clone() };
    ensure!(in_both(&first, &[read]).is_empty(), "a read is no write");
    Ok(())
}

fn the_order_of_both_does_not_matter() -> Result<()> {
    let (first, second) = (calls(&["a", "b", "a", "c"]), calls(&["c", "a", "a", "b"]));
    ensure!(in_both(&first, &second) == first, "{:?}", in_both(&first, &second));
    Ok(())
}
