//! Stores to which an administrator brings the keys, on each kind of store: none of them is made, changed or deleted by the operator.

use std::{collections::BTreeSet, fs, time::Duration};

use anyhow::{Context, Result, ensure};
use backup_target_operator::{
    access::{Access, BucketName, PolicyDocument, Prefix, Terms},
    api::{
        Capability,
        condition::{LEAST_PRIVILEGE, READY},
    },
};
use k8s_openapi::api::{core::v1::Secret, events::v1::Event};
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use testbed::{
    harness::Test,
    install::NAMESPACE,
    objects::{merge, option},
    wait::wait_until,
};

use crate::{
    space::{Kind, SOON, Space, has, is_ready, message, record, status},
    world::World,
};

/// Each of these on each kind of store.
macro_rules! stories {
    ($($name:ident),+ $(,)?) => {
        pub const TESTS: &[Test<World>] = &[$(
            (concat!(module_path!(), "::aws::", stringify!($name)), |world| {
                Box::pin(async move { $name(Space::with_bucket(Kind::Aws, &world).await?).await })
            }),
            (concat!(module_path!(), "::seaweedfs::", stringify!($name)), |world| {
                Box::pin(async move { $name(Space::with_bucket(Kind::SeaweedFs, &world).await?).await })
            }),
        )+];
    };
}

stories![
    a_key_that_was_brought_is_tried_and_published,
    another_key_is_followed_once_it_works,
    a_key_that_reaches_further_is_told,
    a_key_that_was_not_brought_is_asked_for,
    what_no_rule_allows_loses_its_secret_and_keeps_its_key,
    what_is_deleted_leaves_the_administrators_key_alone,
    a_key_that_two_targets_get_is_told,
];

const TARGET: &str = "dataset-1";
const FOLDER: &str = "backups/dataset-1/";
const REVOKES: &str = "works until they revoke it";

/// Both halves.
struct BroughtKey {
    user: String,
    id: String,
    secret: String,
}

/// A store with one key, which is in the Secret of that name.
fn spec(space: &Space, secret: &str) -> Value {
    let all = space.store_spec();
    json!({
        "provider": "StaticKeys", "region": all["region"], "endpoint": all["endpoint"], "allow": all["allow"],
        "staticKeys": [{"bucket": space.bucket, "prefix": FOLDER, "secretRef": {"name": secret}}],
    })
}

/// A key that an administrator made by the policy that `render` prints.
async fn narrow_key(space: &Space, name: &str) -> Result<BroughtKey> {
    let access = Access {
        bucket: BucketName::parse(&space.bucket)?,
        prefix: Prefix::parse(FOLDER)?,
        capabilities: [Capability::MultipartUploads].into(),
        ancestor_listing: false,
    };
    let terms = Terms::parse(&serde_json::from_value(spec(space, "any"))?, None)?;
    make_key(space, name, &PolicyDocument::new(&terms, [&access]).to_json()).await
}

async fn make_key(space: &Space, name: &str, policy: &str) -> Result<BroughtKey> {
    let (iam, user) = (&space.aws.iam, format!("{name}-{}", space.namespace));
    iam.create_user().user_name(&user).send().await?;
    let made = iam.create_policy().policy_name(&user).policy_document(policy).send().await?;
    let arn = made.policy.and_then(|policy| policy.arn).context("an ARN")?;
    iam.attach_user_policy().user_name(&user).policy_arn(arn).send().await?;
    let key = iam.create_access_key().user_name(&user).send().await?.access_key.context("a key")?;
    space.world.keep_secret(&key.secret_access_key);
    Ok(BroughtKey { user, id: key.access_key_id, secret: key.secret_access_key })
}

fn own_secrets(space: &Space) -> Api<Secret> {
    Api::namespaced(space.client.clone(), NAMESPACE)
}

async fn bring(space: &Space, key: &BroughtKey) -> Result<()> {
    space.write_credentials(&key.id, &key.secret).await
}

/// A store with a key that is held to the folder, and a target with it.
async fn published(space: &Space) -> Result<BroughtKey> {
    let key = narrow_key(space, "narrow").await?;
    bring(space, &key).await?;
    space.create_store(spec(space, &space.store)).await?;
    space.create_target(TARGET, json!({"capabilities": ["MultipartUploads"]})).await?;
    space.until_ready(TARGET).await?;
    Ok(key)
}

/// Whether the key in an rclone.conf lists its folder.
async fn lists(space: &Space, conf: &str) -> Result<()> {
    space.s3_with(conf).list_objects_v2().bucket(&space.bucket).prefix(FOLDER).send().await?;
    Ok(())
}

async fn told(space: &Space, reason: &str, words: &str) -> Result<()> {
    let events = Api::<Event>::namespaced(space.client.clone(), &space.namespace);
    wait_until(&format!("an event {reason}"), SOON, async || {
        let events = events.list(&ListParams::default()).await?;
        let is_it = |event: &Event| {
            event.reason.as_deref() == Some(reason) && event.note.as_deref().unwrap_or_default().contains(words)
        };
        ensure!(events.iter().any(is_it), "not yet");
        Ok(())
    })
    .await
}

async fn a_key_that_was_brought_is_tried_and_published(space: Space) -> Result<()> {
    let key = published(&space).await?;
    let target = space.targets().get(TARGET).await?;
    for (type_, status, reason) in [
        ("BaseAccess", "True", "Verified"),
        ("MultipartUploads", "True", "Verified"),
        ("ListAllBuckets", "False", "VerifiedDenied"),
        (LEAST_PRIVILEGE, "True", "Verified"),
    ] {
        ensure!(has(&target, type_, status, reason), "{type_}: {:?}", status_of(&target));
    }
    let store = space.until_store("ready", |store| {
        let conditions = store.status.as_ref().map(|status| status.conditions.clone()).unwrap_or_default();
        conditions.iter().any(|told| told.type_ == READY && told.status == "True")
    });
    ensure!(store.await?.status.and_then(|status| status.account_id).as_deref() == Some(space.aws_proxy.url()));
    let conf = space.rclone_conf(TARGET).await?;
    ensure!(option(&conf, "access_key_id") == key.id && option(&conf, "provider") == "Other", "another key");
    let rclone = space.rclone(TARGET).await?;
    fs::write(rclone.folder().join("large"), vec![7; 12 << 20])?;
    rclone.run(&["copy", "large", "backup:", "--s3-upload-cutoff=5Mi"]).await?.succeeded()?;
    rclone.run(&["check", "large", "backup:", "--one-way"]).await?.succeeded()?;
    // A Secret that is lost comes again, as often as it is lost, with the same key.
    for _ in 0..2 {
        space.secrets().delete(TARGET, &DeleteParams::default()).await?;
        wait_until("the Secret to be back", SOON, async || {
            ensure!(space.rclone_conf(TARGET).await? == conf, "it is another one");
            Ok(())
        })
        .await?;
        space.until_ready(TARGET).await?;
    }
    told(&space, "DriftRepaired", TARGET).await?;
    ensure!(space.iam_calls().is_empty(), "the operator asked the store for more than S3: {:?}", space.iam_calls());
    Ok(())
}

fn status_of(target: &backup_target_operator::api::BackupTarget) -> Value {
    serde_json::to_value(status(target).conditions).unwrap_or_default()
}

async fn another_key_is_followed_once_it_works(space: Space) -> Result<()> {
    let first = published(&space).await?;
    let before = space.rclone_conf(TARGET).await?;
    let second = narrow_key(&space, "second").await?;
    // Half of it is wrong at first.
    space.write_credentials(&second.id, "mistyped").await?;
    space.until(TARGET, "not ready with a key that does not work", |target| !is_ready(target)).await?;
    ensure!(space.rclone_conf(TARGET).await? == before, "a key was published that does not work");
    bring(&space, &second).await?;
    space
        .until(TARGET, "ready with the second key", |target| {
            is_ready(target) && record(target).access_key_id.as_ref() == Some(&second.id)
        })
        .await?;
    let after = space.rclone_conf(TARGET).await?;
    ensure!(option(&after, "access_key_id") == second.id && !after.contains(&first.id), "the first one is published");
    lists(&space, &after).await?;
    lists(&space, &before).await.context("the first one is for its administrator to revoke")?;
    let target = space.targets().get(TARGET).await?;
    ensure!(record(&target).keys.len() == 1, "nothing is promised of the first one");
    told(&space, "KeyFollowed", &second.id).await?;
    ensure!(space.keys(&first.user).await?.len() == 1, "it is there");
    Ok(())
}

async fn a_key_that_reaches_further_is_told(space: Space) -> Result<()> {
    let all = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "s3:*", "Resource": ["arn:aws:s3:::*"]},
    ]});
    let key = make_key(&space, "wide", &all.to_string()).await?;
    bring(&space, &key).await?;
    space.create_store(spec(&space, &space.store)).await?;
    space.create_target(TARGET, json!({})).await?;
    space.until_ready(TARGET).await?;
    let exceeds = |target: &_| is_ready(target) && has(target, LEAST_PRIVILEGE, "False", "ExcessAccess");
    let target = space.until_within(Duration::from_mins(4), TARGET, "told that it can do too much", exceeds).await?;
    let told = message(&target, LEAST_PRIVILEGE)?;
    for part in ["s3:PutObject", "s3:ListBucket", "s3:ListBucketMultipartUploads", "render -o policy"] {
        ensure!(told.contains(part), "{part}: {told}");
    }
    Ok(())
}

async fn a_key_that_was_not_brought_is_asked_for(space: Space) -> Result<()> {
    let key = narrow_key(&space, "narrow").await?;
    let secret = format!("{}-later", space.store);
    // A key for a folder above is no key for the folder.
    let mut elsewhere = spec(&space, &secret);
    elsewhere["staticKeys"][0]["prefix"] = json!("backups/");
    space.create_store(elsewhere).await?;
    space.create_target(TARGET, json!({"capabilities": ["MultipartUploads"]})).await?;
    let asks = async |words: &str| {
        let asked = |target: &_| {
            has(target, "Stalled", "True", "KeyNotBrought")
                && message(target, READY).is_ok_and(|told| told.contains(words))
        };
        let target = space.until(TARGET, &format!("told of {words}"), asked).await?;
        let told = message(&target, READY)?;
        ensure!(!told.contains(&secret) && !told.contains(NAMESPACE), "where keys are is told to tenants: {told}");
        anyhow::Ok(())
    };
    asks("add an entry for them to spec.staticKeys").await?;
    space.patch_store(json!({"staticKeys": spec(&space, &secret)["staticKeys"]})).await?;
    asks("is not there").await?;
    let write = async |data: Value| {
        let body = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": secret}, "stringData": data});
        own_secrets(&space).patch(&secret, &PatchParams::apply("test").force(), &Patch::Apply(body)).await
    };
    let mut data = json!({"AWS_ACCESS_KEY_ID": key.id});
    write(data.clone()).await?;
    asks("lacks AWS_ACCESS_KEY_ID or AWS_SECRET_ACCESS_KEY").await?;
    merge(&mut data, json!({"AWS_SECRET_ACCESS_KEY": key.secret, "AWS_SESSION_TOKEN": "t"}));
    write(data.clone()).await?;
    asks("is temporary").await?;
    ensure!(space.secrets().get_opt(TARGET).await?.is_none(), "nothing is published");
    // An entry that came by stringData does not go with it.
    own_secrets(&space).delete(&secret, &DeleteParams::default()).await?;
    write(json!({"AWS_ACCESS_KEY_ID": key.id, "AWS_SECRET_ACCESS_KEY": key.secret})).await?;
    space.until_ready(TARGET).await?;
    let conf = space.rclone_conf(TARGET).await?;
    // What is published stands when the administrator takes the key away from here.
    own_secrets(&space).delete(&secret, &DeleteParams::default()).await?;
    space.until(TARGET, "told that the key is gone", |target| has(target, "Stalled", "True", "KeyNotBrought")).await?;
    ensure!(space.rclone_conf(TARGET).await? == conf, "the Secret stays");
    Ok(())
}

async fn what_no_rule_allows_loses_its_secret_and_keeps_its_key(space: Space) -> Result<()> {
    published(&space).await?;
    let conf = space.rclone_conf(TARGET).await?;
    space.patch_rule("buckets", json!(["another"])).await?;
    let target = space.until_stalled(TARGET, "NotAllowed").await?;
    ensure!(message(&target, READY)?.contains(REVOKES), "{}", message(&target, READY)?);
    ensure!(space.secrets().get_opt(TARGET).await?.is_none(), "the Secret is there");
    lists(&space, &conf).await.context("the key is not the operator's to switch off")?;
    space.patch_rule("buckets", json!([space.bucket])).await?;
    space.until_ready(TARGET).await?;
    ensure!(space.rclone_conf(TARGET).await? == conf, "it is another one");
    Ok(())
}

async fn what_is_deleted_leaves_the_administrators_key_alone(space: Space) -> Result<()> {
    let key = published(&space).await?;
    let conf = space.rclone_conf(TARGET).await?;
    let before = own_secrets(&space).get(&space.store).await?;
    space.delete_target(TARGET).await?;
    space.until_gone(TARGET).await?;
    ensure!(space.secrets().get_opt(TARGET).await?.is_none(), "the Secret is left");
    ensure!(own_secrets(&space).get(&space.store).await? == before, "the administrator's Secret was changed");
    ensure!(space.active_keys(&key.user).await? == [key.id], "the administrator's key was changed");
    lists(&space, &conf).await?;
    told(&space, "Deleted", REVOKES).await?;
    // One that never got a key goes at once, too.
    space.create_target("no-key", json!({"prefix": "elsewhere/"})).await?;
    space.until_stalled("no-key", "KeyNotBrought").await?;
    space.delete_target("no-key").await?;
    space.until_gone("no-key").await
}

async fn a_key_that_two_targets_get_is_told(space: Space) -> Result<()> {
    published(&space).await?;
    space.create_target("second", json!({"capabilities": ["MultipartUploads"]})).await?;
    let target = space.until_ready("second").await?;
    let told_in = message(&target, READY)?;
    ensure!(told_in.contains("BackupTarget dataset-1 got the same access key"), "{told_in}");
    told(&space, "KeyShared", TARGET).await?;
    let ids: BTreeSet<_> = [space.rclone_conf(TARGET).await?, space.rclone_conf("second").await?]
        .iter()
        .map(|conf| option(conf, "access_key_id").to_owned())
        .collect();
    ensure!(ids.len() == 1, "they have two keys");
    Ok(())
}
