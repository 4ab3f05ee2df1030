//! The alerts of the chart: each fires when it has to, and no other time; on series as they are written down in
//! `tests/alerts.yaml`, and on those that operators really tell.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use backup_target_operator::api::{BackupStore, BackupTarget, condition::LEAST_PRIVILEGE};
use http_body_util::{BodyExt, Empty};
use hyper::{Uri, body::Bytes};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use testbed::{
    child::command,
    install::objects,
    objects::{create, has, is_ready, principal, stalled_with},
    operator::{Operator, Options},
    program,
    proxy::{Fault, Proxy},
    tests,
    tools::{project, tool},
    wait::wait_until,
};

use crate::{
    lab::{BUCKET, Lab},
    world::World,
};

tests![each_alert_fires_when_it_has_to, each_alert_fires_on_what_operators_tell];

const SOON: Duration = Duration::from_mins(1);
const PREFIX: &str = "backup_target_operator_";
const TEAM: &str = "team-a";
/// Labels that Prometheus adds, or that tell clusters apart.
const OF_PROMETHEUS: [&str; 5] = ["cluster", "namespace", "job", "pod", "instance"];
/// Until then all is well, in minutes.
const WELL: usize = 60;
/// And then nothing is, for longer than any alert waits.
const TROUBLE: usize = 60;

async fn each_alert_fires_when_it_has_to(_: Arc<World>) -> Result<()> {
    promtool(&project().join("tests/alerts.yaml")).await
}

async fn promtool(tests: &Path) -> Result<()> {
    let mut promtool = command(tool("promtool")?);
    promtool.args(["test", "rules"]).arg(tests);
    program::run("promtool", promtool, SOON).await?.succeeded()?;
    Ok(())
}

async fn each_alert_fires_on_what_operators_tell(_: Arc<World>) -> Result<()> {
    let lab = Lab::start("chart-alerts").await?;
    lab.install(&[]).await?;
    lab.write_credentials().await?;
    lab.create_namespace(TEAM).await?;
    let place = Place {
        leader: lab.operator(replica("watching")).await?,
        standby: lab.operator(replica("waiting to lead")).await?,
        aws: Proxy::start(&lab.aws.upstream()).await?,
        lab,
    };
    let standby = place.told_by(&place.standby).await?;
    place.all_is_well().await?;
    let well = place.told_by(&place.leader).await?;
    let throttled = place.aws.fault(Fault::Throttle, |call| call.action.is_some());
    let (before, trouble) = place.much_is_wrong().await?;
    drop(throttled);

    let known = names_and_labels(&trouble);
    for series in series_written_down()? {
        let labels = label_names(&series).into_iter().filter(|label| !OF_PROMETHEUS.contains(&label.as_str()));
        let (name, labels) = (name(&series).to_owned(), labels.collect::<BTreeSet<_>>());
        let is_told = known.get(&name).is_some_and(|told| told.contains(&labels));
        ensure!(
            is_told || name == "up",
            "tests/alerts.yaml has {series}, and the operator tells {:?}",
            known.get(&name)
        );
    }
    let story = Story { standby, well, before, trouble };
    let file = place.lab.control_plane.run().room("alerts")?.join("told.yaml");
    fs::write(&file, story.as_promtool_reads_it()?.to_string())?;
    promtool(&file).await?;
    place.what_is_gone_is_not_told().await
}

/// One of two replicas; what it says once it has started depends on which one it becomes.
fn replica(started: &'static str) -> Options {
    let args = ["--leader-election", "--http-address", "127.0.0.1:0", "--resync", "2s"].map(str::to_owned).into();
    Options { args, started: Some(started), ..Options::default() }.env("LOG_FORMAT", "json")
}

/// Told by a replica: series, and what they were.
type Told = BTreeMap<String, f64>;

struct Place {
    leader: Operator,
    standby: Operator,
    /// In front of AWS, for one store.
    aws: Proxy,
    lab: Lab,
}

impl Place {
    async fn told_by(&self, operator: &Operator) -> Result<Told> {
        let log = operator.printed();
        let address = log.lines().rev().find_map(|line| line.split("\"address\":\"").nth(1)?.split('"').next());
        let url: Uri = format!("http://{}/metrics", address.context("it says no address")?).parse()?;
        let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
        let body = client.get(url).await?.into_body().collect().await?.to_bytes();
        let lines = std::str::from_utf8(&body)?.lines().filter(|line| !line.starts_with('#'));
        let parsed = lines.map(|line| {
            let (series, value) = line.rsplit_once(' ').with_context(|| format!("{line} is no series"))?;
            Ok((series.to_owned(), value.parse()?))
        });
        parsed.collect()
    }

    async fn all_is_well(&self) -> Result<()> {
        self.create_store("default", self.lab.store_spec(&[TEAM])).await?;
        let mut through_the_proxy = self.lab.store_spec(&[TEAM]);
        through_the_proxy["maxPrincipals"] = json!(2);
        let url = self.aws.url();
        through_the_proxy["endpoint"] = json!(url);
        through_the_proxy["aws"] = json!({"iamEndpoint": url, "stsEndpoint": url});
        self.create_store("slow", through_the_proxy).await?;
        for (name, store) in [("excess", "default"), ("contested", "default"), ("throttled", "slow")] {
            self.create_target(name, store, &format!("{TEAM}/{name}/")).await?;
        }
        for name in ["excess", "contested", "throttled"] {
            self.until(name, "ready", is_ready).await?;
        }
        Ok(())
    }

    /// What the leader tells when it is so, and a moment later.
    async fn much_is_wrong(&self) -> Result<(Told, Told)> {
        let mut broken = self.lab.store_spec(&[TEAM]);
        broken["credentials"]["secretRef"]["name"] = json!("missing");
        self.create_store("broken", broken).await?;
        self.create_target("refused", "default", "elsewhere/").await?;
        self.until("refused", "refused", |target| stalled_with(target, "NotAllowed")).await?;

        let stores = Api::<BackupStore>::all(self.lab.client.clone());
        let fuller = Patch::Merge(json!({"spec": {"maxPrincipals": 1}}));
        stores.patch("slow", &PatchParams::default(), &fuller).await?;

        let excess = principal(&self.targets().get("excess").await?);
        let iam = &self.lab.aws.iam;
        iam.create_group().group_name("others").send().await?;
        iam.add_user_to_group().group_name("others").user_name(excess).send().await?;
        self.until("excess", "able to do too much", |target| has(target, LEAST_PRIVILEGE, "False", "OtherPolicies"))
            .await?;
        self.fight("contested").await?;

        let throttled = |told: &Told| {
            let throttled = told.iter().filter(|(series, _)| series.contains("code=\"Throttled\""));
            throttled.map(|(_, count)| count).sum::<f64>()
        };
        let told = async |least| {
            wait_until("the leader to tell of it", SOON, async || {
                let told = self.told_by(&self.leader).await?;
                let broken = told.get(&format!("{PREFIX}store_ready{{store=\"broken\"}}"));
                ensure!(throttled(&told) > least && broken == Some(&0.0), "{told:#?}");
                Ok(told)
            })
            .await
        };
        let first = told(0.0).await?;
        let later = told(throttled(&first)).await?;
        Ok((first, later))
    }

    /// Somebody undoes what the operator does, until it says so.
    async fn fight(&self, name: &str) -> Result<()> {
        let secrets = Api::<Secret>::namespaced(self.lab.client.clone(), TEAM);
        let other = json!({"metadata": {"labels": {"backup-target.dev/target": "another"}}});
        wait_until("the fight to be told", SOON, async || {
            secrets.patch(name, &PatchParams::default(), &Patch::Merge(&other)).await?;
            let contested = stalled_with(&self.targets().get(name).await?, "Contested");
            ensure!(contested, "not told yet");
            Ok(())
        })
        .await
    }

    async fn what_is_gone_is_not_told(&self) -> Result<()> {
        let (targets, stores) = (self.targets(), Api::<BackupStore>::all(self.lab.client.clone()));
        for name in ["excess", "contested", "throttled", "refused"] {
            targets.delete(name, &DeleteParams::default()).await?;
        }
        for name in ["default", "slow", "broken"] {
            stores.delete(name, &DeleteParams::default()).await?;
        }
        wait_until("nothing to be told of what is gone", SOON * 2, async || {
            let told = self.told_by(&self.leader).await?;
            let left: Vec<_> = told.keys().filter(|series| series.contains("store=\"")).collect();
            ensure!(left.is_empty(), "{left:#?}");
            Ok(())
        })
        .await
    }

    fn targets(&self) -> Api<BackupTarget> {
        Api::namespaced(self.lab.client.clone(), TEAM)
    }

    async fn create_store(&self, name: &str, spec: Value) -> Result<()> {
        let stores = Api::<BackupStore>::all(self.lab.client.clone());
        create(&stores, json!({"metadata": {"name": name}, "spec": spec})).await?;
        Ok(())
    }

    async fn create_target(&self, name: &str, store: &str, prefix: &str) -> Result<()> {
        let spec = json!({"storeRef": {"name": store}, "bucket": BUCKET, "prefix": prefix});
        create(&self.targets(), json!({"metadata": {"name": name}, "spec": spec})).await?;
        Ok(())
    }

    async fn until(&self, name: &str, what: &str, wanted: impl Fn(&BackupTarget) -> bool) -> Result<()> {
        wait_until(&format!("the target {name} to be {what}"), SOON, async || {
            let target = self.targets().get(name).await?;
            ensure!(wanted(&target), "{}", serde_json::to_string(&target.status)?);
            Ok(())
        })
        .await
    }
}

/// What replicas told, as a story for promtool: first all is well, then nothing is.
struct Story {
    standby: Told,
    well: Told,
    /// Of what is wrong, at first …
    before: Told,
    /// … and a moment later: what has grown goes on growing like that.
    trouble: Told,
}

impl Story {
    fn as_promtool_reads_it(&self) -> Result<Value> {
        let release = [self.series("one", "a", Self::leader), self.series("one", "b", Self::stands_by)].concat();
        let others = [
            // Two work at the same time, beside the first release, and of another both stand by.
            self.series("two", "a", Self::leader),
            self.series("two", "b", Self::leader),
            self.series("three", "a", Self::stands_by),
        ]
        .concat();
        let both = [release.clone(), others].concat();
        let firing = "group by (alertname) (ALERTS{alertstate=\"firing\"})";
        let none = json!({"expr": firing, "eval_time": format!("{}m", WELL - 2), "exp_samples": []});
        let all: Vec<Value> = alert_names()?
            .iter()
            .map(|name| json!({"labels": format!("{{alertname=\"{name}\"}}"), "value": 1}))
            .collect();
        let all = json!({"expr": firing, "eval_time": format!("{}m", WELL + TROUBLE - 1), "exp_samples": all});
        Ok(json!({
            "rule_files": [rules()],
            "evaluation_interval": "1m",
            "tests": [
                {"name": "all is well", "interval": "1m", "input_series": release, "promql_expr_test": [none]},
                {
                    "name": "nothing is", "interval": "1m", "input_series": both,
                    "promql_expr_test": [all],
                },
            ],
        }))
    }

    /// The series of one pod, with the labels that Prometheus gives them.
    fn series(&self, job: &str, pod: &str, values: impl Fn(&Self, &str) -> String) -> Vec<Value> {
        let told: BTreeSet<&String> =
            [&self.standby, &self.well, &self.trouble].into_iter().flat_map(BTreeMap::keys).collect();
        let of_prometheus = format!("job=\"{job}\",namespace=\"ops-{job}\",pod=\"{pod}\"");
        let labelled = |series: &str| match series.split_once('{') {
            Some((name, labels)) => format!("{name}{{{of_prometheus},{labels}"),
            None => format!("{series}{{{of_prometheus}}}"),
        };
        told.iter().map(|series| json!({"series": labelled(series), "values": values(self, series)})).collect()
    }

    fn stands_by(&self, series: &str) -> String {
        let value = self.standby.get(series).map_or("_".to_owned(), f64::to_string);
        format!("{value}x{}", WELL + TROUBLE)
    }

    fn leader(&self, series: &str) -> String {
        let before = self.well.get(series).map_or("_".to_owned(), f64::to_string);
        let before = format!("{before}x{}", WELL - 1);
        let Some(then) = self.trouble.get(series) else { return format!("{before} _x{TROUBLE}") };
        // No test can make the operator meet a fault of its own, but it counts them from the start.
        let fault = if series.contains("InternalError") { 1.0 } else { 0.0 };
        let grows = if name(series).ends_with("_total") { then - self.before.get(series).unwrap_or(&0.0) } else { 0.0 };
        format!("{before} {}+{grows}x{TROUBLE}", then + fault)
    }
}

fn rules() -> String {
    project().join("charts/backup-target-operator/files/alerts.yaml").display().to_string()
}

fn alert_names() -> Result<BTreeSet<String>> {
    let file = objects(&fs::read_to_string(rules())?)?.pop().context("no rules")?;
    let rules = file["groups"][0]["rules"].as_array().context("no rules")?;
    rules.iter().map(|rule| Ok(rule["alert"].as_str().context("a rule without a name")?.to_owned())).collect()
}

/// The series of `tests/alerts.yaml`.
fn series_written_down() -> Result<Vec<String>> {
    let file = objects(&fs::read_to_string(project().join("tests/alerts.yaml"))?)?.pop().context("no tests")?;
    let tests = file["tests"].as_array().context("no tests")?;
    let series = tests.iter().flat_map(|test| test["input_series"].as_array().into_iter().flatten());
    let series: Vec<_> = series.filter_map(|one| one["series"].as_str()).map(str::to_owned).collect();
    ensure!(series.len() > 20, "only {} series", series.len());
    Ok(series)
}

fn name(series: &str) -> &str {
    series.split('{').next().unwrap_or_default()
}

/// No value that is told or written down here has a comma in it.
fn label_names(series: &str) -> BTreeSet<String> {
    let labels = series.split_once('{').map(|(_, labels)| labels.trim_end_matches('}')).unwrap_or_default();
    labels.split(',').filter_map(|label| Some(label.split_once('=')?.0.trim().to_owned())).collect()
}

fn names_and_labels(told: &Told) -> BTreeMap<String, BTreeSet<BTreeSet<String>>> {
    let mut known: BTreeMap<String, BTreeSet<_>> = BTreeMap::new();
    for series in told.keys() {
        known.entry(name(series).to_owned()).or_default().insert(label_names(series));
    }
    known
}
