//! Policies in IAM: in the form that fits, exact in meaning, bounded, and written with no more rights than are printed.

use std::{collections::BTreeSet, sync::Arc};

use anyhow::{Context, Result, bail, ensure};
use backup_target_operator::{
    access::{Access, BucketName, PolicyDocument, Prefix, Terms},
    api::{BackupTarget, Capability, backup_target::PolicyForm, condition},
    provider::aws::{amazon, dialect::INLINE_LIMIT},
};
use kube::api::DeleteParams;
use serde_json::{Value, json};
use testbed::{
    aws::ACCOUNT,
    child::command,
    operator_policy, program,
    proxy::{Call, Mark},
    tests,
    wait::wait_until,
};

use crate::{
    restart::{Lab, root_in_environment},
    space::{SOON, Space, is_ready, message, principal, record},
    world::World,
};

tests![
    a_policy_outgrows_its_form_and_shrinks_back_under_a_running_backup,
    versions_of_a_managed_policy_are_pruned,
    a_managed_policy_of_somebody_else_is_never_touched,
    a_policy_that_no_form_takes_is_refused_with_the_way_out,
    another_spelling_is_left_and_another_meaning_put_right,
    a_store_says_whether_it_is_bounded,
    what_render_prints_is_what_the_operator_applies,
    the_operator_needs_no_more_than_its_printed_policy,
];

const ALL: [&str; 4] = ["MultipartUploads", "ObjectAcls", "ListAllBuckets", "CreateBucket"];

/// A prefix whose policy is inline with base access, and managed with all tiers.
fn growing_prefix(space: &Space, terms: &Terms) -> Result<String> {
    let form = |prefix: &str, capabilities: &[Capability]| -> Result<Option<PolicyForm>> {
        let access = Access {
            bucket: BucketName::parse(&space.bucket)?,
            prefix: Prefix::parse(prefix)?,
            capabilities: capabilities.iter().copied().collect(),
            ancestor_listing: true,
        };
        Ok(amazon::AWS.limits.form(&PolicyDocument::new(terms, [&access])))
    };
    for folders in 1..=51 {
        let prefix = "nine-char/".repeat(folders);
        // The right to create the bucket is given only while it is missing.
        if form(&prefix, &Capability::ALL[..3])? == Some(PolicyForm::Managed) {
            ensure!(form(&prefix, &[])? == Some(PolicyForm::Inline));
            return Ok(prefix);
        }
    }
    bail!("no prefix grows over {INLINE_LIMIT} characters")
}

async fn set_capabilities(space: &Space, capabilities: &[&str], form: PolicyForm) -> Result<BackupTarget> {
    space.patch_target("dataset-1", json!({"capabilities": capabilities})).await?;
    let has =
        |target: &BackupTarget| is_ready(target) && record(target).policy.is_some_and(|policy| policy.form == form);
    space.until("dataset-1", &format!("ready with a policy that is {form:?}"), has).await
}

/// The policies of a user: names of inline ones and ARNs of attached ones.
async fn policies(space: &Space, user: &str) -> Result<(Vec<String>, Vec<String>)> {
    let inline = space.aws.iam.list_user_policies().user_name(user).send().await?.policy_names;
    let attached = space.aws.iam.list_attached_user_policies().user_name(user).send().await?.attached_policies;
    Ok((inline, attached.unwrap_or_default().into_iter().filter_map(|policy| policy.policy_arn).collect()))
}

/// Every customer managed policy of the account.
async fn managed_policies(space: &Space) -> Result<Vec<String>> {
    let scope = aws_sdk_iam::types::PolicyScopeType::Local;
    let listed = space.aws.iam.list_policies().scope(scope).send().await?.policies.unwrap_or_default();
    Ok(listed.into_iter().filter_map(|policy| policy.arn).collect())
}

async fn a_policy_outgrows_its_form_and_shrinks_back_under_a_running_backup(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    let prefix = growing_prefix(&space, &space.terms()?)?;
    space.create_target("dataset-1", json!({"prefix": prefix, "ancestorListing": "Allow"})).await?;
    let user = principal(&space.until_ready("dataset-1").await?);
    ensure!(policies(&space, &user).await? == (vec!["backup-target".to_owned()], vec![]));

    let canary = space.canary("dataset-1", &prefix).await?;
    for _ in 0..3 {
        set_capabilities(&space, &ALL, PolicyForm::Managed).await?;
        let (inline, attached) = policies(&space, &user).await?;
        ensure!(inline.is_empty() && attached.len() == 1 && attached[0].ends_with(&user), "{inline:?} {attached:?}");
        space.rclone("dataset-1").await?.run(&["lsd", "backup_s3:"]).await?.succeeded()?;
        set_capabilities(&space, &[], PolicyForm::Inline).await?;
        ensure!(policies(&space, &user).await? == (vec!["backup-target".to_owned()], vec![]));
        ensure!(managed_policies(&space).await?.is_empty(), "the managed policy is gone");
    }
    set_capabilities(&space, &ALL, PolicyForm::Managed).await?;
    canary.stop().await?;

    space.delete_target("dataset-1").await?;
    space.until_gone("dataset-1").await?;
    ensure!(space.users().await?.is_empty() && managed_policies(&space).await?.is_empty(), "nothing is left");
    Ok(())
}

async fn versions_of_a_managed_policy_are_pruned(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    let prefix = "nine-char/".repeat(25);
    space.create_target("dataset-1", json!({"prefix": prefix, "ancestorListing": "Allow"})).await?;
    space.until_ready("dataset-1").await?;
    let mut most = 0;
    for change in 0..8 {
        let target =
            set_capabilities(&space, if change % 2 == 0 { &ALL[..1] } else { &[] }, PolicyForm::Managed).await?;
        let (_, attached) = policies(&space, &principal(&target)).await?;
        let versions = space.aws.iam.list_policy_versions().policy_arn(&attached[0]).send().await?.versions;
        most = most.max(versions.unwrap_or_default().len());
    }
    ensure!(most == 5, "there were up to {most} versions");
    space.rclone("dataset-1").await?.run(&["lsf", "backup:"]).await?.succeeded()?;
    Ok(())
}

async fn a_managed_policy_of_somebody_else_is_never_touched(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    let prefix = growing_prefix(&space, &space.terms()?)?;
    let target = space.create_target("dataset-1", json!({"prefix": prefix, "ancestorListing": "Allow"})).await?;
    space.until_ready("dataset-1").await?;
    let path = space.until_store("with a path", |store| store.status.as_ref().is_some_and(|s| s.iam_path.is_some()));
    let path = path.await?.status.and_then(|status| status.iam_path).context("a path")?;
    let nothing_of_ours = json!({"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::other"});
    let document = json!({"Version": "2012-10-17", "Statement": [nothing_of_ours]}).to_string();
    let foreign = space.aws.iam.create_policy().policy_name(principal(&target)).path(path);
    foreign.policy_document(document).send().await?;

    space.patch_target("dataset-1", json!({"capabilities": ALL})).await?;
    let stalled = space.until_stalled("dataset-1", "PrincipalConflict").await?;
    let told = message(&stalled, condition::READY)?;
    ensure!(told.contains(":policy/") && told.contains("left untouched"), "{told}");
    space.rclone("dataset-1").await?.run(&["lsf", "backup:"]).await?.succeeded().context("base access stays")?;
    space.delete_target("dataset-1").await?;
    space.until_gone("dataset-1").await?;
    ensure!(managed_policies(&space).await?.len() == 1, "the foreign policy is there");
    Ok(())
}

async fn a_policy_that_no_form_takes_is_refused_with_the_way_out(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    space.create_target("dataset-1", json!({"prefix": "nine-char/".repeat(51), "ancestorListing": "Allow"})).await?;
    let stalled = space.until_stalled("dataset-1", "PolicyTooLarge").await?;
    let told = message(&stalled, condition::READY)?;
    ensure!(told.contains("6144") && told.contains("ancestorListing: Deny"), "{told}");
    ensure!(space.users().await?.is_empty(), "nothing was created");
    space.patch_target("dataset-1", json!({"ancestorListing": "Deny"})).await?;
    space.until_ready("dataset-1").await?;
    Ok(())
}

async fn another_spelling_is_left_and_another_meaning_put_right(_: Arc<World>) -> Result<()> {
    let lab = Lab::start("spelling", |aws, options| {
        let mut options = root_in_environment(aws, options);
        options.args = ["--resync", "1s"].map(str::to_owned).to_vec();
        options
    })
    .await?;
    lab.create_store(lab.aws.url()).await?;
    lab.create_target("a").await?;
    lab.until_all_ready(1).await?;
    let user = principal(&lab.targets()?.get("a").await?);
    let own = json!({"S3:ResourceAccount": [ACCOUNT]});
    let spelled = json!({"Version": "2012-10-17", "Id": "mine", "Statement": [
        {"Sid": "Read", "Effect": "Allow", "Action": ["S3:getobject"], "Resource": ["arn:aws:s3:::my-backups/a/*"],
         "Condition": {"StringEquals": own}},
        {"Effect": "Allow", "Action": ["s3:PutObject", "s3:DeleteObject", "s3:GetObject"],
         "Resource": ["arn:aws:s3:::my-backups/a/*", "arn:aws:s3:::my-backups/a/b/*"], "Condition": {"StringLike": own}},
        {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::my-backups",
         "Condition": {"StringLike": {"S3:prefix": ["a/*", "a/b/*"]}, "StringEquals": own}},
        {"Effect": "Deny", "Action": ["*"], "Resource": ["*"], "Condition": {"Null": {"aws:tokenissuetime": [false]}}},
    ]});
    let put = async |document: &Value| -> Result<Mark> {
        let mark = lab.aws.mark();
        let iam = &lab.administrator().iam;
        let request = iam.put_user_policy().user_name(&user).policy_name("backup-target");
        request.policy_document(document.to_string()).send().await?;
        Ok(mark)
    };
    let changes = |mark| lab.aws.calls_since(mark, |call| call.is_write() && !call.is("GetCallerIdentity"));

    let mark = put(&spelled).await?;
    wait_until("three looks at it", SOON, async || {
        let looks = lab.aws.calls_since(mark, |call| call.is("GetUserPolicy")).len();
        ensure!(looks >= 3, "{looks} looks");
        Ok(())
    })
    .await?;
    ensure!(changes(mark).is_empty(), "{:#?}", changes(mark));

    let mut wider = spelled.clone();
    wider["Statement"][2]["Condition"]["StringLike"]["S3:prefix"] = json!("a*");
    let mark = put(&wider).await?;
    wait_until("it to be put right", SOON, async || {
        let repairs: Vec<Call> = changes(mark);
        ensure!(repairs.iter().any(|call| call.is("PutUserPolicy") && call.succeeded()), "{repairs:#?}");
        Ok(())
    })
    .await?;
    Ok(())
}

async fn a_store_says_whether_it_is_bounded(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    let says = async |value: &str, reason: &str| {
        let fits = |store: &backup_target_operator::api::BackupStore| {
            let conditions = store.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
            let has = |type_: &str, value: &str| condition::find(conditions, type_).is_some_and(|c| c.status == value);
            has(condition::READY, "True")
                && has(condition::BOUNDED, value)
                && condition::find(conditions, condition::BOUNDED).is_some_and(|c| c.reason == reason)
        };
        space.until_store(&format!("Bounded={value}, {reason}"), fits).await
    };
    let store = says("False", "NoPermissionsBoundary").await?;
    let path = store.status.and_then(|status| status.iam_path).context("a path")?;
    let arn = |name: &str| format!("arn:aws:iam::{}:policy{name}", space.account);
    space.patch_store(json!({"aws": {"permissionsBoundary": arn(&format!("{path}boundary"))}})).await?;
    says("False", "BoundaryWithinPath").await?;
    space.patch_store(json!({"aws": {"permissionsBoundary": arn("/backup-boundary")}})).await?;
    says("True", "PermissionsBoundary").await?;
    Ok(())
}

async fn what_render_prints_is_what_the_operator_applies(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    let fields =
        json!({"capabilities": ["MultipartUploads", "ObjectAcls"], "secret": {"name": "conf", "remote": "to"}});
    space.create_target("dataset-1", fields).await?;
    let target = space.until_ready("dataset-1").await?;
    let store = space.stores().get(&space.store).await?;
    let folder = tempfile::TempDir::new()?;
    std::fs::write(folder.path().join("target.json"), serde_json::to_string(&target)?)?;
    std::fs::write(folder.path().join("store.json"), serde_json::to_string(&store)?)?;
    let render = async |output: &str| -> Result<String> {
        let mut render = command(env!("CARGO_BIN_EXE_backup-target-operator"));
        render.args(["render", "--output", output, "--filename"]).arg(folder.path());
        let ran = program::run("render", render, SOON).await?;
        ensure!(ran.code == Some(0), "{}", ran.stderr);
        Ok(ran.stdout)
    };
    let printed: Value = serde_json::from_str(&render("policy").await?)?;
    ensure!(printed == space.policy(&principal(&target)).await?, "{printed}");

    let conf = space.rclone_conf("conf").await?;
    let value = |name: &str| conf.lines().find_map(|line| line.strip_prefix(&format!("{name} = "))).context("a value");
    let (id, secret) = (value("access_key_id")?, value("secret_access_key")?);
    let printed = render("rclone").await?.replace("SECRET-ACCESS-KEY", secret).replace("ACCESS-KEY-ID", id);
    ensure!(printed == conf, "rclone.conf differs from what render printed");

    let printed: Value = serde_saphyr::from_str(&render("secret").await?)?;
    let applied = serde_json::to_value(space.secrets().get("conf").await?)?;
    for field in ["/type", "/metadata/labels", "/metadata/ownerReferences", "/metadata/name", "/metadata/namespace"] {
        ensure!(printed.pointer(field) == applied.pointer(field), "{field}: {:?}", printed.pointer(field));
    }
    Ok(())
}

/// Where the stand-in is known to be wrong, the proxy decides: the policy is taken as it is printed, with paths and conditions.
async fn the_operator_needs_no_more_than_its_printed_policy(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    let policy = operator_policy::printed(&space.store_spec(), &world.cluster_id)?;
    let actions = policy.iter().filter_map(|statement| statement["Action"].as_array()).flatten();
    let actions = actions.filter_map(|action| action.as_str()?.strip_prefix("iam:").map(str::to_owned));
    let mut actions: BTreeSet<String> = actions.collect();

    whole_life(&space).await?;
    let called: BTreeSet<String> = space.iam_calls().into_iter().collect();
    ensure!(called.is_subset(&actions), "{:?}", called.difference(&actions));
    let denied = space.aws_proxy.calls(|call| call.action.is_some() && call.status == Some(403));
    ensure!(denied.is_empty(), "{denied:#?}");
    // These two come with CreateUser and CreatePolicy, which give tags.
    for implied in ["TagUser", "TagPolicy"] {
        ensure!(actions.remove(implied), "{implied}");
    }
    let unused: Vec<&String> = actions.difference(&called).collect();
    ensure!(unused.is_empty(), "the policy allows what was never needed: {unused:?}");
    Ok(())
}

/// A target that grows, changes, shrinks, loses its Secret and is deleted.
async fn whole_life(space: &Space) -> Result<()> {
    let deep = "nine-char/".repeat(25);
    space.create_target("dataset-1", json!({"prefix": deep, "keyOverlap": "2s"})).await?;
    space.until_ready("dataset-1").await?;
    space.patch_target("dataset-1", json!({"ancestorListing": "Allow"})).await?;
    for change in 0..6 {
        set_capabilities(space, if change % 2 == 0 { &ALL } else { &[] }, PolicyForm::Managed).await?;
    }
    space.patch_target("dataset-1", json!({"ancestorListing": "Deny"})).await?;
    set_capabilities(space, &[], PolicyForm::Inline).await?;
    space.secrets().delete("dataset-1", &DeleteParams::default()).await?;
    let replaced = |target: &BackupTarget| is_ready(target) && record(target).keys.len() == 2;
    space.until("dataset-1", "ready with a new key", replaced).await?;
    space.until("dataset-1", "left with one key", |target| record(target).keys.len() == 1).await?;
    space.delete_target("dataset-1").await?;
    space.until_gone("dataset-1").await
}
