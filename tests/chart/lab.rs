//! A cluster with nothing of ours in it, Helm, and an AWS: what somebody has who is about to install the operator.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result};
use kube::Client;
use serde_json::{Value, json};
use testbed::{
    aws::{Aws, ROOT_KEY},
    child::command,
    install::{self, NAMESPACE, RELEASE},
    kubernetes::ControlPlane,
    manifests::{credentials, namespace, store_spec},
    operator::{Operator, Options},
    program::{self, Ran},
    run::Run,
};

use crate::helm::{Helm, WITH_IMAGE, chart, text};

pub const BUCKET: &str = "my-backups";
/// A bucket that may be claimed and is not there yet.
pub const LATER: &str = "made-later";
/// The Secret with the operator's credentials.
const CREDENTIALS: &str = "aws-credentials";
/// Longer than any check is told to wait.
const CHECK: Duration = Duration::from_mins(3);

pub struct Lab {
    // The servers end last.
    pub helm: Helm,
    pub client: Client,
    pub aws: Aws,
    pub control_plane: ControlPlane,
}

impl Lab {
    /// Starts the servers, and makes the operator's namespace as careful administrators do: it takes only pods of the Pod
    /// Security Standard "restricted".
    pub async fn start(name: &str) -> Result<Self> {
        let run = Run::begin(name)?;
        let (control_plane, aws) = tokio::try_join!(ControlPlane::bare(&run), Aws::start(&run))?;
        let client = control_plane.client()?;
        let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
        let metadata = json!({"name": NAMESPACE, "labels": labels});
        install::apply(&client, json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})).await?;
        aws.create_bucket(BUCKET).await?;
        let helm = Helm::with(control_plane.admin_kubeconfig())?;
        Ok(Self { helm, client, aws, control_plane })
    }

    /// Installs or upgrades the release with the chart of the project, and returns what Helm says.
    pub async fn install(&self, arguments: &[&str]) -> Result<String> {
        self.install_chart(&chart(), arguments).await
    }

    /// The same with any chart.
    pub async fn install_chart(&self, chart: &Path, arguments: &[&str]) -> Result<String> {
        let all = [&["upgrade", "--install", RELEASE, text(chart)?], &WITH_IMAGE[..], arguments].concat();
        self.helm.run(&all).await?.succeeded().context("failed to install the chart")
    }

    /// The operator that the release stands for: the node's work is done by hand here.
    pub async fn operator(&self, options: Options) -> Result<Operator> {
        Box::pin(Operator::start(&self.control_plane, options)).await
    }

    /// What the pod of `helm test` would run, with its rights.
    pub async fn check(&self, timeout: &str) -> Result<Ran> {
        let room = self.control_plane.run().room("check")?;
        let mut check = command(env!("CARGO_BIN_EXE_backup-target-operator"));
        check.env("KUBECONFIG", self.control_plane.operator_kubeconfig(self.control_plane.url(), &room).await?).args([
            "check",
            "--timeout",
            timeout,
        ]);
        program::run("backup-target-operator", check, CHECK).await
    }

    pub async fn create_namespace(&self, name: &str) -> Result<()> {
        install::apply(&self.client, namespace(name)).await
    }

    /// The operator's AWS credentials, in the Secret that [`Self::store_spec`] names.
    pub async fn write_credentials(&self) -> Result<()> {
        install::apply(&self.client, credentials(CREDENTIALS, ROOT_KEY, ROOT_KEY)).await
    }

    /// A store in which the namespaces may claim folders of their own.
    pub fn store_spec(&self, namespaces: &[&str]) -> Value {
        let allow = json!([{
            "namespaces": {"names": namespaces},
            "buckets": [BUCKET, LATER],
            "prefixes": ["{namespace}/", "clusters/prod/{namespace}/"],
            "capabilities": ["MultipartUploads"],
        }]);
        store_spec(self.aws.url(), Some(CREDENTIALS), &allow)
    }
}
