//! What tests share that do not change it.

use anyhow::Result;
use tokio::sync::OnceCell;

use crate::lab::Lab;

/// Started by the first test that needs it.
#[derive(Default)]
pub struct World {
    lab: OnceCell<Lab>,
}

impl World {
    /// A cluster in which the chart is installed as it is.
    pub async fn lab(&self) -> Result<&Lab> {
        self.lab
            .get_or_try_init(async || {
                let lab = Lab::start("chart").await?;
                lab.install(&[]).await?;
                Ok(lab)
            })
            .await
    }
}
