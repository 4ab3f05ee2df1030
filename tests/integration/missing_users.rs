//! IAM users that are not there, as IAM tells of them to an operator that has no more rights than are printed for it.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use backup_target_operator::api::condition::READY;
use serde_json::json;
use testbed::{
    operator_policy,
    proxy::{Call, Fault},
    tests,
    wait::wait_until,
};

use crate::{
    space::{SOON, Space, message, principal},
    world::World,
};

tests![
    a_user_whose_creation_failed_is_created_later,
    a_target_whose_release_failed_goes,
    a_user_that_goes_while_it_is_removed_is_gone,
    a_policy_that_a_deleted_user_left_goes_with_the_target,
    an_operator_that_cannot_see_missing_users_says_what_it_lacks,
];

/// What IAM says where an organization forbids it.
const FORBIDDEN: &str = "User: arn:aws:iam::123456789012:user/operator is not authorized to perform: iam:CreateUser on resource: \
                         arn:aws:iam::123456789012:user/x with an explicit deny in a service control policy";

async fn a_user_whose_creation_failed_is_created_later(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    let creates = |call: &Call| call.is("CreateUser");
    let refused = space.aws_proxy.fault_some(Fault::IamError(403, "AccessDenied", FORBIDDEN), 0..2, creates);
    space.create_target("dataset-1", json!({})).await?;
    space.until_ready("dataset-1").await?;
    ensure!(refused.hits() == 2, "{}", refused.hits());
    let missed = space.aws_proxy.calls(|call| call.is("GetUser") && call.status == Some(404));
    ensure!(!missed.is_empty(), "it was seen that there is no such user");
    Ok(())
}

async fn a_target_whose_release_failed_goes(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    space.create_target("dataset-1", json!({})).await?;
    space.until_ready("dataset-1").await?;
    let path = format!("/namespaces/{}/backuptargets/dataset-1", space.namespace);
    let releases = move |call: &Call| call.method == "PATCH" && call.path.ends_with(&path);
    let failed = world.api.fault_some(Fault::Status(500), 0..4, releases);
    space.delete_target("dataset-1").await?;
    space.until_without_a_stall(SOON, "dataset-1", |target| target.is_none()).await?;
    ensure!(failed.hits() > 0, "nothing failed");
    Ok(())
}

async fn a_user_that_goes_while_it_is_removed_is_gone(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    space.create_target("dataset-1", json!({})).await?;
    let target = space.until_ready("dataset-1").await?;
    let deletes = |call: &Call| call.is("DeleteAccessKey");
    let late = space.aws_proxy.fault_some(Fault::Delay(Duration::from_secs(3)), 0..1, deletes);
    space.delete_target("dataset-1").await?;
    wait_until("the key to be on its way out", SOON, async || {
        ensure!(late.hits() == 1);
        Ok(())
    })
    .await?;
    delete_user(&space, &principal(&target)).await?;
    space.until_without_a_stall(SOON, "dataset-1", |target| target.is_none()).await
}

async fn a_policy_that_a_deleted_user_left_goes_with_the_target(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    space.create_target("dataset-1", json!({"prefix": "nine-char/".repeat(25), "ancestorListing": "Allow"})).await?;
    let user = principal(&space.until_ready("dataset-1").await?);
    let attached = space.aws.iam.list_attached_user_policies().user_name(&user).send().await?.attached_policies;
    let arn = attached.unwrap_or_default().pop().and_then(|policy| policy.policy_arn).context("a managed policy")?;
    // As the console does it.
    space.aws.iam.detach_user_policy().user_name(&user).policy_arn(&arn).send().await?;
    delete_user(&space, &user).await?;
    space.delete_target("dataset-1").await?;
    // That there is no user is believed only after some looks: its creation may still be on the way.
    space.until_without_a_stall(Duration::from_mins(3), "dataset-1", |target| target.is_none()).await?;
    ensure!(space.aws.iam.get_policy().policy_arn(&arn).send().await.is_err(), "the policy is there");
    Ok(())
}

/// A policy that somebody wrote by hand, or that an older release printed.
async fn an_operator_that_cannot_see_missing_users_says_what_it_lacks(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    let printed = operator_policy::printed(&space.store_spec(), &world.cluster_id)?;
    let without_paths = |resource: &str| resource.contains(":user/btgt-");
    let (sees, rest): (Vec<_>, Vec<_>) =
        printed.clone().into_iter().partition(|statement| statement["Resource"].as_str().is_some_and(without_paths));
    ensure!(sees.len() == 1 && sees[0]["Action"] == json!(["iam:GetUser"]), "{sees:?}");
    space.aws_proxy.authorize(Some(rest));
    let creates = |call: &Call| call.is("CreateUser");
    let _refused = space.aws_proxy.fault_some(Fault::IamError(403, "AccessDenied", FORBIDDEN), 0..1, creates);
    space.create_target("dataset-1", json!({})).await?;
    let told = |target: &_| message(target, READY).is_ok_and(|told| told.contains("iam:GetUser"));
    let target = space.until("dataset-1", "told what is lacking", told).await?;
    let told = message(&target, READY)?;
    ensure!(told.contains("user/btgt-*") && told.contains("render -o operator-policy"), "{told}");
    space.aws_proxy.authorize(Some(printed));
    space.until_ready("dataset-1").await?;
    Ok(())
}

/// By hand, whatever hangs on it.
async fn delete_user(space: &Space, user: &str) -> Result<()> {
    let iam = &space.aws.iam;
    for key in space.keys(user).await?.into_iter().filter_map(|key| key.access_key_id) {
        iam.delete_access_key().user_name(user).access_key_id(key).send().await?;
    }
    for name in iam.list_user_policies().user_name(user).send().await?.policy_names {
        iam.delete_user_policy().user_name(user).policy_name(name).send().await?;
    }
    iam.delete_user().user_name(user).send().await?;
    Ok(())
}
