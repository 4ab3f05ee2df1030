//! The kubelet brings a changed Secret into a pod that is running.

use std::time::Duration;

use anyhow::{Result, ensure};
use testbed::{story::Story, wait::wait_until};

use super::targets;
use crate::{
    cluster::Cluster,
    operator,
    wishes::{self, BACKUPS, TARGET},
};

const READER: &str = "reader";
/// Only rclones whose key may set them send any.
const ACL: &str = "acl = bucket-owner-full-control";
/// The kubelet looks at a pod's volumes every minute or so.
const PATIENCE: Duration = Duration::from_mins(3);

pub async fn tell(story: &mut Story, cluster: &Cluster) -> Result<()> {
    cluster.kubectl.apply(&[wishes::reader(READER)?]).await?;
    let ready = ["--for=condition=Ready", "--timeout=1m"];
    cluster.kubectl.run(&[&["wait", "--namespace", BACKUPS, &format!("pod/{READER}")], &ready[..]].concat()).await?;
    let before = targets::standing(cluster).await?;
    story
        .check("a capability is added, with the same key", async || {
            ensure!(!mounted(cluster).await?.contains(ACL), "the pod had the option before");
            let patch = r#"{"spec":{"capabilities":["MultipartUploads","ObjectAcls"]}}"#;
            let target = format!("backuptarget/{TARGET}");
            cluster.kubectl.run(&["patch", &target, "--namespace", BACKUPS, "--type=merge", "--patch", patch]).await?;
            targets::until(cluster, TARGET, "ObjectAcls").await?;
            ensure!(targets::standing(cluster).await? == before, "the key is another one, or Ready changed");
            Ok(())
        })
        .await;
    story
        .check("the file in the running pod changes", async || {
            wait_until("the mounted rclone.conf to have the new option", PATIENCE, async || {
                ensure!(mounted(cluster).await?.contains(ACL), "it has not");
                Ok(())
            })
            .await
        })
        .await;
    println!("      memory of the operator's pods: {}", operator::memory()?.join("; "));
    Ok(())
}

/// The file as the pod sees it. It holds a key: nothing of it is printed.
async fn mounted(cluster: &Cluster) -> Result<String> {
    // --copy-links: the kubelet changes all files of a volume at once, by a link.
    let cat = ["/rclone", "cat", "--copy-links", "/etc/rclone/rclone.conf"];
    cluster.kubectl.run(&[&["exec", "--namespace", BACKUPS, READER, "--"], &cat[..]].concat()).await
}
