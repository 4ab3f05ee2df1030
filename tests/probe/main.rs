//! Proof by use against a server that enforces policies, without Kubernetes.
//!
//! The stand-in is started once; each test has an AWS account, a bucket and a proxy of its own, so all run side by side.
//! Where the stand-in differs from AWS, the test that meets it says so.

mod corner;
mod depth;
mod faults;
mod grants;
mod limits;

use std::process::ExitCode;

use testbed::harness::Harness;

use corner::World;

fn main() -> ExitCode {
    let tests = [grants::TESTS, limits::TESTS, depth::TESTS, faults::TESTS].concat();
    Harness::from_arguments().run(World::start(), |servers| servers.trials(&tests))
}
