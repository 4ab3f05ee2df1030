//! The Lease of the replica that works.

use std::time::Duration;

use k8s_openapi::{api::coordination::v1::Lease, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{Api, api::PostParams, runtime::wait::await_condition};
use tokio::time::{sleep, timeout};

use super::{Cluster, Error, Kind};

/// Several tries must fit into the time after which a leader gives up.
const LEASE_DEADLINE: Duration = Duration::from_secs(3);
/// How soon it is looked at anew when it cannot be watched.
const WITHOUT_WATCH: Duration = Duration::from_secs(1);

impl Cluster {
    fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.client(), &self.namespace)
    }

    /// A Lease in the operator's namespace.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn lease(&self, name: &str) -> Result<Option<Lease>, Error> {
        self.soon("read the Lease", self.leases().get_opt(name)).await
    }

    /// Creates a Lease, or replaces the one that was read.
    ///
    /// # Errors
    /// [`Kind::Conflict`] or [`Kind::AlreadyExists`] when somebody else was quicker.
    pub async fn write_lease(&self, name: &str, lease: &Lease) -> Result<(), Error> {
        let (leases, post) = (self.leases(), PostParams::default());
        if lease.metadata.resource_version.is_some() {
            return self.soon("write the Lease", leases.replace(name, &post, lease)).await.map(|_| ());
        }
        let metadata = ObjectMeta { name: Some(name.to_owned()), ..lease.metadata.clone() };
        self.soon("create the Lease", leases.create(&post, &Lease { metadata, ..lease.clone() })).await.map(|_| ())
    }

    /// Waits until a Lease is another version than that one, or gone.
    pub async fn until_lease_changes(&self, name: &str, version: Option<String>) {
        let is_other =
            move |lease: Option<&Lease>| lease.and_then(|lease| lease.metadata.resource_version.clone()) != version;
        if await_condition(self.leases(), name, is_other).await.is_err() {
            sleep(WITHOUT_WATCH).await;
        }
    }

    async fn soon<T>(
        &self,
        what: &'static str,
        call: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, Error> {
        timeout(LEASE_DEADLINE, self.within(what, call)).await.unwrap_or(Err(Error::new(what, Kind::Unreachable)))
    }
}
