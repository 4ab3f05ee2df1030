//! AWS, played by a program on loopback that enforces the policies it is given.

use std::{collections::BTreeMap, net::Ipv4Addr, path::Path, time::Duration};

use anyhow::{Context, Result};
use aws_sdk_iam::{
    config::{BehaviorVersion, Credentials, Region, SharedHttpClient},
    types::{AccessKey, AccessKeyMetadata, User},
};
use aws_sdk_s3::primitives::ByteStream;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};
use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::{child::command, ports::with_free_port, process::Process, proxy::Upstream, run::Run, tools::tool};

/// The account everything belongs to.
pub const ACCOUNT: &str = "000000000000";
/// Both halves of the account's root key.
pub const ROOT_KEY: &str = "test";
pub const REGION: &str = "us-east-1";

const START: Duration = Duration::from_mins(1);

/// A running stand-in for IAM, STS and S3; dropping it ends it, and all it holds is gone. For TLS put a
/// [`super::proxy::Proxy`] in front of it.
pub struct Aws {
    server: Process,
    url: String,
    /// Clients with the rights of the account's root.
    pub iam: aws_sdk_iam::Client,
    pub s3: aws_sdk_s3::Client,
}

impl Aws {
    pub async fn start(run: &Run) -> Result<Self> {
        Self::start_at(run, Ipv4Addr::LOCALHOST).await
    }

    /// At an address of this machine that others than its own programs reach, too.
    pub async fn start_at(run: &Run, address: Ipv4Addr) -> Result<Self> {
        let room = run.room("aws")?;
        with_free_port(async |port| Self::start_server(&room, address, port).await).await
    }

    async fn start_server(room: &Path, address: Ipv4Addr, port: u16) -> Result<Self> {
        let url = format!("http://{address}:{port}");
        let (iam, s3) = clients(&url, ROOT_KEY, ROOT_KEY);
        let mut aws = Self { server: start_server(room, address, port)?, iam, s3, url };
        let iam = aws.iam.clone();
        aws.server.until_prints(START, &format!("Running on {}", aws.url)).await?;
        // The first request takes longer than all others, and no test should be the one to wait for it.
        aws.server.until_ready(START, async || Ok(iam.list_users().send().await?)).await?;
        Ok(aws)
    }

    /// The endpoint of IAM, STS and S3.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Clients with the rights of another account's root: twelve digits are an account, and its root's key.
    pub fn account(&self, id: &str) -> (aws_sdk_iam::Client, aws_sdk_s3::Client) {
        clients(&self.url, id, ROOT_KEY)
    }

    /// Clients with the rights of a user, by a key of theirs.
    pub fn user(&self, key: &AccessKey) -> (aws_sdk_iam::Client, aws_sdk_s3::Client) {
        clients(&self.url, &key.access_key_id, &key.secret_access_key)
    }

    /// A client with a session that a user makes from a key of theirs.
    pub async fn session(&self, key: &AccessKey) -> Result<aws_sdk_s3::Client> {
        let credentials = Credentials::new(&key.access_key_id, &key.secret_access_key, None, None, "testbed");
        let config = aws_sdk_sts::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(http_client())
            .region(Region::new(REGION))
            .credentials_provider(credentials)
            .endpoint_url(&self.url);
        let answer = aws_sdk_sts::Client::from_conf(config.build()).get_session_token().send().await?;
        let made = answer.credentials.context("a session without credentials")?;
        let (id, secret, token) = (made.access_key_id, made.secret_access_key, made.session_token);
        let credentials = Credentials::new(id, secret, Some(token), None, "testbed");
        Ok(aws_sdk_s3::Client::from_conf(s3_config(&self.url, credentials)))
    }

    /// A client with any key.
    pub fn s3_as(&self, id: &str, secret: &str) -> aws_sdk_s3::Client {
        clients(&self.url, id, secret).1
    }

    /// What a proxy in front of it needs to know.
    pub fn upstream(&self) -> Upstream {
        Upstream { url: self.url.clone(), authority: None, as_aws: true }
    }

    /// The server, to disturb or to report.
    pub fn server(&mut self) -> &mut Process {
        &mut self.server
    }

    /// The principals under an IAM path.
    pub async fn users_under(&self, path: &str) -> Result<Vec<User>> {
        let users = self.iam.list_users().path_prefix(path).into_paginator().items().send();
        Ok(users.collect::<Result<_, _>>().await?)
    }

    pub async fn keys_of(&self, user: &str) -> Result<Vec<AccessKeyMetadata>> {
        let keys = self.iam.list_access_keys().user_name(user).into_paginator().items().send();
        Ok(keys.collect::<Result<_, _>>().await?)
    }

    /// The policies of a user, inline and attached, by name.
    pub async fn policies_of(&self, user: &str) -> Result<BTreeMap<String, Value>> {
        let mut policies = BTreeMap::new();
        for name in self.iam.list_user_policies().user_name(user).send().await?.policy_names {
            let policy = self.iam.get_user_policy().user_name(user).policy_name(&name).send().await?;
            policies.insert(name, document(&policy.policy_document)?);
        }
        let attached = self.iam.list_attached_user_policies().user_name(user).send().await?;
        for policy in attached.attached_policies.unwrap_or_default() {
            let arn = policy.policy_arn.context("an attached policy without an ARN")?;
            let name = policy.policy_name.unwrap_or_else(|| arn.clone());
            policies.insert(name, self.managed_policy(&arn).await?);
        }
        Ok(policies)
    }

    async fn managed_policy(&self, arn: &str) -> Result<Value> {
        let policy = self.iam.get_policy().policy_arn(arn).send().await?.policy;
        let version = policy.and_then(|policy| policy.default_version_id).context("a policy without a version")?;
        let answer = self.iam.get_policy_version().policy_arn(arn).version_id(version).send().await?;
        let text = answer.policy_version.and_then(|version| version.document);
        document(&text.context("a policy version without a document")?)
    }

    pub async fn create_bucket(&self, bucket: &str) -> Result<()> {
        self.s3.create_bucket().bucket(bucket).send().await?;
        Ok(())
    }

    pub async fn put_object(&self, bucket: &str, key: &str, content: &str) -> Result<()> {
        let content = ByteStream::from(content.as_bytes().to_vec());
        self.s3.put_object().bucket(bucket).key(key).body(content).send().await?;
        Ok(())
    }

    pub async fn size(&self, bucket: &str, key: &str) -> Result<i64> {
        let head = self.s3.head_object().bucket(bucket).key(key).send().await?;
        head.content_length.context("an object without a length")
    }

    /// The objects of a bucket: the key, and what changes when the object is written again. Equal means untouched.
    pub async fn objects(&self, bucket: &str) -> Result<BTreeMap<String, String>> {
        let mut pages = self.s3.list_objects_v2().bucket(bucket).into_paginator().send();
        let mut objects = BTreeMap::new();
        while let Some(page) = pages.try_next().await? {
            for object in page.contents.unwrap_or_default() {
                let written = object.last_modified.map(|time| time.to_string());
                let state = format!("{} {}", written.unwrap_or_default(), object.e_tag.unwrap_or_default());
                objects.insert(object.key.unwrap_or_default(), state);
            }
        }
        Ok(objects)
    }
}

fn start_server(room: &Path, address: Ipv4Addr, port: u16) -> Result<Process> {
    let mut server = command(tool("ministack")?);
    server
        .env("AUTH", "true")
        .env("BIND_HOST", address.to_string())
        .env("GATEWAY_PORT", port.to_string())
        .env("MINISTACK_ACCOUNT_ID", ACCOUNT)
        .env("MINISTACK_REGION", REGION)
        .env("AWS_ACCESS_KEY_ID", ROOT_KEY)
        .env("AWS_SECRET_ACCESS_KEY", ROOT_KEY)
        // It offers far more than is needed here, some of it on ports of its own and some through Docker.
        .env("SERVICES", "iam,sts,s3")
        .env("IOT_MTLS_ENABLED", "0")
        .env("SFTP_ENABLED", "0")
        .env("DOCKER_HOST", "unix:///nonexistent")
        .env("PYTHONUNBUFFERED", "1");
    for folder in ["HOME", "TMPDIR", "STATE_DIR", "S3_DATA_DIR"] {
        server.env(folder, room);
    }
    Process::start("ministack", server, &room.join("ministack.log"))
}

/// Clients that sign with a key.
pub fn clients(url: &str, id: &str, secret: &str) -> (aws_sdk_iam::Client, aws_sdk_s3::Client) {
    let key = Credentials::new(id, secret, None, None, "testbed");
    (aws_sdk_iam::Client::from_conf(iam_config(url, key.clone())), aws_sdk_s3::Client::from_conf(s3_config(url, key)))
}

fn iam_config(url: &str, key: Credentials) -> aws_sdk_iam::Config {
    aws_sdk_iam::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(http_client())
        .region(Region::new(REGION))
        .credentials_provider(key)
        .endpoint_url(url)
        .build()
}

fn s3_config(url: &str, key: Credentials) -> aws_sdk_s3::Config {
    aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(http_client())
        .region(Region::new(REGION))
        .credentials_provider(key)
        .endpoint_url(url)
        .force_path_style(true)
        .build()
}

/// Without the certificates and the proxies of this program's environment, which the SDK's own client would use.
pub fn http_client() -> SharedHttpClient {
    let trust_nobody = TlsContext::builder().with_trust_store(TrustStore::empty()).build();
    aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
        .tls_context(trust_nobody.expect("an empty trust store is valid"))
        .build_https()
}

/// IAM sends policies URL-encoded.
fn document(encoded: &str) -> Result<Value> {
    let text = percent_decode_str(encoded).decode_utf8()?;
    serde_json::from_str(&text).with_context(|| format!("failed to read the policy `{text}`"))
}
