//! A benchmark: many new targets at once. It measures and judges nothing; machines differ.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use backup_target_operator::api::{BackupTarget, condition};
use futures::{StreamExt, TryStreamExt, stream};
use kube::{
    Api,
    api::{ListParams, PostParams},
};

use crate::{
    sample,
    testbed::{
        aws::Aws,
        install,
        kubernetes::ControlPlane,
        operator::{Operator, Options},
        proxy::Proxy,
        run::Run,
        wait::wait_until,
    },
};

const PATIENCE: Duration = Duration::from_mins(10);
/// Requests of the benchmark itself that are under way at once.
const AT_ONCE: usize = 16;

/// Creates that many targets and says what it took.
pub async fn scale(targets: usize) -> Result<()> {
    let run = Run::begin("scale")?;
    let (control_plane, aws) = tokio::try_join!(ControlPlane::start(&run), Aws::start(&run))?;
    let (api, iam) = (Proxy::start(&control_plane.upstream()).await?, Proxy::start(&aws.upstream()).await?);
    let options = Options { server: Some(api.url().to_owned()), ..Options::default() };
    let operator = Operator::start(&control_plane, options).await?;
    aws.create_bucket(sample::BUCKET).await?;
    let client = control_plane.client()?;
    for object in sample::store(iam.url()) {
        install::apply(&client, object).await?;
    }
    println!("idle: {}", memory(operator.pid())?);

    let all = Api::<BackupTarget>::namespaced(client, sample::BACKUPS);
    let start = Instant::now();
    create(&all, targets).await?;
    println!("{targets} targets created in {:.1} s", start.elapsed().as_secs_f32());
    until_ready(&all, targets).await?;
    println!("all ready {:.1} s after the first was created", start.elapsed().as_secs_f32());
    println!("with {targets} targets: {}", memory(operator.pid())?);

    let here = |path: &str| path.contains("/namespaces/backups/") && !path.contains("/events");
    let writes = api.calls(|call| call.is_write() && here(&call.path)).len();
    let changes = iam.calls(|call| call.action.is_some() && !call.is("GetCallerIdentity")).len();
    #[expect(clippy::cast_precision_loss, reason = "a ratio to look at")]
    let per_target = |calls: usize| calls as f64 / targets as f64;
    println!("for each target: {:.2} Kubernetes writes, {:.2} IAM calls", per_target(writes), per_target(changes));
    Ok(())
}

async fn create(all: &Api<BackupTarget>, targets: usize) -> Result<()> {
    let post = PostParams::default();
    stream::iter(0..targets)
        .map(|number| {
            let mut target = sample::target();
            target["metadata"]["name"] = format!("target-{number}").into();
            target["spec"]["prefix"] = format!("clusters/prod/backups/target-{number}/").into();
            let post = &post;
            async move { Ok::<_, anyhow::Error>(all.create(post, &serde_json::from_value(target)?).await?) }
        })
        .buffer_unordered(AT_ONCE)
        .try_for_each(async |_| Ok(()))
        .await
}

async fn until_ready(all: &Api<BackupTarget>, targets: usize) -> Result<()> {
    wait_until("all targets to be ready", PATIENCE, async || {
        let list = all.list(&ListParams::default()).await?;
        let ready = |target: &&BackupTarget| {
            let conditions = target.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
            condition::find(conditions, condition::READY).is_some_and(|ready| ready.status == "True")
        };
        let ready = list.iter().filter(ready).count();
        ensure!(ready == targets, "{ready} of {targets} are");
        Ok(())
    })
    .await
}

/// Resident memory of a process, as the kernel tells it.
fn memory(pid: u32) -> Result<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name}"));
        line.map(|line| line.trim_start_matches(':').trim().to_owned())
    };
    Ok(format!("{} resident now, {} at most", line("VmRSS")?, line("VmHWM")?))
}
