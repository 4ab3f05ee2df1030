//! The objects that the chart makes when nobody sets a value but the image, as a file to read and to compare: a change of the
//! chart shows there what it does.

use std::{fs, path::PathBuf, sync::Arc};

use anyhow::{Result, ensure};
use testbed::{install::RELEASE, tests, tools::project};

use crate::{
    helm::{Helm, WITH_IMAGE, chart, text},
    world::World,
};

tests![the_defaults_render_as_written_down];

/// Writes the file anew.
pub async fn write() -> Result<()> {
    Ok(fs::write(file(), rendered().await?)?)
}

async fn the_defaults_render_as_written_down(_: Arc<World>) -> Result<()> {
    let (written, now) = (fs::read_to_string(file())?, rendered().await?);
    let differs = written.lines().zip(now.lines()).find(|(before, now)| before != now);
    ensure!(
        written == now,
        "the chart renders differently than {}, first at {differs:?}. If that is what you want, run `make chart-snapshot`",
        file().display()
    );
    Ok(())
}

/// Without the CRDs, which are in the project's folder `crds`.
async fn rendered() -> Result<String> {
    let chart = chart();
    let arguments = [&["template", RELEASE, text(&chart)?, "--set", "crds.enabled=false"], &WITH_IMAGE[..]].concat();
    Helm::offline()?.run(&arguments).await?.succeeded()
}

fn file() -> PathBuf {
    project().join("tests/chart/defaults.yaml")
}
