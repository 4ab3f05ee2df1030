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

use std::{env, process::ExitCode};

use testbed::harness::Harness;
use tokio::runtime::Runtime;

use world::World;

/// Each story starts servers of its own.
const AT_ONCE: usize = 2;

fn main() -> ExitCode {
    if env::var_os("WRITE_CHART_SNAPSHOT").is_some() {
        let runtime = Runtime::new().expect("an async runtime");
        runtime.block_on(snapshot::write()).expect("the snapshot can be written");
        return ExitCode::SUCCESS;
    }
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
    Harness::from_arguments().at_once(AT_ONCE).run(async { Ok(World::default()) }, |servers| servers.trials(&tests))
}
