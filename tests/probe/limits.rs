//! What was not granted and works all the same is found, and finding it harms nothing.

use std::{collections::BTreeSet, sync::Arc};

use anyhow::{Result, ensure};
use backup_target_operator::{
    api::{Capability, Tier},
    probe::{Depth, Limits, Standing},
};
use serde_json::json;
use testbed::tests;

use crate::corner::{Corner, NO_CAPABILITIES, PROBE_OBJECT, World, allowing, texts};

tests![
    a_key_that_may_do_everything_is_found_out_and_harms_nothing,
    each_excess_is_found_by_itself,
    a_bucket_policy_for_everybody_is_an_excess,
    reading_outside_is_found_where_listing_shows_it,
    rights_that_linger_are_found_until_they_are_gone,
];

async fn a_key_that_may_do_everything_is_found_out_and_harms_nothing(world: Arc<World>) -> Result<()> {
    let corner = Corner::new(&world).await?;
    corner.s3.create_bucket().bucket(format!("{}-other", corner.bucket)).send().await?;
    corner.s3.create_multipart_upload().bucket(&corner.bucket).key("backups/dataset-1/running").send().await?;
    let before = corner.everything().await?;
    let access = corner.access(NO_CAPABILITIES);
    let key = corner.wide_key().await?;
    for depth in [Depth::Write, Depth::Quiet] {
        let (proof, calls) = corner.prove(&access, &key, depth).await;
        let excess: BTreeSet<String> = texts(proof.excess()).into_iter().collect();
        let expected = [
            "s3:ListBucket outside of backups/dataset-1/ is allowed",
            "s3:ListBucket of the whole bucket is allowed",
            "s3:ListBucket at the top level of the bucket is allowed",
            "s3:PutObject outside of backups/dataset-1/ is allowed",
            "s3:GetObject outside of backups/dataset-1/ is allowed",
            "s3:ListBucketMultipartUploads on the bucket is allowed",
            "s3:ListMultipartUploadParts in backups/dataset-1/ is allowed",
            "s3:AbortMultipartUpload in backups/dataset-1/ is allowed",
            "s3:PutObjectAcl in backups/dataset-1/ is allowed",
            "s3:ListAllMyBuckets on the account is allowed",
            "s3:GetBucketLocation on the bucket is allowed",
        ];
        ensure!(excess == expected.map(str::to_owned).into(), "{depth:?} {excess:#?}");
        ensure!(proof.limits() == Limits::Exceeded && proof.publishable(), "{depth:?}");
        ensure!(
            matches!(proof.tier(Tier::Optional(Capability::MultipartUploads)), Standing::Allowed(found) if found.len() == 3)
        );
        let written: BTreeSet<&str> =
            calls.iter().filter(|call| call.is_write() && call.succeeded()).map(|call| call.path.as_str()).collect();
        let allowed = format!("/{}/{PROBE_OBJECT}", corner.bucket);
        ensure!(written.iter().all(|path| *path == allowed), "{written:?}");
        ensure!(written.is_empty() == (depth == Depth::Quiet), "{depth:?} {written:?}");
        let after = corner.everything().await?;
        ensure!(after == before, "{:#?}", after.symmetric_difference(&before));
    }
    Ok(())
}

async fn each_excess_is_found_by_itself(world: Arc<World>) -> Result<()> {
    let corner = Corner::new(&world).await?;
    let access = corner.access(NO_CAPABILITIES);
    let bucket = format!("arn:aws:s3:::{}", corner.bucket);
    let inside = format!("{bucket}/backups/dataset-1/*");
    let table = [
        ("s3:PutObject", format!("{bucket}/backups/*"), "s3:PutObject outside"),
        // The mistake of a missing slash.
        ("s3:PutObject", format!("{bucket}/backups/dataset-1*"), "s3:PutObject outside"),
        ("s3:ListBucketMultipartUploads", bucket.clone(), "s3:ListBucketMultipartUploads"),
        ("s3:AbortMultipartUpload", inside.clone(), "s3:AbortMultipartUpload in"),
        ("s3:ListMultipartUploadParts", inside.clone(), "s3:ListMultipartUploadParts in"),
        ("s3:PutObjectAcl", inside, "s3:PutObjectAcl in"),
        ("s3:ListAllMyBuckets", "*".to_owned(), "s3:ListAllMyBuckets"),
        ("s3:GetBucketLocation", bucket, "s3:GetBucketLocation"),
    ];
    for (action, resource, found) in table {
        let key = corner.key_for(&access).await?;
        let user = corner.user_of(&key).await?;
        let extra = allowing(action, &resource).to_string();
        corner.iam.put_user_policy().user_name(user).policy_name("extra").policy_document(extra).send().await?;
        let (proof, _) = corner.prove(&access, &key, Depth::Quiet).await;
        let excess = texts(proof.excess());
        ensure!(excess.len() == 1 && excess[0].starts_with(found), "{action} on {resource}: {excess:#?}");
    }
    Ok(())
}

async fn a_bucket_policy_for_everybody_is_an_excess(world: Arc<World>) -> Result<()> {
    let corner = Corner::new(&world).await?;
    let access = corner.access(NO_CAPABILITIES);
    let key = corner.key_for(&access).await?;
    let bucket = format!("arn:aws:s3:::{}", corner.bucket);
    let actions = ["s3:PutObjectAcl", "s3:GetBucketLocation", "s3:ListBucket"];
    let everybody = json!([{
        "Effect": "Allow", "Principal": "*", "Action": actions, "Resource": [bucket, format!("{bucket}/*")],
    }]);
    corner.set_bucket_policy(everybody).await?;
    let (proof, _) = corner.prove(&access, &key, Depth::Quiet).await;
    let excess = texts(proof.excess());
    ensure!(excess.len() == 5, "three lists, an ACL and a region: {excess:#?}");
    ensure!(matches!(proof.tier(Tier::Optional(Capability::ObjectAcls)), Standing::Allowed(_)), "{excess:#?}");
    let Standing::Allowed(_) = proof.tier(Tier::Optional(Capability::ListAllBuckets)) else {
        anyhow::bail!("half of a tier is an excess too");
    };
    ensure!(proof.complete(), "base access works");
    Ok(())
}

async fn reading_outside_is_found_where_listing_shows_it(world: Arc<World>) -> Result<()> {
    let corner = Corner::new(&world).await?;
    let access = corner.access(NO_CAPABILITIES);
    let hidden = "s3:GetObject outside of backups/dataset-1/";
    let (proof, _) = corner.prove(&access, &corner.key_for(&access).await?, Depth::Quiet).await;
    let untested = texts(proof.untested());
    ensure!(untested.iter().any(|text| text.starts_with(hidden)), "{untested:#?}");
    ensure!(!texts(proof.refused()).iter().any(|text| text.starts_with(hidden)), "a refusal that proves nothing");

    let key = corner.key_for(&access).await?;
    let lister = allowing("s3:ListBucket", &format!("arn:aws:s3:::{}", corner.bucket)).to_string();
    let user = corner.user_of(&key).await?;
    corner.iam.put_user_policy().user_name(user).policy_name("extra").policy_document(lister).send().await?;
    let (proof, _) = corner.prove(&access, &key, Depth::Quiet).await;
    ensure!(texts(proof.refused()).iter().any(|text| text.starts_with(hidden)), "{:#?}", texts(proof.findings()));
    Ok(())
}

async fn rights_that_linger_are_found_until_they_are_gone(world: Arc<World>) -> Result<()> {
    let corner = Corner::new(&world).await?;
    let (wide, tight) = (corner.access(&[Capability::MultipartUploads]), corner.access(NO_CAPABILITIES));
    let key = corner.key_for(&wide).await?;
    let tier = Tier::Optional(Capability::MultipartUploads);
    let (proof, _) = corner.prove(&tight, &key, Depth::Quiet).await;
    ensure!(matches!(proof.tier(tier), Standing::Allowed(_)), "{:?}", proof.tier(tier));
    corner.set_policy(&corner.user_of(&key).await?, &corner.policy(&tight)).await?;
    let (proof, _) = corner.prove(&tight, &key, Depth::Quiet).await;
    ensure!(proof.tier(tier) == Standing::Denied, "{:?}", proof.tier(tier));
    Ok(())
}
