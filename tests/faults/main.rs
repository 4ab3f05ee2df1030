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

use std::{process::ExitCode, sync::Arc};

use anyhow::Result;
use futures::future::BoxFuture;
use libtest_mimic::{Arguments, Trial};
use tokio::runtime::Runtime;

use chaos::Chaos;
use plan::Plan;
use reference::Reference;
use scenario::Phase;
use surroundings::Surrounding;
use tally::count;
use world::World;

/// A test of a situation that is no plan.
type Test = (&'static str, fn(Arc<World>) -> BoxFuture<'static, Result<()>>);

/// A test of the tests themselves, which needs no server.
type Check = (&'static str, fn() -> Result<()>);

/// Plans mostly wait, so more of them run at once than there are cores; measured on two cores.
const AT_ONCE: usize = 16;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_ONCE);
    let runtime = Arc::new(Runtime::new().expect("an async runtime"));
    if arguments.list {
        let names =
            reference::CHECKS.iter().map(|(name, _)| name).chain(situations::TESTS.iter().map(|(name, _)| name));
        return libtest_mimic::run(&arguments, names.map(|name| listed(name)).collect()).exit_code();
    }
    match runtime.block_on(begin()) {
        Ok(begun) => {
            let conclusion = libtest_mimic::run(&arguments, begun.trials(&runtime));
            println!("{}", begun.world.tally);
            if begun.world.tally.says_enough() { conclusion.exit_code() } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("the fault plans could not be made: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The servers, and what the reference runs showed on them.
struct Begun {
    world: Arc<World>,
    reference: Arc<Reference>,
    chaos: Option<Chaos>,
}

async fn begin() -> Result<Begun> {
    let chaos = Chaos::asked()?;
    let world = Arc::new(World::start("faults").await?);
    let reference = Arc::new(reference::record(&world).await?);
    Ok(Begun { world, reference, chaos })
}

impl Begun {
    /// The longest of all are among the situations, so those begin first.
    fn trials(&self, runtime: &Arc<Runtime>) -> Vec<Trial> {
        let (first, plans) = match self.chaos {
            Some(chaos) => (vec![fuzz_trial(runtime, &self.world, chaos.seed)], chaos.plans(&self.reference.calls)),
            None => (self.other_trials(runtime), plan::all(&self.reference.calls)),
        };
        let plans = plan_trials(runtime, &self.world, &self.reference, plans);
        checks().chain(first).chain(plans).collect()
    }

    fn other_trials(&self, runtime: &Arc<Runtime>) -> Vec<Trial> {
        let mut trials = situation_trials(runtime, &self.world, situations::TESTS);
        trials.extend(surrounding_trials(runtime, &self.world, &self.reference));
        trials
    }
}

fn checks() -> impl Iterator<Item = Trial> {
    let trial = |(name, check): &Check| {
        let check = *check;
        Trial::test(*name, move || check().map_err(|error| format!("{error:#}").into()))
    };
    reference::CHECKS.iter().map(trial)
}

fn plan_trials(runtime: &Arc<Runtime>, world: &Arc<World>, reference: &Arc<Reference>, plans: Vec<Plan>) -> Vec<Trial> {
    let trial = |plan: Plan| {
        let (runtime, world, reference) = (runtime.clone(), world.clone(), reference.clone());
        Trial::test(plan.to_string(), move || Ok(runtime.block_on(run::plan(&world, &plan, &reference))?))
    };
    plans.into_iter().map(trial).collect()
}

fn fuzz_trial(runtime: &Arc<Runtime>, world: &Arc<World>, seed: u64) -> Trial {
    let (runtime, world) = (runtime.clone(), world.clone());
    Trial::test(format!("objects of a tenant | SEED={seed} PLANS=0"), move || {
        runtime.block_on(Box::pin(fuzz::run(world, seed))).map_err(|error| {
            eprintln!("objects of a tenant | SEED={seed} PLANS=0: {error:#}");
            format!("{error:#}").into()
        })
    })
}

fn situation_trials(runtime: &Arc<Runtime>, world: &Arc<World>, tests: &[Test]) -> Vec<Trial> {
    let trial = |(name, test): &Test| {
        let (runtime, world, test) = (runtime.clone(), world.clone(), *test);
        Trial::test(*name, move || {
            count(&world.tally.situations);
            runtime.block_on(test(world)).map_err(|error| format!("{error:#}").into())
        })
    };
    tests.iter().map(trial).collect()
}

fn surrounding_trials(runtime: &Arc<Runtime>, world: &Arc<World>, reference: &Arc<Reference>) -> Vec<Trial> {
    let trial = |(surrounding, phase): (Surrounding, Phase)| {
        let (runtime, world, reference) = (runtime.clone(), world.clone(), reference.clone());
        Trial::test(format!("surroundings: {surrounding} | {phase}"), move || {
            count(&world.tally.situations);
            let run = surroundings::run(&world, surrounding, phase, &reference);
            runtime.block_on(Box::pin(run)).map_err(|error| format!("{error:#}").into())
        })
    };
    let crossed = surroundings::ALL.iter().flat_map(|(around, phases)| phases.iter().map(|phase| (*around, *phase)));
    crossed.map(trial).collect()
}

fn listed(name: &str) -> Trial {
    Trial::test(name, || Ok(()))
}
