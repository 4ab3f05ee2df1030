//! The operator's own rights and credentials, when AWS refuses them: who it was is named, in words of our own, and what is new is given time.

use std::{sync::Arc, time::Duration};

use anyhow::{Result, ensure};
use backup_target_operator::api::{
    BackupStore,
    condition::{self, READY, RECONCILING, STALLED},
};
use kube::Api;
use serde_json::json;
use testbed::{
    proxy::{Call, Fault, Proxy},
    tests,
    wait::wait_until,
};

use crate::{
    restart::Lab,
    space::{SOON, Space, condition, is_ready, message},
    world::World,
};

tests![
    who_refuses_is_named,
    a_refusal_that_ends_soon_calls_nobody,
    a_refusal_that_lasts_calls_somebody,
    a_role_that_does_not_let_the_operator_in_is_told,
    an_operator_without_credentials_says_so,
];

/// Recorded in the IAM User Guide (troubleshoot_access-denied) and in the AWS Security Blog on policy ARNs in these messages.
const BY_ORGANIZATION: &str = "User: arn:aws:sts::123456789012:assumed-role/operator/1 is not authorized to perform: iam:CreateUser on resource: \
     arn:aws:iam::123456789012:user/x with an explicit deny in a service control policy: \
     arn:aws:organizations::987654321098:policy/o-qv5af4abcd/service_control_policy/p-2kgnabcd";
const BY_BOUNDARY: &str = "User: arn:aws:sts::123456789012:assumed-role/operator/1 is not authorized to perform: iam:CreateUser on resource: \
                           arn:aws:iam::123456789012:user/x because no permissions boundary allows the iam:CreateUser action";
const BY_SESSION: &str = "User: arn:aws:sts::123456789012:assumed-role/operator/1 is not authorized to perform: iam:CreateUser on resource: \
                          arn:aws:iam::123456789012:user/x because no session policy allows the iam:CreateUser action";
const TRUST: &str = "Not authorized to perform sts:AssumeRoleWithWebIdentity";

async fn who_refuses_is_named(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    for (number, (text, named)) in [
        (BY_ORGANIZATION, "service control policy"),
        (BY_BOUNDARY, "boundary of the operator's own"),
        (BY_SESSION, "session policy"),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("target-{number}");
        let refused =
            space.aws_proxy.fault(Fault::IamError(403, "AccessDenied", text), |call: &Call| call.is("CreateUser"));
        space.create_target(&name, json!({"prefix": name})).await?;
        let told = message(&space.until_reconciling(&name, "AccessDenied").await?, READY)?;
        ensure!(told.contains("iam:CreateUser") && told.contains(named), "{told}");
        ensure!(["123456789012", "p-2kgnabcd", "user/x"].iter().all(|theirs| !told.contains(theirs)), "{told}");
        drop(refused);
        space.until_ready(&name).await?;
    }
    Ok(())
}

async fn a_refusal_that_ends_soon_calls_nobody(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    let creates = |call: &Call| call.is("CreateUser");
    let refused = space.aws_proxy.fault_some(Fault::IamError(403, "AccessDenied", BY_SESSION), 0..4, creates);
    space.create_target("dataset-1", json!({})).await?;
    space.until_without_a_stall(2 * SOON, "dataset-1", |target| target.is_some_and(is_ready)).await?;
    ensure!(refused.hits() == 4, "{} refusals", refused.hits());
    Ok(())
}

async fn a_refusal_that_lasts_calls_somebody(world: Arc<World>) -> Result<()> {
    let space = Space::new(&world).await?;
    let creates = |call: &Call| call.is("CreateUser");
    let _refused = space.aws_proxy.fault(Fault::IamError(403, "AccessDenied", BY_ORGANIZATION), creates);
    space.create_target("dataset-1", json!({})).await?;
    let first = space.until_reconciling("dataset-1", "AccessDenied").await?;
    let stalled = |target: &_| condition(target, STALLED).is_some_and(|stalled| stalled.reason == "AccessDenied");
    let lasting = space.until_within(Duration::from_secs(170), "dataset-1", "stalled", stalled).await?;
    ensure!(message(&first, READY)? == message(&lasting, READY)? && condition(&lasting, RECONCILING).is_none());
    Ok(())
}

/// As on EKS, with a trust policy that names another ServiceAccount.
async fn a_role_that_does_not_let_the_operator_in_is_told(world: Arc<World>) -> Result<()> {
    let sts = Proxy::start(&world.aws.upstream()).await?;
    let assumes = |call: &Call| call.is("AssumeRoleWithWebIdentity");
    let refused = sts.fault(Fault::IamError(403, "AccessDenied", TRUST), assumes);
    let folder = tempfile::TempDir::new()?;
    let token = folder.path().join("token");
    std::fs::write(&token, "a.b.c")?;
    let lab = Lab::start("trust", |_, options| {
        options
            .env("AWS_WEB_IDENTITY_TOKEN_FILE", &token.display().to_string())
            .env("AWS_ROLE_ARN", "arn:aws:iam::000000000000:role/operator")
            .env("AWS_ENDPOINT_URL_STS", sts.url())
    })
    .await?;
    let told = told_of_store(&lab).await?;
    ensure!(told.contains("trust policy") && told.contains("OIDC provider") && !told.contains(TRUST), "{told}");
    ensure!(refused.hits() > 0, "nobody asked for a role");
    Ok(())
}

async fn an_operator_without_credentials_says_so(_: Arc<World>) -> Result<()> {
    let lab = Lab::start("no-credentials", |_, options| options).await?;
    let told = told_of_store(&lab).await?;
    ensure!(told.contains("spec.credentials") && told.contains("ServiceAccount"), "{told}");
    Ok(())
}

/// Creates the lab's store, and returns what it says of the operator's credentials.
async fn told_of_store(lab: &Lab) -> Result<String> {
    lab.create_store(lab.aws.url()).await?;
    let stores = Api::<BackupStore>::all(lab.control_plane.client()?);
    wait_until("the store to say it", SOON, async || {
        let told = stores.get("default").await?.status.unwrap_or_default().conditions;
        let ready = condition::find(&told, READY).filter(|ready| ready.reason == "InvalidCredentials");
        ensure!(condition::find(&told, STALLED).is_none(), "it may be new: {told:?}");
        ready.map(|ready| ready.message.clone()).ok_or_else(|| anyhow::anyhow!("{told:?}"))
    })
    .await
}
