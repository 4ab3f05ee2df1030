//! The chart: what it renders, whether the API server takes it, and what installing, upgrading and removing it does; and
//! how targets get on with Helm, Argo CD and Flux.
//!
//! Helm and the API server are the real ones. There is no node, so the operator that a release stands for is a process of
//! this machine, with the ServiceAccount and the rights that the release made.

mod admission;
mod alerts;
mod gitops;
mod helm;
mod history;
mod kubectl;
mod lab;
mod life;
mod policies;
mod render;
mod rights;
mod second;
mod snapshot;
mod stories;
mod used;
mod world;

use std::{env, process::ExitCode, sync::Arc};

use anyhow::Result;
use futures::future::BoxFuture;
use libtest_mimic::{Arguments, Trial};
use tokio::runtime::Runtime;

use world::World;

/// A test: its name, and what it does.
type Test = (&'static str, fn(Arc<World>) -> BoxFuture<'static, Result<()>>);

/// Each story starts servers of its own.
const AT_ONCE: usize = 2;

fn main() -> ExitCode {
    let runtime = Arc::new(Runtime::new().expect("an async runtime"));
    if env::var_os("WRITE_CHART_SNAPSHOT").is_some() {
        runtime.block_on(snapshot::write()).expect("the snapshot can be written");
        return ExitCode::SUCCESS;
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_ONCE);
    let of_the_chart = [
        render::TESTS,
        snapshot::TESTS,
        admission::TESTS,
        policies::TESTS,
        rights::TESTS,
        used::TESTS,
        stories::TESTS,
        second::TESTS,
    ];
    let tests = [&of_the_chart[..], &[alerts::TESTS], gitops::TESTS].concat().concat();
    let world = Arc::new(World::default());
    let trial = |(name, test): Test| {
        let (runtime, world) = (runtime.clone(), world.clone());
        Trial::test(name, move || runtime.block_on(test(world)).map_err(|error| format!("{error:?}").into()))
    };
    let conclusion = libtest_mimic::run(&arguments, tests.into_iter().map(trial).collect());
    drop(world);
    conclusion.exit_code()
}
