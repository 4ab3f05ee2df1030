//! Proof by use: what a store answers to the key, or to anybody.

use aws_config::SdkConfig;
use aws_sdk_s3::error::SdkError;

/// Whether a bucket of that name certainly does not exist.
///
/// Asked without credentials: S3 answers 403 for a bucket of somebody, and 404 for one of nobody
/// (reference/iam-s3-rclone.md §1.2). Every other answer counts as "it may exist".
pub async fn bucket_is_missing(config: &SdkConfig, endpoint: Option<&str>, bucket: &str) -> bool {
    let mut s3 = aws_sdk_s3::config::Builder::from(config).allow_no_auth();
    s3.set_credentials_provider(None);
    if let Some(endpoint) = endpoint {
        s3 = s3.endpoint_url(endpoint).force_path_style(true);
    }
    let answer = aws_sdk_s3::Client::from_conf(s3.build()).head_bucket().bucket(bucket).send().await;
    matches!(answer, Err(SdkError::ServiceError(error)) if error.raw().status().as_u16() == 404)
}
