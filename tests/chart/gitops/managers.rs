//! Nobody fights over fields: once a target has settled, what each tool would apply again is what is there.

use std::sync::Arc;

use anyhow::{Result, ensure};
use serde_json::json;
use tempfile::NamedTempFile;
use testbed::{program::Ran, tests};

use crate::{helm::text, kubectl::kubectl, lab::Lab, world::World};

tests![
    argo_cd_sees_no_difference,
    flux_sees_no_difference,
    helm_sees_no_difference,
    the_chart_is_kept_as_it_is_rendered,
];

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

/// Argo CD renders charts and applies them by itself: a quantity or a default in another form would differ for ever.
async fn the_chart_is_kept_as_it_is_rendered(world: Arc<World>) -> Result<()> {
    let lab = world.lab().await?;
    let values = json!({"fullnameOverride": "by-argo-cd", "networkPolicy": {"enabled": true}});
    let rendered = lab.helm.render(&values).await?;
    // Argo CD runs no tests of Helm.
    let objects: Vec<_> = rendered.into_iter().filter(|object| object["kind"] != "Pod").collect();
    let manifest = Manifest::new(&json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string())?;
    manifest.apply(lab, "argocd-controller").await?;
    manifest.ensure_no_difference(lab, "argocd-controller").await
}

async fn no_difference(lab: &Lab, manager: &str, namespace: &str) -> Result<()> {
    let manifest = Manifest::new(&objects(lab, namespace))?;
    manifest.apply(lab, manager).await?;
    kubectl(lab, &["wait", "--for=condition=Ready", "--timeout=60s", "-f", manifest.file()?]).await?.succeeded()?;
    manifest.ensure_no_difference(lab, manager).await
}

/// Objects in a file.
struct Manifest(NamedTempFile);

impl Manifest {
    fn new(text: &str) -> Result<Self> {
        let file = NamedTempFile::with_suffix(".yaml")?;
        std::fs::write(file.path(), text)?;
        Ok(Self(file))
    }

    fn file(&self) -> Result<&str> {
        text(self.0.path())
    }

    async fn apply(&self, lab: &Lab, manager: &str) -> Result<()> {
        self.run(lab, "apply", manager).await?.succeeded()?;
        Ok(())
    }

    async fn ensure_no_difference(&self, lab: &Lab, manager: &str) -> Result<()> {
        let diff = self.run(lab, "diff", manager).await?;
        ensure!(diff.code == Some(0) && diff.stdout.is_empty(), "{}{}", diff.stdout, diff.stderr);
        Ok(())
    }

    async fn run(&self, lab: &Lab, verb: &str, manager: &str) -> Result<Ran> {
        let manager = format!("--field-manager={manager}");
        kubectl(lab, &[verb, "--server-side", "--force-conflicts", &manager, "-f", self.file()?]).await
    }
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
  endpoint: '{url}'
  aws: {{iamEndpoint: '{url}', stsEndpoint: '{url}'}}
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
