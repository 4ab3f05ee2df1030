//! Which call of the S3 API a request is.

use testbed::proxy::Call;

/// The name of the call, as AWS's API reference has it.
pub fn name(call: &Call) -> &'static str {
    let has = |key: &str| call.query.split('&').any(|pair| pair.split('=').next() == Some(key));
    // The bucket is part of the host's name and the path is the object's; where the host is an address, both are in the path.
    let path = call.path.trim_start_matches('/');
    let is_object = if call.host.starts_with("127.") { path.contains('/') } else { !path.is_empty() };
    match (call.method.as_str(), is_object) {
        _ if call.host.starts_with("s3.") => "ListBuckets",
        ("GET", false) if has("uploads") => "ListMultipartUploads",
        ("GET", false) if has("versioning") => "GetBucketVersioning",
        ("GET", false) if has("versions") => "ListObjectVersions",
        ("GET", false) if has("location") => "GetBucketLocation",
        ("GET", false) => "ListObjects",
        ("PUT", false) => "CreateBucket",
        ("HEAD", false) => "HeadBucket",
        ("DELETE", false) => "DeleteBucket",
        ("GET", true) if has("uploadId") => "ListParts",
        ("GET", true) => "GetObject",
        ("HEAD", true) => "HeadObject",
        ("PUT", true) if has("partNumber") => "UploadPart",
        ("PUT", true) if has("acl") => "PutObjectAcl",
        ("PUT", true) => "PutObject",
        ("POST", true) if has("uploads") => "CreateMultipartUpload",
        ("POST", true) => "CompleteMultipartUpload",
        ("DELETE", true) if has("uploadId") => "AbortMultipartUpload",
        ("DELETE", true) => "DeleteObject",
        _ => "another call",
    }
}
