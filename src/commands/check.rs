//! `check`: whether an installation hangs together, told by what is in the cluster.

use std::{fmt::Write, time::Duration};

use clap::Args;
use kube::ResourceExt;
use tokio::time::{Instant, sleep};

use super::run::{duration, label_selector};
use crate::{
    api::{BackupStore, condition},
    cluster::{Cluster, Error, Kind},
};

const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Settings of the check.
#[derive(Debug, Args)]
pub struct Arguments {
    /// How long to wait until all stores are ready, such as 90s.
    #[arg(long, default_value = "1m", value_parser = duration)]
    timeout: Duration,

    /// Look only at BackupStores with these labels, as the operator does that has the same setting.
    #[arg(long, env = "WATCH_LABEL_SELECTOR", value_parser = label_selector)]
    watch_label_selector: Option<String>,
}

/// Says what was found.
///
/// # Errors
/// When the API server does not answer, or something is not ready in time.
pub async fn check(arguments: &Arguments) -> Result<String, String> {
    // Stores have no namespace.
    let cluster = Cluster::connect("").await?;
    let end = Instant::now() + arguments.timeout;
    loop {
        let found = verdict(cluster.all_stores(arguments.watch_label_selector.as_deref()).await);
        if found.is_ok() || Instant::now() >= end {
            return found;
        }
        sleep(LOOK_AGAIN).await;
    }
}

fn verdict(stores: Result<Vec<BackupStore>, Error>) -> Result<String, String> {
    let stores = stores.map_err(|error| match error.kind {
        Kind::NotFound => "the API server knows no BackupStores; apply the CustomResourceDefinitions".to_owned(),
        _ => error.to_string(),
    })?;
    if stores.is_empty() {
        return Ok("there is no BackupStore yet, so nothing can be claimed\n".to_owned());
    }
    let (mut text, mut ready) = (String::new(), true);
    for store in &stores {
        let (good, says) = state(store);
        ready &= good;
        // Writing to a String cannot fail.
        let _ =
            writeln!(text, "BackupStore {} is {}: {says}", store.name_any(), if good { "ready" } else { "not ready" });
    }
    if ready { Ok(text) } else { Err(text.trim_end().to_owned()) }
}

/// Whether an operator found the store ready, and what it says.
fn state(store: &BackupStore) -> (bool, String) {
    let status = store.status.clone().unwrap_or_default();
    if status.observed_generation != store.metadata.generation {
        return (
            false,
            "no operator has looked at it as it is now; see whether a pod of the operator works".to_owned(),
        );
    }
    condition::find(&status.conditions, condition::READY)
        .map_or((false, "nothing".to_owned()), |ready| (ready.status == "True", ready.message.clone()))
}
