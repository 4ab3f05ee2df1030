//! A plan's own corner: namespace, bucket, store and AWS account, and an operator that sees nothing else.

use std::{sync::Arc, time::Duration};

use anyhow::{Result, bail, ensure};
use backup_target_operator::api::{
    BackupStore, BackupTarget,
    condition::{self, READY},
};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use testbed::{
    install,
    manifests::{credentials, store_spec},
    objects::{create, merge, status},
    operator::{Operator, Options},
    operator_policy,
    proxy::{Active, Call, Fault, Proxy},
    wait::{wait_patiently_until, wait_until},
};
use tokio::sync::Mutex;

use crate::{
    decoys,
    shape::{Server, Shape},
    world::World,
};

pub const TARGET: &str = "dataset-1";
pub const SECRET: &str = TARGET;
const LOOK: Duration = Duration::from_millis(250);
const LABEL: &str = "corner";
const ADMINISTRATOR: &str =
    r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}"#;

/// A plan's own corner.
pub struct Corner {
    // Ends first.
    pub operator: Mutex<Operator>,
    pub world: Arc<World>,
    pub client: Client,
    pub namespace: String,
    pub bucket: String,
    pub store: String,
    pub account: String,
    pub api: Proxy,
    pub aws: Proxy,
    /// The account's administrator, past the proxy.
    pub iam: aws_sdk_iam::Client,
    number: u64,
    /// What must be as it was in the end.
    pub decoys: Value,
}

impl Corner {
    pub async fn start(world: &Arc<World>) -> Result<Self> {
        let number = world.next_number();
        let account = format!("{:012}", 200_000_000_000 + number);
        let (iam, s3) = world.aws.account(&account);
        let (namespace, bucket) = (format!("plan-{number}"), format!("bucket-{number}"));
        let (api, aws) =
            (Proxy::start(&world.control_plane.upstream()).await?, Proxy::start(&world.aws.upstream()).await?);
        api.keep_answers();
        aws.keep_answers();
        create(&Api::<Namespace>::all(world.client.clone()), json!({"metadata": {"name": namespace}})).await?;
        s3.create_bucket().bucket(&bucket).send().await?;
        let options = Options {
            server: Some(api.url().to_owned()),
            args: ["--resync", "1s", "--watch-label-selector", &format!("{LABEL}=c{number}")].map(str::to_owned).into(),
            ..Options::default()
        };
        // Talkative where it is ours, so that a secret in any log line is seen.
        let options = options.env("LOG_FILTER", "info,backup_target_operator=trace");
        let operator = Operator::start(&world.control_plane, options).await?;
        let mut corner = Self {
            operator: Mutex::new(operator),
            world: world.clone(),
            client: world.client.clone(),
            store: format!("store-of-{namespace}"),
            namespace,
            bucket,
            account,
            api,
            aws,
            iam,
            number,
            decoys: Value::Null,
        };
        corner.create_operators_key().await?;
        corner.decoys = decoys::create(&corner).await?;
        Ok(corner)
    }

    async fn create_operators_key(&self) -> Result<()> {
        self.iam.create_user().user_name("operator").send().await?;
        let policy = self.iam.put_user_policy().user_name("operator").policy_name("all");
        policy.policy_document(ADMINISTRATOR).send().await?;
        let key = self.iam.create_access_key().user_name("operator").send().await?.access_key;
        let Some(key) = key else { bail!("no key") };
        self.write_credentials(&key.access_key_id, &key.secret_access_key).await
    }

    /// The operator's credentials for this corner's store.
    pub async fn write_credentials(&self, id: &str, secret: &str) -> Result<()> {
        install::apply(&self.client, credentials(&self.store, id, secret)).await
    }

    // === faults ===

    pub fn proxy(&self, server: Server) -> &Proxy {
        match server {
            Server::Api => &self.api,
            Server::Aws => &self.aws,
        }
    }

    /// Breaks some calls of one kind, counted from now.
    pub fn break_calls(&self, shape: &Shape, fault: Fault, first: usize, times: usize) -> Active {
        let (server, wanted) = (shape.server, shape.clone());
        let matches = move |call: &Call| Shape::of(server, call).as_ref() == Some(&wanted);
        self.proxy(server).fault_some(fault, first..first + times, matches)
    }

    /// Ends the operator as a crash would, and starts it again.
    pub async fn crash(&self) -> Result<()> {
        let mut operator = self.operator.lock().await;
        operator.kill();
        operator.restart().await
    }

    // === stores ===

    pub fn stores(&self) -> Api<BackupStore> {
        Api::all(self.client.clone())
    }

    pub async fn create_store(&self) -> Result<()> {
        let spec = store_spec(self.aws.url(), Some(&self.store), &self.rules());
        let cluster = operator_policy::cluster_id(&self.client).await?;
        self.aws.authorize(Some(operator_policy::printed(&spec, &cluster)?));
        create(&self.stores(), json!({"metadata": {"name": self.store, "labels": self.labels()}, "spec": spec}))
            .await?;
        Ok(())
    }

    fn rules(&self) -> Value {
        json!([{
            "namespaces": {"names": [self.namespace]}, "buckets": [self.bucket], "prefixes": [""],
            "capabilities": ["MultipartUploads", "ObjectAcls"], "ancestorListing": "Allow",
        }])
    }

    /// Gives the store its rules, or takes all of them away.
    pub async fn set_rules(&self, allow: bool) -> Result<()> {
        let patch = json!({"spec": {"allow": if allow { self.rules() } else { json!([]) }}});
        self.stores().patch(&self.store, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    pub async fn store_is_ready(&self) -> Result<()> {
        let status = self.stores().get(&self.store).await?.status.unwrap_or_default();
        let ready = condition::find(&status.conditions, READY).is_some_and(|ready| ready.status == "True");
        ensure!(ready, "{}", serde_json::to_string(&status)?);
        Ok(())
    }

    pub async fn until_store_is_ready(&self, deadline: Duration) -> Result<()> {
        wait_until("the store to be ready", deadline, async || self.store_is_ready().await).await
    }

    // === the target ===

    pub fn targets(&self) -> Api<BackupTarget> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub async fn target(&self) -> Result<BackupTarget> {
        Ok(self.targets().get(TARGET).await?)
    }

    pub async fn create_target(&self, fields: Value) -> Result<()> {
        let mut spec = json!({"storeRef": {"name": self.store}, "bucket": self.bucket, "prefix": "backups/dataset-1/"});
        merge(&mut spec, fields);
        create(&self.targets(), json!({"metadata": {"name": TARGET, "labels": self.labels()}, "spec": spec})).await?;
        Ok(())
    }

    pub async fn patch_target(&self, spec: Value) -> Result<()> {
        let patch = json!({"spec": spec});
        self.targets().patch(TARGET, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    pub async fn delete_target(&self) -> Result<()> {
        self.targets().delete(TARGET, &DeleteParams::default()).await?;
        Ok(())
    }

    pub async fn target_is_gone(&self) -> Result<()> {
        match self.targets().get_opt(TARGET).await? {
            None => Ok(()),
            Some(target) => bail!("{}", serde_json::to_string(&target.status)?),
        }
    }

    pub async fn until_gone(&self, deadline: Duration) -> Result<()> {
        wait_until("the target to be gone", deadline, async || self.target_is_gone().await).await
    }

    /// Waits until the target's status fits, for its present generation.
    pub async fn until(
        &self,
        deadline: Duration,
        what: &str,
        wanted: impl Fn(&BackupTarget) -> bool,
    ) -> Result<BackupTarget> {
        let what = format!("the target to be {what}");
        wait_patiently_until(&what, deadline, LOOK, async || {
            let target = self.target().await?;
            let observed = status(&target).observed_generation == target.metadata.generation;
            ensure!(observed && wanted(&target), "{}", serde_json::to_string(&target.status)?);
            Ok(target)
        })
        .await
    }

    pub fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// What this corner's operator goes by.
    pub fn labels(&self) -> Value {
        json!({LABEL: format!("c{}", self.number)})
    }
}
