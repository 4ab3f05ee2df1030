//! rclone, for real: every release that is tested, with every set of tiers, in every operation.
//!
//! Each trial is one release with one set of tiers: its operations happen one after the other in a bucket of their own.

mod calls;
mod files;
mod must;
mod operation;
mod operations;
mod place;
mod releases;
mod sparse;
mod special;
mod table;
mod tiers;
mod world;

use std::{env, process::ExitCode, sync::Arc};

use anyhow::{Result, ensure};
use libtest_mimic::{Arguments, Trial};
use tokio::runtime::Runtime;

use place::Place;
use releases::Release;
use tiers::TierSet;
use world::World;

/// rclone and the stand-in take turns in working, so a few more at once than there are cores keep them busy.
const AT_ONCE: usize = 4;

fn main() -> ExitCode {
    if env::var_os("WRITE_RCLONE_DOCS").is_some() {
        table::write().expect("docs/rclone.md can be written");
        return ExitCode::SUCCESS;
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_ONCE);
    if arguments.list {
        return libtest_mimic::run(&arguments, trials(&None)).exit_code();
    }
    let runtime = Arc::new(Runtime::new().expect("an async runtime"));
    let world = match runtime.block_on(start()) {
        Ok(world) => Arc::new(world),
        Err(error) => {
            eprintln!("the matrix cannot be run: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    libtest_mimic::run(&arguments, trials(&Some((runtime, world)))).exit_code()
}

/// All programs are there, and AWS's stand-in runs.
async fn start() -> Result<World> {
    for release in releases::all() {
        release.is_installed().await?;
    }
    World::start().await
}

type Servers = Option<(Arc<Runtime>, Arc<World>)>;

fn trials(servers: &Servers) -> Vec<Trial> {
    let cells = releases::all().into_iter().rev().flat_map(|release| tiers::ALL.iter().map(move |set| (release, set)));
    let matrix = cells.map(|(release, set)| {
        trial(format!("{}::{}", release.name, set.name), servers, move |world| all_operations(world, release, set))
    });
    let docs = Trial::test("docs::the_table_says_what_is_tried", || Ok(table::is_current()?));
    // Not in every run: it takes minutes, and more memory than many machines have.
    let sparse = trial("sparse::six_gib".into(), servers, sparse::is_uploaded).with_ignored_flag(true);
    matrix.chain([docs, sparse]).collect()
}

fn trial<F>(name: String, servers: &Servers, test: impl FnOnce(Arc<World>) -> F + Send + 'static) -> Trial
where
    F: Future<Output = Result<()>>,
{
    let servers = servers.clone();
    Trial::test(name, move || {
        let (runtime, world) = servers.expect("trials are only run with servers");
        runtime.block_on(test(world)).map_err(|error| format!("{error:?}").into())
    })
}

async fn all_operations(world: Arc<World>, release: Release, set: &'static TierSet) -> Result<()> {
    let mut place = Place::new(world, release, set).await?;
    let mut wrong = Vec::new();
    if let Err(error) = operation::check(&operations::BEFORE, &mut place).await {
        wrong.push(format!("{}: {error:?}", operations::BEFORE.title));
    }
    place.furnish().await?;
    for operation in operations::ALL {
        if let Err(error) = operation::check(operation, &mut place).await {
            wrong.push(format!("{}: {error:?}", operation.title));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    Ok(())
}
