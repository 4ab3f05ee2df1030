//! What was granted works, and what was granted and does not work is told.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use backup_target_operator::{
    access::Prefix,
    api::{Capability, Tier},
    probe::{Depth, Limits, Standing},
};
use serde_json::json;
use testbed::tests;

use crate::corner::{Corner, NO_CAPABILITIES, UID, World, texts};

tests![
    every_set_of_tiers_is_proven_and_kept_within_its_limits,
    a_whole_bucket_has_no_outside,
    the_way_to_the_folder_is_proven_when_granted,
    what_the_bucket_policy_denies_is_named,
    acls_switched_off_are_told,
    a_missing_bucket_is_no_fault_of_the_key,
    a_bucket_of_somebody_else_is_not_published,
    only_the_targets_own_key_is_used,
];

async fn every_set_of_tiers_is_proven_and_kept_within_its_limits(world: Arc<World>) -> Result<()> {
    let corner = Corner::new(&world).await?;
    let before = corner.everything().await?;
    for set in 0..16_u32 {
        let chosen = |at: &usize| set & (1 << at) != 0;
        let capabilities: Vec<Capability> = (0..4).filter(chosen).map(|at| Capability::ALL[at]).collect();
        let access = corner.access(&capabilities);
        let key = corner.key_for(&access).await?;
        for depth in [Depth::Write, Depth::Quiet] {
            let (proof, _) = corner.prove(&access, &key, depth).await;
            let told = format!("{capabilities:?} {depth:?} {:#?}", texts(proof.findings()));
            ensure!(proof.publishable() && proof.complete() && proof.limits() == Limits::Held, "{told}");
            for tier in Tier::ALL {
                let granted = access.tiers().any(|of| of == tier);
                let expected = match tier {
                    Tier::Optional(Capability::CreateBucket) => matches!(proof.tier(tier), Standing::Untried(_)),
                    _ if granted => proof.tier(tier) == Standing::Works,
                    _ => proof.tier(tier) == Standing::Denied,
                };
                ensure!(expected, "{tier:?} {:?} {told}", proof.tier(tier));
            }
            ensure!(corner.everything().await? == before, "something was left behind: {told}");
        }
    }
    Ok(())
}

async fn a_whole_bucket_has_no_outside(world: Arc<World>) -> Result<()> {
    let corner = Corner::new(&world).await?;
    let mut access = corner.access(NO_CAPABILITIES);
    access.prefix = Prefix::whole_bucket();
    let (proof, _) = corner.prove(&access, &corner.key_for(&access).await?, Depth::Write).await;
    ensure!(proof.complete() && proof.limits() == Limits::Held, "{:#?}", texts(proof.findings()));
    ensure!(!texts(proof.refused()).iter().any(|text| text.contains("outside")), "{:#?}", texts(proof.refused()));
    Ok(())
}

async fn the_way_to_the_folder_is_proven_when_granted(world: Arc<World>) -> Result<()> {
    let corner = Corner::new(&world).await?;
    let mut access = corner.access(NO_CAPABILITIES);
    let closed = corner.key_for(&access).await?;
    access.ancestor_listing = true;
    let open = corner.key_for(&access).await?;
    let (proof, _) = corner.prove(&access, &open, Depth::Quiet).await;
    ensure!(proof.complete() && proof.limits() == Limits::Held, "{:#?}", texts(proof.findings()));
    let (proof, _) = corner.prove(&access, &closed, Depth::Quiet).await;
    ensure!(matches!(proof.tier(Tier::BaseAccess), Standing::NotYet(_)), "{:#?}", texts(proof.findings()));
    access.ancestor_listing = false;
    let (proof, _) = corner.prove(&access, &open, Depth::Quiet).await;
    let excess = texts(proof.excess());
    ensure!(excess == ["s3:ListBucket at the top level of the bucket is allowed"], "{excess:#?}");
    Ok(())
}

async fn what_the_bucket_policy_denies_is_named(world: Arc<World>) -> Result<()> {
    let corner = Corner::new(&world).await?;
    let access = corner.access(&Capability::ALL);
    let key = corner.key_for(&access).await?;
    for (action, tier) in [
        ("s3:ListBucket", Tier::BaseAccess),
        ("s3:GetObject", Tier::BaseAccess),
        ("s3:PutObject", Tier::BaseAccess),
        ("s3:DeleteObject", Tier::BaseAccess),
        ("s3:PutObjectAcl", Tier::Optional(Capability::ObjectAcls)),
        ("s3:AbortMultipartUpload", Tier::Optional(Capability::MultipartUploads)),
        ("s3:ListMultipartUploadParts", Tier::Optional(Capability::MultipartUploads)),
        ("s3:ListBucketMultipartUploads", Tier::Optional(Capability::MultipartUploads)),
        ("s3:GetBucketLocation", Tier::Optional(Capability::ListAllBuckets)),
    ] {
        let bucket = format!("arn:aws:s3:::{}", corner.bucket);
        corner
            .set_bucket_policy(json!([{
                "Effect": "Deny", "Principal": "*", "Action": action, "Resource": [bucket, format!("{bucket}/*")],
            }]))
            .await?;
        let (proof, _) = corner.prove(&access, &key, Depth::Write).await;
        let Standing::Broken(why) = proof.tier(tier) else {
            anyhow::bail!("{action}: {:?}", proof.tier(tier));
        };
        let told = why.to_string();
        ensure!(told.contains(action) && told.contains("bucket's policy") && !told.contains(UID), "{told}");
        ensure!(proof.publishable() == (tier != Tier::BaseAccess) && !proof.complete(), "{action}");
        corner.s3.delete_bucket_policy().bucket(&corner.bucket).send().await?;
        let (proof, _) = corner.prove(&access, &key, Depth::Write).await;
        ensure!(proof.complete(), "what {action} left behind is removed: {:#?}", texts(proof.findings()));
    }
    ensure!(!corner.everything().await?.iter().any(|seen| seen.contains(UID)), "{:#?}", corner.everything().await?);
    Ok(())
}

async fn acls_switched_off_are_told(world: Arc<World>) -> Result<()> {
    let corner = Corner::new(&world).await?;
    let tier = Tier::Optional(Capability::ObjectAcls);
    let granted = corner.access(&[Capability::ObjectAcls]);
    let plain = corner.access(NO_CAPABILITIES);
    let (wide, tight) = (corner.key_for(&granted).await?, corner.key_for(&plain).await?);
    for ownership in ["BucketOwnerEnforced", "BucketOwnerPreferred"] {
        corner.set_ownership(ownership).await?;
        let disabled = ownership == "BucketOwnerEnforced";
        for depth in [Depth::Write, Depth::Quiet] {
            let (proof, _) = corner.prove(&granted, &wide, depth).await;
            match proof.tier(tier) {
                Standing::WorksWithoutEffect(why) if disabled => {
                    ensure!(why.to_string().contains("ACLs switched off"), "{why}");
                }
                // With no object to try it on, the stand-in misses the object before it looks at the bucket's settings.
                Standing::Works if !disabled || depth == Depth::Quiet => {}
                other => anyhow::bail!("{ownership} {depth:?}: {other:?}"),
            }
            ensure!(proof.complete() && proof.limits() == Limits::Held, "{:#?}", texts(proof.findings()));
            let (proof, _) = corner.prove(&plain, &tight, depth).await;
            ensure!(proof.tier(tier) == Standing::Denied, "{ownership}: {:?}", proof.tier(tier));
            let (proof, _) = corner.prove(&plain, &wide, depth).await;
            ensure!(matches!(proof.tier(tier), Standing::Allowed(_)), "{ownership}: {:?}", proof.tier(tier));
        }
    }
    Ok(())
}

async fn a_missing_bucket_is_no_fault_of_the_key(world: Arc<World>) -> Result<()> {
    let corner = Corner::without_bucket(&world).await?;
    let plain = corner.access(NO_CAPABILITIES);
    let creating = corner.access(&[Capability::CreateBucket]);
    let (plain_key, key) = (corner.key_for(&plain).await?, corner.key_for(&creating).await?);

    let (proof, calls) = corner.prove(&plain, &plain_key, Depth::Write).await;
    ensure!(calls.len() == 1 && proof.is_bucket_missing() && !proof.publishable(), "{calls:#?}");
    let Standing::Broken(why) = proof.tier(Tier::BaseAccess) else { anyhow::bail!("{proof:#?}") };
    ensure!(why.to_string().contains("does not exist"), "{why}");

    let (proof, calls) = corner.prove(&creating, &key, Depth::Write).await;
    let identity = calls.last().context("a call")?;
    ensure!(calls.len() == 2 && identity.is("GetCallerIdentity") && proof.publishable(), "{calls:#?}");
    ensure!(!proof.complete() && proof.limits() == Limits::Unclear, "base access is not proven");
    ensure!(corner.s3.list_buckets().send().await?.buckets().is_empty(), "a proof created the bucket");

    corner.create_bucket().await?;
    for (access, key) in [(&plain, &plain_key), (&creating, &key)] {
        let (proof, _) = corner.prove(access, key, Depth::Write).await;
        ensure!(proof.complete() && !proof.is_bucket_missing(), "{:#?}", texts(proof.findings()));
    }
    Ok(())
}

async fn a_bucket_of_somebody_else_is_not_published(world: Arc<World>) -> Result<()> {
    let theirs = Corner::new(&world).await?;
    let ours = Corner::without_bucket(&world).await?;
    let before = theirs.everything().await?;
    let access = theirs.access(&Capability::ALL);
    let key = ours.key_for(&access).await?;
    let (proof, calls) = ours.prove(&access, &key, Depth::Write).await;
    ensure!(calls.len() == 1 && !proof.publishable() && !proof.is_bucket_missing(), "{calls:#?}");
    let told = texts(proof.findings()).remove(0);
    ensure!(told.contains("s3:ListBucket") && told.contains("account"), "{told}");
    ensure!(theirs.everything().await? == before, "nothing of theirs was touched");
    Ok(())
}

async fn only_the_targets_own_key_is_used(world: Arc<World>) -> Result<()> {
    let corner = Corner::new(&world).await?;
    let access = corner.access(&Capability::ALL);
    let key = corner.key_for(&access).await?;
    let (_, calls) = corner.prove(&access, &key, Depth::Write).await;
    ensure!(calls.iter().all(|call| call.access_key.as_ref() == Some(&key.id)), "{calls:#?}");
    Ok(())
}
