//! The testbed to look at: `demo` tells the main job as a story, `up` leaves everything running for play, `down` ends it.

mod demo;
mod sample;
mod scale;
mod serve;
mod state;
mod up;

use std::{env, process::ExitCode};

use anyhow::{Context, Result, bail};
use testbed::harness::exit_code;

use scale::Scale;

#[tokio::main]
async fn main() -> ExitCode {
    exit_code(command(env::args().nth(1).as_deref()).await)
}

/// Whether all went as it should.
async fn command(name: Option<&str>) -> Result<bool> {
    match name {
        Some("demo") => return demo::demo().await,
        Some("scale") => scale::scale(how_much()?).await?,
        Some("up") => up::up().await?,
        Some("down") => up::down().await?,
        // What `up` leaves running; by hand it stays in the foreground.
        Some("serve") => serve::serve().await?,
        _ => bail!("usage: testbed demo|up|down|serve|scale [TARGETS [DECOYS [BIG]]]"),
    }
    Ok(true)
}

fn how_much() -> Result<Scale> {
    let number = |place: usize, default: usize| match env::args().nth(place) {
        None => Ok(default),
        Some(number) => number.parse().with_context(|| format!("`{number}` is no number")),
    };
    Ok(Scale { targets: number(2, 1_000)?, decoys: number(3, 0)?, big: number(4, 0)? })
}
