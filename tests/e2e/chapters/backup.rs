//! The main job: a backup by schedule, and its way back.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use testbed::story::Story;

use super::{files, jobs};
use crate::{
    cluster::Cluster,
    wishes::{self, BUCKET, PREFIX, TARGET},
};

const RESTORED: &str = "restored";
const RESTORE: &str = "restore";
const LARGE_MIB: i64 = 20;

/// Returns the folder that is backed up.
pub async fn tell(story: &mut Story, cluster: &Cluster) -> Result<PathBuf> {
    let data = volume(cluster, TARGET).await?;
    files::write(&data, LARGE_MIB)?;
    story
        .need("the CronJob of examples/cronjob.yaml runs at its time: non-root, read-only, no flags", async || {
            cluster.kubectl.apply(&[wishes::cronjob()?]).await?;
            jobs::until_complete(cluster, jobs::by_schedule).await
        })
        .await?;
    story
        .check("all files are in the bucket, under the prefix", async || {
            let objects = cluster.aws.objects(BUCKET).await?;
            for file in files::read(&data)?.keys() {
                ensure!(objects.contains_key(&format!("{PREFIX}{}", file.display())), "{} is not", file.display());
            }
            Ok(())
        })
        .await;
    let restored = volume(cluster, RESTORED).await?;
    story
        .check("a Job restores them into an empty volume and compares byte by byte", async || {
            cluster.kubectl.apply(&[wishes::restore(RESTORE, RESTORED)?]).await?;
            jobs::until_complete_by_name(cluster, RESTORE).await?;
            ensure!(files::read(&data)? == files::read(&restored)?, "the Job saw no difference, and there is one");
            Ok(())
        })
        .await;
    Ok(data)
}

async fn volume(cluster: &Cluster, name: &str) -> Result<PathBuf> {
    let folder = cluster.volume(name)?;
    files::hand_over(&folder)?;
    cluster.kubectl.apply(&wishes::volume(name, &folder)).await?;
    Ok(folder)
}
