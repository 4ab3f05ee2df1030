//! What happens when a call fails, at every call there is: crash and fault plans against the real operator.
//!
//! Reference runs record each call of each phase in a target's life; for every call and every way to break it there is a
//! plan ([`plan`]). A plan lives in a [`corner`] of its own, with an operator of its own behind two proxies; [`run`] says
//! what it does and [`oracles`] what must hold. `CHAOS=1` draws plans by chance instead ([`chaos`]).

mod chaos;
mod corner;
mod decoys;
mod end;
mod fuzz;
mod oracles;
mod plan;
mod pod;
mod reference;
mod run;
mod scenario;
mod shape;
mod situations;
mod surroundings;
mod tally;
mod tenant;
mod world;

use std::{fmt, process::ExitCode, sync::Arc};

use anyhow::{Error, Result};
use testbed::harness::{Harness, Servers, Trial, check};

use chaos::Chaos;
use plan::Plan;
use reference::Reference;
use tally::count;
use world::World;

/// A test of the tests themselves, which needs no server.
type Check = (&'static str, fn() -> Result<()>);

/// Plans mostly wait, so more of them run at once than there are cores; measured on two cores.
const AT_ONCE: usize = 16;

fn main() -> ExitCode {
    Harness::from_arguments().at_once(AT_ONCE).run_and_judge(begin(), trials, async |begun| {
        println!("{}", begun.world.tally);
        begun.world.tally.says_enough()
    })
}

/// The servers, and what the reference runs showed on them.
struct Begun {
    world: Arc<World>,
    reference: Reference,
    chaos: Option<Chaos>,
}

async fn begin() -> Result<Begun> {
    let chaos = Chaos::asked()?;
    let world = Arc::new(World::start("faults").await?);
    let reference = reference::record(&world).await?;
    Ok(Begun { world, reference, chaos })
}

/// The longest of all are among the situations, so those begin first. Plans are only known once there are reference runs.
fn trials(servers: &Servers<Begun>) -> Vec<Trial> {
    let checks = reference::CHECKS.iter().map(|&(name, test)| check(name, test));
    let Some(begun) = servers.world() else { return checks.chain(situation_trials(servers)).collect() };
    let calls = &begun.reference.calls;
    let (first, plans) = match begun.chaos {
        Some(chaos) => (vec![fuzz_trial(servers, chaos.seed)], chaos.plans(calls)),
        None => (situation_trials(servers).chain(surrounding_trials(servers)).collect(), plan::all(calls)),
    };
    checks.chain(first).chain(plan_trials(servers, plans)).collect()
}

fn plan_trials(servers: &Servers<Begun>, plans: Vec<Plan>) -> impl Iterator<Item = Trial> {
    plans.into_iter().map(|plan| {
        servers.trial(plan.to_string(), async move |begun| {
            run::plan(&begun.world, &plan, &begun.reference).await.map_err(InALine)
        })
    })
}

fn fuzz_trial(servers: &Servers<Begun>, seed: u64) -> Trial {
    let name = format!("objects of a tenant | SEED={seed} PLANS=0");
    servers.trial(name.clone(), async move |begun| {
        // At once, and not only when all plans are done.
        let outcome = Box::pin(fuzz::run(begun.world.clone(), seed)).await;
        outcome.map_err(InALine).inspect_err(|error| eprintln!("{name}: {error:?}"))
    })
}

fn situation_trials(servers: &Servers<Begun>) -> impl Iterator<Item = Trial> {
    situations::TESTS.iter().map(|&(name, test)| {
        servers.trial(name, async move |begun| {
            count(&begun.world.tally.situations);
            test(begun.world.clone()).await.map_err(InALine)
        })
    })
}

fn surrounding_trials(servers: &Servers<Begun>) -> impl Iterator<Item = Trial> {
    let crossed = surroundings::ALL.iter().flat_map(|(around, phases)| phases.iter().map(|phase| (*around, *phase)));
    crossed.map(|(surrounding, phase)| {
        servers.trial(format!("surroundings: {surrounding} | {phase}"), async move |begun| {
            count(&begun.world.tally.situations);
            let run = surroundings::run(&begun.world, surrounding, phase, &begun.reference);
            Box::pin(run).await.map_err(InALine)
        })
    })
}

/// How failures are told here, where there may be many.
struct InALine(Error);

impl fmt::Debug for InALine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.0)
    }
}
