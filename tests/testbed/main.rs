//! The testbed to look at: `demo` tells the main job as a story, `up` leaves everything running for play, `down` ends it.

#[path = "mod.rs"]
mod testbed;

mod demo;
mod sample;
mod scale;
mod serve;
mod state;
mod up;

use std::{env, process::ExitCode};

use anyhow::{Context, Result, bail};

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
        Some("scale") => scale::scale(targets()?).await?,
        Some("up") => up::up().await?,
        Some("down") => up::down().await?,
        // What `up` leaves running; by hand it stays in the foreground.
        Some("serve") => serve::serve().await?,
        _ => bail!("usage: testbed demo|up|down|serve|scale [TARGETS]"),
    }
    Ok(true)
}

fn targets() -> Result<usize> {
    let count = env::args().nth(2).unwrap_or_else(|| "1000".to_owned());
    count.parse().with_context(|| format!("`{count}` is no number of targets"))
}
