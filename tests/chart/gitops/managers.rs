//! Nobody fights over fields: once a target has settled, what each tool would apply again is what is there.

use std::sync::Arc;

use anyhow::{Result, ensure};

use crate::{kubectl::kubectl, lab::Lab, tests, world::World};

tests![argo_cd_sees_no_difference, flux_sees_no_difference, helm_sees_no_difference];

/// The names under which the tools apply on the server's side.
async fn argo_cd_sees_no_difference(world: Arc<World>) -> Result<()> {
    no_difference(world.operated("argocd").await?, "argocd-controller", "argocd").await
}

async fn flux_sees_no_difference(world: Arc<World>) -> Result<()> {
    no_difference(world.operated("flux").await?, "kustomize-controller", "flux").await
}

async fn helm_sees_no_difference(world: Arc<World>) -> Result<()> {
    no_difference(world.operated("helm").await?, "helm", "helm").await
}

async fn no_difference(lab: &Lab, manager: &str, namespace: &str) -> Result<()> {
    let folder = tempfile::TempDir::new()?;
    let file = folder.path().join("objects.yaml");
    std::fs::write(&file, objects(lab, namespace))?;
    let file = file.to_str().unwrap_or_default();
    let manager = format!("--field-manager={manager}");
    kubectl(lab, &["apply", "--server-side", "--force-conflicts", &manager, "-f", file]).await?.succeeded()?;
    kubectl(lab, &["wait", "--for=condition=Ready", "--timeout=60s", "-f", file]).await?.succeeded()?;
    let diff = kubectl(lab, &["diff", "--server-side", "--force-conflicts", &manager, "-f", file]).await?;
    ensure!(diff.code == Some(0) && diff.stdout.is_empty(), "{}{}", diff.stdout, diff.stderr);
    Ok(())
}

/// Short forms wherever the API has them: what is written in another form than it is kept would differ for ever.
fn objects(lab: &Lab, namespace: &str) -> String {
    let url = lab.aws.url();
    format!(
        "apiVersion: backup-target.dev/v1alpha1
kind: BackupStore
metadata: {{name: {namespace}}}
spec:
  region: us-east-1
  endpoints: {{s3: '{url}', iam: '{url}', sts: '{url}'}}
  credentials: {{secretRef: {{name: aws-credentials}}}}
  allow:
    - namespaces: {{matchLabels: {{kubernetes.io/metadata.name: {namespace}}}}}
      buckets: [my-backups]
      prefixes: ['{{namespace}}/']
      capabilities: [MultipartUploads]
      maxKeyOverlap: 48h
---
apiVersion: backup-target.dev/v1alpha1
kind: BackupTarget
metadata: {{name: settled, namespace: {namespace}}}
spec:
  storeRef: {{name: {namespace}}}
  bucket: my-backups
  prefix: {namespace}/settled
  capabilities: [MultipartUploads]
  keyOverlap: 2h
"
    )
}
