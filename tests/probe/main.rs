//! Proof by use against a server that enforces policies, without Kubernetes.
//!
//! The stand-in is started once; each test has an AWS account, a bucket and a proxy of its own, so all run side by side.
//! Where the stand-in differs from AWS, the test that meets it says so.

mod corner;
mod depth;
mod faults;
mod grants;
mod limits;

use std::{process::ExitCode, sync::Arc};

use anyhow::Result;
use futures::future::BoxFuture;
use libtest_mimic::{Arguments, Trial};
use tokio::runtime::Runtime;

use corner::World;

/// A test: its name, and what it does in the world that all share.
type Test = (&'static str, fn(Arc<World>) -> BoxFuture<'static, Result<()>>);

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let tests = [grants::TESTS, limits::TESTS, depth::TESTS, faults::TESTS].concat();
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
    libtest_mimic::run(&arguments, trials(&tests, Some((&runtime, &world)))).exit_code()
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
