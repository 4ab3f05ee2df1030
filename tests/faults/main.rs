//! What happens when a call fails, at every call there is: crash and fault plans against the real operator.
//!
//! Reference runs record each call of each phase in a target's life; for every call and every way to break it there is a
//! plan ([`plan`]). A plan lives in a [`corner`] of its own, with an operator of its own behind two proxies; [`run`] says
//! what it does and [`oracles`] what must hold. `CHAOS=1` draws plans by chance instead ([`chaos`]).

#[path = "../testbed/mod.rs"]
mod testbed;

mod chaos;
mod corner;
mod decoys;
mod end;
mod oracles;
mod plan;
mod pod;
mod run;
mod scenario;
mod shape;
mod situations;
mod tally;
mod world;

use std::{process::ExitCode, sync::Arc};

use anyhow::Result;
use futures::future::BoxFuture;
use libtest_mimic::{Arguments, Trial};
use tokio::runtime::Runtime;

use plan::Plan;
use run::Reference;
use world::World;

/// A test of a situation that is no plan.
type Test = (&'static str, fn(Arc<World>) -> BoxFuture<'static, Result<()>>);

/// Plans mostly wait, so more of them run at once than there are cores; measured on two cores.
const AT_ONCE: usize = 16;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_ONCE);
    let runtime = Arc::new(Runtime::new().expect("an async runtime"));
    if arguments.list {
        return libtest_mimic::run(&arguments, situations::TESTS.iter().map(|(name, _)| listed(name)).collect())
            .exit_code();
    }
    match runtime.block_on(begin()) {
        Ok((world, reference, plans)) => {
            // The longest of all are among the situations, so those begin first.
            let situations = if chaos::is_on() { &[] } else { situations::TESTS };
            let situations = situation_trials(&runtime, &world, situations);
            let plans = plan_trials(&runtime, &world, &reference, plans);
            let trials = situations.into_iter().chain(plans).collect();
            let conclusion = libtest_mimic::run(&arguments, trials);
            println!("{}", world.tally);
            conclusion.exit_code()
        }
        Err(error) => {
            eprintln!("the fault plans could not be made: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Starts the servers and makes the plans.
async fn begin() -> Result<(Arc<World>, Arc<Reference>, Vec<Plan>)> {
    let world = Arc::new(World::start("faults").await?);
    let reference = Arc::new(run::reference(&world).await?);
    let plans = if chaos::is_on() { chaos::plans(&reference.calls)? } else { plan::all(&reference.calls) };
    Ok((world, reference, plans))
}

fn plan_trials(runtime: &Arc<Runtime>, world: &Arc<World>, reference: &Arc<Reference>, plans: Vec<Plan>) -> Vec<Trial> {
    let trial = |plan: Plan| {
        let (runtime, world, reference) = (runtime.clone(), world.clone(), reference.clone());
        Trial::test(plan.to_string(), move || Ok(runtime.block_on(run::plan(&world, &plan, &reference))?))
    };
    plans.into_iter().map(trial).collect()
}

fn situation_trials(runtime: &Arc<Runtime>, world: &Arc<World>, tests: &[Test]) -> Vec<Trial> {
    let trial = |(name, test): &Test| {
        let (runtime, world, test) = (runtime.clone(), world.clone(), *test);
        Trial::test(*name, move || runtime.block_on(test(world)).map_err(|error| format!("{error:#}").into()))
    };
    tests.iter().map(trial).collect()
}

fn listed(name: &str) -> Trial {
    Trial::test(name, || Ok(()))
}
