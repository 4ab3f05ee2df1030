//! `run`: the operator itself.

use std::time::Duration;

use clap::Args;
use tokio::sync::watch;
use tracing::info;

use crate::{
    cluster::Cluster,
    controller::run::{self, Settings},
    telemetry::{self, LogFormat},
};

/// How long a stop may take.
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// Settings of the operator; each can also be given by its environment variable.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The operator's own namespace: credentials Secrets of BackupStores are read there, and nowhere else.
    #[arg(long, env = "OPERATOR_NAMESPACE", default_value = "backup-target-system")]
    namespace: String,

    /// Id of this cluster in IAM paths and tags [default: the UID of the kube-system namespace]. Before starting a cluster
    /// that was restored from a snapshot beside its original, give it another id: both have the same UIDs.
    #[arg(long, env = "CLUSTER_ID", value_parser = cluster_id)]
    cluster_id: Option<String>,

    /// How often every target is compared with what the store has, such as 10m.
    #[arg(long, env = "RESYNC", default_value = "10m", value_parser = duration)]
    resync: Duration,

    /// How many targets of one store are worked on at once.
    #[arg(long, env = "CONCURRENCY", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    concurrency: u16,

    /// Work only on BackupTargets and BackupStores with these labels, such as `shard=a` [default: on all]. Several operators
    /// can share the work of one cluster: give each its own labels and all the same cluster id, and give a BackupStore and
    /// all targets that use it the same labels.
    #[arg(long, env = "WATCH_LABEL_SELECTOR", value_parser = label_selector)]
    watch_label_selector: Option<String>,

    /// Work only on BackupTargets in these namespaces, such as `team-a,team-b` [default: in all]. The operator then needs no
    /// right on the Secrets and targets of any other namespace (chart value `namespaces`).
    #[arg(long, env = "WATCH_NAMESPACES", value_delimiter = ',', value_parser = namespace)]
    watch_namespaces: Vec<String>,

    /// How log lines look.
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t)]
    log_format: LogFormat,

    /// What is logged, such as `info` or `backup_target_operator=debug`.
    #[arg(long, env = "LOG_FILTER", default_value = "info")]
    log_filter: String,
}

/// Parses the id of a cluster.
pub(super) fn cluster_id(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    if text.is_empty() || text.len() > 64 || !text.chars().all(fits) {
        return Err("a cluster id has 1 to 64 letters, digits, '-', '_' and '.'".to_owned());
    }
    Ok(text.to_owned())
}

/// Whether it is a selector of labels at all, the API server says at the start.
fn label_selector(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("write labels such as shard=a, or leave the option out to work on everything".to_owned());
    }
    Ok(text.to_owned())
}

fn namespace(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let name = text.trim();
    if name.is_empty() || name.len() > 63 || !name.chars().all(fits) {
        return Err("write the names of namespaces, such as team-a,team-b, or leave the option out for all".to_owned());
    }
    Ok(name.to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    let parsed: kube::core::Duration =
        text.parse().map_err(|_| "write a duration such as 90s, 10m or 1h".to_owned())?;
    if parsed.is_negative() || Duration::from(parsed) < Duration::from_secs(1) {
        return Err("it has to be at least 1s".to_owned());
    }
    Ok(parsed.into())
}

/// Runs the operator until it is asked to stop.
///
/// # Errors
/// When it cannot start.
pub async fn run(arguments: Arguments) -> Result<(), String> {
    telemetry::init(arguments.log_format, &arguments.log_filter)?;
    info!(version = env!("CARGO_PKG_VERSION"), namespace = arguments.namespace, "starting");
    let cluster = Cluster::connect(&arguments.namespace).await?;
    let settings = Settings {
        cluster_id: arguments.cluster_id,
        resync: arguments.resync,
        concurrency: arguments.concurrency,
        selector: arguments.watch_label_selector,
        namespaces: arguments.watch_namespaces,
    };
    let (stop, stopping) = watch::channel(false);
    tokio::spawn(async move {
        asked_to_stop().await;
        info!("stopping: what has begun is finished");
        let _ = stop.send(true);
    });
    let given_up = given_up(stopping.clone());
    tokio::select! {
        ended = run::run(cluster, settings, stopping) => ended?,
        () = given_up => tracing::warn!("what was still under way is left; the next start takes it up"),
    }
    info!("stopped");
    Ok(())
}

/// Some time after the request to stop, within the 30 s that Kubernetes gives.
async fn given_up(mut stopping: watch::Receiver<bool>) {
    // An error means that nobody can ask any more; then the operator runs on.
    if stopping.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(STOP_WITHIN).await;
}

async fn asked_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("signals cannot be watched; the operator stops only by force");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
