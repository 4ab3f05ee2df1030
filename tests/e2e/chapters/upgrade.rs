//! A new release of the chart: new pods with fewer rights, and nothing that a user of a target would see.

use anyhow::{Result, ensure};
use testbed::story::Story;

use super::targets;
use crate::{cluster::Cluster, operator, wishes::BACKUPS};

pub async fn tell(story: &mut Story, cluster: &Cluster) -> Result<()> {
    let old: Vec<_> = cluster.operator().pods().await?.iter().map(operator::name).collect();
    let before = targets::standing(cluster).await?;
    story
        .need(
            "helm upgrade --wait to one named namespace: new pods take over, without rights on other Secrets",
            async || {
                cluster.helm.upgrade(&format!("namespaces={{{BACKUPS}}}")).await?;
                let leader = cluster.operator().until_led_by_another_than(&old).await?;
                println!("      {leader}");
                Ok(())
            },
        )
        .await?;
    story
        .check(&format!("all {} targets were ready all the time, and have the same key", before.len()), async || {
            let after = targets::standing(cluster).await?;
            ensure!(after == before, "key and time of the last change of Ready were {before:?} and are {after:?}");
            Ok(())
        })
        .await;
    Ok(())
}
