//! The process that keeps a testbed running.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use rustix::process::setsid;
use testbed::{
    aws::{Aws, REGION, ROOT_KEY},
    install,
    kubernetes::ControlPlane,
    operator::{Operator, Options},
    run::Run,
    tools::tools,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{interval, sleep},
};

use crate::{
    sample::{self, BUCKET},
    state::Claim,
};

/// Runs everything until it is told to end.
pub async fn serve() -> Result<()> {
    // Out of the terminal's session, so that closing the terminal does not end it. Fails in the foreground, as it should.
    let _ = setsid();
    let mut claim = Claim::take().await?;
    let mut end = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        outcome = run(&mut claim) => outcome,
        _ = end.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    }
}

async fn run(claim: &mut Claim) -> Result<()> {
    let mut parts = Parts::start().await?;
    claim.ready(&parts.describe(), &parts.exports())?;
    parts.watch().await
}

struct Parts {
    // In the order in which they end.
    operator: Operator,
    aws: Aws,
    control_plane: ControlPlane,
}

impl Parts {
    async fn start() -> Result<Self> {
        let run = Run::begin("up")?;
        let start = Instant::now();
        let (control_plane, aws) = tokio::try_join!(
            timed("Kubernetes", start, ControlPlane::start(&run)),
            timed("AWS stand-in", start, Aws::start(&run)),
        )?;
        let operator = timed("operator", start, Operator::start(&control_plane, Options::default())).await?;
        aws.create_bucket(BUCKET).await?;
        let client = control_plane.client()?;
        for object in sample::store(aws.url()) {
            install::apply(&client, object).await?;
        }
        println!("  logs are in {}", run.path().display());
        Ok(Self { operator, aws, control_plane })
    }

    fn describe(&mut self) -> Vec<String> {
        let mut parts = vec![format!("backup-target-operator ({})", self.operator.pid())];
        for server in self.control_plane.servers().into_iter().chain([self.aws.server()]) {
            parts.push(format!("{} ({})", server.name(), server.pid()));
        }
        parts
    }

    fn exports(&self) -> Vec<String> {
        let export = |name: &str, value: &str| format!("export {name}={}", quoted(value));
        vec![
            export("KUBECONFIG", &path(&self.control_plane.admin_kubeconfig())),
            format!("{}:\"$PATH\"", export("PATH", &path(&tools()))),
            // IAM, STS and S3 alike; read by the AWS CLI and by the SDKs.
            export("AWS_ENDPOINT_URL", self.aws.url()),
            export("AWS_ACCESS_KEY_ID", ROOT_KEY),
            export("AWS_SECRET_ACCESS_KEY", ROOT_KEY),
            export("AWS_REGION", REGION),
            // Either would be sent along with the key above, or instead of it.
            "unset AWS_SESSION_TOKEN AWS_PROFILE".to_owned(),
        ]
    }

    /// Returns when a server has ended by itself. The operator may: whoever debugs it runs one of their own.
    async fn watch(&mut self) -> Result<()> {
        let mut look = interval(Duration::from_secs(1));
        loop {
            look.tick().await;
            for server in self.control_plane.servers().into_iter().chain([self.aws.server()]) {
                if !server.is_running() {
                    bail!("`{}` has ended, so everything ends", server.name());
                }
            }
        }
    }
}

/// Says every few seconds that a part is not ready yet, and then when it was.
pub async fn timed<T>(part: &str, start: Instant, starting: impl Future<Output = Result<T>>) -> Result<T> {
    let patience = async {
        loop {
            sleep(Duration::from_secs(5)).await;
            println!("  {part}: waiting for {:.0} s", start.elapsed().as_secs_f32());
        }
    };
    tokio::select! {
        started = starting => {
            let started = started?;
            println!("  {part}: ready after {:.1} s", start.elapsed().as_secs_f32());
            Ok(started)
        }
        () = patience => unreachable!("it has no end"),
    }
}

fn path(path: &Path) -> String {
    path.display().to_string()
}

/// For any shell.
fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}
