//! The operator goes and comes back: nothing is written, nothing is lost.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use backup_target_operator::api::{BackupTarget, condition::RECONCILING};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, api::ListParams};
use serde_json::{Value, json};
use testbed::{
    aws::{Aws, REGION},
    kubernetes::ControlPlane,
    manifests::store_spec,
    objects::option,
    operator::{Operator, Options},
    operator_policy,
    proxy::{Call, Fault, Proxy, Upstream},
    run::Run,
    tests,
    wait::wait_until,
};
use tokio::time::timeout;

use crate::{
    space::{create, has, is_ready, principal, rclone_conf, record},
    world::World,
};

tests![
    a_restart_with_healthy_targets_writes_nothing,
    a_stop_takes_a_key_along_that_nobody_got,
    a_stop_leaves_a_key_that_a_secret_may_hold,
];

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
        let allow = json!([{"namespaces": {"names": ["default"]}, "buckets": ["my-backups"], "prefixes": [""]}]);
        let spec = store_spec(endpoint, None, &allow);
        self.give_rights(&spec).await?;
        create(&stores, json!({"metadata": {"name": "default"}, "spec": spec})).await?;
        self.stand_in.create_bucket("my-backups").await
    }

    /// The operator may do what an administrator with that store is told to allow it.
    pub async fn give_rights(&self, spec: &Value) -> Result<()> {
        let cluster = operator_policy::cluster_id(&self.control_plane.client()?).await?;
        self.aws.authorize(Some(operator_policy::printed(spec, &cluster)?));
        Ok(())
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

async fn a_stop_takes_a_key_along_that_nobody_got(_: Arc<World>) -> Result<()> {
    let mut lab = Lab::start("farewell", root_in_environment).await?;
    let endpoint = lab.aws.url().to_owned();
    lab.create_store(&endpoint).await?;
    let with_its_key = |call: &Call| call.action.is_none() && call.access_key.is_some();
    let unknown = lab.aws.fault(Fault::S3Error(403, "InvalidAccessKeyId"), with_its_key);
    lab.create_target("a").await?;
    let targets = lab.targets()?;
    let user = wait_until("a key that waits to be known", PATIENCE, async || {
        let target = targets.get("a").await?;
        ensure!(has(&target, RECONCILING, "True", "Propagating"), "{:?}", target.status);
        Ok(principal(&target))
    })
    .await?;
    ensure!(lab.administrator().keys_of(&user).await?.len() == 1);
    lab.operator.stop();
    let left = lab.administrator().keys_of(&user).await?;
    ensure!(left.is_empty(), "{left:?}");
    drop(unknown);
    lab.operator.restart().await?;
    lab.until_all_ready(1).await?;
    ensure!(lab.administrator().keys_of(&user).await?.len() == 1);
    Ok(())
}

/// The Secret was written and the answer was lost: this process does not know whether a backup has the key.
async fn a_stop_leaves_a_key_that_a_secret_may_hold(_: Arc<World>) -> Result<()> {
    let mut lab = Lab::start("farewell-unknown", root_in_environment).await?;
    let endpoint = lab.aws.url().to_owned();
    lab.create_store(&endpoint).await?;
    let of_secrets = |call: &Call| call.path.contains("/secrets");
    let writes = move |call: &Call| call.method == "POST" && of_secrets(call) && !call.query.contains("dryRun");
    let lost = lab.api.fault_some(Fault::LoseAnswer, 0..1, writes);
    lab.create_target("a").await?;
    timeout(PATIENCE, lost.happened()).await.context("no Secret was written")?;
    // Within the second until it tries again: it must not find out.
    let hidden = lab.api.fault(Fault::Refuse, move |call| call.method == "GET" && of_secrets(call));
    lab.operator.stop();
    let user = principal(&lab.targets()?.get("a").await?);
    let keys = lab.administrator().keys_of(&user).await?;
    let ids: Vec<&str> = keys.iter().filter_map(|key| key.access_key_id.as_deref()).collect();
    let secret = Api::<Secret>::namespaced(lab.control_plane.client()?, "default").get("a").await?;
    let conf = rclone_conf(&secret).context("an rclone.conf")?;
    ensure!(ids == [option(&conf, "access_key_id")], "the key that was published is gone: {ids:?}");
    drop((lost, hidden));
    lab.operator.restart().await?;
    lab.until_all_ready(1).await?;
    let now = lab.targets()?.get("a").await?;
    ensure!(record(&now).access_key_id.as_deref() == Some(option(&conf, "access_key_id")), "{:?}", now.status);
    Ok(())
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
