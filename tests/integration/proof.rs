//! Proof by use: nothing is published before it works, and conditions say what was tried.

use std::{sync::Arc, time::Duration};

use anyhow::{Result, ensure};
use aws_sdk_s3::{
    error::ProvideErrorMetadata,
    types::{ObjectCannedAcl, OwnershipControls, OwnershipControlsRule},
};
use backup_target_operator::{
    api::condition::{LEAST_PRIVILEGE, READY},
    names::VERIFY_AT_ANNOTATION,
};
use kube::api::{Patch, PatchParams};
use serde_json::json;
use testbed::{
    aws::ROOT_KEY,
    proxy::{Call, Fault, Mark},
    tests,
    wait::wait_until,
};

use crate::{
    space::{SOON, Space, has, is_ready, message, status},
    world::World,
};

tests![
    a_key_is_published_only_once_it_works,
    a_bucket_that_is_missing_is_told_and_waited_for,
    a_verification_leaves_no_more_than_was_asked_for,
    a_widened_bucket_is_noticed,
    a_proof_is_repeated_when_asked_for,
    backups_cannot_be_made_public,
];

const PATIENCE: Duration = Duration::from_mins(1);

/// A request to S3 with a target's own key.
fn is_probe(call: &Call) -> bool {
    call.action.is_none() && call.access_key.as_deref().is_some_and(|key| key != ROOT_KEY && key.starts_with("AKIA"))
}

fn probes(space: &Space, since: Mark) -> Vec<Call> {
    space.aws_proxy.calls_since(since, is_probe)
}

async fn a_key_is_published_only_once_it_works(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    let spreading = space.aws_proxy.fault(Fault::S3Error(403, "InvalidAccessKeyId"), is_probe);
    space.create_target("dataset-1", json!({})).await?;
    let waiting = space.until_reconciling("dataset-1", "Propagating").await?;
    ensure!(message(&waiting, READY)?.contains("does not know the key yet"), "{}", message(&waiting, READY)?);
    wait_until("several tries", PATIENCE, async || {
        ensure!(probes(&space, Mark::default()).len() >= 3, "not yet");
        Ok(())
    })
    .await?;
    ensure!(space.secrets().get_opt("dataset-1").await?.is_none(), "published before it worked");
    drop(spreading);
    let ready = space.until_within(PATIENCE, "dataset-1", "ready", is_ready).await?;
    ensure!(has(&ready, "BaseAccess", "True", "Verified") && has(&ready, LEAST_PRIVILEGE, "True", "Verified"));
    let created = space.iam_calls().iter().filter(|action| *action == "CreateAccessKey").count();
    ensure!(created == 1, "{created} keys were created");
    Ok(())
}

async fn a_bucket_that_is_missing_is_told_and_waited_for(world: Arc<World>) -> Result<()> {
    let space = Space::without_store(&world).await?;
    space.create_store(space.store_spec()).await?;
    space.create_target("dataset-1", json!({})).await?;
    let stalled = space.until_stalled("dataset-1", "BucketNotFound").await?;
    ensure!(message(&stalled, READY)?.contains("create it"), "{}", message(&stalled, READY)?);
    ensure!(space.secrets().get_opt("dataset-1").await?.is_none(), "nothing is published");
    space.create_bucket(&space.bucket).await?;
    space.until_within(PATIENCE * 2, "dataset-1", "ready", is_ready).await?;
    Ok(())
}

async fn a_verification_leaves_no_more_than_was_asked_for(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    for (verification, tries, writes) in [("Full", true, true), ("ReadOnly", true, false), ("None", false, false)] {
        let mark = space.aws_proxy.mark();
        let name = verification.to_lowercase();
        let fields = json!({"verification": verification, "prefix": name, "secret": {"name": name}});
        space.create_target(&name, fields).await?;
        let ready = space.until_ready(&name).await?;
        let sent = probes(&space, mark);
        ensure!(sent.is_empty() != tries, "{verification}: {sent:#?}");
        let wrote = sent.iter().any(|call| call.method == "PUT" && call.succeeded());
        ensure!(wrote == writes, "{verification}: {sent:#?}");
        let reason = if tries { "Verified" } else { "Granted" };
        ensure!(has(&ready, "BaseAccess", "True", reason), "{verification}: {:?}", status(&ready).conditions);
    }
    ensure!(space.objects().await?.is_empty(), "a probe left something: {:?}", space.objects().await?);
    Ok(())
}

async fn a_widened_bucket_is_noticed(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    let open = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": "*", "Action": "s3:ListBucket", "Resource": format!("arn:aws:s3:::{}", space.bucket),
    }]});
    // As on AWS, a bucket policy for everybody is refused while this stands.
    space.aws.s3.delete_public_access_block().bucket(&space.bucket).send().await?;
    space.aws.s3.put_bucket_policy().bucket(&space.bucket).policy(open.to_string()).send().await?;
    space.create_target("dataset-1", json!({})).await?;
    // Old rights may linger, so that it is not believed at once.
    let lingers = |target: &_| has(target, LEAST_PRIVILEGE, "Unknown", "Propagating");
    let target = space.until("dataset-1", "told that something lingers", |t| is_ready(t) && lingers(t)).await?;
    ensure!(message(&target, LEAST_PRIVILEGE)?.contains("s3:ListBucket"), "{}", message(&target, LEAST_PRIVILEGE)?);
    let exceeds = |target: &_| is_ready(target) && has(target, LEAST_PRIVILEGE, "False", "ExcessAccess");
    space.until_within(PATIENCE * 4, "dataset-1", "told that it can do too much", exceeds).await?;
    Ok(())
}

async fn a_proof_is_repeated_when_asked_for(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    space.create_target("dataset-1", json!({})).await?;
    space.until_ready("dataset-1").await?;
    let mark = space.aws_proxy.mark();
    let now = jiff::Timestamp::now().to_string();
    let patch = json!({"metadata": {"annotations": {VERIFY_AT_ANNOTATION: now}}});
    space.targets().patch("dataset-1", &PatchParams::default(), &Patch::Merge(patch)).await?;
    wait_until("the key to be tried anew", SOON, async || {
        let sent = probes(&space, mark);
        ensure!(sent.len() >= 10, "{} requests", sent.len());
        let wrote = sent.iter().any(|call| call.method == "PUT" && call.succeeded());
        ensure!(!wrote, "what is published is tried without writing: {sent:#?}");
        Ok(())
    })
    .await
}

/// Where a bucket has ACLs, the tier is for what a backup needs of them.
async fn backups_cannot_be_made_public(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    let rule = OwnershipControlsRule::builder().object_ownership("BucketOwnerPreferred".into()).build()?;
    let controls = OwnershipControls::builder().rules(rule).build()?;
    space.aws.s3.put_bucket_ownership_controls().bucket(&space.bucket).ownership_controls(controls).send().await?;
    space.create_target("dataset-1", json!({"capabilities": ["ObjectAcls"]})).await?;
    space.until("dataset-1", "verified", |target| has(target, "ObjectAcls", "True", "Verified")).await?;
    let (s3, key) = (space.s3_with(&space.rclone_conf("dataset-1").await?), "backups/dataset-1/a");
    s3.put_object().bucket(&space.bucket).key(key).body(Vec::from("a").into()).send().await?;
    let ask = async |acl: Option<ObjectCannedAcl>, grant: Option<&str>| {
        let request = s3.put_object_acl().bucket(&space.bucket).key(key).set_acl(acl);
        let answer = request.set_grant_read(grant.map(str::to_owned)).send().await;
        answer.map(drop).map_err(|error| error.code().unwrap_or_default().to_owned())
    };
    for acl in [ObjectCannedAcl::BucketOwnerFullControl, ObjectCannedAcl::Private] {
        ensure!(ask(Some(acl.clone()), None).await.is_ok(), "{acl} is refused");
    }
    let refused = Err("AccessDenied".to_owned());
    for acl in [ObjectCannedAcl::PublicRead, ObjectCannedAcl::AuthenticatedRead, ObjectCannedAcl::AwsExecRead] {
        ensure!(ask(Some(acl.clone()), None).await == refused, "{acl} is allowed");
    }
    let everybody = "uri=http://acs.amazonaws.com/groups/global/AllUsers";
    ensure!(ask(None, Some(everybody)).await == refused, "a grant to everybody is allowed");
    Ok(())
}
