//! A test's own corner: a namespace, a bucket, a store with its own AWS account, and a proxy in front of that.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use aws_sdk_iam::types::{AccessKeyMetadata, StatusType, User};
use backup_target_operator::{
    access::Terms,
    api::{
        BackupStore, BackupTarget,
        condition::{RECONCILING, STALLED},
    },
};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};
pub use testbed::objects::{
    condition, create, has, is, is_ready, labels, message, principal, rclone_conf, record, stalled_with, status,
};
use testbed::{
    aws::ROOT_KEY,
    canary::Canary,
    install,
    manifests::{credentials, store_spec},
    objects::{merge, option},
    operator_policy,
    proxy::{Call, Proxy},
    rclone::Rclone,
    seaweedfs,
    wait::wait_until,
};

use crate::world::World;

/// How long anything may take that the operator does at once.
pub const SOON: Duration = Duration::from_secs(30);

/// A test's own corner.
pub struct Space {
    pub world: Arc<World>,
    pub client: Client,
    pub namespace: String,
    pub bucket: String,
    pub store: String,
    pub account: String,
    /// What kind of store it is.
    pub kind: Kind,
    /// In front of this space's AWS, or of another store.
    pub aws_proxy: Proxy,
    /// The account's administrator.
    pub aws: Account,
}

/// The kinds of stores that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// AWS's stand-in, with an account for each space.
    Aws,
    /// SeaweedFS, which all spaces share.
    SeaweedFs,
}

/// The administrator of one AWS account.
pub struct Account {
    pub iam: aws_sdk_iam::Client,
    pub s3: aws_sdk_s3::Client,
}

impl Space {
    /// A space with a bucket, and a store that allows everything in it.
    pub async fn new(world: &Arc<World>) -> Result<Self> {
        Self::on(Kind::Aws, world).await
    }

    /// The same on a store of that kind.
    pub async fn on(kind: Kind, world: &Arc<World>) -> Result<Self> {
        let space = Self::with_bucket(kind, world).await?;
        space.create_store(space.store_spec()).await?;
        Ok(space)
    }

    /// A space with a bucket on a store of that kind, of which the operator does not know yet.
    pub async fn with_bucket(kind: Kind, world: &Arc<World>) -> Result<Self> {
        let space = Self::begin(kind, world).await?;
        space.create_bucket(&space.bucket).await?;
        Ok(space)
    }

    /// A space with nothing in it but its namespace, and credentials for the operator.
    pub async fn without_store(world: &Arc<World>) -> Result<Self> {
        Self::begin(Kind::Aws, world).await
    }

    async fn begin(kind: Kind, world: &Arc<World>) -> Result<Self> {
        let number = world.next_number();
        let account = format!("{:012}", 100_000_000_000 + number);
        let space = Self {
            client: world.client.clone(),
            namespace: format!("team-{number}"),
            bucket: format!("bucket-{number}"),
            store: format!("store-{number}"),
            aws_proxy: Proxy::start(&match kind {
                Kind::Aws => world.aws.upstream(),
                Kind::SeaweedFs => world.seaweedfs.upstream(),
            })
            .await?,
            aws: Account::new(kind, world, &account),
            account,
            kind,
            world: world.clone(),
        };
        create(&Api::<Namespace>::all(space.client.clone()), json!({"metadata": {"name": space.namespace}})).await?;
        match kind {
            Kind::Aws => space.write_credentials(&space.account, ROOT_KEY).await?,
            Kind::SeaweedFs => space.write_credentials(seaweedfs::ROOT_KEY, seaweedfs::ROOT_SECRET).await?,
        }
        Ok(space)
    }

    /// The operator's credentials for this space's store.
    pub async fn write_credentials(&self, id: &str, secret: &str) -> Result<()> {
        install::apply(&self.client, credentials(&self.store, id, secret)).await
    }

    pub async fn create_bucket(&self, bucket: &str) -> Result<()> {
        self.aws.s3.create_bucket().bucket(bucket).send().await?;
        Ok(())
    }

    pub fn store_spec(&self) -> Value {
        let everything = json!([{
            "namespaces": {"names": [self.namespace]},
            "buckets": [self.bucket],
            "prefixes": [""],
            "capabilities": ["MultipartUploads", "ObjectAcls", "ListAllBuckets", "CreateBucket"],
            "retain": true,
            "ancestorListing": "Allow",
        }]);
        let mut spec = store_spec(self.aws_proxy.url(), Some(&self.store), &everything);
        if self.kind == Kind::SeaweedFs {
            merge(&mut spec, json!({"provider": "SeaweedFS", "aws": null}));
        }
        spec
    }

    /// What the store says about all access.
    pub fn terms(&self) -> Result<Terms> {
        let caller = format!("arn:aws:iam::{}:root", self.account);
        Ok(Terms::parse(&serde_json::from_value(self.store_spec())?, Some(&caller))?)
    }

    // === stores ===

    pub fn stores(&self) -> Api<BackupStore> {
        Api::all(self.client.clone())
    }

    pub async fn create_store(&self, spec: Value) -> Result<()> {
        self.give_rights(&spec);
        create(&self.stores(), json!({"metadata": {"name": self.store}, "spec": spec})).await?;
        Ok(())
    }

    /// The operator may do what an administrator with that store is told to allow it. Nobody is told anything for a store that is
    /// not valid.
    fn give_rights(&self, spec: &Value) {
        if self.kind == Kind::Aws
            && let Ok(policy) = operator_policy::printed(spec, &self.world.cluster_id)
        {
            self.aws_proxy.authorize(Some(policy));
        }
    }

    pub async fn patch_store(&self, spec: Value) -> Result<BackupStore> {
        if let Some(aws) = spec.get("aws") {
            // Before the operator hears of it.
            let mut whole = serde_json::to_value(self.stores().get(&self.store).await?.spec)?;
            merge(&mut whole["aws"], aws.clone());
            self.give_rights(&whole);
        }
        let patch = json!({"spec": spec});
        Ok(self.stores().patch(&self.store, &PatchParams::default(), &Patch::Merge(patch)).await?)
    }

    /// Replaces one field of the store's only rule.
    pub async fn patch_rule(&self, field: &str, value: Value) -> Result<()> {
        let mut rule = self.store_spec()["allow"][0].clone();
        rule[field] = value;
        self.patch_store(json!({"allow": [rule]})).await?;
        Ok(())
    }

    pub async fn until_store(&self, what: &str, wanted: impl Fn(&BackupStore) -> bool) -> Result<BackupStore> {
        wait_until(&format!("{} to be {what}", self.store), SOON, async || {
            let store = self.stores().get(&self.store).await?;
            ensure!(wanted(&store), "{}", serde_json::to_string(&store.status)?);
            Ok(store)
        })
        .await
    }

    // === targets ===

    pub fn targets(&self) -> Api<BackupTarget> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The spec of a target under `backups/dataset-1/`, with some fields of its own.
    pub fn target_spec(&self, fields: Value) -> Value {
        let mut spec = json!({"storeRef": {"name": self.store}, "bucket": self.bucket, "prefix": "backups/dataset-1/"});
        merge(&mut spec, fields);
        spec
    }

    pub async fn create_target(&self, name: &str, fields: Value) -> Result<BackupTarget> {
        let body = json!({"metadata": {"name": name}, "spec": self.target_spec(fields)});
        create(&self.targets(), body).await
    }

    /// As [`Self::create_target`], for what the types of the code could not even say.
    pub async fn create_raw(&self, name: &str, fields: Value) -> Result<()> {
        self.post::<BackupTarget>(Some(&self.namespace), name, &self.target_spec(fields), "").await
    }

    /// Whether the API server would take a target.
    pub async fn ask_for(&self, spec: &Value) -> Result<()> {
        self.post::<BackupTarget>(Some(&self.namespace), "sample", spec, "?dryRun=All").await
    }

    /// Whether the API server would take a store.
    pub async fn ask_for_store(&self, spec: &Value) -> Result<()> {
        self.post::<BackupStore>(None, "sample", spec, "?dryRun=All").await
    }

    async fn post<K: Resource<DynamicType = ()>>(
        &self,
        namespace: Option<&str>,
        name: &str,
        spec: &Value,
        query: &str,
    ) -> Result<()> {
        let body = json!({
            "apiVersion": K::api_version(&()), "kind": K::kind(&()), "metadata": {"name": name}, "spec": spec,
        });
        let path = format!("{}{query}", K::url_path(&(), namespace));
        let request = hyper::Request::post(path).header("content-type", "application/json");
        let _: Value = self.client.request(request.body(serde_json::to_vec(&body)?)?).await?;
        Ok(())
    }

    pub async fn patch_target(&self, name: &str, spec: Value) -> Result<BackupTarget> {
        let patch = json!({"spec": spec});
        Ok(self.targets().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?)
    }

    pub async fn delete_target(&self, name: &str) -> Result<()> {
        self.targets().delete(name, &DeleteParams::default()).await?;
        Ok(())
    }

    /// Waits until a target's status fits, for its present generation.
    pub async fn until(&self, name: &str, what: &str, wanted: impl Fn(&BackupTarget) -> bool) -> Result<BackupTarget> {
        self.until_within(SOON, name, what, wanted).await
    }

    pub async fn until_within(
        &self,
        deadline: Duration,
        name: &str,
        what: &str,
        wanted: impl Fn(&BackupTarget) -> bool,
    ) -> Result<BackupTarget> {
        let target = wait_until(&format!("{}/{name} to be {what}", self.namespace), deadline, async || {
            let target = self.targets().get(name).await?;
            let observed = status(&target).observed_generation == target.metadata.generation;
            ensure!(observed && wanted(&target), "{}", serde_json::to_string(&target.status)?);
            Ok(target)
        })
        .await?;
        self.keep_secrets().await?;
        Ok(target)
    }

    pub async fn until_ready(&self, name: &str) -> Result<BackupTarget> {
        self.until(name, "ready", is_ready).await
    }

    /// Waits until a target is not ready for that reason, and only a person can mend it.
    pub async fn until_stalled(&self, name: &str, reason: &str) -> Result<BackupTarget> {
        self.until(name, &format!("stalled with {reason}"), |target| stalled_with(target, reason)).await
    }

    /// Waits until a target is not ready for that reason, and the operator goes on trying.
    pub async fn until_reconciling(&self, name: &str, reason: &str) -> Result<BackupTarget> {
        let what = format!("reconciling with {reason}");
        self.until(name, &what, |target| has(target, RECONCILING, "True", reason) && !is(target, STALLED, "True")).await
    }

    /// Waits for something of a target, or for its end; nobody is called for it meanwhile.
    pub async fn until_without_a_stall(
        &self,
        deadline: Duration,
        name: &str,
        wanted: impl Fn(Option<&BackupTarget>) -> bool,
    ) -> Result<()> {
        let stalls = Mutex::new(BTreeSet::new());
        wait_until(&format!("{}/{name}", self.namespace), deadline, async || {
            let target = self.targets().get_opt(name).await?;
            let stalled = target.as_ref().and_then(|target| condition(target, STALLED));
            stalls.lock().unwrap_or_else(PoisonError::into_inner).extend(stalled.map(|stalled| stalled.message));
            ensure!(wanted(target.as_ref()), "{:?}", target.and_then(|target| target.status));
            Ok(())
        })
        .await?;
        let stalls = stalls.into_inner().unwrap_or_else(PoisonError::into_inner);
        ensure!(stalls.is_empty(), "{stalls:?}");
        Ok(())
    }

    pub async fn until_gone(&self, name: &str) -> Result<()> {
        wait_until(&format!("{}/{name} to be gone", self.namespace), SOON, async || {
            match self.targets().get_opt(name).await? {
                None => Ok(()),
                Some(target) => bail!("{}", serde_json::to_string(&target.status)?),
            }
        })
        .await
    }

    /// Makes the operator look at a target, and waits until it has.
    pub async fn poke(&self, name: &str) -> Result<()> {
        let mark = self.world.api.mark();
        let patch = json!({"metadata": {"annotations": {"test/poke": format!("{mark:?}")}}});
        self.targets().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        let secrets = format!("/namespaces/{}/secrets/", self.namespace);
        wait_until("the operator to look at the target", SOON, async || {
            // It looks at the target first and at its Secrets after that.
            let seen = self.world.api.calls_since(mark, |call| call.path.contains(&secrets) && call.status.is_some());
            ensure!(!seen.is_empty(), "it has not looked yet");
            Ok(())
        })
        .await
    }

    // === Secrets ===

    pub fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub async fn create_secret(&self, body: Value) -> Result<Secret> {
        create(&self.secrets(), body).await
    }

    /// The rclone.conf in a Secret.
    pub async fn rclone_conf(&self, name: &str) -> Result<String> {
        rclone_conf(&self.secrets().get(name).await?).context("the Secret has no rclone.conf")
    }

    /// An rclone that has what a backup job mounts.
    pub async fn rclone(&self, secret: &str) -> Result<Rclone> {
        Rclone::new(&self.rclone_conf(secret).await?)
    }

    /// A backup that runs all the time with what a Secret holds now.
    pub async fn canary(&self, secret: &str, prefix: &str) -> Result<Canary> {
        let conf = self.rclone_conf(secret).await?;
        let s3 = self.s3_with(&conf);
        Ok(Canary::start(s3, &self.bucket, prefix))
    }

    /// S3 with the key in an rclone.conf.
    pub fn s3_with(&self, conf: &str) -> aws_sdk_s3::Client {
        let (id, secret) = (option(conf, "access_key_id"), option(conf, "secret_access_key"));
        match self.kind {
            Kind::Aws => self.world.aws.s3_as(id, secret),
            Kind::SeaweedFs => self.world.seaweedfs.s3_as(id, secret),
        }
    }

    /// The secrets of this space must appear in nothing that the operator prints.
    async fn keep_secrets(&self) -> Result<()> {
        for secret in self.secrets().list(&ListParams::default()).await? {
            let conf = rclone_conf(&secret).unwrap_or_default();
            for line in conf.lines().filter_map(|line| line.strip_prefix("secret_access_key = ")) {
                self.world.keep_secret(line);
            }
        }
        Ok(())
    }

    // === AWS ===

    pub async fn keys(&self, user: &str) -> Result<Vec<AccessKeyMetadata>> {
        Ok(self.aws.iam.list_access_keys().user_name(user).send().await?.access_key_metadata)
    }

    pub async fn active_keys(&self, user: &str) -> Result<Vec<String>> {
        let keys = self.keys(user).await?.into_iter();
        let active = keys.filter(|key| key.status == Some(StatusType::Active));
        Ok(active.filter_map(|key| key.access_key_id).collect())
    }

    /// Every IAM user of this space's account.
    pub async fn users(&self) -> Result<Vec<User>> {
        Ok(self.aws.iam.list_users().send().await?.users)
    }

    /// The policy of a user, as it means.
    pub async fn policy(&self, user: &str) -> Result<Value> {
        let answer = self.aws.iam.get_user_policy().user_name(user).policy_name("backup-target").send().await?;
        let text = percent_encoding::percent_decode_str(&answer.policy_document).decode_utf8()?;
        Ok(serde_json::from_str(&text)?)
    }

    pub async fn put_object(&self, key: &str) -> Result<()> {
        self.aws.s3.put_object().bucket(&self.bucket).key(key).body(Vec::from("kept").into()).send().await?;
        Ok(())
    }

    pub async fn objects(&self) -> Result<Vec<String>> {
        let listed = self.aws.s3.list_objects_v2().bucket(&self.bucket).send().await?;
        Ok(listed.contents.unwrap_or_default().into_iter().filter_map(|object| object.key).collect())
    }

    /// What the operator wrote in this namespace, apart from events and from questions whether something would be taken.
    pub fn writes(&self) -> Vec<Call> {
        self.world.api.calls(|call| self.is_write_here(call))
    }

    pub fn is_write_here(&self, call: &Call) -> bool {
        let asks = call.query.contains("dryRun");
        call.is_write() && !asks && call.namespace() == Some(&self.namespace) && !call.path.contains("/events")
    }

    /// The calls to IAM so far, by action.
    pub fn iam_calls(&self) -> Vec<String> {
        let calls = self.aws_proxy.calls(|call| call.action.is_some() && !call.is("GetCallerIdentity"));
        calls.into_iter().filter_map(|call| call.action).collect()
    }
}

impl Account {
    fn new(kind: Kind, world: &World, id: &str) -> Self {
        let (iam, s3) = match kind {
            Kind::Aws => world.aws.account(id),
            Kind::SeaweedFs => (world.seaweedfs.iam.clone(), world.seaweedfs.s3.clone()),
        };
        Self { iam, s3 }
    }
}
