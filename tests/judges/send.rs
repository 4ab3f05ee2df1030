//! A request as a real, signed call.

use anyhow::{Result, bail};
use aws_sdk_s3::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    types::{
        BucketCannedAcl, BucketLocationConstraint, BucketVersioningStatus, CreateBucketConfiguration, ObjectAttributes,
        ObjectCannedAcl, ObjectLockLegalHold, ObjectLockLegalHoldStatus, ObjectLockRetention, ObjectLockRetentionMode,
        RestoreRequest, Tag, Tagging, VersioningConfiguration,
    },
};

use crate::request::{Asker, Place, Request};

type Both = (aws_sdk_iam::Client, Client);

/// Those who can ask.
pub struct Clients {
    pub holder: Both,
    pub neighbour: Both,
    pub stranger: Both,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was done.
    Done,
    /// It may be done, and something else was in the way: the code of the error.
    Other(String),
    Denied,
}

/// Sends a request; nothing for those that no call here is for.
pub async fn send(clients: &Clients, request: &Request) -> Result<Option<Answer>> {
    let (iam, s3) = match request.asker {
        Asker::Holder => &clients.holder,
        Asker::Neighbour => &clients.neighbour,
        Asker::Stranger => &clients.stranger,
    };
    match &request.place {
        Place::Bucket(bucket) => on_bucket(s3, request, bucket).await.transpose(),
        Place::Object(bucket, key) => on_object(s3, request, bucket, key).await.transpose(),
        Place::Account => Ok(Some(answer(s3.list_buckets().send().await)?)),
        Place::User(name) if request.action == "iam:CreateUser" => {
            Ok(Some(answer(iam.create_user().user_name(name).send().await)?))
        }
        Place::User(_) => Ok(None),
    }
}

async fn on_object(s3: &Client, asked: &Request, bucket: &str, key: &str) -> Option<Result<Answer>> {
    // Of an upload and of a version that do not exist: who may ask learns just that.
    let nothing = "00000000000000000000000000000000";
    Some(match asked.action {
        "s3:GetObject" => answer(s3.get_object().bucket(bucket).key(key).send().await),
        "s3:PutObject" => answer(s3.put_object().bucket(bucket).key(key).send().await),
        "s3:DeleteObject" => answer(s3.delete_object().bucket(bucket).key(key).send().await),
        "s3:PutObjectAcl" => {
            let request = s3.put_object_acl().bucket(bucket).key(key);
            answer(request.set_acl(asked.acl.as_deref().map(ObjectCannedAcl::from)).send().await)
        }
        "s3:AbortMultipartUpload" => {
            answer(s3.abort_multipart_upload().bucket(bucket).key(key).upload_id(nothing).send().await)
        }
        "s3:ListMultipartUploadParts" => {
            answer(s3.list_parts().bucket(bucket).key(key).upload_id(nothing).send().await)
        }
        "s3:GetObjectVersion" => answer(s3.get_object().bucket(bucket).key(key).version_id(nothing).send().await),
        "s3:DeleteObjectVersion" => answer(s3.delete_object().bucket(bucket).key(key).version_id(nothing).send().await),
        "s3:GetObjectAcl" => answer(s3.get_object_acl().bucket(bucket).key(key).send().await),
        "s3:GetObjectTagging" => answer(s3.get_object_tagging().bucket(bucket).key(key).send().await),
        "s3:DeleteObjectTagging" => answer(s3.delete_object_tagging().bucket(bucket).key(key).send().await),
        "s3:PutObjectTagging" => {
            let tags = Tagging::builder().tag_set(Tag::builder().key("a").value("b").build().ok()?).build().ok()?;
            answer(s3.put_object_tagging().bucket(bucket).key(key).tagging(tags).send().await)
        }
        "s3:PutObjectRetention" => {
            let retention = ObjectLockRetention::builder().mode(ObjectLockRetentionMode::Governance).build();
            answer(s3.put_object_retention().bucket(bucket).key(key).retention(retention).send().await)
        }
        "s3:PutObjectLegalHold" => {
            let hold = ObjectLockLegalHold::builder().status(ObjectLockLegalHoldStatus::On).build();
            answer(s3.put_object_legal_hold().bucket(bucket).key(key).legal_hold(hold).send().await)
        }
        "s3:RestoreObject" => {
            let request = s3.restore_object().bucket(bucket).key(key);
            answer(request.restore_request(RestoreRequest::builder().days(1).build()).send().await)
        }
        "s3:GetObjectAttributes" => {
            let request = s3.get_object_attributes().bucket(bucket).key(key);
            answer(request.object_attributes(ObjectAttributes::Etag).send().await)
        }
        _ => return None,
    })
}

async fn on_bucket(s3: &Client, request: &Request, bucket: &str) -> Option<Result<Answer>> {
    let listing = request.listing.clone();
    Some(match request.action {
        "s3:ListBucket" => {
            let call = s3.list_objects_v2().bucket(bucket).set_prefix(listing.prefix).set_delimiter(listing.delimiter);
            answer(call.set_max_keys(listing.max_keys.map(i32::from)).send().await)
        }
        "s3:ListBucketVersions" => {
            let call = s3.list_object_versions().bucket(bucket).set_prefix(listing.prefix);
            answer(call.set_delimiter(listing.delimiter).send().await)
        }
        "s3:ListBucketMultipartUploads" => {
            let call = s3.list_multipart_uploads().bucket(bucket).set_prefix(listing.prefix);
            answer(call.set_delimiter(listing.delimiter).send().await)
        }
        "s3:GetBucketLocation" => answer(s3.get_bucket_location().bucket(bucket).send().await),
        "s3:CreateBucket" => {
            let region = request.location.as_deref().map(BucketLocationConstraint::from);
            let place = region.map(|region| CreateBucketConfiguration::builder().location_constraint(region).build());
            answer(s3.create_bucket().bucket(bucket).set_create_bucket_configuration(place).send().await)
        }
        "s3:DeleteBucket" => answer(s3.delete_bucket().bucket(bucket).send().await),
        "s3:GetBucketAcl" => answer(s3.get_bucket_acl().bucket(bucket).send().await),
        "s3:PutBucketAcl" => answer(s3.put_bucket_acl().bucket(bucket).acl(BucketCannedAcl::Private).send().await),
        "s3:GetBucketPolicy" => answer(s3.get_bucket_policy().bucket(bucket).send().await),
        "s3:PutBucketPolicy" => answer(s3.put_bucket_policy().bucket(bucket).policy("{}").send().await),
        "s3:DeleteBucketPolicy" => answer(s3.delete_bucket_policy().bucket(bucket).send().await),
        "s3:GetBucketVersioning" => answer(s3.get_bucket_versioning().bucket(bucket).send().await),
        "s3:PutBucketVersioning" => {
            let on = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
            answer(s3.put_bucket_versioning().bucket(bucket).versioning_configuration(on).send().await)
        }
        "s3:GetBucketTagging" => answer(s3.get_bucket_tagging().bucket(bucket).send().await),
        _ => return None,
    })
}

/// What an outcome says about the right to ask.
pub fn answer<T, E, R>(outcome: Result<T, SdkError<E, R>>) -> Result<Answer>
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    match outcome {
        Ok(_) => Ok(Answer::Done),
        Err(SdkError::ServiceError(refusal)) => match refusal.err().code() {
            Some("AccessDenied") => Ok(Answer::Denied),
            Some(code) => Ok(Answer::Other(code.to_owned())),
            None => bail!("an error without a code: {:?}", refusal.err()),
        },
        Err(error) => Err(error.into()),
    }
}
