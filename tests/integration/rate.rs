//! The store's rate, while IAM asks for less.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use anyhow::{Result, ensure};
use serde_json::json;
use testbed::{
    proxy::{Call, Fault},
    tests,
};

use crate::{space::Space, world::World};

tests![throttling_makes_no_more_requests_than_the_rate];

const TARGETS: u32 = 5;
const RATE: u32 = 10;

async fn throttling_makes_no_more_requests_than_the_rate(world: Arc<World>) -> Result<()> {
    let space = Space::without_store(&world).await?;
    space.create_bucket(&space.bucket).await?;
    let mut spec = space.store_spec();
    spec["requestsPerSecond"] = json!(RATE);
    space.create_store(spec).await?;
    space.until_store("ready", |store| store.status.as_ref().is_some_and(|status| status.account_id.is_some())).await?;
    let chance = Mutex::new(fastrand::Rng::with_seed(7));
    let every_second_or_so = move |call: &Call| {
        let is_iam = call.action.is_some() && !call.is("GetCallerIdentity");
        is_iam && chance.lock().unwrap_or_else(PoisonError::into_inner).bool()
    };
    let throttled = space.aws_proxy.fault(Fault::Throttle, every_second_or_so);
    let (mark, begun) = (space.aws_proxy.mark(), Instant::now());
    for number in 0..TARGETS {
        let name = format!("target-{number}");
        space.create_target(&name, json!({"prefix": name})).await?;
    }
    for number in 0..TARGETS {
        space
            .until_within(4 * crate::space::SOON, &format!("target-{number}"), "ready", crate::space::is_ready)
            .await?;
    }
    let (sent, took) = (space.aws_proxy.calls_since(mark, |call| call.action.is_some()).len(), begun.elapsed());
    // A second's worth at once after a rest, and one more that is on its way.
    let most = took.as_secs_f64() * f64::from(RATE) + f64::from(RATE) + 1.0;
    let within = f64::from(u32::try_from(sent)?) <= most;
    ensure!(within && throttled.hits() > 5, "{sent} requests in {took:?}, {} throttled", throttled.hits());
    Ok(())
}
