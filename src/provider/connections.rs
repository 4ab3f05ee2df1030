//! Connections to stores: one per BackupStore, made from its spec and its credentials, and proven before use.

use std::{
    collections::HashMap,
    env,
    sync::Arc,
    time::{Duration, Instant},
};

use aws_config::{BehaviorVersion, Region, SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_iam::config::SharedHttpClient;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Mutex;

use super::{
    Error, Identity, Provider, aws,
    clock::Clock,
    gate::Gate,
    static_keys::{self, entries::Entries},
};
use crate::{
    access::{Invalid, Terms},
    api::backup_store::{self, BackupStoreSpec},
    cluster::Cluster,
    fence::Fence,
    probe::Reach,
    sdk::trust,
    telemetry::metrics::{Meter, Metrics},
};

/// No call takes longer, retries included (docs/decisions/time-limits.md).
const CALL_DEADLINE: Duration = Duration::from_secs(10);
const ATTEMPT_DEADLINE: Duration = Duration::from_secs(5);
/// How long an answer about the account is believed.
const IDENTITY_FRESH: Duration = Duration::from_mins(10);

/// The operator's own credentials for a store.
#[derive(Clone, Debug)]
pub struct OperatorKey {
    /// Access key id.
    pub id: SecretString,
    /// Secret access key.
    pub secret: SecretString,
    /// Session token of temporary credentials.
    pub session_token: Option<SecretString>,
}

impl OperatorKey {
    /// Reads it out of what has entries by these names. `None` when one that is needed is missing or empty.
    pub fn read(entry: impl Fn(&str) -> Option<SecretString>) -> Option<Self> {
        Some(Self {
            id: entry("AWS_ACCESS_KEY_ID")?,
            secret: entry("AWS_SECRET_ACCESS_KEY")?,
            session_token: entry("AWS_SESSION_TOKEN"),
        })
    }
}

impl PartialEq for OperatorKey {
    fn eq(&self, other: &Self) -> bool {
        let text = |token: &Option<SecretString>| token.as_ref().map(|token| token.expose_secret().to_owned());
        self.id.expose_secret() == other.id.expose_secret()
            && self.secret.expose_secret() == other.secret.expose_secret()
            && text(&self.session_token) == text(&other.session_token)
    }
}

/// What a connection depends on; a change makes a new one. To a store that breaks a rule there is none.
#[derive(Clone, PartialEq)]
pub struct Settings {
    spec: BackupStoreSpec,
    aws: aws::settings::Settings,
    entries: Entries,
    key: Option<OperatorKey>,
}

impl Settings {
    /// Region, endpoints and all the rest of the store, with the credentials of the SDK's default chain.
    ///
    /// # Errors
    /// When a field of the store's spec breaks a rule: nothing is sent there.
    pub fn parse(spec: &BackupStoreSpec) -> Result<Self, Invalid> {
        Terms::parse(spec, None)?;
        let (aws, entries) = (aws::settings::Settings::parse(spec)?, Entries::parse(spec)?);
        Ok(Self { spec: spec.clone(), aws, entries, key: None })
    }

    /// With these credentials.
    #[must_use]
    pub fn with_key(self, key: OperatorKey) -> Self {
        Self { key: Some(key), ..self }
    }
}

/// A store whose credentials have answered.
#[derive(Clone)]
pub struct Connection {
    /// The store.
    pub provider: Provider,
    /// Whose the credentials are.
    pub identity: Identity,
    config: SdkConfig,
    region_of_sts: Box<str>,
    settings: Settings,
    gate: Arc<Gate>,
    verified: Instant,
}

impl Connection {
    /// What the store says about all access, in the partition that its credentials live in.
    ///
    /// # Errors
    /// When a field of the store's spec breaks a rule.
    pub fn terms(&self, spec: &BackupStoreSpec) -> Result<Terms, Invalid> {
        Terms::parse(spec, self.identity.caller.as_deref())
    }

    /// The way to the store's S3, for proofs.
    #[must_use]
    pub fn reach<'a>(&'a self, spec: &'a BackupStoreSpec) -> Reach<'a> {
        Reach {
            config: &self.config,
            s3: spec.endpoint.as_deref(),
            sts: spec.aws.sts_endpoint.as_deref(),
            region_of_sts: &self.region_of_sts,
            fence: self.gate.fence(),
        }
    }
}

/// The connections of all stores.
pub struct Connections {
    http: Option<SharedHttpClient>,
    /// The region that the operator's environment names.
    region: Option<String>,
    cluster: Option<Cluster>,
    metrics: Arc<Metrics>,
    fence: Fence,
    by_store: Mutex<HashMap<String, Arc<Connection>>>,
}

impl Connections {
    /// Starts without connections, trusting what the machine trusts and the certificates in `AWS_CA_BUNDLE`.
    ///
    /// # Errors
    /// When `AWS_CA_BUNDLE` names a file that cannot be read.
    pub fn new(metrics: Arc<Metrics>, fence: Fence) -> Result<Self, String> {
        let region = ["AWS_REGION", "AWS_DEFAULT_REGION"].into_iter().find_map(|name| env::var(name).ok());
        let region = region.filter(|region| !region.is_empty());
        let (http, by_store) = (trust::client_from_environment()?, Mutex::new(HashMap::new()));
        Ok(Self { http, region, cluster: None, metrics, fence, by_store })
    }

    /// With the Kubernetes API, in which the keys are that administrators bring.
    #[must_use]
    pub fn reading(self, cluster: Cluster) -> Self {
        Self { cluster: Some(cluster), ..self }
    }

    /// The connection to a store, made or proven anew when its settings changed or its last proof is old.
    ///
    /// # Errors
    /// When the credentials do not work or the store does not answer.
    pub async fn connect(&self, store: &str, settings: Settings) -> Result<Arc<Connection>, Error> {
        let known = self.by_store.lock().await.get(store).cloned();
        if let Some(known) = &known
            && known.settings == settings
            && known.verified.elapsed() < IDENTITY_FRESH
        {
            return Ok(known.clone());
        }
        let (config, gate, clock) = match known {
            Some(known) if known.settings == settings => {
                (known.config.clone(), known.gate.clone(), known.provider.clock().clone())
            }
            _ => (self.configure(&settings).await, self.gate(store, &settings), Clock::default()),
        };
        let spec = &settings.spec;
        let named = spec.aws.sts_endpoint.as_deref().and_then(aws::regions::in_endpoint_of_sts);
        let region_of_sts: Box<str> = named.unwrap_or(self.home(&settings)).into();
        let (provider, identity) = self.prove(&config, &gate, clock, &settings, &region_of_sts).await?;
        let verified = Instant::now();
        let connection = Arc::new(Connection { provider, identity, config, region_of_sts, settings, gate, verified });
        self.by_store.lock().await.insert(store.to_owned(), connection.clone());
        Ok(connection)
    }

    async fn prove(
        &self,
        config: &SdkConfig,
        gate: &Arc<Gate>,
        clock: Clock,
        settings: &Settings,
        region_of_sts: &str,
    ) -> Result<(Provider, Identity), Error> {
        let spec = &settings.spec;
        match spec.provider {
            backup_store::Provider::Aws | backup_store::Provider::SeaweedFs => {
                let proven =
                    aws::connect::prove(config, gate.clone(), clock, spec, region_of_sts, settings.aws.clone()).await?;
                Ok((Provider::Aws(proven.0), proven.1))
            }
            backup_store::Provider::StaticKeys => {
                let (entries, cluster) = (settings.entries.clone(), self.cluster.clone());
                let (keys, identity) = static_keys::connect(spec, entries, cluster, clock);
                Ok((Provider::StaticKeys(keys), identity))
            }
        }
    }

    /// Forgets a store that is gone.
    pub async fn forget(&self, store: &str) {
        self.by_store.lock().await.remove(store);
    }

    fn gate(&self, store: &str, settings: &Settings) -> Arc<Gate> {
        let meter = Meter::new(self.metrics.clone(), store);
        Arc::new(Gate::new(settings.spec.requests_per_second, meter, self.fence.clone()))
    }

    /// The operator's own region, towards a store.
    fn home<'a>(&'a self, settings: &'a Settings) -> &'a str {
        aws::regions::of_operator(&settings.spec.region, self.region.as_deref())
    }

    async fn configure(&self, settings: &Settings) -> SdkConfig {
        let timeouts = TimeoutConfig::builder()
            .operation_timeout(CALL_DEADLINE)
            .operation_attempt_timeout(ATTEMPT_DEADLINE)
            .connect_timeout(ATTEMPT_DEADLINE)
            .build();
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .region(Region::new(self.home(settings).to_owned()))
            .timeout_config(timeouts)
            .retry_config(RetryConfig::standard().with_max_attempts(3));
        if let Some(http) = &self.http {
            loader = loader.http_client(http.clone());
        }
        if let Some(key) = &settings.key {
            let token = key.session_token.as_ref().map(|token| token.expose_secret().to_owned());
            let (id, secret) = (key.id.expose_secret(), key.secret.expose_secret());
            loader =
                loader.credentials_provider(aws_sdk_iam::config::Credentials::new(id, secret, token, None, "store"));
        }
        // Credentials are had in the operator's own region, and all else is done in the store's.
        loader.load().await.into_builder().region(Region::new(settings.spec.region.clone())).build()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::SocketAddr,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    use super::*;
    use crate::provider::Kind;

    const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/xml\r\nconnection: close\r\n\r\n";

    /// A server that says whatever it likes, to everybody.
    async fn says<F: Future<Output = ()> + Send>(
        answer: impl Fn(TcpStream) -> F + Send + Sync + 'static,
    ) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.read(&mut [0; 8_192]).await;
                let _ = stream.write_all(HEAD.as_bytes()).await;
                answer(stream).await;
            }
        });
        address
    }

    async fn connect(sts: SocketAddr) -> Result<Arc<Connection>, Error> {
        let key = OperatorKey { id: "AKIAIOSFODNN7EXAMPLE".into(), secret: "secret".into(), session_token: None };
        let spec = serde_json::json!({"region": "eu-central-1", "aws": {"stsEndpoint": format!("http://{sts}")}});
        let settings = Settings::parse(&serde_json::from_value(spec).unwrap()).unwrap().with_key(key);
        let connections = Connections::new(Arc::default(), Fence::default()).unwrap();
        connections.connect("default", settings).await
    }

    fn identity(account: &str, arn: &str) -> String {
        format!(
            "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>\
             <Arn>{arn}</Arn><UserId>AIDAI</UserId><Account>{account}</Account></GetCallerIdentityResult>\
             <ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></GetCallerIdentityResponse>"
        )
    }

    #[tokio::test]
    async fn an_answer_without_end_is_not_read_for_ever() {
        let sent = Arc::new(AtomicUsize::new(0));
        let counted = sent.clone();
        let address = says(move |mut stream| {
            let counted = counted.clone();
            async move {
                let more = [b' '; 4_096];
                while stream.write_all(&more).await.is_ok() {
                    counted.fetch_add(more.len(), Ordering::Relaxed);
                }
            }
        })
        .await;
        let answer = connect(address).await.map(|_| ());
        assert_eq!(answer.map_err(|error| error.kind), Err(Kind::Unreadable));
        // What is on its way in buffers is not read; each of some tries gets no further.
        let sent = sent.load(Ordering::Relaxed);
        assert!(sent < 64 << 20, "{sent} bytes were taken");
    }

    #[tokio::test]
    async fn an_account_is_twelve_digits_and_nothing_else() {
        let (good, arn) = ("123456789012", "arn:aws:iam::123456789012:user/operator");
        for (account, arn, taken) in [
            (good, arn, true),
            ("000000000000&#x1b;[31m&#10;INJECTED line; *:user/*", arn, false),
            ("12345678901", arn, false),
            ("", arn, false),
            (good, "arn:aws:iam::1:user/&#10;x", false),
            (good, "", false),
        ] {
            let body = identity(account, arn);
            let address = says(move |mut stream| {
                let body = body.clone();
                async move {
                    let _ = stream.write_all(body.as_bytes()).await;
                }
            })
            .await;
            match connect(address).await {
                Ok(connection) => assert!(taken && connection.identity.account == good, "{account} {arn}"),
                Err(error) => assert!(!taken && error.kind == Kind::Unreadable, "{account} {arn}: {error}"),
            }
        }
    }
}
