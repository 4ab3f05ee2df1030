//! A clock that is wrong: nothing is left behind for it, and it is told.

use std::sync::Arc;

use anyhow::{Result, ensure};
use backup_target_operator::api::{
    BackupStore,
    condition::{self, READY},
};
use testbed::{
    proxy::{Active, Call, Fault},
    tests,
    wait::wait_until,
};

use crate::{
    space::{SOON, Space, is_ready, message, principal, record},
    world::World,
};

tests![
    no_key_is_left_behind_by_an_operator_whose_clock_is_ahead,
    no_key_is_left_behind_by_an_operator_whose_clock_is_behind,
    a_store_that_refuses_for_the_time_says_by_how_much_the_clock_is_off,
];

/// A space whose store has another time than the operator, as its IAM and STS tell it.
async fn with_store_ahead(world: &Arc<World>, seconds: i64) -> Result<(Space, Active)> {
    let space = Space::without_store(world).await?;
    space.create_bucket(&space.bucket).await?;
    let clock = space.aws_proxy.fault(Fault::ClockAhead(seconds), |call: &Call| call.action.is_some());
    space.create_store(space.store_spec()).await?;
    Ok((space, clock))
}

async fn no_key_is_left_behind(world: Arc<World>, ahead: i64, told: &str) -> Result<()> {
    let (space, _clock) = with_store_ahead(&world, ahead).await?;
    let tells = |store: &BackupStore| {
        let conditions = store.status.clone().unwrap_or_default().conditions;
        let ready = condition::find(&conditions, READY).cloned();
        ready.is_some_and(|ready| {
            ready.status == "True" && ready.reason == "ClockSkewed" && ready.message.contains(told)
        })
    };
    space.until_store("ready, with a word about the clock", tells).await?;

    // New keys take a while to be known, as AWS's do.
    let account = space.account.clone();
    let with_new_key = move |call: &Call| call.action.is_none() && call.access_key.as_ref() != Some(&account);
    let unknown = space.aws_proxy.fault(Fault::S3Error(403, "InvalidAccessKeyId"), with_new_key);
    space.create_target("dataset-1", serde_json::json!({})).await?;
    wait_until("the key to be tried twice", SOON, async || {
        ensure!(unknown.hits() >= 2, "it was tried {} times", unknown.hits());
        Ok(())
    })
    .await?;
    drop(unknown);
    let target = space.until("dataset-1", "ready", is_ready).await?;
    let keys = space.keys(&principal(&target)).await?;
    ensure!(keys.len() == 1 && keys[0].access_key_id == record(&target).access_key_id, "{keys:?}");
    let created = space.aws_proxy.calls(|call| call.is("CreateAccessKey")).len();
    ensure!(created == 1, "{created} keys were created");

    space.delete_target("dataset-1").await?;
    space.until_gone("dataset-1").await?;
    ensure!(space.users().await?.is_empty(), "a user is left");
    Ok(())
}

async fn no_key_is_left_behind_by_an_operator_whose_clock_is_ahead(world: Arc<World>) -> Result<()> {
    no_key_is_left_behind(world, -360, "about 6 minutes ahead of the store's").await
}

async fn no_key_is_left_behind_by_an_operator_whose_clock_is_behind(world: Arc<World>) -> Result<()> {
    no_key_is_left_behind(world, 1_200, "about 20 minutes behind the store's").await
}

async fn a_store_that_refuses_for_the_time_says_by_how_much_the_clock_is_off(world: Arc<World>) -> Result<()> {
    let (space, _clock) = with_store_ahead(&world, -1_200).await?;
    let account = space.account.clone();
    let with_new_key = move |call: &Call| call.action.is_none() && call.access_key.as_ref() != Some(&account);
    let skewed = space.aws_proxy.fault(Fault::S3Error(403, "RequestTimeTooSkewed"), with_new_key);
    space.create_target("dataset-1", serde_json::json!({})).await?;
    let stalled = space.until_stalled("dataset-1", "ClockSkewed").await?;
    let told = message(&stalled, READY)?;
    ensure!(told.contains("about 20 minutes ahead of the store's; mend the clock"), "{told}");
    ensure!(space.keys(&principal(&stalled)).await?.len() == 1, "more than one key");
    drop(skewed);
    space.poke("dataset-1").await?;
    space.until_ready("dataset-1").await?;
    Ok(())
}
