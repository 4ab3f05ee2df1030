//! The main stories of a target, the same on each kind of store.

use std::fs;

use anyhow::{Context, Result, bail, ensure};
use aws_sdk_iam::error::ProvideErrorMetadata;
use backup_target_operator::{
    api::condition::{LEAST_PRIVILEGE, READY},
    names::POLICY_NAME,
};
use k8s_openapi::api::events::v1::Event;
use kube::{
    Api,
    api::{DeleteParams, ListParams},
};
use serde_json::json;
use testbed::{harness::Test, objects::option, wait::wait_until};

use crate::{
    space::{Kind, SOON, Space, condition, has, principal, record},
    world::World,
};

/// Each of these on each kind of store.
macro_rules! stories {
    ($($name:ident),+ $(,)?) => {
        pub const TESTS: &[Test<World>] = &[$(
            (concat!(module_path!(), "::aws::", stringify!($name)), |world| {
                Box::pin(async move { $name(Space::on(Kind::Aws, &world).await?).await })
            }),
            (concat!(module_path!(), "::seaweedfs::", stringify!($name)), |world| {
                Box::pin(async move { $name(Space::on(Kind::SeaweedFs, &world).await?).await })
            }),
        )+];
    };
}

stories![
    each_tier_is_given_or_refused_as_its_condition_says,
    a_backup_runs_and_reaches_nothing_else,
    a_lost_secret_gets_another_key,
    what_is_narrowed_is_refused,
    what_no_rule_allows_stops_and_comes_back,
    what_others_put_on_a_principal_goes_with_the_next_change,
    a_key_that_somebody_made_is_told_or_deleted,
    a_bucket_that_is_missing_is_told_or_created,
    what_is_deleted_leaves_nothing,
    a_removal_that_was_interrupted_leaves_nothing,
];

const TARGET: &str = "dataset-1";
const FOLDER: &str = "backups/dataset-1/";
const OUTSIDE: &str = "backups/dataset-10/";

/// Of the tiers, those that a store cannot give to a key that is held to a folder.
fn unsupported(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Aws => &[],
        Kind::SeaweedFs => &["ObjectAcls", "ListAllBuckets"],
    }
}

async fn each_tier_is_given_or_refused_as_its_condition_says(space: Space) -> Result<()> {
    let tiers = ["MultipartUploads", "ObjectAcls", "ListAllBuckets"];
    let unsupported = unsupported(space.kind);
    for (number, tier) in tiers.into_iter().enumerate() {
        let name = format!("target-{number}");
        let fields = json!({"prefix": format!("backups/{name}/"), "capabilities": [tier], "ancestorListing": "Allow"});
        space.create_target(&name, fields).await?;
        let target = if unsupported.contains(&tier) {
            let target = space.until_stalled(&name, "Unsupported").await?;
            ensure!(has(&target, tier, "False", "Unsupported"), "{:?}", condition(&target, tier));
            target
        } else {
            let target = space.until_ready(&name).await?;
            // The stand-in's buckets have ACLs switched off, as new ones on AWS have.
            let works = has(&target, tier, "True", "Verified") || has(&target, tier, "True", "AclsDisabled");
            ensure!(works, "{:?}", condition(&target, tier));
            target
        };
        ensure!(has(&target, "BaseAccess", "True", "Verified"), "{:?}", condition(&target, "BaseAccess"));
        ensure!(has(&target, LEAST_PRIVILEGE, "True", "Verified"), "{:?}", condition(&target, LEAST_PRIVILEGE));
        for other in tiers.into_iter().filter(|other| *other != tier) {
            ensure!(has(&target, other, "False", "VerifiedDenied"), "{:?}", condition(&target, other));
        }
    }
    Ok(())
}

async fn a_backup_runs_and_reaches_nothing_else(space: Space) -> Result<()> {
    space.put_object(&format!("{OUTSIDE}neighbour")).await?;
    space.create_target(TARGET, json!({"capabilities": ["MultipartUploads"]})).await?;
    space.until_ready(TARGET).await?;
    let rclone = space.rclone(TARGET).await?;
    let data = rclone.folder().join("data");
    fs::create_dir(&data)?;
    fs::write(data.join("small"), "a")?;
    fs::write(data.join("large"), vec![7; 12 << 20])?;
    rclone.run(&["copy", "data", "backup:", "--s3-upload-cutoff=5Mi"]).await?.succeeded()?;
    rclone.run(&["check", "data", "backup:"]).await?.succeeded()?;
    rclone.run(&["copy", "backup:", "restored"]).await?.succeeded()?;
    rclone.run(&["check", "--download", "data", "restored"]).await?.succeeded()?;
    rclone.run(&["cleanup", "backup:"]).await?.succeeded()?;
    let outside = format!("backup_s3:{}/{OUTSIDE}", space.bucket);
    for arguments in [["copy", "data", &outside], ["ls", &outside, "--max-depth=1"]] {
        let ran = rclone.run(&arguments).await?;
        ensure!(ran.code != Some(0) && ran.stderr.contains("403"), "{arguments:?} was not refused: {}", ran.stderr);
    }
    Ok(())
}

async fn a_lost_secret_gets_another_key(space: Space) -> Result<()> {
    space.create_target(TARGET, json!({})).await?;
    let before = space.until_ready(TARGET).await?;
    let key = record(&before).access_key_id.context("a key")?;
    space.secrets().delete(TARGET, &DeleteParams::default()).await?;
    let after = space.until(TARGET, "ready with another key", |target| {
        let other = record(target).access_key_id.is_some_and(|other| other != key);
        other && has(target, READY, "True", "Provisioned")
    });
    let after = after.await?;
    let user = principal(&after);
    ensure!(space.keys(&user).await?.len() <= 2, "the one before stays for its overlap at most");
    let conf = space.rclone_conf(TARGET).await?;
    ensure!(Some(option(&conf, "access_key_id")) == record(&after).access_key_id.as_deref());
    works(&space, &conf).await
}

async fn what_is_narrowed_is_refused(space: Space) -> Result<()> {
    space.create_target(TARGET, json!({"capabilities": ["MultipartUploads"]})).await?;
    space.until_ready(TARGET).await?;
    let conf = space.rclone_conf(TARGET).await?;
    let uploads = async || {
        let request = space.s3_with(&conf).list_multipart_uploads().bucket(&space.bucket).prefix(FOLDER).send();
        request.await.map(drop).map_err(|error| error.code().unwrap_or_default().to_owned())
    };
    ensure!(uploads().await.is_ok());
    space.patch_target(TARGET, json!({"capabilities": []})).await?;
    let narrowed = space.until(TARGET, "narrowed", |target| {
        has(target, READY, "True", "Provisioned") && has(target, "MultipartUploads", "False", "VerifiedDenied")
    });
    narrowed.await?;
    ensure!(uploads().await == Err("AccessDenied".to_owned()));
    ensure!(space.rclone_conf(TARGET).await? == conf, "the key is the same");
    works(&space, &conf).await?;
    // And wider again, while the key that is published goes on working.
    space.patch_target(TARGET, json!({"capabilities": ["MultipartUploads"]})).await?;
    let wider = space.until(TARGET, "wider", |target| has(target, "MultipartUploads", "True", "Verified"));
    wider.await?;
    ensure!(uploads().await.is_ok());
    let policies = own_policies(&space, &principal(&space.targets().get(TARGET).await?)).await?;
    ensure!(policies.len() <= 1, "one policy at rest: {policies:?}");
    Ok(())
}

async fn what_no_rule_allows_stops_and_comes_back(space: Space) -> Result<()> {
    space.create_target(TARGET, json!({})).await?;
    space.until_ready(TARGET).await?;
    let conf = space.rclone_conf(TARGET).await?;
    space.patch_rule("buckets", json!(["another"])).await?;
    space.until_stalled(TARGET, "NotAllowed").await?;
    ensure!(lists(&space, &conf).await.is_err(), "the key still works");
    ensure!(space.rclone_conf(TARGET).await? == conf, "the Secret stays");
    space.patch_rule("buckets", json!([space.bucket])).await?;
    space.until_ready(TARGET).await?;
    ensure!(space.rclone_conf(TARGET).await? == conf, "and its key works again");
    works(&space, &conf).await
}

async fn what_others_put_on_a_principal_goes_with_the_next_change(space: Space) -> Result<()> {
    space.create_target(TARGET, json!({})).await?;
    let user = principal(&space.until_ready(TARGET).await?);
    let wide = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "s3:*", "Resource": ["arn:aws:s3:::*"]},
    ]});
    let name = format!("wide-{}", space.namespace);
    let made = space.aws.iam.create_policy().policy_name(&name).policy_document(wide.to_string()).send().await?;
    let arn = made.policy.and_then(|policy| policy.arn).context("an ARN")?;
    space.aws.iam.attach_user_policy().user_name(&user).policy_arn(&arn).send().await?;
    let conf = space.rclone_conf(TARGET).await?;
    let outside = async || {
        let request = space.s3_with(&conf).list_objects_v2().bucket(&space.bucket).prefix(OUTSIDE).send();
        request.await.map(drop).map_err(|error| error.code().unwrap_or_default().to_owned())
    };
    ensure!(outside().await.is_ok(), "it is wide");
    space.patch_target(TARGET, json!({"capabilities": ["MultipartUploads"]})).await?;
    space.until(TARGET, "changed", |target| has(target, "MultipartUploads", "True", "Verified")).await?;
    ensure!(outside().await == Err("AccessDenied".to_owned()), "it is as it was");
    space.aws.iam.get_policy().policy_arn(&arn).send().await.context("the policy itself is not ours and stays")?;
    Ok(())
}

async fn a_key_that_somebody_made_is_told_or_deleted(space: Space) -> Result<()> {
    space.create_target(TARGET, json!({})).await?;
    let user = principal(&space.until_ready(TARGET).await?);
    let conf = space.rclone_conf(TARGET).await?;
    let made = match space.kind {
        // Whoever has the key makes another.
        Kind::SeaweedFs => {
            let (id, secret) = (option(&conf, "access_key_id"), option(&conf, "secret_access_key"));
            space.world.seaweedfs.iam_as(id, secret).create_access_key().user_name(&user).send().await?
        }
        Kind::Aws => space.aws.iam.create_access_key().user_name(&user).send().await?,
    };
    let made = made.access_key.context("a key")?.access_key_id;
    space.patch_target(TARGET, json!({"capabilities": ["MultipartUploads"]})).await?;
    space.until(TARGET, "changed", |target| has(target, "MultipartUploads", "True", "Verified")).await?;
    let left = space.active_keys(&user).await?;
    ensure!(left.contains(&made) == (space.kind == Kind::Aws), "{left:?}");
    let events = Api::<Event>::namespaced(space.client.clone(), &space.namespace);
    wait_until("it to be told", SOON, async || {
        let told = events.list(&ListParams::default()).await?;
        let is_it = |event: &Event| {
            event.reason.as_deref() == Some("UnknownKey") && event.note.as_deref().unwrap_or_default().contains(&made)
        };
        ensure!(told.iter().any(is_it), "not yet");
        Ok(())
    })
    .await?;
    works(&space, &conf).await
}

async fn a_bucket_that_is_missing_is_told_or_created(space: Space) -> Result<()> {
    let bucket = format!("{}-new", space.bucket);
    space.patch_rule("buckets", json!([bucket])).await?;
    space.create_target(TARGET, json!({"bucket": bucket})).await?;
    space.until_stalled(TARGET, "BucketNotFound").await?;
    space.create_target("creates", json!({"bucket": bucket, "capabilities": ["CreateBucket"]})).await?;
    space.until_ready("creates").await?;
    let rclone = space.rclone("creates").await?;
    fs::write(rclone.folder().join("file"), "a")?;
    rclone.run(&["copy", "file", "backup:"]).await?.succeeded()?;
    rclone.run(&["check", "file", "backup:", "--one-way"]).await?.succeeded()?;
    Ok(())
}

async fn what_is_deleted_leaves_nothing(space: Space) -> Result<()> {
    space.put_object(&format!("{FOLDER}kept")).await?;
    space.create_target(TARGET, json!({"capabilities": ["MultipartUploads"]})).await?;
    let user = principal(&space.until_ready(TARGET).await?);
    let conf = space.rclone_conf(TARGET).await?;
    space.delete_target(TARGET).await?;
    space.until_gone(TARGET).await?;
    ensure!(lists(&space, &conf).await.is_err(), "the key still works");
    let found = space.aws.iam.get_user().user_name(&user).send().await;
    ensure!(found.is_err_and(|error| error.code() == Some("NoSuchEntity")), "the principal is left");
    ensure!(own_policies(&space, &user).await?.is_empty(), "a policy is left");
    ensure!(space.secrets().get_opt(TARGET).await?.is_none(), "the Secret is left");
    ensure!(space.objects().await?.contains(&format!("{FOLDER}kept")), "an object was deleted");
    Ok(())
}

/// A crash came when the rights were taken away, and before what they were written in was deleted.
async fn a_removal_that_was_interrupted_leaves_nothing(space: Space) -> Result<()> {
    space.create_target(TARGET, json!({})).await?;
    let user = principal(&space.until_ready(TARGET).await?);
    match space.kind {
        Kind::Aws => drop(space.aws.iam.delete_user_policy().user_name(&user).policy_name(POLICY_NAME).send().await?),
        Kind::SeaweedFs => {
            let attached = space.aws.iam.list_attached_user_policies().user_name(&user).send().await?;
            for policy in attached.attached_policies.unwrap_or_default() {
                let detach = space.aws.iam.detach_user_policy().user_name(&user);
                detach.policy_arn(policy.policy_arn.context("an ARN")?).send().await?;
            }
            ensure!(own_policies(&space, &user).await?.len() == 1, "there is something to leave");
        }
    }
    space.delete_target(TARGET).await?;
    space.until_gone(TARGET).await?;
    ensure!(own_policies(&space, &user).await?.is_empty(), "a policy is left");
    Ok(())
}

/// The managed policies whose name begins with that of a principal.
async fn own_policies(space: &Space, user: &str) -> Result<Vec<String>> {
    let all = space.aws.iam.list_policies().send().await?.policies.unwrap_or_default();
    Ok(all.into_iter().filter_map(|policy| policy.policy_name).filter(|name| name.starts_with(user)).collect())
}

async fn lists(space: &Space, conf: &str) -> Result<()> {
    space.s3_with(conf).list_objects_v2().bucket(&space.bucket).prefix(FOLDER).send().await?;
    Ok(())
}

/// Whether the key in an rclone.conf does what every target can.
async fn works(space: &Space, conf: &str) -> Result<()> {
    let (s3, key) = (space.s3_with(conf), format!("{FOLDER}works"));
    s3.put_object().bucket(&space.bucket).key(&key).body(Vec::from("a").into()).send().await?;
    let read = s3.get_object().bucket(&space.bucket).key(&key).send().await?.body.collect().await?;
    if read.into_bytes() != "a" {
        bail!("{key} is not what was written");
    }
    s3.delete_object().bucket(&space.bucket).key(&key).send().await?;
    lists(space, conf).await
}
