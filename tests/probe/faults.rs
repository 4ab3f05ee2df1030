//! Answers that are late, wrong or none: nothing is guessed from them, and little is asked again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Result, ensure};
use backup_target_operator::{
    access::rclone::AccessKey,
    api::{Capability, Tier},
    probe::{DEADLINE, Depth, Limits, Plan, Reading, Standing},
    provider::aws::amazon::ANSWERS,
};
use hyper::Method;
use testbed::{
    proxy::{Call, Fault},
    tests,
};

use crate::corner::{Corner, MARKS, NO_CAPABILITIES, UID, World, allowing, texts};

tests![
    a_key_that_is_not_known_yet_costs_one_call,
    a_policy_that_has_not_spread_costs_one_call,
    a_key_that_is_forgotten_on_the_way_is_not_guessed_about,
    throttled_and_unreachable_stores_are_left_alone,
    a_hanging_store_ends_the_proof,
    no_request_begins_after_the_deadline,
    what_an_unclear_upload_may_have_written_is_removed,
    an_answer_that_is_none_says_nothing,
    nothing_is_written_outside_where_digests_are_not_checked,
    what_a_server_says_is_not_passed_on,
];

async fn a_key_that_is_not_known_yet_costs_one_call(world: Arc<World>) -> Result<()> {
    let corner = Corner::new(&world).await?;
    let access = corner.access(&Capability::ALL);
    let key = corner.key_for(&access).await?;
    let waits = async |what: &str, key: &AccessKey| -> Result<()> {
        let (proof, calls) = corner.prove(&access, key, Depth::Write).await;
        ensure!(calls.len() == 1 && !proof.publishable(), "{what}: {calls:#?}");
        let Standing::NotYet(why) = proof.tier(Tier::BaseAccess) else { anyhow::bail!("{what}: {proof:#?}") };
        ensure!(why.reading == Reading::KeyUnknownYet, "{what}: {why}");
        ensure!(proof.limits() == Limits::Unclear && proof.excess().next().is_none(), "{what}");
        Ok(())
    };
    for code in ["InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken"] {
        let _fault = corner.proxy.fault(Fault::S3Error(403, code), |_| true);
        waits(code, &key).await?;
    }
    waits("no such key", &AccessKey { id: "AKIANOBODYKNOWSTHIS1".into(), ..key.clone() }).await?;
    waits("a wrong secret", &AccessKey { secret: "wrong".into(), ..key.clone() }).await?;
    let (proof, _) = corner.prove(&access, &key, Depth::Write).await;
    ensure!(proof.complete(), "it is known now: {:#?}", texts(proof.findings()));
    Ok(())
}

async fn a_policy_that_has_not_spread_costs_one_call(world: Arc<World>) -> Result<()> {
    let corner = Corner::new(&world).await?;
    let access = corner.access(NO_CAPABILITIES);
    let key = corner.key_with(&allowing("s3:GetBucketTagging", "*").to_string()).await?;
    let (proof, calls) = corner.prove(&access, &key, Depth::Write).await;
    ensure!(calls.len() == 1, "{calls:#?}");
    let Standing::NotYet(why) = proof.tier(Tier::BaseAccess) else { anyhow::bail!("{proof:#?}") };
    ensure!(why.to_string().contains("s3:ListBucket in backups/dataset-1/ is refused"), "{why}");
    corner.set_policy(&corner.user_of(&key).await?, &corner.policy(&access)).await?;
    let (proof, _) = corner.prove(&access, &key, Depth::Write).await;
    ensure!(proof.complete() && proof.limits() == Limits::Held, "{:#?}", texts(proof.findings()));
    Ok(())
}

/// Servers of one store learn of a key one after the other.
async fn a_key_that_is_forgotten_on_the_way_is_not_guessed_about(world: Arc<World>) -> Result<()> {
    let corner = Corner::new(&world).await?;
    let before = corner.everything().await?;
    let access = corner.access(NO_CAPABILITIES);
    let key = corner.key_for(&access).await?;
    let later = |call: &Call| !call.query.contains("list-type") && call.method == Method::GET;
    let fault = corner.proxy.fault(Fault::S3Error(403, "InvalidAccessKeyId"), later);
    let (proof, _) = corner.prove(&access, &key, Depth::Write).await;
    ensure!(fault.hits() == 1, "{} hits", fault.hits());
    ensure!(matches!(proof.tier(Tier::BaseAccess), Standing::NotYet(_)), "{:#?}", texts(proof.findings()));
    ensure!(proof.limits() == Limits::Unclear, "{:?}", proof.limits());
    ensure!(corner.everything().await? == before, "the probe object is removed nevertheless");
    Ok(())
}

async fn throttled_and_unreachable_stores_are_left_alone(world: Arc<World>) -> Result<()> {
    let corner = Corner::new(&world).await?;
    let access = corner.access(&Capability::ALL);
    let key = corner.key_for(&access).await?;
    for (fault, reading) in [
        (Fault::S3Error(503, "SlowDown"), Reading::Throttled),
        (Fault::Status(429), Reading::Throttled),
        (Fault::Status(500), Reading::Unreachable),
        (Fault::Status(503), Reading::Unreachable),
        (Fault::S3Error(500, "InternalError"), Reading::Unreachable),
        (Fault::Refuse, Reading::Unreachable),
    ] {
        let active = corner.proxy.fault(fault, |_| true);
        let (proof, _) = corner.prove(&access, &key, Depth::Write).await;
        ensure!(active.hits() == 1, "{fault:?}: {} calls", active.hits());
        ensure!(proof.findings()[0].reading == reading, "{fault:?}: {:?}", proof.findings()[0].reading);
        ensure!(matches!(proof.tier(Tier::BaseAccess), Standing::NotYet(_)), "{fault:?}");
    }
    let plan = Plan::new(&ANSWERS, &access, &[], MARKS, Depth::Write);
    let proof = corner.prove_at("http://127.0.0.1:9", &key, plan, DEADLINE).await;
    ensure!(proof.findings()[0].reading == Reading::Unreachable && !proof.publishable(), "nobody is there");
    Ok(())
}

async fn a_hanging_store_ends_the_proof(world: Arc<World>) -> Result<()> {
    let corner = Corner::new(&world).await?;
    let access = corner.access(NO_CAPABILITIES);
    let key = corner.key_for(&access).await?;
    let active = corner.proxy.fault(Fault::Hang, |_| true);
    let (proof, _) = corner.prove(&access, &key, Depth::Quiet).await;
    ensure!(active.hits() == 1 && proof.findings()[0].reading == Reading::Unreachable, "{} calls", active.hits());
    Ok(())
}

async fn no_request_begins_after_the_deadline(world: Arc<World>) -> Result<()> {
    let corner = Corner::new(&world).await?;
    let access = corner.access(NO_CAPABILITIES);
    let key = corner.key_for(&access).await?;
    let plan = Plan::new(&ANSWERS, &access, &[], MARKS, Depth::Write);
    let proof = corner.prove_at(corner.proxy.url(), &key, plan, Duration::ZERO).await;
    ensure!(corner.proxy.calls(|_| true).is_empty() && !proof.publishable(), "{:#?}", texts(proof.findings()));
    let Standing::NotYet(why) = proof.tier(Tier::BaseAccess) else { anyhow::bail!("{proof:#?}") };
    ensure!(why.to_string().contains("the time for one proof was up"), "{why}");
    Ok(())
}

async fn what_an_unclear_upload_may_have_written_is_removed(world: Arc<World>) -> Result<()> {
    let corner = Corner::new(&world).await?;
    let access = corner.access(NO_CAPABILITIES);
    let key = corner.key_for(&access).await?;
    // The damaged upload is answered, the true one is not: it is the second.
    let second = || {
        let seen = AtomicUsize::new(0);
        move |call: &Call| call.method == Method::PUT && seen.fetch_add(1, Ordering::Relaxed) == 1
    };
    for (fault, is_removed) in [(Fault::LoseAnswer, true), (Fault::Refuse, false)] {
        let before = corner.everything().await?;
        let active = corner.proxy.fault(fault, second());
        let (proof, calls) = corner.prove(&access, &key, Depth::Write).await;
        ensure!(active.hits() == 1 && !proof.publishable(), "{fault:?}: {calls:#?}");
        let removed = calls.iter().any(|call| call.method == Method::DELETE);
        ensure!(removed == is_removed, "{fault:?}: {calls:#?}");
        ensure!(corner.everything().await? == before, "{fault:?}: {:#?}", corner.everything().await?);
    }
    Ok(())
}

async fn an_answer_that_is_none_says_nothing(world: Arc<World>) -> Result<()> {
    let corner = Corner::new(&world).await?;
    let access = corner.access(NO_CAPABILITIES);
    let key = corner.key_for(&access).await?;
    let clock_differs = Fault::S3Error(403, "RequestTimeTooSkewed");
    for fault in [Fault::Garbage, Fault::Status(403), Fault::Status(404), Fault::S3Error(400, "Strange"), clock_differs]
    {
        let active = corner.proxy.fault(fault, |_| true);
        let (proof, _) = corner.prove(&access, &key, Depth::Write).await;
        ensure!(active.hits() == 1, "{fault:?}: {} calls", active.hits());
        let standing = proof.tier(Tier::BaseAccess);
        let as_it_should = match &standing {
            Standing::Unknown(_) => fault != clock_differs,
            // It passes once the clock is mended, and says so.
            Standing::NotYet(finding) => fault == clock_differs && finding.reading == Reading::ClockSkewed,
            _ => false,
        };
        ensure!(as_it_should, "{fault:?}: {standing:?}");
        ensure!(!proof.publishable() && proof.limits() == Limits::Unclear, "{fault:?}");
    }
    Ok(())
}

async fn nothing_is_written_outside_where_digests_are_not_checked(world: Arc<World>) -> Result<()> {
    let corner = Corner::new(&world).await?;
    let access = corner.access(NO_CAPABILITIES);
    let key = corner.wide_key().await?;
    // As a store answers that does not look at Content-MD5; here nothing is written by it.
    let damaged = |call: &Call| call.method == Method::PUT;
    let _active = corner.proxy.fault(Fault::Status(200), damaged);
    let (proof, calls) = corner.prove(&access, &key, Depth::Quiet).await;
    let put: Vec<&Call> = calls.iter().filter(|call| call.method == Method::PUT).collect();
    ensure!(put.iter().all(|call| call.path.contains(UID) && call.path.contains("/dataset-1/")), "{put:#?}");
    let unclear = texts(proof.unclear());
    ensure!(unclear.iter().any(|text| text.starts_with("s3:PutObject outside")), "{unclear:#?}");
    let removed = calls.iter().filter(|call| call.method == Method::DELETE && !call.query.contains("uploadId")).count();
    ensure!(removed == 1, "what such a store has written is removed: {calls:#?}");
    Ok(())
}

async fn what_a_server_says_is_not_passed_on(world: Arc<World>) -> Result<()> {
    let corner = Corner::new(&world).await?;
    let access = corner.access(NO_CAPABILITIES);
    let key = corner.key_for(&access).await?;
    let _active = corner.proxy.fault(Fault::S3Error(400, "Odd Code: call 555, or see http://x"), |_| true);
    let (proof, _) = corner.prove(&access, &key, Depth::Write).await;
    let told = texts(proof.findings()).join("\n") + &format!("{proof:?}");
    ensure!(told.contains("OddCodecall555orseehttpx"), "{told}");
    ensure!(!told.contains("as the test wants it") && !told.contains("http:"), "{told}");
    Ok(())
}
