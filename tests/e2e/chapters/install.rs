//! From nothing to a target that is ready.

use std::time::Instant;

use anyhow::Result;
use testbed::story::Story;

use super::targets;
use crate::{
    cluster::Cluster,
    wishes::{self, BUCKET, TARGET},
};

pub async fn tell(story: &mut Story, cluster: &Cluster) -> Result<()> {
    story
        .need("helm install --wait", async || {
            let start = Instant::now();
            cluster.helm.install().await?;
            let leader = cluster.operator().until_led_by_another_than(&[]).await?;
            println!("      {leader} works {:.1} s after `helm install`", start.elapsed().as_secs_f32());
            Ok(())
        })
        .await?;
    cluster.aws.create_bucket(BUCKET).await?;
    cluster.kubectl.apply(&wishes::store(cluster.aws.url())?).await?;
    story
        .need("a BackupStore and a BackupTarget are applied and become ready", async || {
            cluster.kubectl.apply(&[wishes::target()?]).await?;
            targets::until(cluster, TARGET, "Ready").await
        })
        .await?;
    story.check("helm test: the check that comes with the chart is content", async || cluster.helm.test().await).await;
    Ok(())
}
