//! Everything that the story happens on.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use testbed::{aws::Aws, kubectl::Kubectl, kubernetes::ControlPlane, run::Run, tools::project, wait::wait_until};

use crate::{
    helm::Helm,
    node::{self, Node},
    operator::Operator,
};

const READY: Duration = Duration::from_mins(2);
const IMAGES: [&str; 3] = ["pause.tar", "rclone.tar", "operator.tar"];

/// In the order in which they end.
pub struct Cluster {
    pub node: Node,
    pub aws: Aws,
    pub kubectl: Kubectl,
    pub helm: Helm,
    run: Run,
    _control_plane: ControlPlane,
}

impl Cluster {
    pub async fn start() -> Result<Self> {
        let images = images()?;
        let run = Run::begin("e2e")?;
        node::prepare(&run.room("log")?).await?;
        let (control_plane, aws) =
            tokio::try_join!(ControlPlane::for_nodes(&run, Some(node::nodes())), Aws::start_at(&run, node::ADDRESS),)?;
        let (kubectl, helm) = (Kubectl::new(&control_plane), Helm::new(&control_plane));
        let node = Node::start(&control_plane, &images).await?;
        let cluster = Self { node, aws, kubectl, helm, run, _control_plane: control_plane };
        cluster.until_ready().await.with_context(|| format!("look into {}", cluster.logs().display()))?;
        Ok(cluster)
    }

    async fn until_ready(&self) -> Result<()> {
        wait_until("the node to be ready", READY, async || {
            let nodes = self.kubectl.get(&["nodes"]).await?;
            let conditions = nodes["items"][0]["status"]["conditions"].as_array().context("there is no node yet")?;
            let ready = conditions.iter().find(|is| is["type"] == "Ready").context("it says nothing")?;
            ensure!(ready["status"] == "True", "{}", ready["message"]);
            Ok(())
        })
        .await
    }

    pub fn operator(&self) -> Operator<'_> {
        Operator::new(&self.kubectl)
    }

    pub fn logs(&self) -> &Path {
        self.run.path()
    }

    /// A new folder that pods may use as a volume.
    pub fn volume(&self, name: &str) -> Result<PathBuf> {
        self.run.room(name)
    }

    /// What a reader needs after a failure.
    pub async fn describe(&self) {
        let questions: [&[&str]; 4] = [
            &["get", "pods", "--all-namespaces", "--output=wide"],
            &["get", "events", "--all-namespaces", "--sort-by=.lastTimestamp"],
            &["describe", "backupstores,backuptargets", "--all-namespaces"],
            &[
                "logs",
                "--namespace=backup-target-system",
                "--selector=app.kubernetes.io/name=backup-target-operator",
                "--tail=40",
            ],
        ];
        for question in questions {
            let answer = self.kubectl.run(question).await.unwrap_or_else(|error| format!("{error:#}"));
            println!("\nkubectl {}\n{answer}", question.join(" "));
        }
    }
}

fn images() -> Result<Vec<PathBuf>> {
    let folder = project().join("target/images");
    let images: Vec<_> = IMAGES.iter().map(|image| folder.join(image)).collect();
    for image in &images {
        ensure!(image.exists(), "{} is missing; run `make e2e`, which builds it", image.display());
    }
    Ok(images)
}
