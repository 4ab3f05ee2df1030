//! The operator as its users run it: its image and its chart on a real node, and a backup in a CronJob. `make e2e` runs it.

mod chapters;
mod cluster;
mod helm;
mod node;
mod operator;
mod sandbox;
mod wishes;

use std::{env, process::ExitCode};

use anyhow::{Result, bail};

use cluster::Cluster;
use testbed::{harness::exit_code, story::Story};

#[tokio::main]
async fn main() -> ExitCode {
    exit_code(command(env::args().nth(1).as_deref()).await)
}

/// Whether all went as it should.
async fn command(name: Option<&str>) -> Result<bool> {
    match name {
        None => sandbox::run().await,
        // The same program once more, in namespaces of its own.
        Some(sandbox::INSIDE) => inside().await,
        Some(_) => bail!("usage: e2e"),
    }
}

async fn inside() -> Result<bool> {
    let mut story = Story::new("e2e");
    story.chapter(
        "Start a node: etcd, API server, controllers, scheduler, kube-proxy, containerd, kubelet, and the AWS stand-in",
    );
    let cluster = Cluster::start().await?;
    if let Err(error) = chapters::tell(&mut story, &cluster).await {
        println!("\nThe story ends here: {error:#}");
        cluster.describe().await;
    }
    println!("\n  logs are in {}", cluster.logs().display());
    Ok(story.end())
}
