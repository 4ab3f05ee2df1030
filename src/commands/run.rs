//! `run`: the operator itself.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use clap::{ArgAction, Args};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::{
    api::duration as api,
    cluster::Cluster,
    controller::run::{self, Settings},
    fence::Fence,
    leader_election::Replica,
    names,
    telemetry::{
        Telemetry,
        health::Phase,
        http::{self, Port},
        log::{self, LogFormat},
    },
};

/// How long a stop may take, within the 30 s that Kubernetes gives.
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

    /// Work only on BackupStores with these labels, such as `shard=a`, and on the BackupTargets that use them, whatever labels
    /// those have [default: on all]. Several operators can share the work of one cluster: give each its own labels and all the
    /// same cluster id, and let each store have the labels of one operator.
    #[arg(long, env = "WATCH_LABEL_SELECTOR", value_parser = label_selector)]
    watch_label_selector: Option<String>,

    /// Work only on BackupTargets in these namespaces, such as `team-a,team-b` [default: in all]. The operator then needs no
    /// right on the Secrets of any other namespace (chart value `namespaces`).
    #[arg(long, env = "WATCH_NAMESPACES", value_delimiter = ',', value_parser = namespace)]
    watch_namespaces: Vec<String>,

    /// Watch the Secrets of targets, so that one that somebody deletes or edits is put right at once. Without, that waits for
    /// the next resync, and the operator needs no right to list Secrets but in its own namespace (chart value `secretWatch`).
    #[arg(long, env = "WATCH_SECRETS", action = ArgAction::Set, num_args = 0..=1, require_equals = true,
        default_value_t = true, default_missing_value = "true")]
    watch_secrets: bool,

    /// Work only while holding a Lease in the operator's namespace, so that several replicas can run and one works.
    #[arg(long, env = "LEADER_ELECTION", action = ArgAction::Set, num_args = 0..=1, require_equals = true,
        default_value_t = false, default_missing_value = "true")]
    leader_election: bool,

    /// Name of that Lease.
    #[arg(long, env = "LEASE_NAME", default_value = names::OPERATOR)]
    lease_name: String,

    /// What this replica is called in the Lease; something by chance is added.
    #[arg(long, env = "POD_NAME", default_value = names::OPERATOR)]
    pod_name: String,

    /// Where to answer /livez, /readyz and /metrics, such as [::]:8080 [default: nowhere].
    #[arg(long, env = "HTTP_ADDRESS")]
    http_address: Option<SocketAddr>,

    /// Where to answer /livez and /readyz and nothing else, such as [::]:8081 [default: nowhere]. For the kubelet: whatever
    /// others do to the port with the metrics, its probes are answered.
    #[arg(long, env = "HEALTH_ADDRESS")]
    health_address: Option<SocketAddr>,

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
pub(super) fn label_selector(text: &str) -> Result<String, String> {
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

/// Parses a duration of at least a second.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let parsed: api::Duration = text.parse().map_err(|fault: api::NoDuration| fault.to_string())?;
    let parsed = Duration::from(parsed);
    if parsed < Duration::from_secs(1) { Err("it has to be at least 1s".to_owned()) } else { Ok(parsed) }
}

/// Runs the operator until it is asked to stop.
///
/// # Errors
/// When it cannot start.
pub async fn run(arguments: Arguments) -> Result<(), String> {
    log::init(arguments.log_format, &arguments.log_filter)?;
    info!(version = env!("CARGO_PKG_VERSION"), namespace = arguments.namespace, "starting");
    let cluster = Cluster::connect(&arguments.namespace).await?;
    let settings = Settings {
        cluster_id: arguments.cluster_id,
        resync: arguments.resync,
        concurrency: arguments.concurrency,
        selector: arguments.watch_label_selector,
        namespaces: arguments.watch_namespaces,
        watch_secrets: arguments.watch_secrets,
    };
    let telemetry = Arc::new(Telemetry::default());
    let addresses = [(arguments.health_address, Port::Health), (arguments.http_address, Port::Everything)];
    for (address, port) in addresses {
        if let Some(address) = address {
            tokio::spawn(http::serve(http::listen(address, port).await?, port, telemetry.clone()));
        }
    }
    let stopping = on_signal(telemetry.clone());
    if !arguments.leader_election {
        return work(cluster, settings, telemetry, Fence::default(), stopping).await;
    }
    let fence = Fence::default();
    let replica = Replica::new(cluster.clone(), &arguments.lease_name, &arguments.pod_name, fence.clone());
    tokio::select! {
        () = replica.until_leading(&telemetry.health) => {}
        () = stopped(stopping.clone()) => return Ok(()),
    }
    telemetry.health.is_now(Phase::Starting);
    let worked = tokio::select! {
        worked = work(cluster, settings, telemetry, fence, stopping) => worked,
        () = replica.keep_leading() => {
            return Err("the lead is lost: this replica ends at once, and stands by when it is started again".to_owned());
        }
    };
    replica.release().await;
    worked
}

/// Works until it is asked to stop, and a while longer to finish what has begun.
async fn work(
    cluster: Cluster,
    settings: Settings,
    telemetry: Arc<Telemetry>,
    fence: Fence,
    stopping: watch::Receiver<bool>,
) -> Result<(), String> {
    let given_up = async {
        stopped(stopping.clone()).await;
        tokio::time::sleep(STOP_WITHIN).await;
    };
    tokio::select! {
        ended = run::run(cluster, settings, telemetry, fence, stopping.clone()) => ended?,
        () = given_up => warn!("what was still under way is left; the next start takes it up"),
    }
    info!("stopped");
    Ok(())
}

/// Says when the operator is asked to stop.
fn on_signal(telemetry: Arc<Telemetry>) -> watch::Receiver<bool> {
    let (stop, stopping) = watch::channel(false);
    tokio::spawn(async move {
        asked_to_stop().await;
        info!("stopping: what has begun is finished");
        telemetry.health.is_now(Phase::Stopping);
        let _ = stop.send(true);
    });
    stopping
}

/// Waits for the request to stop. When nobody can ask any more, the operator runs on.
async fn stopped(mut stopping: watch::Receiver<bool>) {
    if stopping.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
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
