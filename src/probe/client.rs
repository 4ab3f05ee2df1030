//! Sends single requests with a target's key. Each is one call, and its answer is of that call alone: nothing is repeated.

use std::{error::Error, time::Duration};

use aws_config::{Region, retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_s3::{
    config::{Credentials, RequestChecksumCalculation, ResponseChecksumValidation, http::HttpResponse},
    error::{ProvideErrorMetadata, SdkError},
    operation::get_object::GetObjectOutput,
    types::{MultipartUpload, ObjectCannedAcl},
};
use aws_smithy_types::error::display::DisplayErrorContext;
use futures::future::BoxFuture;
use secrecy::ExposeSecret;
use tokio::time::timeout;

use super::{
    probes::{Probe, Verb},
    reach::Reach,
    reading::{Answer, Family},
};
use crate::{
    access::rclone::AccessKey,
    sdk::{bounded::Bounded, fenced::Fenced},
};

/// No request takes longer (docs/decisions/time-limits.md).
const CALL_DEADLINE: Duration = Duration::from_secs(10);

/// What the probe object holds, and the MD5 of that: buckets with object lock want to have it.
const CONTENT: &[u8] = b"backup-target-operator probe\n";
const MD5_OF_CONTENT: &str = "uGKOKyB4IN8WMC9st2e0ow==";
/// MD5 of nothing: well-formed, and wrong for everything that is sent.
const MD5_OF_NOTHING: &str = "1B2M2Y8AsgTpgAmY7PhCfg==";
const NO_SUCH_UPLOAD: &str = "backup-target-operator-probe";
/// Uploads that broken proofs left behind; the next proofs find what is more.
const MOST_UPLOADS: i32 = 10;

/// A store, as a target's key sees it.
pub(super) struct Client {
    family: &'static Family,
    s3: aws_sdk_s3::Client,
    /// Where there is one.
    sts: Option<aws_sdk_sts::Client>,
    bucket: String,
}

/// An answer, and what only a success brings.
type Outcome<T> = Result<T, Answer>;

impl Client {
    pub(super) fn new(reach: &Reach, family: &'static Family, bucket: &str, key: &AccessKey) -> Self {
        let credentials = Credentials::new(&key.id, key.secret.expose_secret(), None, None, "target");
        let sts = family.has_sts.then(|| sts(reach, credentials.clone()));
        Self { family, s3: s3(reach, credentials), sts, bucket: bucket.to_owned() }
    }

    pub(super) async fn send(&self, probe: &Probe) -> Answer {
        let at = probe.at.as_str();
        let outcome = match probe.verb {
            Verb::List => self.list(at, None).await,
            Verb::Browse => self.list(at, Some("/")).await,
            Verb::Put => self.put(at).await,
            Verb::PutDamaged => self.put_damaged(at).await,
            Verb::Get => self.get(at).await,
            Verb::GetMissing => self.open(at).await.map(drop),
            Verb::Delete => self.within(self.s3.delete_object().bucket(&self.bucket).key(at).send()).await.map(drop),
            Verb::SetAcl | Verb::SetAclOfMissing => self.set_acl(at).await,
            Verb::ListUploads => self.list_uploads(at).await.map(drop),
            Verb::StartUpload => self.start_upload(at).await.map(drop),
            Verb::ListParts | Verb::ListPartsOfMissing => self.list_parts(at, NO_SUCH_UPLOAD).await,
            Verb::AbortUpload | Verb::AbortMissing => self.abort_upload(at, NO_SUCH_UPLOAD).await,
            Verb::ListBuckets => self.list_buckets().await,
            Verb::LocateBucket => {
                self.within(self.s3.get_bucket_location().bucket(&self.bucket).send()).await.map(drop)
            }
            Verb::Identify => match &self.sts {
                Some(sts) => self.within(sts.get_caller_identity().send()).await.map(drop),
                None => self.list_buckets().await,
            },
        };
        outcome.err().unwrap_or(Answer::Success)
    }

    async fn list_buckets(&self) -> Outcome<()> {
        self.within(self.s3.list_buckets().max_buckets(1).send()).await.map(drop)
    }

    /// The uploads of exactly that key.
    pub(super) async fn list_uploads(&self, key: &str) -> Outcome<Vec<String>> {
        let request = self.s3.list_multipart_uploads().bucket(&self.bucket).prefix(key).max_uploads(MOST_UPLOADS);
        let uploads = self.within(request.send()).await?.uploads.unwrap_or_default();
        let ours = |upload: MultipartUpload| upload.upload_id.filter(|_| upload.key.as_deref() == Some(key));
        Ok(uploads.into_iter().filter_map(ours).collect())
    }

    pub(super) async fn start_upload(&self, key: &str) -> Outcome<String> {
        let answer = self.within(self.s3.create_multipart_upload().bucket(&self.bucket).key(key).send()).await?;
        answer.upload_id.ok_or(Answer::Gibberish)
    }

    pub(super) async fn list_parts(&self, key: &str, upload: &str) -> Outcome<()> {
        let request = self.s3.list_parts().bucket(&self.bucket).key(key).upload_id(upload).max_parts(1);
        self.within(request.send()).await.map(drop)
    }

    pub(super) async fn abort_upload(&self, key: &str, upload: &str) -> Outcome<()> {
        let request = self.s3.abort_multipart_upload().bucket(&self.bucket).key(key).upload_id(upload);
        self.within(request.send()).await.map(drop)
    }

    /// Without a folder the parameter is left out, as those do who list a whole bucket; one level of the root is asked for
    /// by name.
    async fn list(&self, folder: &str, delimiter: Option<&str>) -> Outcome<()> {
        let prefix = (delimiter.is_some() || !folder.is_empty()).then_some(folder);
        let request = self.s3.list_objects_v2().bucket(&self.bucket).max_keys(1);
        let request = request.set_prefix(prefix.map(str::to_owned)).set_delimiter(delimiter.map(str::to_owned));
        self.within(request.send()).await.map(drop)
    }

    /// Where an object of that name is already, this fails instead of replacing it.
    async fn put(&self, key: &str) -> Outcome<()> {
        let request = self.s3.put_object().bucket(&self.bucket).key(key).if_none_match("*");
        self.within(request.content_md5(MD5_OF_CONTENT).body(CONTENT.to_vec().into()).send()).await.map(drop)
    }

    async fn put_damaged(&self, key: &str) -> Outcome<()> {
        let request = self.s3.put_object().bucket(&self.bucket).key(key);
        self.within(request.content_md5(MD5_OF_NOTHING).body(CONTENT.to_vec().into()).send()).await.map(drop)
    }

    async fn get(&self, key: &str) -> Outcome<()> {
        if is_ours(self.open(key).await?).await? { Ok(()) } else { Err(Answer::Foreign) }
    }

    async fn open(&self, key: &str) -> Outcome<GetObjectOutput> {
        self.within(self.s3.get_object().bucket(&self.bucket).key(key).send()).await
    }

    async fn set_acl(&self, key: &str) -> Outcome<()> {
        let request = self.s3.put_object_acl().bucket(&self.bucket).key(key);
        self.within(request.acl(ObjectCannedAcl::BucketOwnerFullControl).send()).await.map(drop)
    }

    /// Boxed, since the SDK's futures are large and every verb has one.
    fn within<'a, T: 'a, E: ProvideErrorMetadata + Error + 'static>(
        &'a self,
        call: impl Future<Output = Result<T, SdkError<E, HttpResponse>>> + Send + 'a,
    ) -> BoxFuture<'a, Outcome<T>> {
        Box::pin(async move {
            match timeout(CALL_DEADLINE, call).await {
                Ok(result) => result.map_err(|error| answer(self.family, &error)),
                Err(_) => Err(Answer::Silence),
            }
        })
    }
}

/// Somebody else's object may be of any size, so nothing of it is read.
async fn is_ours(answer: GetObjectOutput) -> Outcome<bool> {
    if answer.content_length != i64::try_from(CONTENT.len()).ok() {
        return Ok(false);
    }
    match timeout(CALL_DEADLINE, answer.body.collect()).await {
        Ok(Ok(content)) => Ok(content.into_bytes() == CONTENT),
        Ok(Err(_)) | Err(_) => Err(Answer::Silence),
    }
}

fn answer<E: ProvideErrorMetadata + Error + 'static>(family: &Family, error: &SdkError<E, HttpResponse>) -> Answer {
    match error {
        SdkError::ServiceError(service) => match service.raw().status() {
            status if status.is_success() => Answer::Gibberish,
            status => {
                let error = service.err();
                let denier = family.denier(error.message().unwrap_or_default());
                Answer::failure(status.as_u16(), error.code().unwrap_or_default(), denier)
            }
        },
        SdkError::ResponseError(_) => Answer::Gibberish,
        _ => {
            // The connector's own words (address, TLS) are for the log only; it never sees a secret.
            tracing::debug!(error = %DisplayErrorContext(error), "no answer");
            Answer::Silence
        }
    }
}

fn s3(reach: &Reach, credentials: Credentials) -> aws_sdk_s3::Client {
    let mut config = aws_sdk_s3::config::Builder::from(reach.config)
        .interceptor(Bounded)
        .credentials_provider(credentials)
        .interceptor(Fenced(reach.fence.clone()))
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts())
        // What a request carries is what is said here: other stores know fewer checksums.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    if let Some(endpoint) = reach.s3 {
        // An endpoint is the answer to these already, and together the SDK takes them for a mistake.
        config = config.endpoint_url(endpoint).force_path_style(true).use_fips(false).use_dual_stack(false);
    }
    aws_sdk_s3::Client::from_conf(config.build())
}

fn sts(reach: &Reach, credentials: Credentials) -> aws_sdk_sts::Client {
    let mut config = aws_sdk_sts::config::Builder::from(reach.config)
        .region(Region::new(reach.region_of_sts.to_owned()))
        .interceptor(Bounded)
        .credentials_provider(credentials)
        .interceptor(Fenced(reach.fence.clone()))
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts());
    if let Some(endpoint) = reach.sts {
        config = config.endpoint_url(endpoint).use_fips(false).use_dual_stack(false);
    }
    aws_sdk_sts::Client::from_conf(config.build())
}

fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder().operation_timeout(CALL_DEADLINE).connect_timeout(CALL_DEADLINE / 2).build()
}
