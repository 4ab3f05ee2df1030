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
use testbed::harness::{Harness, Servers, Trial, check};

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
    Harness::from_arguments().at_once(AT_ONCE).run(start(), trials)
}

/// All programs are there, and AWS's stand-in runs.
async fn start() -> Result<World> {
    for release in releases::all() {
        release.is_installed().await?;
    }
    World::start().await
}

fn trials(servers: &Servers<World>) -> Vec<Trial> {
    let cells = releases::all().into_iter().rev().flat_map(|release| tiers::ALL.iter().map(move |set| (release, set)));
    let matrix = cells.map(|(release, set)| {
        let name = format!("{}::{}", release.name, set.name);
        servers.trial(name, async move |world| all_operations(world, release, set).await)
    });
    let docs = check("docs::the_table_says_what_is_tried", table::is_current);
    // Not in every run: it takes minutes, and more memory than many machines have.
    let sparse = servers.trial("sparse::six_gib", sparse::is_uploaded).with_ignored_flag(true);
    matrix.chain([docs, sparse]).collect()
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
