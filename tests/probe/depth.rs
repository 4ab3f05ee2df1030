//! What a proof costs, and what it leaves.

use std::sync::Arc;

use anyhow::{Result, ensure};
use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
use backup_target_operator::{
    api::{Capability, Tier},
    probe::{Depth, Standing},
};
use testbed::{proxy::Fault, tests};

use crate::corner::{Corner, NO_CAPABILITIES, PROBE_OBJECT, UID, World, texts};

tests![
    a_proof_takes_a_known_number_of_calls,
    a_quiet_proof_leaves_a_versioned_bucket_as_it_was,
    a_writing_proof_leaves_one_version_and_one_marker,
    what_a_broken_proof_left_is_removed,
    an_object_of_somebody_else_is_left_alone,
];

async fn a_proof_takes_a_known_number_of_calls(world: Arc<World>) -> Result<()> {
    let corner = Corner::new(&world).await?;
    let everything = &Capability::ALL[..];
    for (capabilities, depth, count) in [
        (NO_CAPABILITIES, Depth::Write, 16),
        (NO_CAPABILITIES, Depth::Quiet, 14),
        (everything, Depth::Write, 19),
        (everything, Depth::Quiet, 16),
    ] {
        let access = corner.access(capabilities);
        let key = corner.key_for(&access).await?;
        let (_, calls) = corner.prove(&access, &key, depth).await;
        ensure!(calls.len() == count, "{capabilities:?} {depth:?} took {}: {calls:#?}", calls.len());
    }
    Ok(())
}

async fn versioned(world: &Arc<World>) -> Result<Corner> {
    let corner = Corner::new(world).await?;
    let enabled = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
    corner.s3.put_bucket_versioning().bucket(&corner.bucket).versioning_configuration(enabled).send().await?;
    Ok(corner)
}

async fn a_quiet_proof_leaves_a_versioned_bucket_as_it_was(world: Arc<World>) -> Result<()> {
    let corner = versioned(&world).await?;
    let before = corner.everything().await?;
    for capabilities in [NO_CAPABILITIES, &Capability::ALL] {
        let access = corner.access(capabilities);
        for key in [corner.key_for(&access).await?, corner.wide_key().await?] {
            let (proof, calls) = corner.prove(&access, &key, Depth::Quiet).await;
            ensure!(proof.publishable(), "{:#?}", texts(proof.findings()));
            ensure!(!calls.iter().any(|call| call.is_write() && call.succeeded()), "{calls:#?}");
        }
    }
    ensure!(corner.everything().await? == before, "{:#?}", corner.everything().await?);
    Ok(())
}

async fn a_writing_proof_leaves_one_version_and_one_marker(world: Arc<World>) -> Result<()> {
    let corner = versioned(&world).await?;
    let before = corner.everything().await?;
    let access = corner.access(&Capability::ALL);
    let key = corner.key_for(&access).await?;
    for proofs in 1..=2_usize {
        let (proof, _) = corner.prove(&access, &key, Depth::Write).await;
        ensure!(proof.complete(), "{:#?}", texts(proof.findings()));
        let versions = corner.versions(&corner.bucket).await?;
        let ours = |kind: &str| versions.iter().filter(|v| **v == format!("{kind} of {PROBE_OBJECT}")).count();
        ensure!((ours("version"), ours("marker")) == (proofs, proofs), "{versions:#?}");
    }
    let objects = corner.everything().await?.into_iter().filter(|seen| !seen.contains(UID)).collect();
    ensure!(before == objects, "the objects themselves are untouched");
    Ok(())
}

async fn what_a_broken_proof_left_is_removed(world: Arc<World>) -> Result<()> {
    let corner = Corner::new(&world).await?;
    let before = corner.everything().await?;
    let access = corner.access(&[Capability::MultipartUploads]);
    let key = corner.key_for(&access).await?;
    // After publication no proof writes any more, and there may be no other.
    for next in [Depth::Write, Depth::Quiet] {
        {
            let _fault =
                corner.proxy.fault(Fault::S3Error(403, "AccessDenied"), |call| call.method == hyper::Method::DELETE);
            let (proof, _) = corner.prove(&access, &key, Depth::Write).await;
            ensure!(!proof.complete(), "nothing could be deleted");
            let left = corner.everything().await?.iter().filter(|seen| seen.contains(UID)).count();
            ensure!(left == 3, "the object, its version and an upload: {:#?}", corner.everything().await?);
        }
        let (proof, _) = corner.prove(&access, &key, next).await;
        ensure!(proof.complete(), "{:#?}", texts(proof.findings()));
        ensure!(corner.everything().await? == before, "{next:?}: {:#?}", corner.everything().await?);
    }
    Ok(())
}

async fn an_object_of_somebody_else_is_left_alone(world: Arc<World>) -> Result<()> {
    let corner = Corner::new(&world).await?;
    let access = corner.access(NO_CAPABILITIES);
    let key = corner.key_for(&access).await?;
    for content in ["short", "as long as our probe's is, ok"] {
        let body = Vec::from(content).into();
        corner.s3.put_object().bucket(&corner.bucket).key(PROBE_OBJECT).body(body).send().await?;
        let before = corner.everything().await?;
        let (proof, _) = corner.prove(&access, &key, Depth::Write).await;
        ensure!(matches!(proof.tier(Tier::BaseAccess), Standing::Unknown(_)), "{:#?}", texts(proof.findings()));
        ensure!(corner.everything().await? == before, "{content}");
        corner.prove(&access, &key, Depth::Quiet).await;
        ensure!(corner.everything().await? == before, "{content}");
    }
    Ok(())
}
