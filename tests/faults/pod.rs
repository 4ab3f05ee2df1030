//! A backup as a pod runs it: it reads the mounted Secret, and lists, writes and reads under its prefix. All the time, and it
//! must never fail.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use aws_sdk_s3::Client;
use testbed::objects::{option, rclone_conf};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};

use crate::{
    corner::{Corner, SECRET},
    scenario::Phase,
    tally::count,
    world::World,
};

const EVERY: Duration = Duration::from_millis(50);
/// List, put and get.
const OPERATIONS: usize = 3;

/// What a plan itself takes away from the pod until the phase is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    Nothing,
    /// What is mounted stays, and has to work.
    Secret,
    Key,
}

/// A running pod; its first failure ends it.
pub struct Pod {
    taken: watch::Sender<Taken>,
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<()>>,
}

impl Pod {
    /// Starts with what the Secret holds now.
    pub async fn start(corner: &Corner, phase: Phase) -> Result<Self> {
        let taken = watch::Sender::new(match phase {
            Phase::SecretLost => Taken::Secret,
            Phase::KeyLost => Taken::Key,
            _ => Taken::Nothing,
        });
        let stop = watch::Sender::new(false);
        let mounted = Mounted::read(&corner.world, &corner.secrets().get(SECRET).await?)?;
        let work = Work {
            world: corner.world.clone(),
            secrets: corner.secrets(),
            // The first key of a lost one is gone for good, and no running backup is expected to go on.
            running: (phase != Phase::KeyLost).then(|| mounted.clone()),
            mounted,
            taken: taken.subscribe(),
        };
        let task = tokio::spawn(work.until(stop.subscribe()));
        Ok(Self { taken, stop, task })
    }

    /// What was taken away is back.
    pub fn all_is_back(&self) {
        self.taken.send_replace(Taken::Nothing);
    }

    /// Ends it: nothing has failed.
    pub async fn stop(self) -> Result<()> {
        self.stop.send_replace(true);
        self.task.await?.context("a backup was broken")
    }
}

/// What a Secret gives a pod.
#[derive(Clone)]
struct Mounted {
    s3: Client,
    key: String,
    bucket: String,
    prefix: String,
}

impl Mounted {
    fn read(world: &World, secret: &k8s_openapi::api::core::v1::Secret) -> Result<Self> {
        let conf = rclone_conf(secret).context("the Secret has no rclone.conf")?;
        let (key, secret) = (option(&conf, "access_key_id"), option(&conf, "secret_access_key"));
        let remote = option(&conf, "remote").split_once(':').map(|(_, place)| place.to_owned());
        let Some((bucket, prefix)) = remote.as_deref().and_then(|place| place.split_once('/')) else {
            bail!("rclone.conf names no folder");
        };
        Ok(Self { s3: world.aws.s3_as(key, secret), key: key.into(), bucket: bucket.into(), prefix: prefix.into() })
    }

    async fn back_up(&self) -> Result<()> {
        let prefix = format!("{}/", self.prefix.trim_end_matches('/'));
        let (bucket, key) = (&self.bucket, format!("{prefix}canary"));
        self.s3.list_objects_v2().bucket(bucket).prefix(&prefix).send().await.context("list")?;
        self.s3.put_object().bucket(bucket).key(&key).body(Vec::from("sings").into()).send().await.context("put")?;
        self.s3.get_object().bucket(bucket).key(&key).send().await.context("get")?;
        Ok(())
    }
}

struct Work {
    world: Arc<World>,
    secrets: kube::Api<k8s_openapi::api::core::v1::Secret>,
    /// A backup that began before.
    running: Option<Mounted>,
    mounted: Mounted,
    taken: watch::Receiver<Taken>,
}

impl Work {
    async fn until(mut self, stop: watch::Receiver<bool>) -> Result<()> {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut round = 0;
        while !*stop.borrow() {
            ticks.tick().await;
            let taken = *self.taken.borrow();
            if taken == Taken::Key {
                continue;
            }
            let done = self.round(taken, round).await;
            self.world.tally.canary.fetch_add(OPERATIONS, Ordering::Relaxed);
            if let Err(broken) = done {
                count(&self.world.tally.failed);
                return Err(broken.context(format!("in round {round}")));
            }
            round += 1;
        }
        Ok(())
    }

    /// In turns a backup that begins now, and one that began before the phase.
    async fn round(&mut self, taken: Taken, round: usize) -> Result<()> {
        if let Some(running) = self.running.as_ref().filter(|_| round % 2 == 1) {
            return running.back_up().await.with_context(|| format!("a running backup, with {}", running.key));
        }
        match self.secrets.get_opt(SECRET).await? {
            Some(secret) => self.mounted = self.read(&secret)?,
            None if taken == Taken::Secret => {}
            None => bail!("there is no Secret"),
        }
        self.mounted.back_up().await.with_context(|| format!("a new backup, with {}", self.mounted.key))
    }

    /// A new client only for what is new.
    fn read(&self, secret: &k8s_openapi::api::core::v1::Secret) -> Result<Mounted> {
        let now = Mounted::read(&self.world, secret)?;
        let same = now.key == self.mounted.key && now.prefix == self.mounted.prefix;
        Ok(if same { self.mounted.clone() } else { now })
    }
}
