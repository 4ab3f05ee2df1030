//! Whether a bucket exists.

use aws_sdk_s3::error::SdkError;

use super::{Family, Reach};
use crate::sdk::{bounded::Bounded, fenced::Fenced};

/// Whether a bucket of that name is missing; `None` when it could not be found out.
///
/// Asked without credentials: S3 answers 404 for a bucket of nobody, and anything else for a bucket of somebody
/// (docs/decisions/verification.md). Stores that say no such thing to strangers are asked with the operator's key.
pub async fn bucket_is_missing(reach: Reach<'_>, family: &Family, bucket: &str) -> Option<bool> {
    let mut s3 =
        aws_sdk_s3::config::Builder::from(reach.config).interceptor(Bounded).interceptor(Fenced(reach.fence.clone()));
    if !family.hides_missing_buckets {
        s3 = s3.allow_no_auth();
        s3.set_credentials_provider(None);
    }
    if let Some(endpoint) = reach.s3 {
        s3 = s3.endpoint_url(endpoint).force_path_style(true).use_fips(false).use_dual_stack(false);
    }
    match aws_sdk_s3::Client::from_conf(s3.build()).head_bucket().bucket(bucket).send().await {
        Ok(_) => Some(false),
        Err(SdkError::ServiceError(error)) => match error.raw().status().as_u16() {
            404 => Some(true),
            500.. | 429 => None,
            _ => Some(false),
        },
        Err(_) => None,
    }
}
