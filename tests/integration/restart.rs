//! The operator goes and comes back: nothing is written, nothing is lost.

use std::{sync::Arc, time::Duration};

use anyhow::{Result, ensure};
use backup_target_operator::api::BackupTarget;
use kube::{Api, api::ListParams};
use serde_json::json;

use crate::{
    space::{create, is_ready},
    testbed::{
        aws::{Aws, REGION},
        kubernetes::ControlPlane,
        operator::{Operator, Options},
        proxy::{Call, Proxy, Upstream},
        run::Run,
        wait::wait_until,
    },
    tests,
    world::World,
};

tests![a_restart_with_healthy_targets_writes_nothing];

const TARGETS: usize = 20;
const PATIENCE: Duration = Duration::from_mins(1);

/// A cluster, an AWS and an operator of one's own, for tests that end the operator.
pub struct Lab {
    pub operator: Operator,
    pub api: Proxy,
    pub aws: Proxy,
    // The servers end last.
    stand_in: Aws,
    pub control_plane: ControlPlane,
}

impl Lab {
    pub async fn start(name: &str, options: impl FnOnce(&Aws, Options) -> Options) -> Result<Self> {
        let run = Run::begin(name)?;
        let (control_plane, stand_in) = tokio::try_join!(ControlPlane::start(&run), Aws::start(&run))?;
        let api = Proxy::start(&control_plane.upstream()).await?;
        let aws = Proxy::start(&stand_in.upstream()).await?;
        let options = options(&stand_in, Options { server: Some(api.url().to_owned()), ..Options::default() });
        let operator = Operator::start(&control_plane, options).await?;
        Ok(Self { operator, api, aws, stand_in, control_plane })
    }

    /// The administrator of the AWS account.
    pub fn administrator(&self) -> &Aws {
        &self.stand_in
    }

    /// What another proxy in front of AWS needs to know.
    pub fn aws_upstream(&self) -> Upstream {
        self.stand_in.upstream()
    }

    pub fn targets(&self) -> Result<Api<BackupTarget>> {
        Ok(Api::namespaced(self.control_plane.client()?, "default"))
    }

    /// A store that finds the operator's credentials in its environment, and allows everything in one bucket.
    pub async fn create_store(&self, endpoint: &str) -> Result<()> {
        let stores = Api::<backup_target_operator::api::BackupStore>::all(self.control_plane.client()?);
        let spec = json!({
            "region": REGION,
            "endpoints": {"s3": endpoint, "iam": endpoint, "sts": endpoint},
            "iam": {"requestsPerSecond": 1000},
            "allow": [{"namespaces": {"names": ["default"]}, "buckets": ["my-backups"], "prefixes": [""]}],
        });
        create(&stores, json!({"metadata": {"name": "default"}, "spec": spec})).await?;
        self.stand_in.create_bucket("my-backups").await
    }

    pub async fn create_target(&self, name: &str) -> Result<()> {
        let body = json!({"metadata": {"name": name}, "spec": {"bucket": "my-backups", "prefix": name}});
        create(&self.targets()?, body).await?;
        Ok(())
    }

    pub async fn until_all_ready(&self, count: usize) -> Result<()> {
        let targets = self.targets()?;
        wait_until("all targets to be ready", PATIENCE, async || {
            let list = targets.list(&ListParams::default()).await?;
            let ready = list.iter().filter(|target| is_ready(target)).count();
            ensure!(ready == count, "{ready} of {count} are ready");
            Ok(())
        })
        .await
    }
}

/// With the account's root key in the environment, as a pod with a role has its own.
pub fn root_in_environment(_: &Aws, options: Options) -> Options {
    options.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test").env("AWS_REGION", REGION)
}

async fn a_restart_with_healthy_targets_writes_nothing(_: Arc<World>) -> Result<()> {
    let mut lab = Lab::start("restart", |aws, options| {
        // A short resync, so that the test sees several of them.
        let mut options = root_in_environment(aws, options);
        options.args = ["--resync", "1s"].map(str::to_owned).to_vec();
        options
    })
    .await?;
    let endpoint = lab.aws.url().to_owned();
    lab.create_store(&endpoint).await?;
    for number in 0..TARGETS {
        lab.create_target(&format!("target-{number}")).await?;
    }
    lab.until_all_ready(TARGETS).await?;
    until_store_counts(&lab, TARGETS).await?;

    lab.operator.kill();
    let (api, aws) = (lab.api.mark(), lab.aws.mark());
    lab.operator.restart().await?;
    // Each target was compared with AWS three times: once after the start, and at two resyncs.
    wait_until("three resyncs", PATIENCE, async || {
        let reads = lab.aws.calls_since(aws, |call| call.is("GetUser")).len();
        ensure!(reads >= 3 * TARGETS, "{reads} reads");
        Ok(())
    })
    .await?;
    let writes = lab.api.calls_since(api, Call::is_write);
    ensure!(writes.is_empty(), "{writes:#?}");
    let changes = lab.aws.calls_since(aws, |call| call.is_write() && !call.is("GetCallerIdentity"));
    ensure!(changes.is_empty(), "{changes:#?}");
    lab.until_all_ready(TARGETS).await
}

/// The count is brought up to date at most every half minute; this is the last write of a store that settles.
async fn until_store_counts(lab: &Lab, count: usize) -> Result<()> {
    let stores = Api::<backup_target_operator::api::BackupStore>::all(lab.control_plane.client()?);
    wait_until("the store to count its targets", PATIENCE, async || {
        let store = stores.get("default").await?;
        let counted = store.status.and_then(|status| status.targets);
        ensure!(counted == i64::try_from(count).ok(), "{counted:?}");
        Ok(())
    })
    .await
}
