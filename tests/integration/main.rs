//! The operator against real servers: etcd, kube-apiserver, a policy-enforcing AWS stand-in and rclone.
//!
//! Everything is started once; each test has its own namespace, bucket, store and AWS account, so all run side by side.

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
mod static_keys;
mod stores;
mod world;

use std::process::ExitCode;

use testbed::harness::Harness;

use world::World;

/// Tests mostly wait for servers, so more of them run at once than there are cores.
const AT_ONCE: usize = 8;

fn main() -> ExitCode {
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
        static_keys::TESTS,
    ]
    .concat();
    let harness = Harness::from_arguments().at_once(AT_ONCE);
    let is_part = harness.is_filtered();
    harness.run_and_judge(
        World::start(),
        |servers| servers.trials(&tests),
        async |world| nothing_leaked(world, is_part).await,
    )
}

/// Looks for the secrets of all tests in everything that the operator printed and wrote.
async fn nothing_leaked(world: &World, is_part: bool) -> bool {
    // A part of the tests may have made no secret at all; all of them together make many.
    if world.kept_secrets() == 0 && !is_part {
        eprintln!("no secret was kept, so none could be looked for");
        return false;
    }
    match world.leaked_secrets().await {
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
