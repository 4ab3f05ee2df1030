//! The testbed to look at: `demo` tells the main job as a story, `up` leaves everything running for play, `down` ends it.

#[path = "mod.rs"]
mod testbed;

mod demo;
mod sample;
mod serve;
mod state;
mod up;

use std::{env, process::ExitCode};

use anyhow::{Result, bail};

#[tokio::main]
async fn main() -> ExitCode {
    match command(env::args().nth(1).as_deref()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all went as it should.
async fn command(name: Option<&str>) -> Result<bool> {
    match name {
        Some("demo") => return demo::demo().await,
        Some("up") => up::up().await?,
        Some("down") => up::down().await?,
        // What `up` leaves running; by hand it stays in the foreground.
        Some("serve") => serve::serve().await?,
        _ => bail!("usage: testbed demo|up|down|serve"),
    }
    Ok(true)
}
