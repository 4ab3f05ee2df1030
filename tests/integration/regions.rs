//! Which region requests to IAM and STS go to, and are signed for, when it is not that of the buckets.

use std::{fs, sync::Arc};

use anyhow::{Context, Result, ensure};
use backup_target_operator::api::BackupStore;
use kube::Api;
use serde_json::json;
use testbed::{
    certificates::Authority,
    proxy::{Call, Proxy},
    tests,
    tunnel::Tunnel,
    wait::wait_until,
};

use crate::{
    restart::{Lab, root_in_environment},
    space::{Space, create},
    world::World,
};

tests![
    endpoints_of_ones_own_are_signed_for_the_region_of_iam,
    variables_for_fips_and_dual_stack_do_not_disturb_endpoints_of_ones_own,
    credentials_are_had_in_the_clusters_own_region,
];

const ELSEWHERE: &str = "eu-central-1";
const HERE: &str = "us-east-2";

async fn endpoints_of_ones_own_are_signed_for_the_region_of_iam(world: Arc<World>) -> Result<()> {
    let space = Space::without_store(&world).await?;
    space.create_bucket(&space.bucket).await?;
    let mut spec = space.store_spec();
    spec["region"] = json!(ELSEWHERE);
    space.create_store(spec).await?;
    space.create_target("dataset-1", json!({})).await?;
    wait_until("the user to have a key", crate::space::SOON, async || {
        let made = space.aws_proxy.calls(|call| call.is("CreateAccessKey") && call.succeeded());
        ensure!(!made.is_empty(), "{:?}", space.targets().get("dataset-1").await?.status);
        Ok(())
    })
    .await?;
    let signed = |call: &Call, region: &str| call.signed_for.as_deref() == Some(region);
    let wrong = space.aws_proxy.calls(|call| {
        let is_sts = call.is("GetCallerIdentity");
        call.action.is_some() && !signed(call, if is_sts { ELSEWHERE } else { "us-east-1" })
    });
    ensure!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

async fn variables_for_fips_and_dual_stack_do_not_disturb_endpoints_of_ones_own(_: Arc<World>) -> Result<()> {
    let lab = Lab::start("fips", |aws, options| {
        root_in_environment(aws, options).env("AWS_USE_FIPS_ENDPOINT", "true").env("AWS_USE_DUALSTACK_ENDPOINT", "true")
    })
    .await?;
    lab.create_store(lab.aws.url()).await?;
    lab.create_target("dataset-1").await?;
    lab.until_all_ready(1).await
}

/// As on EKS in a private network, with buckets in another region: where STS is reached, by its own names.
async fn credentials_are_had_in_the_clusters_own_region(world: Arc<World>) -> Result<()> {
    let authority = Authority::new("amazon")?;
    let folder = tempfile::TempDir::new()?;
    let (bundle, token) = (folder.path().join("ca.crt"), folder.path().join("token"));
    fs::write(&bundle, authority.pem())?;
    fs::write(&token, "a.b.c")?;
    let names = [HERE, ELSEWHERE].map(|region| format!("sts.{region}.amazonaws.com"));
    let names: Vec<&str> = names.iter().map(String::as_str).chain(["sts.amazonaws.com"]).collect();
    let sts = Proxy::start_tls(&world.aws.upstream(), &authority.identity_of(&names)?).await?;
    let tunnel = Tunnel::start_to(sts.address()).await?;
    let lab = Lab::start("private-network", |_, options| {
        options
            .env("AWS_REGION", HERE)
            .env("AWS_ROLE_ARN", "arn:aws:iam::000000000000:role/operator")
            .env("AWS_WEB_IDENTITY_TOKEN_FILE", &token.display().to_string())
            .env("AWS_CA_BUNDLE", &bundle.display().to_string())
            .env("HTTPS_PROXY", tunnel.url())
            .env("NO_PROXY", "127.0.0.1")
    })
    .await?;
    let stores = Api::<BackupStore>::all(lab.control_plane.client()?);
    create(&stores, json!({"metadata": {"name": "default"}, "spec": {"region": ELSEWHERE}})).await?;
    let hosts = wait_until("STS to be asked", crate::space::SOON, async || {
        let asked = sts.calls(|call| call.is("AssumeRoleWithWebIdentity") || call.is("GetCallerIdentity"));
        ensure!(!asked.is_empty(), "{:?}", stores.get("default").await?.status);
        Ok(asked.into_iter().map(|call| call.host).collect::<Vec<_>>())
    })
    .await?;
    let expected = names.first().context("a name")?;
    ensure!(hosts.iter().all(|host| host == expected), "{hosts:?}");
    Ok(())
}
