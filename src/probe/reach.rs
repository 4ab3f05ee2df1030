//! The way to a store, for proofs.

use aws_config::SdkConfig;

use crate::fence::Fence;

/// The way to a store.
#[derive(Clone, Copy, Debug)]
pub struct Reach<'a> {
    /// Region, HTTP client and the like. The credentials in it are the operator's own, with which no key is tried.
    pub config: &'a SdkConfig,
    /// Endpoint of S3, where it is not AWS's own; buckets are then part of the path.
    pub s3: Option<&'a str>,
    /// Endpoint of STS, where there is one and it is not AWS's own.
    pub sts: Option<&'a str>,
    /// The region that STS is asked in.
    pub region_of_sts: &'a str,
    /// What says whether this replica may act.
    pub fence: &'a Fence,
}
