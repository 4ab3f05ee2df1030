//! A test's own corner: an AWS account with a bucket that is in use, and a proxy in front of it.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use aws_config::{BehaviorVersion, Region, SdkConfig, retry::RetryConfig};
use aws_sdk_s3::{
    config::{Credentials, SharedCredentialsProvider},
    types::{OwnershipControls, OwnershipControlsRule},
};
use backup_target_operator::{
    access::{Access, BucketName, PolicyDocument, Prefix, Terms, rclone::AccessKey},
    api::Capability,
    fence::Fence,
    probe::{DEADLINE, Depth, Marks, Plan, Proof, Reach, prove},
    provider::aws::amazon::ANSWERS,
};
use serde_json::{Value, json};
use testbed::{
    aws::{Aws, REGION, ROOT_KEY, http_client},
    proxy::{Call, Proxy},
    run::Run,
};

pub const UID: &str = "6f1c7b0e-8f0a-4f57-9d0b-0a3f4c6a2b11";
pub const MARKS: Marks<'_> = Marks { uid: UID, nonce: "0123456789abcdef" };
pub const FOLDER: &str = "backups/dataset-1/";
/// The only object that a proof writes.
pub const PROBE_OBJECT: &str = "backups/dataset-1/.backup-target-probe-6f1c7b0e-8f0a-4f57-9d0b-0a3f4c6a2b11";
pub const NO_CAPABILITIES: &[Capability] = &[];
/// What is in the bucket: inside of the folder, beside it and at the top.
const IN_USE: [&str; 4] = ["backups/dataset-1/a", "backups/dataset-1/b/c", "backups/dataset-10/a", "top"];

/// What all tests share.
pub struct World {
    pub aws: Aws,
    corners: AtomicU64,
}

impl World {
    pub async fn start() -> Result<Self> {
        let run = Run::begin("probe")?;
        Ok(Self { aws: Aws::start(&run).await?, corners: AtomicU64::new(1) })
    }
}

/// A test's own corner.
pub struct Corner {
    world: Arc<World>,
    pub proxy: Proxy,
    /// With the rights of the account's root.
    pub iam: aws_sdk_iam::Client,
    pub s3: aws_sdk_s3::Client,
    pub bucket: String,
    terms: Terms,
    config: SdkConfig,
}

impl Corner {
    /// A corner whose bucket has objects in it.
    pub async fn new(world: &Arc<World>) -> Result<Self> {
        let corner = Self::without_bucket(world).await?;
        corner.create_bucket().await?;
        for key in IN_USE {
            corner.s3.put_object().bucket(&corner.bucket).key(key).body(Vec::from(key).into()).send().await?;
        }
        Ok(corner)
    }

    pub async fn without_bucket(world: &Arc<World>) -> Result<Self> {
        let number = world.corners.fetch_add(1, Ordering::Relaxed);
        let account = format!("{:012}", 200_000_000_000 + number);
        let (iam, s3) = world.aws.account(&account);
        let operator_key = Credentials::new(&account, ROOT_KEY, None, None, "operator");
        Ok(Self {
            proxy: Proxy::start(&world.aws.upstream()).await?,
            world: world.clone(),
            iam,
            s3,
            bucket: format!("probed-{number}"),
            terms: Terms::parse(&serde_json::from_value(json!({"region": REGION}))?, None)?,
            config: SdkConfig::builder()
                .behavior_version(BehaviorVersion::latest())
                .region(Region::new(REGION))
                .http_client(http_client())
                // As a store's connection has them; a proof uses neither.
                .retry_config(RetryConfig::standard().with_max_attempts(3))
                .credentials_provider(SharedCredentialsProvider::new(operator_key))
                .build(),
        })
    }

    /// As buckets of before 2023 are: with ACLs, and open to policies that make them public.
    pub async fn create_bucket(&self) -> Result<()> {
        self.s3.create_bucket().bucket(&self.bucket).send().await?;
        self.s3.delete_public_access_block().bucket(&self.bucket).send().await?;
        self.set_ownership("ObjectWriter").await
    }

    pub async fn set_ownership(&self, ownership: &str) -> Result<()> {
        let rule = OwnershipControlsRule::builder().object_ownership(ownership.into()).build()?;
        let controls = OwnershipControls::builder().rules(rule).build()?;
        self.s3.put_bucket_ownership_controls().bucket(&self.bucket).ownership_controls(controls).send().await?;
        Ok(())
    }

    pub async fn set_bucket_policy(&self, statement: Value) -> Result<()> {
        let policy = json!({"Version": "2012-10-17", "Statement": statement});
        self.s3.put_bucket_policy().bucket(&self.bucket).policy(policy.to_string()).send().await?;
        Ok(())
    }

    pub fn access(&self, capabilities: &[Capability]) -> Access {
        Access {
            bucket: BucketName::parse(&self.bucket).expect("valid"),
            prefix: Prefix::parse(FOLDER).expect("valid"),
            capabilities: capabilities.iter().copied().collect(),
            ancestor_listing: false,
        }
    }

    /// A key with exactly that access.
    pub async fn key_for(&self, access: &Access) -> Result<AccessKey> {
        self.key_with(&self.policy(access)).await
    }

    /// The policy for exactly that access.
    pub fn policy(&self, access: &Access) -> String {
        PolicyDocument::new(&self.terms, [access]).to_json()
    }

    /// The user that a key belongs to.
    pub async fn user_of(&self, key: &AccessKey) -> Result<String> {
        let users = self.iam.list_users().send().await?.users;
        for user in users {
            let keys = self.iam.list_access_keys().user_name(&user.user_name).send().await?;
            if keys.access_key_metadata.iter().any(|of| of.access_key_id.as_deref() == Some(&key.id)) {
                return Ok(user.user_name);
            }
        }
        anyhow::bail!("nobody has the key {}", key.id)
    }

    /// A key that may do everything.
    pub async fn wide_key(&self) -> Result<AccessKey> {
        self.key_with(&allowing("*", "*").to_string()).await
    }

    /// A key with that policy, given to a user of its own.
    pub async fn key_with(&self, policy: &str) -> Result<AccessKey> {
        let user = format!("target-{}", self.world.corners.fetch_add(1, Ordering::Relaxed));
        self.iam.create_user().user_name(&user).send().await?;
        self.set_policy(&user, policy).await?;
        let key = self.iam.create_access_key().user_name(&user).send().await?.access_key.context("a key")?;
        Ok(AccessKey { id: key.access_key_id, secret: key.secret_access_key.into() })
    }

    /// Replaces the policy of a user.
    pub async fn set_policy(&self, user: &str, policy: &str) -> Result<()> {
        self.iam.put_user_policy().user_name(user).policy_name("backup-target").policy_document(policy).send().await?;
        Ok(())
    }

    /// One proof with that key, and the calls that it took.
    pub async fn prove(&self, access: &Access, key: &AccessKey, depth: Depth) -> (Proof, Vec<Call>) {
        let mark = self.proxy.mark();
        let proof =
            self.prove_at(self.proxy.url(), key, Plan::new(&ANSWERS, access, &[], MARKS, depth), DEADLINE).await;
        (proof, self.proxy.calls_since(mark, |_| true))
    }

    /// A proof at any endpoint, within any time.
    pub async fn prove_at(&self, url: &str, key: &AccessKey, plan: Plan, deadline: Duration) -> Proof {
        let fence = Fence::default();
        let reach = Reach { config: &self.config, s3: Some(url), sts: Some(url), region_of_sts: REGION, fence: &fence };
        prove(reach, &ANSWERS, key, plan, deadline).await
    }

    /// All that is in the account's buckets: objects with what changes when they are written, their ACLs, their versions,
    /// and unfinished uploads. Equal means untouched.
    pub async fn everything(&self) -> Result<BTreeSet<String>> {
        let mut seen = BTreeSet::new();
        for bucket in self.s3.list_buckets().send().await?.buckets.unwrap_or_default() {
            let bucket = bucket.name.unwrap_or_default();
            let acl = self.s3.get_bucket_acl().bucket(&bucket).send().await?;
            seen.insert(format!("{bucket} {:?}", acl.grants()));
            for version in self.versions(&bucket).await? {
                seen.insert(format!("{bucket} {version}"));
            }
            let objects = self.s3.list_objects_v2().bucket(&bucket).send().await?;
            for object in objects.contents() {
                let key = object.key().unwrap_or_default();
                let acl = self.s3.get_object_acl().bucket(&bucket).key(key).send().await?;
                let (written, tag) = (object.last_modified(), object.e_tag());
                seen.insert(format!("{bucket} {key} {written:?} {tag:?} {:?}", acl.grants()));
            }
            let uploads = self.s3.list_multipart_uploads().bucket(&bucket).send().await?;
            seen.extend(uploads.uploads().iter().map(|upload| format!("{bucket} upload {:?}", upload.key())));
        }
        Ok(seen)
    }

    /// The versions in a bucket, delete markers among them.
    pub async fn versions(&self, bucket: &str) -> Result<Vec<String>> {
        let answer = self.s3.list_object_versions().bucket(bucket).send().await?;
        let objects =
            answer.versions().iter().map(|version| format!("version of {}", version.key().unwrap_or_default()));
        let markers =
            answer.delete_markers().iter().map(|marker| format!("marker of {}", marker.key().unwrap_or_default()));
        Ok(objects.chain(markers).collect())
    }
}

/// A policy that allows something.
pub fn allowing(action: &str, resource: &str) -> Value {
    json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": action, "Resource": resource}]})
}

pub fn texts<'a, T: ToString + 'a>(items: impl IntoIterator<Item = &'a T>) -> Vec<String> {
    items.into_iter().map(ToString::to_string).collect()
}
