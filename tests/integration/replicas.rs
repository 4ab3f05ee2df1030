//! Several replicas of which one works, and what they tell the kubelet and Prometheus.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use futures::FutureExt;
use http_body_util::{BodyExt, Empty};
use hyper::{Method, Request, StatusCode};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, api::DeleteParams};
use rustix::process::Signal;
use testbed::{
    install::NAMESPACE,
    operator::{Operator, Options},
    proxy::{Call, Fault, Proxy},
    tests,
    wait::wait_until,
};
use tokio::{io::AsyncWriteExt, net::TcpStream, time::Instant};

use crate::{
    restart::{Lab, root_in_environment},
    world::World,
};

tests![
    a_replica_that_stops_hands_over_at_once,
    a_replica_that_crashed_is_replaced,
    a_replica_that_was_asleep_changes_nothing,
    a_replica_that_cannot_read_the_lease_is_not_ready,
    nobody_keeps_the_kubelet_from_asking,
    health_and_metrics_are_told,
];

const SOON: Duration = Duration::from_secs(30);
/// As long as a key stays in doubt.
const IN_DOUBT: Duration = Duration::from_secs(150);
const LEASE: &str = "backup-target-operator";
/// A Lease lasts 15 s; the rest is for machines that stutter.
const CRASH: Duration = Duration::from_secs(20);

/// A replica behind a proxy of its own.
struct Replica {
    operator: Operator,
    api: Proxy,
}

impl Replica {
    /// Starts one more; it is called `pod`.
    async fn start(lab: &Lab, pod: &str) -> Result<Self> {
        Self::behind(Proxy::start(&lab.control_plane.upstream()).await?, lab, pod).await
    }

    async fn behind(api: Proxy, lab: &Lab, pod: &str) -> Result<Self> {
        let options = Options { server: Some(api.url().to_owned()), ..as_replica(pod) };
        let options = root_in_environment(lab.administrator(), options);
        Ok(Self { operator: Operator::start(&lab.control_plane, options).await?, api })
    }

    fn url(&self, path: &str) -> Result<String> {
        Ok(format!("http://{}{path}", address(&self.operator)?))
    }

    async fn get(&self, path: &str) -> Result<(StatusCode, String)> {
        ask(Method::GET, &self.url(path)?).await
    }

    async fn until_ready(&self) -> Result<()> {
        wait_until("a replica to be ready", SOON, async || {
            let (status, says) = self.get("/readyz").await?;
            ensure!(status == StatusCode::OK, "{says}");
            Ok(())
        })
        .await
    }
}

/// Where it answers, as its log says.
fn address(operator: &Operator) -> Result<String> {
    let log = operator.printed();
    let address = log.lines().rev().find_map(|line| line.split("\"address\":\"").nth(1)?.split('"').next());
    Ok(address.context("it says no address")?.to_owned())
}

fn as_replica(pod: &str) -> Options {
    let args = ["--leader-election", "--http-address", "127.0.0.1:0"].map(str::to_owned).into();
    let options = Options { args, started: Some("waiting to lead"), ..Options::default() };
    options.env("POD_NAME", pod).env("LOG_FORMAT", "json")
}

async fn ask(method: Method, url: &str) -> Result<(StatusCode, String)> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<hyper::body::Bytes>>();
    let response = client.request(Request::builder().method(method).uri(url).body(Empty::new())?).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    Ok((status, String::from_utf8(body.to_vec())?))
}

/// A lab whose own operator is the replica `first`, with a healthy target.
async fn lab(name: &str) -> Result<Lab> {
    let lab = Lab::start(name, |aws, options| {
        let replica = as_replica("first");
        root_in_environment(aws, Options { server: options.server, ..replica })
    })
    .await?;
    until_leads(&lab, "first", SOON).await?;
    let endpoint = lab.aws.url().to_owned();
    lab.create_store(&endpoint).await?;
    lab.create_target("dataset-1").await?;
    lab.until_all_ready(1).await?;
    Ok(lab)
}

async fn until_leads(lab: &Lab, pod: &str, deadline: Duration) -> Result<()> {
    let leases = Api::<Lease>::namespaced(lab.control_plane.client()?, NAMESPACE);
    wait_until(&format!("{pod} to lead"), deadline, async || {
        let spec = leases.get(LEASE).await?.spec.unwrap_or_default();
        let holder = spec.holder_identity.unwrap_or_default();
        ensure!(holder.starts_with(&format!("{pod}_")), "`{holder}` leads");
        Ok(())
    })
    .await
}

fn changes(proxy: &Proxy, since: testbed::proxy::Mark) -> Vec<Call> {
    proxy.calls_since(since, |call| call.is_write() && !call.is("GetCallerIdentity") && !call.path.contains("/leases"))
}

async fn a_replica_that_stops_hands_over_at_once(_: Arc<World>) -> Result<()> {
    let mut lab = lab("replicas-stop").await?;
    let second = Replica::start(&lab, "second").await?;
    second.until_ready().await.context("one that stands by is ready")?;
    let (api, aws) = (second.api.mark(), lab.aws.mark());
    ensure!(second.api.calls(Call::is_write).is_empty(), "one that stands by writes nothing");
    lab.operator.stop();
    let stopped = Instant::now();
    until_leads(&lab, "second", SOON).await?;
    let took = stopped.elapsed();
    println!("after the leader had stopped, the next led within {took:?}");
    // Without the hand-over it would be the 15 s that a Lease lasts.
    ensure!(took < Duration::from_secs(5), "{took:?}");
    lab.create_target("dataset-2").await?;
    lab.until_all_ready(2).await?;
    let writes = changes(&second.api, api);
    ensure!(writes.iter().all(|call| !call.path.contains("dataset-1")), "a healthy target was written: {writes:#?}");
    let made = changes(&lab.aws, aws);
    ensure!(made.iter().filter(|call| call.is("CreateUser")).count() == 1, "{made:#?}");
    Ok(())
}

async fn a_replica_that_crashed_is_replaced(_: Arc<World>) -> Result<()> {
    let mut lab = lab("replicas-crash").await?;
    let _second = Replica::start(&lab, "second").await?;
    lab.operator.kill();
    let crashed = Instant::now();
    until_leads(&lab, "second", CRASH).await?;
    println!("after the leader had crashed, the next led within {:?}", crashed.elapsed());
    lab.create_target("dataset-2").await?;
    lab.until_all_ready(2).await
}

/// It is put to sleep between two steps of a creation, and goes on when another replica has done all of it.
async fn a_replica_that_was_asleep_changes_nothing(_: Arc<World>) -> Result<()> {
    let mut lab = lab("replicas-asleep").await?;
    let second = Replica::start(&lab, "second").await?;
    // The answer comes while it sleeps, and lies ready when it wakes up: it would go on at once.
    let slow = lab.aws.fault_some(Fault::Delay(Duration::from_secs(2)), 0..1, |call| call.is("CreateUser"));
    let mark = lab.aws.mark();
    lab.create_target("dataset-2").await?;
    wait_until("the first replica to begin", SOON, async || {
        ensure!(!lab.aws.calls_since(mark, |call| call.is("CreateUser")).is_empty(), "not yet");
        Ok(())
    })
    .await?;
    lab.operator.signal(Signal::STOP);
    slow.happened().await;
    until_leads(&lab, "second", CRASH).await?;
    wait_until("the second replica to finish it", IN_DOUBT, async || lab.until_all_ready(2).await).await?;
    wait_until("its last writes", SOON, async || {
        let (status, text) = second.get("/metrics").await?;
        ensure!(status == StatusCode::OK && text.contains(r#"reconciles_under_way{kind="BackupTarget"} 0"#), "{text}");
        Ok(())
    })
    .await?;

    let (api, aws) = (lab.api.mark(), lab.aws.mark());
    lab.operator.signal(Signal::CONT);
    lab.operator.until_ended(SOON).await?;
    let (writes, made) = (lab.api.calls_since(api, Call::is_write), changes(&lab.aws, aws));
    ensure!(writes.is_empty() && made.is_empty(), "it went on: {writes:#?} {made:#?}");
    ensure!(lab.operator.printed().contains("the lead is lost"), "it says why");
    let keys = lab.aws.calls(|call| call.is("CreateAccessKey")).len();
    ensure!(keys == 2, "{keys} keys for two targets");
    Ok(())
}

async fn a_replica_that_cannot_read_the_lease_is_not_ready(_: Arc<World>) -> Result<()> {
    let lab = lab("replicas-blind").await?;
    let api = Proxy::start(&lab.control_plane.upstream()).await?;
    let blind = api.fault(Fault::Status(403), |call| call.path.contains("/leases"));
    let second = Replica::behind(api, &lab, "second").await?;
    blind.happened().await;
    let (status, says) = second.get("/readyz").await?;
    ensure!(status == StatusCode::SERVICE_UNAVAILABLE && says.starts_with("joining"), "{status} {says}");
    drop(blind);
    second.until_ready().await?;
    let (_, text) = second.get("/metrics").await?;
    ensure!(text.contains("leading 0"), "{text}");
    Ok(())
}

/// Others than the kubelet and Prometheus can reach the port, too.
async fn nobody_keeps_the_kubelet_from_asking(_: Arc<World>) -> Result<()> {
    const MORE_THAN_THERE_IS_ROOM_FOR: usize = 64;
    const REQUESTS: usize = 2_000;
    let lab = lab("replicas-crowd").await?;
    let address = address(&lab.operator)?;
    let mut crowd = Vec::new();
    for _ in 0..MORE_THAN_THERE_IS_ROOM_FOR {
        let mut stream = TcpStream::connect(&address).await?;
        // More than any buffer takes of answers that nobody reads.
        let requests = "GET /metrics HTTP/1.1\r\nHost: operator\r\n\r\n".repeat(REQUESTS);
        let _ = stream.write_all(requests.as_bytes()).now_or_never();
        crowd.push(stream);
    }
    wait_until("an answer beside the crowd", SOON, async || {
        let (status, says) = ask(Method::GET, &format!("http://{address}/livez")).await?;
        ensure!(status == StatusCode::OK, "{status} {says}");
        Ok(())
    })
    .await
}

async fn health_and_metrics_are_told(_: Arc<World>) -> Result<()> {
    let mut lab = lab("replicas-metrics").await?;
    let second = Replica::start(&lab, "second").await?;
    lab.operator.stop();
    until_leads(&lab, "second", SOON).await?;
    lab.create_target("dataset-2").await?;
    lab.until_all_ready(2).await?;
    for path in ["/livez", "/readyz"] {
        let (status, text) = second.get(path).await?;
        ensure!(status == StatusCode::OK, "{path}: {status} {text}");
    }
    let (status, text) = second.get("/metrics").await?;
    ensure!(status == StatusCode::OK, "{status}");
    for line in [
        "leading 1",
        r#"targets{store="default",ready="True",reason="Provisioned"} 2"#,
        r#"target_conditions{condition="BaseAccess",status="True"} 2"#,
        r#"target_conditions{condition="CreateBucket",status="False"} 2"#,
        r#"store_ready{store="default"} 1"#,
        r#"store_calls_total{store="default",operation="iam:CreateUser",code="OK"} 1"#,
        r#"reconciles_total{kind="BackupTarget",result="success",reason="Provisioned"}"#,
        r#"reconcile_duration_seconds_count{kind="BackupStore"}"#,
        r#"proofs_total{tier="BaseAccess",result="Works"} 1"#,
        r#"oldest_key_age_seconds{store="default"}"#,
        "# EOF",
    ] {
        ensure!(text.contains(line), "{line} is not in\n{text}");
    }
    ensure!(!text.contains("dataset-") && !text.contains("AKIA"), "targets have no labels of their own:\n{text}");
    let deleted = r#"reconciles_total{kind="BackupTarget",result="success",reason="Deleted"} 1"#;
    ensure!(!text.contains(deleted), "none was deleted:\n{text}");
    lab.targets()?.delete("dataset-2", &DeleteParams::default()).await?;
    wait_until("the deletion to be counted", SOON, async || {
        let (_, text) = second.get("/metrics").await?;
        ensure!(text.contains(deleted), "{deleted} is not in\n{text}");
        Ok(())
    })
    .await?;
    ensure!(second.get("/nothing").await?.0 == StatusCode::NOT_FOUND);
    ensure!(ask(Method::POST, &second.url("/metrics")?).await?.0 == StatusCode::METHOD_NOT_ALLOWED);
    Ok(())
}
