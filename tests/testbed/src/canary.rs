//! A backup that runs all the time: with a key that was published, it must never fail.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aws_sdk_s3::Client;
use tokio::{
    sync::oneshot,
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};

const EVERY: Duration = Duration::from_millis(50);

/// A running canary; its first failure ends it.
pub struct Canary {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<usize>>,
}

impl Canary {
    /// Lists, writes and reads under the prefix, with the key that the client has.
    pub fn start(s3: Client, bucket: &str, prefix: &str) -> Self {
        let (stop, mut stopped) = oneshot::channel();
        let (bucket, prefix) = (bucket.to_owned(), prefix.to_owned());
        let task = tokio::spawn(async move {
            let mut ticks = interval(EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut rounds = 0;
            while stopped.try_recv().is_err() {
                ticks.tick().await;
                round(&s3, &bucket, &prefix).await.with_context(|| format!("in round {rounds}"))?;
                rounds += 1;
            }
            Ok(rounds)
        });
        Self { stop, task }
    }

    /// Ends it and says how many rounds it did: none of them failed.
    pub async fn stop(self) -> Result<usize> {
        let _ = self.stop.send(());
        let rounds = self.task.await?.context("a running backup was broken")?;
        ensure!(rounds > 0, "the canary never sang");
        Ok(rounds)
    }
}

async fn round(s3: &Client, bucket: &str, prefix: &str) -> Result<()> {
    let key = format!("{prefix}canary");
    s3.list_objects_v2().bucket(bucket).prefix(prefix).send().await.context("list")?;
    s3.put_object().bucket(bucket).key(&key).body(Vec::from("sings").into()).send().await.context("put")?;
    s3.get_object().bucket(bucket).key(&key).send().await.context("get")?;
    Ok(())
}
