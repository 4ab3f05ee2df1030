//! Everything goes, in the order that docs/administrator.md says, but for what has to stay. The namespace takes the operator's rights in
//! it away, at a time of Kubernetes' choosing.

use anyhow::{Result, ensure};
use testbed::story::Story;

use super::targets;
use crate::{
    cluster::Cluster,
    helm::RELEASE,
    wishes::{BACKUPS, BUCKET},
};

/// Kinds in which the chart has objects, beside the CustomResourceDefinitions.
const OF_THE_CHART: &str = "deployments,serviceaccounts,clusterroles,clusterrolebindings,\
    validatingadmissionpolicies,validatingadmissionpolicybindings,roles,rolebindings,services,poddisruptionbudgets,configmaps,networkpolicies,flowschemas";

pub async fn tell(story: &mut Story, cluster: &Cluster) -> Result<()> {
    let objects = cluster.aws.objects(BUCKET).await?;
    let targets = targets::standing(cluster).await?;
    story
        .need(&format!("kubectl delete namespace {BACKUPS}: it is gone"), async || {
            cluster.kubectl.run(&["delete", "namespace", BACKUPS, "--wait", "--timeout=2m"]).await?;
            Ok(())
        })
        .await?;
    story
        .check(&format!("IAM is clean: nothing is left of {} targets", targets.len()), async || {
            let users = cluster.aws.users_under("/").await?;
            ensure!(users.is_empty(), "{users:?}");
            Ok(())
        })
        .await;
    story
        .check(&format!("all {} objects are still in the bucket, untouched", objects.len()), async || {
            ensure!(objects.len() > 3 && cluster.aws.objects(BUCKET).await? == objects, "they are not");
            Ok(())
        })
        .await;
    story
        .need("the BackupStore is deleted, and the chart is uninstalled", async || {
            cluster.kubectl.run(&["delete", "backupstore", "default", "--wait", "--timeout=1m"]).await?;
            cluster.helm.uninstall().await
        })
        .await?;
    story
        .check("the CustomResourceDefinitions stay, and nothing else", async || {
            let of_the_release = format!("--selector=app.kubernetes.io/instance={RELEASE}");
            let names = async |kinds: &str| {
                cluster.kubectl.run(&["get", kinds, "--all-namespaces", &of_the_release, "--output=name"]).await
            };
            let crds = names("customresourcedefinitions").await?;
            ensure!(crds.lines().count() == 2, "there are these: {crds}");
            let others = names(OF_THE_CHART).await?;
            ensure!(others.trim().is_empty(), "{others}");
            Ok(())
        })
        .await;
    Ok(())
}
