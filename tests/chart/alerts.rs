//! The alerts of the chart: each fires when it has to, and no other time.

use std::{sync::Arc, time::Duration};

use anyhow::Result;

use crate::{
    testbed::{
        child::command,
        program,
        tools::{project, tool},
    },
    tests,
    world::World,
};

tests![each_alert_fires_when_it_has_to];

const SOON: Duration = Duration::from_mins(1);

async fn each_alert_fires_when_it_has_to(_: Arc<World>) -> Result<()> {
    let mut promtool = command(tool("promtool")?);
    promtool.args(["test", "rules"]).arg(project().join("tests/alerts.yaml"));
    program::run("promtool", promtool, SOON).await?.succeeded()?;
    Ok(())
}
