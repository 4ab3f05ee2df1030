//! A target's life in good times: from nothing to a working backup, and every change in place.

use std::{fs, path::Path, sync::Arc};

use anyhow::{Context, Result, ensure};
use backup_target_operator::{
    access::{Access, BucketName, Meaning, PolicyDocument, Prefix},
    api::{Capability, Tier, condition::LEAST_PRIVILEGE},
};
use kube::ResourceExt;
use serde_json::json;
use testbed::{rclone::Rclone, tests, wait::wait_until};

use crate::{
    space::{SOON, Space, condition, has, is, is_ready, labels, message, principal, record, status},
    world::World,
};

tests![
    the_very_first_backup_to_an_empty_prefix_works,
    a_new_target_costs_three_calls_and_three_writes,
    a_settled_target_causes_no_writes,
    every_tier_set_becomes_exactly_its_policy,
    capabilities_change_in_place,
    a_changed_prefix_covers_old_and_new_for_the_overlap,
    a_renamed_secret_leaves_the_old_one_for_the_overlap,
    a_suspended_target_is_left_alone,
    the_bucket_is_created_by_rclone_only_when_it_is_missing,
    status_speaks_kstatus,
];

async fn the_very_first_backup_to_an_empty_prefix_works(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    space.put_object("backups/dataset-10/neighbour").await?;
    space.create_target("dataset-1", json!({})).await?;
    space.until_ready("dataset-1").await?;
    let rclone = space.rclone("dataset-1").await?;
    write_tree(&rclone.folder().join("data"))?;

    rclone.run(&["copy", "data", "backup:", "--s3-upload-cutoff=5Mi"]).await?.succeeded()?;
    rclone.run(&["check", "data", "backup:"]).await?.succeeded()?;
    rclone.run(&["copy", "backup:", "restored"]).await?.succeeded()?;
    rclone.run(&["check", "--download", "data", "restored"]).await?.succeeded()?;

    for refused in ["backup_s3:BUCKET/backups/dataset-10/", "backup_s3:BUCKET/other/", "backup_s3:another-bucket/"] {
        let place = refused.replace("BUCKET", &space.bucket);
        for arguments in [["copy", "data", &place], ["ls", &place, "--max-depth=1"]] {
            let ran = rclone.run(&arguments).await?;
            ensure!(ran.code != Some(0) && ran.stderr.contains("403"), "{arguments:?} was not refused: {}", ran.stderr);
        }
    }
    let all = rclone.run(&["lsd", "backup_s3:"]).await?;
    ensure!(all.code != Some(0), "listing all buckets was not refused");
    Ok(())
}

/// Small files, a unicode name, and one that rclone uploads in parts.
fn write_tree(root: &Path) -> Result<()> {
    fs::create_dir_all(root.join("folder/deep"))?;
    fs::write(root.join("a.txt"), "a")?;
    fs::write(root.join("folder/deep/empty"), "")?;
    fs::write(root.join("folder/Größe été.txt"), "unicode")?;
    fs::write(root.join("large"), vec![7; 20 << 20])?;
    Ok(())
}

async fn a_new_target_costs_three_calls_and_three_writes(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    space.until_store("ready", |store| store.status.as_ref().is_some_and(|status| status.account_id.is_some())).await?;
    space.create_target("dataset-1", json!({})).await?;
    space.until_ready("dataset-1").await?;
    // What the status write itself causes is seen, too.
    space.poke("dataset-1").await?;

    ensure!(space.iam_calls() == ["CreateUser", "PutUserPolicy", "CreateAccessKey"], "{:?}", space.iam_calls());
    let writes: Vec<String> = space.writes().iter().map(|call| format!("{} {}", call.method, call.path)).collect();
    ensure!(writes.len() == 3, "{writes:#?}");
    ensure!(writes[0].starts_with("PATCH") && writes[0].ends_with("/backuptargets/dataset-1"), "{writes:#?}");
    ensure!(writes[1].starts_with("POST") && writes[1].ends_with("/secrets"), "{writes:#?}");
    ensure!(writes[2].starts_with("PATCH") && writes[2].ends_with("/backuptargets/dataset-1/status"), "{writes:#?}");
    let events = |call: &testbed::proxy::Call| call.path.contains(&format!("/namespaces/{}/events", space.namespace));
    ensure!(world.api.calls(events).len() == 1, "one event for one outcome");
    Ok(())
}

async fn a_settled_target_causes_no_writes(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    space.create_target("dataset-1", json!({})).await?;
    space.until_ready("dataset-1").await?;
    let (writes, calls) = (space.writes().len(), space.iam_calls().len());
    for _ in 0..5 {
        space.poke("dataset-1").await?;
    }
    ensure!(space.writes().len() == writes, "{:#?}", &space.writes()[writes..]);
    ensure!(space.iam_calls().len() == calls, "{:?}", &space.iam_calls()[calls..]);
    Ok(())
}

async fn every_tier_set_becomes_exactly_its_policy(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    let mut wanted = Vec::new();
    for (number, capabilities) in subsets(&Capability::ALL).into_iter().enumerate() {
        let prefix = (number % 3 != 0).then(|| format!("backups/set-{number}/"));
        let listing = number % 2 == 0;
        let name = format!("set-{number}");
        let fields = json!({
            "prefix": prefix,
            "capabilities": capabilities.iter().map(|capability| capability.name()).collect::<Vec<_>>(),
            "ancestorListing": if listing { "Allow" } else { "Deny" },
        });
        space.create_target(&name, fields).await?;
        let access = Access {
            bucket: BucketName::parse(&space.bucket)?,
            prefix: prefix.as_deref().map_or_else(|| Ok(Prefix::whole_bucket()), Prefix::parse)?,
            capabilities: capabilities.iter().copied().collect(),
            ancestor_listing: listing,
        };
        wanted.push((name, access));
    }
    for (name, access) in wanted {
        let target = space.until_ready(&name).await?;
        let policy = space.policy(&principal(&target)).await?.to_string();
        let expected = PolicyDocument::new(&space.terms()?, [&access.clone().without(Capability::CreateBucket)]);
        ensure!(Meaning::read(&policy) == Some(expected.meaning()), "{name}: {policy}");
        for tier in Tier::ALL {
            let granted = access.tiers().any(|granted| granted == tier);
            let (value, reason) = match (tier, granted) {
                // The bucket is there.
                (Tier::Optional(Capability::CreateBucket), true) => ("False", "NotNeeded"),
                (Tier::Optional(Capability::CreateBucket), false) => ("False", "NotRequested"),
                // The stand-in's buckets have ACLs switched off, as new ones on AWS have.
                (Tier::Optional(Capability::ObjectAcls), true) => ("True", "AclsDisabled"),
                (_, true) => ("True", "Verified"),
                (_, false) => ("False", "VerifiedDenied"),
            };
            ensure!(has(&target, tier.name(), value, reason), "{name}: {:?}", condition(&target, tier.name()));
        }
        ensure!(has(&target, LEAST_PRIVILEGE, "True", "Verified"), "{name}: {:?}", condition(&target, LEAST_PRIVILEGE));
    }
    Ok(())
}

fn subsets(all: &[Capability]) -> Vec<Vec<Capability>> {
    let chosen = |bits: usize| (0..all.len()).filter(move |at| bits >> at & 1 == 1).map(|at| all[at]).collect();
    (0..1 << all.len()).map(chosen).collect()
}

async fn capabilities_change_in_place(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    space.create_target("dataset-1", json!({})).await?;
    let before = space.until_ready("dataset-1").await?;
    ensure!(!space.rclone_conf("dataset-1").await?.contains("acl"), "no ACL without the tier");

    space.patch_target("dataset-1", json!({"capabilities": ["ObjectAcls", "MultipartUploads"]})).await?;
    let wider = space.until_ready("dataset-1").await?;
    ensure!(is(&wider, "ObjectAcls", "True") && is(&wider, "MultipartUploads", "True"));
    ensure!(status(&wider).tiers.as_deref() == Some("base,multipart,acls"), "{:?}", status(&wider).tiers);
    ensure!(space.rclone_conf("dataset-1").await?.contains("acl = bucket-owner-full-control"));

    space.patch_target("dataset-1", json!({"capabilities": []})).await?;
    let narrower = space.until_ready("dataset-1").await?;
    ensure!(is(&narrower, "ObjectAcls", "False"));
    ensure!(!space.rclone_conf("dataset-1").await?.contains("acl"));
    ensure!(!space.policy(&principal(&before)).await?.to_string().contains("PutObjectAcl"));

    ensure!(space.users().await?.len() == 1, "the same user");
    for target in [&wider, &narrower] {
        ensure!(record(target).access_key_id == record(&before).access_key_id, "the same key");
    }
    Ok(())
}

async fn a_changed_prefix_covers_old_and_new_for_the_overlap(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    space.create_target("dataset-1", json!({"keyOverlap": "5s"})).await?;
    let before = space.until_ready("dataset-1").await?;
    let running = space.rclone("dataset-1").await?;
    fs::write(running.folder().join("file"), "old")?;
    running.run(&["copy", "file", "backup:"]).await?.succeeded()?;

    space.patch_target("dataset-1", json!({"prefix": "backups/dataset-2"})).await?;
    let after = space.until_ready("dataset-1").await?;
    ensure!(record(&after).access_key_id == record(&before).access_key_id, "the same key");
    ensure!(record(&after).previous_access.len() == 1, "status says what is still covered");
    running.run(&["copy", "file", "backup:still-works/"]).await?.succeeded().context("a running backup was broken")?;
    let next = space.rclone("dataset-1").await?;
    fs::write(next.folder().join("file"), "new")?;
    next.run(&["copy", "file", "backup:"]).await?.succeeded()?;
    ensure!(space.objects().await?.contains(&"backups/dataset-2/file".to_owned()));

    space.until("dataset-1", "without its former folder", |target| record(target).previous_access.is_empty()).await?;
    let refused = running.run(&["copy", "file", "backup:too-late/"]).await?;
    ensure!(refused.code != Some(0), "the overlap did not end");
    next.run(&["check", "file", "backup:", "--one-way"]).await?.succeeded()?;
    Ok(())
}

async fn a_renamed_secret_leaves_the_old_one_for_the_overlap(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    space.create_target("dataset-1", json!({"keyOverlap": "5s", "secret": {"name": "first"}})).await?;
    let before = space.until_ready("dataset-1").await?;
    ensure!(space.secrets().get_opt("dataset-1").await?.is_none(), "only the named Secret is written");

    space.patch_target("dataset-1", json!({"secret": {"name": "second", "remote": "other"}})).await?;
    let after = space.until_ready("dataset-1").await?;
    ensure!(record(&after).secret_name.as_deref() == Some("second"));
    ensure!(record(&after).access_key_id == record(&before).access_key_id, "the same key");
    let second = space.rclone_conf("second").await?;
    ensure!(second.contains("[other]") && second.contains("[other_s3]"), "the remote is named anew");
    Rclone::new(&space.rclone_conf("first").await?)?.run(&["lsf", "backup:"]).await?.succeeded()?;

    wait_until("the former Secret to go", SOON, async || {
        ensure!(space.secrets().get_opt("first").await?.is_none(), "it is there");
        Ok(())
    })
    .await?;
    Rclone::new(&second)?.run(&["lsf", "other:"]).await?.succeeded()?;
    Ok(())
}

async fn a_suspended_target_is_left_alone(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    space.create_target("dataset-1", json!({"suspend": true})).await?;
    space.until_stalled("dataset-1", "ChangeSuspended").await?;
    ensure!(space.users().await?.is_empty(), "nothing is created while suspended");

    space.patch_target("dataset-1", json!({"suspend": false})).await?;
    space.until_ready("dataset-1").await?;
    space.patch_target("dataset-1", json!({"suspend": true})).await?;
    space
        .until("dataset-1", "suspended", |target| is_ready(target) && has(target, "Ready", "True", "Suspended"))
        .await?;

    space.patch_target("dataset-1", json!({"capabilities": ["ObjectAcls"]})).await?;
    let held = space.until_stalled("dataset-1", "ChangeSuspended").await?;
    ensure!(message(&held, "Ready")?.contains("spec.suspend"), "{}", message(&held, "Ready")?);
    ensure!(!space.policy(&principal(&held)).await?.to_string().contains("PutObjectAcl"), "nothing changed");

    space.patch_target("dataset-1", json!({"suspend": false})).await?;
    let resumed = space.until_ready("dataset-1").await?;
    ensure!(is(&resumed, "ObjectAcls", "True"));
    Ok(())
}

async fn the_bucket_is_created_by_rclone_only_when_it_is_missing(world: Arc<World>) -> Result<()> {
    let space = Space::without_store(&world).await?;
    space.create_store(space.store_spec()).await?;
    space
        .create_target("dataset-1", json!({"capabilities": ["CreateBucket", "MultipartUploads", "ObjectAcls"]}))
        .await?;
    let ready = space.until_ready("dataset-1").await?;
    for tier in ["BaseAccess", "MultipartUploads", "ObjectAcls"] {
        ensure!(has(&ready, tier, "Unknown", "BucketNotFound"), "{tier}: {:?}", ready.status);
    }
    ensure!(!space.rclone_conf("dataset-1").await?.contains("no_check_bucket"), "rclone may create the bucket");
    let creates = async || -> Result<bool> {
        Ok(space.policy(&principal(&ready)).await?.to_string().contains("s3:CreateBucket"))
    };
    ensure!(creates().await? && has(&ready, "CreateBucket", "True", "Granted"), "{:?}", ready.status);
    let rclone = space.rclone("dataset-1").await?;
    fs::write(rclone.folder().join("file"), "first")?;
    rclone.run(&["copy", "file", "backup:"]).await?.succeeded()?;

    space.poke("dataset-1").await?;
    wait_until("the option to change", SOON, async || {
        let conf = space.rclone_conf("dataset-1").await?;
        ensure!(conf.contains("no_check_bucket = true"), "rclone would still create the bucket");
        Ok(())
    })
    .await?;
    space.until("dataset-1", "without the right", |target| has(target, "CreateBucket", "False", "NotNeeded")).await?;
    ensure!(!creates().await?, "whoever has the key could create it again");

    space.aws.s3.delete_object().bucket(&space.bucket).key("backups/dataset-1/file").send().await?;
    space.aws.s3.delete_bucket().bucket(&space.bucket).send().await?;
    space.poke("dataset-1").await?;
    let again =
        space.until("dataset-1", "allowed to create it", |target| has(target, "CreateBucket", "True", "Granted"));
    again.await?;
    ensure!(creates().await?);
    Ok(())
}

async fn status_speaks_kstatus(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    let unseen = space.create_target("dataset-1", json!({})).await?;
    ensure!(status(&unseen).observed_generation == Some(-1), "{:?}", unseen.status);
    let ready = space.until_ready("dataset-1").await?;
    for condition in status(&ready).conditions {
        ensure!(condition.observed_generation == ready.metadata.generation, "{condition:?}");
    }
    ensure!(record(&ready).principal == Some(principal(&ready)));
    let secret = space.secrets().get("dataset-1").await?;
    ensure!(secret.type_.as_deref() == Some("Opaque") && secret.immutable.is_none());
    ensure!(secret.owner_references().iter().any(|owner| Some(&owner.uid) == ready.metadata.uid.as_ref()));
    ensure!(secret.annotations().is_empty(), "no last-applied copy of the content: {:?}", secret.annotations());
    ensure!(labels(&secret).get("backup-target.dev/target").is_some_and(|target| target == "dataset-1"));
    let user = space.aws.iam.get_user().user_name(principal(&ready)).send().await?.user.context("a user")?;
    ensure!(user.path().starts_with("/backup-target/") && user.path().len() > "/backup-target//".len());
    Ok(())
}
