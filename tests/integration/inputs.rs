//! What users and administrators get wrong: a refusal at apply or a clear condition, and nothing lost.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use backup_target_operator::{
    access::Claim,
    api::{BackupTarget, condition::READY},
    names::POLICY_NAME,
    provider::connections::Settings,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use testbed::{aws::ROOT_KEY, install::NAMESPACE, proxy::Fault, tests};

use crate::{
    space::{Space, create, is_ready, message, principal, stalled_with, status},
    world::World,
};

/// How many random values are asked about.
const SAMPLES: usize = 6_000;

tests![
    bad_fields_are_refused_at_apply_with_what_to_write,
    the_api_server_and_the_code_refuse_the_same,
    unusual_but_good_fields_work,
    what_must_not_change_cannot_be_changed,
    a_missing_store_is_waited_for,
    a_store_without_its_credentials_says_so,
    fields_that_have_moved_stop_the_store_and_say_where_to,
    wrong_operator_keys_are_told_on_the_store,
    a_missing_right_of_the_operator_is_named,
    a_store_that_is_down_hangs_or_babbles_is_told_and_survived,
    a_secret_of_somebody_else_is_never_touched,
    a_user_of_somebody_else_is_never_touched,
    two_targets_cannot_share_a_secret,
];

async fn bad_fields_are_refused_at_apply_with_what_to_write(world: Arc<World>) -> Result<()> {
    let space = Space::without_store(&world).await?;
    let long = "x".repeat(600);
    let bad: Vec<(&str, Value, &str)> = vec![
        ("bucket", json!("My-Bucket"), "lower-case letters"),
        ("bucket", json!("a..b"), "two dots"),
        ("bucket", json!("192.168.1.1"), "IP address"),
        ("bucket", json!("ab"), "should be at least 3 chars"),
        ("bucket", json!("bucket--x-s3"), "reserved"),
        ("bucket", json!("bucket/folder"), "such as my-backups"),
        ("bucket", json!("bücket"), "such as my-backups"),
        ("bucket", json!("*"), "such as my-backups"),
        ("prefix", json!("/leading"), "does not begin with '/'"),
        ("prefix", json!("a//b"), "empty folder name"),
        ("prefix", json!("a/../b"), "'.' or '..'"),
        ("prefix", json!("a*"), "wildcards"),
        ("prefix", json!("a?"), "wildcards"),
        ("prefix", json!("${aws:username}/"), "wildcards"),
        ("prefix", json!("a\u{7}b"), "control characters"),
        ("prefix", json!("a\nb"), "control characters"),
        ("prefix", json!("日本"), "Latin-1"),
        ("prefix", json!(" a"), "space"),
        ("prefix", json!(long), "Too long"),
        ("prefix", json!("é".repeat(300)), "512 bytes"),
        ("prefix", json!(""), "leave prefix out"),
        ("prefix", json!("/"), "leave prefix out"),
        ("capabilities", json!(["Everything"]), "supported values"),
        ("capabilities", json!(["ObjectAcls", "ObjectAcls"]), "Duplicate value"),
        ("keyOverlap", json!("-1h"), "such as 24h"),
        ("keyOverlap", json!("soon"), "such as 24h"),
        ("keyOverlap", json!("9000h"), "at most 8760h"),
        ("deletionPolicy", json!("Keep"), "supported values"),
        ("secret", json!({"name": "Not_A_Name"}), "the name of a Secret"),
        ("secret", json!({"name": "a.-b"}), "the name of a Secret"),
        ("secret", json!({"remote": "with space"}), "a remote's name"),
        ("storeRef", json!({"name": "default#x"}), "the name of a BackupStore"),
        ("storeRef", json!({"name": "default?x"}), "the name of a BackupStore"),
        ("storeRef", json!({"name": "default/"}), "the name of a BackupStore"),
        ("storeRef", json!({"name": "%64efault"}), "the name of a BackupStore"),
        ("storeRef", json!({"name": "../secrets"}), "the name of a BackupStore"),
        ("storeRef", json!({"name": ""}), "at least 1 chars"),
        ("bucket", Value::Null, "Required value"),
    ];
    for (field, value, why) in bad {
        match space.create_raw("bad", json!({field: value})).await {
            Ok(()) => bail!("{field}: {value} was taken"),
            Err(error) => ensure!(format!("{error:#}").contains(why), "{field}: {value}: {error:#} lacks `{why}`"),
        }
    }
    Ok(())
}

/// A field, and whether the code takes a value of it.
struct Field {
    name: &'static str,
    /// How good values begin; half of the samples do.
    begins: &'static str,
    in_spec: fn(&str) -> Value,
    parse: fn(&Value) -> bool,
}

fn is_target(spec: &Value) -> bool {
    let spec = serde_json::from_value(spec.clone());
    spec.is_ok_and(|spec| Claim::parse("sample", &spec).is_ok())
}

fn is_store(spec: &Value) -> bool {
    let spec = serde_json::from_value(spec.clone());
    spec.is_ok_and(|spec| Settings::parse(&spec).is_ok())
}

const TARGET_PIECES: [&str; 21] =
    ["a", "Z", "0", "-", ".", "_", "/", "//", "..", " ", "é", "×", "日", "*", "$", "\n", "'", "xn--", "+=@", "b", "("];
const TARGET_FIELDS: [Field; 5] = [
    Field { name: "bucket", begins: "", in_spec: |text| json!({"bucket": text}), parse: is_target },
    Field { name: "prefix", begins: "", in_spec: |text| json!({"bucket": "b-1", "prefix": text}), parse: is_target },
    Field {
        name: "secret.name",
        begins: "",
        in_spec: |text| json!({"bucket": "b-1", "secret": {"name": text}}),
        parse: is_target,
    },
    Field {
        name: "storeRef.name",
        begins: "",
        in_spec: |text| json!({"bucket": "b-1", "storeRef": {"name": text}}),
        parse: is_target,
    },
    Field {
        name: "secret.remote",
        begins: "",
        in_spec: |text| json!({"bucket": "b-1", "secret": {"remote": text}}),
        parse: is_target,
    },
];

const STORE_PIECES: [&str; 26] = [
    "https://",
    "arn:aws:iam::123456789012:policy/",
    "/",
    "a",
    ":9",
    "[",
    "::1",
    "]",
    "a.b",
    "-",
    "arn:aws-cn:iam::aws:policy/",
    "http://",
    "127.",
    "0.0.1",
    "255",
    "localhost",
    "[::1]",
    "0123456789",
    "12",
    "@",
    "_",
    "é",
    " ",
    "\n",
    "Z",
    ":",
];
const STORE_FIELDS: [Field; 13] = [
    Field { name: "region", begins: "", in_spec: |text| json!({"region": text}), parse: is_store },
    Field {
        name: "endpoint",
        begins: "https://",
        in_spec: |text| json!({"region": "r", "endpoint": text}),
        parse: is_store,
    },
    Field {
        name: "endpoint of another provider",
        begins: "http://127.0.0.1",
        in_spec: |text| json!({"region": "r", "provider": "SeaweedFS", "endpoint": text}),
        parse: is_store,
    },
    Field {
        name: "aws.iamEndpoint",
        begins: "http://127.0.0.1",
        in_spec: |text| json!({"region": "r", "aws": {"iamEndpoint": text}}),
        parse: is_store,
    },
    Field {
        name: "aws.stsEndpoint",
        begins: "http://[::1]",
        in_spec: |text| json!({"region": "r", "aws": {"stsEndpoint": text}}),
        parse: is_store,
    },
    Field {
        name: "allowInsecure",
        begins: "http://",
        in_spec: |text| json!({"region": "r", "allowInsecure": true, "aws": {"iamEndpoint": text, "stsEndpoint": text}}),
        parse: is_store,
    },
    Field {
        name: "aws.iamPath",
        begins: "/a/",
        in_spec: |text| json!({"region": "r", "aws": {"iamPath": text}}),
        parse: is_store,
    },
    Field {
        name: "aws.permissionsBoundary",
        begins: "arn:aws:iam::123456789012:policy/",
        in_spec: |text| json!({"region": "r", "aws": {"permissionsBoundary": text}}),
        parse: is_store,
    },
    Field {
        name: "aws.bucketOwner",
        begins: "012345678912",
        in_spec: |text| json!({"region": "r", "aws": {"bucketOwner": text}}),
        parse: is_store,
    },
    Field { name: "staticKeys.bucket", begins: "a.b", in_spec: |text| brought(text, "a/"), parse: is_store },
    Field { name: "staticKeys.prefix", begins: "a/", in_spec: |text| brought("b-1", text), parse: is_store },
    Field {
        name: "rcloneProvider",
        begins: "Other",
        in_spec: |text| {
            let mut spec = brought("b-1", "a/");
            spec["rcloneProvider"] = json!(text);
            spec
        },
        parse: is_store,
    },
    Field {
        name: "tlsOnly",
        begins: "https://",
        in_spec: |text| json!({"region": "r", "tlsOnly": true, "endpoint": text}),
        parse: is_store,
    },
];

fn brought(bucket: &str, prefix: &str) -> Value {
    let key = json!({"bucket": bucket, "prefix": prefix, "secretRef": {"name": "key"}});
    json!({"region": "r", "provider": "StaticKeys", "endpoint": "https://a.b", "staticKeys": [key]})
}

async fn the_api_server_and_the_code_refuse_the_same(world: Arc<World>) -> Result<()> {
    let space = Space::without_store(&world).await?;
    let mut random = fastrand::Rng::with_seed(20_261_124);
    let mut taken = BTreeMap::new();
    for number in 0..SAMPLES {
        let of_store = number % 2 == 1;
        let (pieces, fields) =
            if of_store { (&STORE_PIECES[..], &STORE_FIELDS[..]) } else { (&TARGET_PIECES[..], &TARGET_FIELDS[..]) };
        let field = &fields[random.usize(..fields.len())];
        let spec = (field.in_spec)(&sample(&mut random, field.begins, pieces));
        let answer = if of_store { space.ask_for_store(&spec).await } else { space.ask_for(&spec).await };
        let parsed = (field.parse)(&spec);
        ensure!(answer.is_ok() == parsed, "{spec}: the code says {parsed}, the API server {answer:?}");
        *taken.entry(field.name).or_insert(0) += usize::from(parsed);
    }
    let all = TARGET_FIELDS.iter().chain(&STORE_FIELDS);
    for field in all {
        let good = taken.get(field.name).copied().unwrap_or_default();
        ensure!(good >= 3, "only {good} values of {} were good, so this shows little", field.name);
    }
    Ok(())
}

/// Mostly short, now and then up to every limit; and mostly of few different pieces, so that some are good.
fn sample(random: &mut fastrand::Rng, begins: &str, pieces: &[&str]) -> String {
    let length = if random.u8(..10) == 0 { random.usize(..300) } else { random.usize(..8) };
    let variety = random.usize(1..=pieces.len());
    let beginning = if random.bool() { begins } else { "" };
    std::iter::once(beginning).chain((0..length).map(|_| pieces[random.usize(..variety)])).collect()
}

async fn unusual_but_good_fields_work(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    let prefixes = ["no/slash/at/the/end", "Größe/été", "it's (1) + a=b@c,d:e!", "...a/.b"];
    for (number, prefix) in prefixes.into_iter().enumerate() {
        let name = format!("target-{number}");
        space.create_target(&name, json!({"prefix": prefix})).await?;
        space.until_ready(&name).await?;
        let rclone = space.rclone(&name).await?;
        std::fs::write(rclone.folder().join("file"), prefix)?;
        rclone.run(&["copy", "file", "backup:"]).await?.succeeded().with_context(|| prefix.to_owned())?;
        rclone.run(&["check", "file", "backup:", "--one-way"]).await?.succeeded()?;
        let key = format!("{}/file", prefix.trim_end_matches('/'));
        ensure!(space.objects().await?.contains(&key), "{key} is not among {:?}", space.objects().await?);
    }
    Ok(())
}

async fn what_must_not_change_cannot_be_changed(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    space.create_target("dataset-1", json!({})).await?;
    let moved = space.patch_target("dataset-1", json!({"storeRef": {"name": "another"}})).await;
    ensure!(format!("{:#}", moved.expect_err("storeRef was changed")).contains("storeRef cannot be changed"));
    for spec in [
        json!({"aws": {"iamPath": "no slashes"}}),
        json!({"provider": "SeaweedFS"}),
        json!({"provider": "SeaweedFS", "aws": null}),
    ] {
        ensure!(space.patch_store(spec.clone()).await.is_err(), "{spec} was taken");
    }
    for (field, value) in [
        ("buckets", json!(["my-*"])),
        ("prefixes", json!(["/x"])),
        ("prefixes", json!(["{ns}/"])),
        ("prefixes", json!(["a-{namespace}/"])),
        ("prefixes", json!(["a*/"])),
        ("namespaces", json!({"names": ["*"]})),
        ("namespaces", json!({})),
    ] {
        ensure!(space.patch_rule(field, value.clone()).await.is_err(), "{field}: {value} was taken");
    }
    for name in ["other#x", "other/", "%6fther", "../other", "Other"] {
        let credentials = json!({"secretRef": {"name": name}});
        let refused = space.patch_store(json!({"credentials": credentials})).await.err().context(name)?;
        ensure!(refused.to_string().contains("the name of a Secret"), "{refused}");
    }
    for endpoint in ["ftp://host", "https://host/path", "https://user:pass@host", "http://"] {
        let aws = json!({"aws": {"iamEndpoint": endpoint}});
        ensure!(space.patch_store(aws).await.is_err(), "{endpoint} was taken");
    }
    for field in ["iamEndpoint", "stsEndpoint"] {
        let aws = json!({"aws": {field: "http://aws.example.com"}});
        let refused = space.patch_store(aws).await.err().context("it was taken")?.to_string();
        ensure!(refused.contains(&format!("aws.{field} is without TLS")), "{refused}");
        ensure!(refused.contains("set allowInsecure to true"), "{refused}");
    }
    Ok(())
}

async fn a_missing_store_is_waited_for(world: Arc<World>) -> Result<()> {
    let space = Space::without_store(&world).await?;
    space.create_bucket(&space.bucket).await?;
    space.create_target("dataset-1", json!({})).await?;
    let waiting = space.until_reconciling("dataset-1", "StoreNotFound").await?;
    ensure!(message(&waiting, READY)?.contains(&space.store), "{}", message(&waiting, READY)?);
    space.create_store(space.store_spec()).await?;
    space.until_ready("dataset-1").await?;
    Ok(())
}

async fn a_store_without_its_credentials_says_so(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    let secrets = Api::<k8s_openapi::api::core::v1::Secret>::namespaced(space.client.clone(), NAMESPACE);
    space.patch_store(json!({"credentials": {"secretRef": {"name": format!("{}-lost", space.store)}}})).await?;
    let store = until_store_stalled(&space, "CredentialsNotFound").await?;
    ensure!(store.contains("AWS_ACCESS_KEY_ID") && store.contains(NAMESPACE), "{store}");
    space.create_target("dataset-1", json!({})).await?;
    let told = |target: &BackupTarget| {
        !is_ready(target) && message(target, READY).is_ok_and(|told| told.contains("CredentialsNotFound"))
    };
    let waiting = space.until("dataset-1", "not ready", told).await?;
    let told = message(&waiting, READY)?;
    ensure!(
        !told.contains(NAMESPACE) && !told.contains("-lost"),
        "where the credentials are is nobody's business: {told}"
    );

    let body = json!({
        "metadata": {"name": format!("{}-lost", space.store)},
        "stringData": {"AWS_ACCESS_KEY_ID": space.account, "AWS_SECRET_ACCESS_KEY": ROOT_KEY},
    });
    create(&secrets, body).await?;
    space.until_ready("dataset-1").await?;
    Ok(())
}

/// What an API server kept that knew the fields by their former names: a boundary that is lost unseen bounds nobody.
async fn fields_that_have_moved_stop_the_store_and_say_where_to(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    space.create_target("dataset-1", json!({})).await?;
    let user = principal(&space.until_ready("dataset-1").await?);
    let before = space.aws.iam.get_user_policy().user_name(&user).policy_name(POLICY_NAME).send().await?;
    let boundary = format!("arn:aws:iam::{}:policy/boundary", space.account);
    for (field, value, place) in [
        ("iam", json!({"permissionsBoundary": boundary}), "spec.aws.permissionsBoundary"),
        ("policy", json!({"secureTransport": true}), "spec.tlsOnly"),
        ("endpoints", json!({"iam": "https://iam.example.com"}), "spec.aws.iamEndpoint"),
    ] {
        space.patch_store(json!({(field): value})).await?;
        let told = until_store_stalled(&space, "InvalidSpec").await?;
        ensure!(told.contains(&format!("spec.{field}")) && told.contains(place), "{told}");
        space.patch_target("dataset-1", json!({"capabilities": ["MultipartUploads"]})).await?;
        let waits = |target: &BackupTarget| message(target, READY).is_ok_and(|told| told.contains("InvalidSpec"));
        space.until("dataset-1", "waiting for its store", waits).await?;
        let now = space.aws.iam.get_user_policy().user_name(&user).policy_name(POLICY_NAME).send().await?;
        ensure!(now.policy_document == before.policy_document, "something was changed");
        space.patch_store(json!({(field): null})).await?;
        space.patch_target("dataset-1", json!({"capabilities": []})).await?;
        space.until_ready("dataset-1").await?;
    }
    Ok(())
}

async fn until_store_stalled(space: &Space, reason: &str) -> Result<String> {
    until_store_says(space, "Stalled", reason).await
}

/// Waits until a condition of a store is there, and returns its message.
async fn until_store_says(space: &Space, type_: &str, reason: &str) -> Result<String> {
    let find = |store: &backup_target_operator::api::BackupStore| {
        let conditions = store.status.clone().unwrap_or_default().conditions;
        conditions.into_iter().find(|condition| condition.type_ == type_ && condition.reason == reason)
    };
    let store = space.until_store(&format!("{type_} with {reason}"), |store| find(store).is_some()).await?;
    Ok(find(&store).context("it is there")?.message)
}

async fn wrong_operator_keys_are_told_on_the_store(world: Arc<World>) -> Result<()> {
    let space = Space::without_store(&world).await?;
    space.create_bucket(&space.bucket).await?;
    space.write_credentials("AKIANOBODYHASTHISKEY", "wrong").await?;
    space.create_store(space.store_spec()).await?;
    let told = until_store_says(&space, "Reconciling", "InvalidCredentials").await?;
    ensure!(told.contains("credentials Secret"), "{told}");
    space.create_target("dataset-1", json!({})).await?;
    let waiting = space.until_reconciling("dataset-1", "StoreNotReady").await?;
    let told_to_tenants = message(&waiting, READY)?;
    ensure!(told_to_tenants.contains("InvalidCredentials"), "{told_to_tenants}");
    ensure!(!told_to_tenants.contains(&told), "the store's message is for its administrator: {told_to_tenants}");

    space.write_credentials(&space.account, ROOT_KEY).await?;
    space.until_ready("dataset-1").await?;
    Ok(())
}

async fn a_missing_right_of_the_operator_is_named(world: Arc<World>) -> Result<()> {
    let space = Space::without_store(&world).await?;
    space.create_bucket(&space.bucket).await?;
    let iam = &space.aws.iam;
    iam.create_user().user_name("operator").send().await?;
    let key = iam.create_access_key().user_name("operator").send().await?.access_key.context("a key")?;
    world.keep_secret(&key.secret_access_key);
    space.write_credentials(&key.access_key_id, &key.secret_access_key).await?;
    space.create_store(space.store_spec()).await?;
    space.create_target("dataset-1", json!({})).await?;
    let refused = space.until_reconciling("dataset-1", "AccessDenied").await?;
    ensure!(message(&refused, READY)?.contains("iam:CreateUser"), "{}", message(&refused, READY)?);

    let rights =
        json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iam:*", "Resource": "*"}]});
    iam.put_user_policy()
        .user_name("operator")
        .policy_name("rights")
        .policy_document(rights.to_string())
        .send()
        .await?;
    space.until_ready("dataset-1").await?;
    Ok(())
}

async fn a_store_that_is_down_hangs_or_babbles_is_told_and_survived(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    space.until_store("ready", |store| store.status.as_ref().is_some_and(|status| status.account_id.is_some())).await?;
    let faults = [
        (Fault::Refuse, "StoreUnreachable"),
        (Fault::Status(503), "StoreUnreachable"),
        (Fault::Garbage, "StoreError"),
        (Fault::Hang, "StoreUnreachable"),
    ];
    for (number, (fault, reason)) in faults.into_iter().enumerate() {
        let broken = space.aws_proxy.fault(fault, |call| call.action.is_some());
        let name = format!("target-{number}");
        space.create_target(&name, json!({"prefix": name})).await?;
        space.until_reconciling(&name, reason).await.with_context(|| format!("{fault:?}"))?;
        drop(broken);
        let ready = space.until_within(Duration::from_mins(1), &name, "ready", is_ready).await?;
        ensure!(space.keys(&principal(&ready)).await?.len() == 1);
    }
    ensure!(space.users().await?.len() == 4, "one user for each target");
    Ok(())
}

async fn a_secret_of_somebody_else_is_never_touched(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    let ours = json!({
        "app.kubernetes.io/managed-by": "backup-target-operator", "backup-target.dev/target": "with-labels",
    });
    let owner = json!([{
        "apiVersion": "backup-target.dev/v1alpha1", "kind": "BackupTarget", "name": "with-owner",
        "uid": "00000000-0000-0000-0000-000000000000", "controller": true,
    }]);
    let foreign = [
        ("bare", json!({"name": "bare"}), "no object that it names"),
        ("with-labels", json!({"name": "with-labels", "labels": ours}), "kubectl delete secret with-labels"),
        (
            "with-owner",
            json!({"name": "with-owner", "labels": ours, "ownerReferences": owner}),
            "belongs to BackupTarget",
        ),
    ];
    for (name, metadata, whose) in foreign {
        let before = space.create_secret(json!({"metadata": metadata, "stringData": {"rclone.conf": "mine"}})).await?;
        space.create_target(name, json!({})).await?;
        let stalled = space.until_stalled(name, "SecretConflict").await?;
        let told = message(&stalled, READY)?;
        ensure!(told.contains("spec.secret.name") && told.contains(whose), "{told}");
        space.delete_target(name).await?;
        space.until_gone(name).await?;
        let after = space.secrets().get(name).await?;
        ensure!(after == before, "{name} was touched");
    }
    ensure!(space.users().await?.is_empty(), "refused before anything was created");

    space.create_target("owner-lost", json!({"prefix": "backups/owner-lost"})).await?;
    space.until_ready("owner-lost").await?;
    let disowned = json!({"metadata": {"ownerReferences": null}});
    space.secrets().patch("owner-lost", &PatchParams::default(), &Patch::Merge(disowned)).await?;
    space.until_stalled("owner-lost", "SecretConflict").await?;
    space.delete_target("owner-lost").await?;
    space.until_gone("owner-lost").await?;

    space.create_target("bare", json!({})).await?;
    space.until_stalled("bare", "SecretConflict").await?;
    space.secrets().delete("bare", &DeleteParams::default()).await?;
    space.patch_target("bare", json!({"keyOverlap": "1h"})).await?;
    space.until_ready("bare").await?;
    Ok(())
}

async fn a_user_of_somebody_else_is_never_touched(world: Arc<World>) -> Result<()> {
    let space = Space::without_store(&world).await?;
    space.create_bucket(&space.bucket).await?;
    let target = space.create_target("dataset-1", json!({})).await?;
    let name = principal(&target);
    space.aws.iam.create_user().user_name(&name).send().await?;
    space.aws.iam.create_access_key().user_name(&name).send().await?;
    space.create_store(space.store_spec()).await?;

    let stalled = space.until_stalled("dataset-1", "PrincipalConflict").await?;
    ensure!(message(&stalled, READY)?.contains(&name), "{}", message(&stalled, READY)?);
    space.delete_target("dataset-1").await?;
    space.until_gone("dataset-1").await?;
    ensure!(space.keys(&name).await?.len() == 1, "the foreign user and its key are there");
    let changed = space.aws_proxy.calls(|call| call.is_write() && call.action.is_some() && call.succeeded());
    ensure!(changed.iter().all(|call| call.is("GetCallerIdentity")), "{changed:#?}");
    Ok(())
}

async fn two_targets_cannot_share_a_secret(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    space.create_target("first", json!({"secret": {"name": "shared"}})).await?;
    let first = space.until_ready("first").await?;
    let conf = space.rclone_conf("shared").await?;
    space.create_target("second", json!({"secret": {"name": "shared"}, "prefix": "backups/dataset-2"})).await?;
    let second = space.until_stalled("second", "SecretConflict").await?;
    ensure!(message(&second, READY)?.contains("BackupTarget first"), "{}", message(&second, READY)?);
    ensure!(second.finalizers().is_empty() && stalled_with(&second, "SecretConflict"));
    ensure!(space.rclone_conf("shared").await? == conf, "the first target's Secret is untouched");
    ensure!(status(&space.targets().get("first").await?) == status(&first));
    Ok(())
}
