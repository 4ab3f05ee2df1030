//! The pod that does the work dies without a word, and nobody who backs up notices.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use testbed::{install::NAMESPACE, story::Story, wait::wait_until};

use super::{files, jobs, targets};
use crate::{
    cluster::Cluster,
    operator,
    wishes::{self, BUCKET, PREFIX},
};

const JOB: &str = "while-the-leader-dies";
const STARTED: Duration = Duration::from_mins(1);
/// Together they make the backup longer than any Lease.
const LARGE_MIB: i64 = 45;
const PER_SECOND: &str = "--bwlimit=1Mi";

pub async fn tell(story: &mut Story, cluster: &Cluster, volume: &Path) -> Result<()> {
    files::write(volume, LARGE_MIB)?;
    cluster.kubectl.apply(&[wishes::job(JOB, &["copy", "/data", "backup:", PER_SECOND])?]).await?;
    wait_until("the backup to run", STARTED, async || jobs::is_running(cluster, JOB).await).await?;
    let known: Vec<_> = cluster.operator().pods().await?.iter().map(operator::name).collect();
    let dead = Instant::now();
    story
        .need("the leader's process is killed and its pod deleted", async || {
            let leader = cluster.operator().leader().await?;
            cluster.node.containerd.kill(&operator::container(&leader)?).await?;
            let name = operator::name(&leader);
            let now = ["--grace-period=0", "--force"];
            cluster.kubectl.run(&[&["delete", "pod", &name, "--namespace", NAMESPACE], &now[..]].concat()).await?;
            println!("      {name} of {known:?}");
            jobs::is_running(cluster, JOB).await
        })
        .await?;
    story
        .need("another pod takes over: a new target becomes ready", async || {
            cluster.kubectl.apply(&[wishes::another_target("dataset-2")?]).await?;
            targets::until(cluster, "dataset-2", "Ready").await?;
            let leader = operator::name(&cluster.operator().leader().await?);
            println!("      by {leader}, {:.1} s after the leader was killed", dead.elapsed().as_secs_f32());
            Ok(())
        })
        .await?;
    story
        .check("the backup that was running all the time completes, with every byte", async || {
            jobs::until_complete_by_name(cluster, JOB).await?;
            let size = cluster.aws.size(BUCKET, &format!("{PREFIX}large")).await?;
            ensure!(size == LARGE_MIB * 1024 * 1024, "the large file has {size} bytes in the bucket");
            Ok(())
        })
        .await;
    Ok(())
}
