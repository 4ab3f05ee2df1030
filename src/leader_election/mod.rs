//! Of several replicas one works: the one that holds the Lease.
//!
//! A replica renews every three seconds. When that has failed for ten, it stops at once, five seconds before
//! others may take over (`LEASE_DURATION` in `lease.rs`). One that goes gives the Lease back, and the next takes over at once.
//! What a replica had under way when it was cut off is what a crash leaves, and every step is made for that: keys are created
//! after an intent that was written with a precondition, so of two that both believe to lead only one can write it.

mod lease;

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tracing::{info, warn};

use crate::{
    cluster::{Cluster, Error, Kind},
    fence::Fence,
    telemetry::health::{Health, Phase},
};
use lease::{LeaseState, Observer, held_by, released};

const RETRY_PERIOD: Duration = Duration::from_secs(3);
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// How soon a replica that stands by looks again when the API server does not answer.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// One replica among several.
pub struct Replica {
    cluster: Cluster,
    lease: String,
    identity: String,
    fence: Fence,
}

impl Replica {
    /// Takes part with a name that no other process has, a restarted one with the same `pod` neither. `cluster` must not be
    /// behind the fence, which is closed until this replica leads.
    #[must_use]
    pub fn new(cluster: Cluster, lease: &str, pod: &str, fence: Fence) -> Self {
        fence.open_until(Instant::now());
        let identity = format!("{pod}_{:016x}", fastrand::u64(..));
        Self { cluster, lease: lease.to_owned(), identity, fence }
    }

    /// Waits until this replica leads, and opens the fence.
    pub async fn until_leading(&self, health: &Health) {
        let mut observer = Observer::default();
        info!(lease = self.lease, identity = self.identity, "waiting to lead");
        health.is_now(Phase::Joining);
        loop {
            match self.try_once(&mut observer, health).await {
                Ok(true) => break,
                Ok(false) => {}
                Err(error) => {
                    warn!(lease = self.lease, %error, "the Lease could not be read or taken{}", advice(&error));
                    health.is_now(Phase::Joining);
                    sleep(LOOK_AGAIN).await;
                }
            }
        }
        info!(lease = self.lease, identity = self.identity, "leading");
    }

    async fn try_once(&self, observer: &mut Observer, health: &Health) -> Result<bool, Error> {
        let lease = self.cluster.lease(&self.lease).await?;
        match observer.state(lease.as_ref(), Instant::now()) {
            LeaseState::Available => self.try_acquire_or_renew(lease).await,
            LeaseState::HeldUntil(end) => {
                health.is_now(Phase::StandingBy);
                let version = lease.and_then(|lease| lease.metadata.resource_version);
                tokio::select! {
                    () = sleep_until(end) => {}
                    // One that is given back can be taken at once.
                    () = self.cluster.until_lease_changes(&self.lease, version) => {}
                }
                Ok(false)
            }
        }
    }

    /// Takes or renews it, unless somebody else was quicker.
    async fn try_acquire_or_renew(&self, lease: Option<Lease>) -> Result<bool, Error> {
        // Counted from before the write: others count from after it.
        let begun = Instant::now();
        let mut lease = lease.unwrap_or_default();
        lease.spec = Some(held_by(&self.identity, lease.spec.as_ref(), Timestamp::now()));
        match self.cluster.write_lease(&self.lease, &lease).await {
            Ok(()) => {
                self.fence.open_until(begun + RENEW_DEADLINE);
                Ok(true)
            }
            Err(error) if matches!(error.kind, Kind::Conflict | Kind::AlreadyExists) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Renews for as long as it can. When this returns, the lead is lost.
    pub async fn keep_leading(&self) {
        let mut end = Instant::now() + RENEW_DEADLINE;
        loop {
            sleep(RETRY_PERIOD).await;
            let begun = Instant::now();
            match timeout_at(end, self.renew()).await {
                Ok(Ok(true)) => end = begun + RENEW_DEADLINE,
                Ok(Ok(false)) => return warn!(lease = self.lease, "another replica has taken the lead"),
                Ok(Err(error)) => warn!(lease = self.lease, %error, "the Lease could not be renewed{}", advice(&error)),
                Err(_) => {}
            }
            if Instant::now() >= end {
                return warn!(lease = self.lease, "the Lease could not be renewed for too long");
            }
        }
    }

    async fn renew(&self) -> Result<bool, Error> {
        let lease = self.cluster.lease(&self.lease).await?;
        let mine =
            lease.as_ref().and_then(|lease| lease.spec.as_ref()?.holder_identity.as_deref()) == Some(&self.identity);
        if mine { self.try_acquire_or_renew(lease).await } else { Ok(false) }
    }

    /// Gives the Lease back, so that the next need not wait.
    pub async fn release(&self) {
        self.fence.open_until(Instant::now());
        let given_back = async {
            let lease = self.cluster.lease(&self.lease).await?.unwrap_or_default();
            let Some(spec) = &lease.spec else { return Ok(()) };
            if spec.holder_identity.as_deref() != Some(&self.identity) {
                return Ok(());
            }
            let spec = Some(released(spec));
            self.cluster.write_lease(&self.lease, &Lease { spec, ..lease }).await
        };
        if let Err(error) = given_back.await {
            let error: Error = error;
            warn!(lease = self.lease, %error, "the Lease could not be given back; the next replica waits until it ends");
        }
    }
}

/// The rights of a release are for one Lease.
fn advice(error: &Error) -> &'static str {
    if error.kind == Kind::Forbidden {
        "; the chart's Role allows the Lease of the release's name alone: leave --lease-name (LEASE_NAME) to the chart, or allow \
         get, list, watch and update on the one that you name"
    } else {
        ""
    }
}
