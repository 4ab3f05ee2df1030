//! The operator against real servers: etcd, kube-apiserver, a policy-enforcing AWS stand-in and rclone.
//!
//! Everything is started once; each test has its own namespace, bucket, store and AWS account, so all run side by side.

#[path = "../testbed/mod.rs"]
mod testbed;

mod admission;
mod blocked;
mod bounds;
mod claims;
mod clocks;
mod deletion;
mod drift;
mod environment;
mod fair;
mod hold;
mod inputs;
mod keys;
mod lifecycle;
mod missing_users;
mod policies;
mod proof;
mod rate;
mod refusals;
mod regions;
mod replicas;
mod restart;
mod shards;
mod space;
mod stores;
mod world;

use std::{process::ExitCode, sync::Arc};

use anyhow::Result;
use futures::future::BoxFuture;
use libtest_mimic::{Arguments, Trial};
use tokio::runtime::Runtime;

use world::World;

/// A test: its name, and what it does in the world that all share.
type Test = (&'static str, fn(Arc<World>) -> BoxFuture<'static, Result<()>>);

/// Tests mostly wait for servers, so more of them run at once than there are cores.
const AT_ONCE: usize = 8;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_ONCE);
    let tests = [
        lifecycle::TESTS,
        keys::TESTS,
        clocks::TESTS,
        admission::TESTS,
        policies::TESTS,
        proof::TESTS,
        rate::TESTS,
        refusals::TESTS,
        regions::TESTS,
        blocked::TESTS,
        bounds::TESTS,
        claims::TESTS,
        deletion::TESTS,
        missing_users::TESTS,
        drift::TESTS,
        inputs::TESTS,
        replicas::TESTS,
        restart::TESTS,
        environment::TESTS,
        fair::TESTS,
        hold::TESTS,
        shards::TESTS,
        stores::TESTS,
    ]
    .concat();
    if arguments.list {
        return libtest_mimic::run(&arguments, trials(&tests, None)).exit_code();
    }
    let runtime = Arc::new(Runtime::new().expect("an async runtime"));
    let world = match runtime.block_on(World::start()) {
        Ok(world) => Arc::new(world),
        Err(error) => {
            eprintln!("the servers did not start: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let conclusion = libtest_mimic::run(&arguments, trials(&tests, Some((&runtime, &world))));
    let nothing_leaked = nothing_leaked(&runtime, &world, &arguments);
    drop(world);
    if nothing_leaked { conclusion.exit_code() } else { ExitCode::FAILURE }
}

/// Looks for the secrets of all tests in everything that the operator printed and wrote.
fn nothing_leaked(runtime: &Runtime, world: &World, arguments: &Arguments) -> bool {
    // A part of the tests may have made no secret at all; all of them together make many.
    if world.kept_secrets() == 0 && arguments.filter.is_none() {
        eprintln!("no secret was kept, so none could be looked for");
        return false;
    }
    match runtime.block_on(world.leaked_secrets()) {
        Ok(leaks) => {
            for leak in &leaks {
                eprintln!("A SECRET WAS PRINTED: {leak}");
            }
            leaks.is_empty()
        }
        Err(error) => {
            eprintln!("secrets could not be looked for: {error:#}");
            false
        }
    }
}

fn trials(tests: &[Test], servers: Option<(&Arc<Runtime>, &Arc<World>)>) -> Vec<Trial> {
    let trial = |(name, test): &Test| {
        let (test, servers) = (*test, servers.map(|(runtime, world)| (runtime.clone(), world.clone())));
        Trial::test(*name, move || {
            let (runtime, world) = servers.expect("tests are only run with servers");
            runtime.block_on(test(world)).map_err(|error| format!("{error:?}").into())
        })
    };
    tests.iter().map(trial).collect()
}
