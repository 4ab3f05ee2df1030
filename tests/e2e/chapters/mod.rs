//! The story, one file a chapter. Each goes on where the one before it ended.

mod backup;
mod change;
mod failover;
mod files;
mod install;
mod jobs;
mod leave;
mod targets;
mod upgrade;

use anyhow::Result;
use testbed::story::Story;

use crate::cluster::Cluster;

/// An error is what the rest cannot be told without.
pub async fn tell(story: &mut Story, cluster: &Cluster) -> Result<()> {
    story.chapter("Helm installs the chart; a BackupStore and a BackupTarget are applied");
    install::tell(story, cluster).await?;
    story.chapter("A CronJob in another namespace mounts the Secret and backs up a volume; a Job restores it");
    let volume = backup::tell(story, cluster).await?;
    story.chapter("The leader is killed while a backup runs");
    failover::tell(story, cluster, &volume).await?;
    story.chapter("The chart is upgraded, to one namespace");
    upgrade::tell(story, cluster).await?;
    story.chapter("Capabilities change, and a running pod sees it");
    change::tell(story, cluster).await?;
    story.chapter("The namespace is deleted, then the chart is uninstalled");
    leave::tell(story, cluster).await
}
