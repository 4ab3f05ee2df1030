//! Each right of the operator is used, so that dropping any one breaks something; and nothing is used without a right.
//!
//! The operator works under rights for one namespace, as one of several replicas, and a proxy in front of the API server
//! remembers what it did. The rules for all namespaces are the same ones, and the integration tests run under those.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use backup_target_operator::api::{BackupStore, BackupTarget};
use hyper::Method;
use k8s_openapi::api::{core::v1::Secret, rbac::v1::ClusterRole};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use testbed::{
    install::{NAMESPACE, RELEASE},
    objects::{create, is_ready, stalled_with, status},
    operator::{Operator, Options},
    proxy::{Call, Fault, Proxy},
    rights::{may, until_may},
    tests,
    wait::wait_until,
};

use crate::{
    helm::text,
    lab::{BUCKET, Lab},
    rights::operator,
    world::World,
};

tests![every_right_is_used_and_every_use_has_a_right, without_the_watch_a_lost_secret_comes_back_and_none_is_listed,];

const PATIENCE: Duration = Duration::from_mins(1);
const TEAM: &str = "team-a";
/// No call shows it: the API server asks for it when the finalizer is taken off, and when a Secret gets its owner.
const ASKED_BY_ADMISSION: &str = "backuptargets/finalizers";

/// Where something is done (nowhere for what has no namespace), what, and to what.
type Use = (String, String, String);

async fn every_right_is_used_and_every_use_has_a_right(_: Arc<World>) -> Result<()> {
    let lab = Lab::start("chart-rights").await?;
    lab.create_namespace(TEAM).await?;
    lab.create_namespace("default").await?;
    let values = json!({"namespaces": [TEAM]});
    let file = lab.helm.values("values.yaml", &values)?;
    lab.install(&["--values", text(&file)?]).await?;
    let api = Proxy::start(&lab.control_plane.upstream()).await?;
    let options = Options { server: Some(api.url().to_owned()), ..Options::default() }
        .env("WATCH_NAMESPACES", TEAM)
        .env("LEADER_ELECTION", "true")
        .env("LEASE_NAME", RELEASE);
    // It reads lists in pages where the API server cannot stream them, and needs the right to do so; the second one has them streamed.
    let cannot_stream = api.fault(Fault::Status(400), |call| call.query.contains("sendInitialEvents"));
    let first = lab.operator(options.clone()).await?;
    let place = Place { lab, api };
    place.life_of_a_store_and_a_target().await?;
    drop(cannot_stream);
    let _operator = place.the_lead_changes(first, options).await?;
    place.a_target_needs_the_right_on_its_finalizer().await?;

    let (granted, used) = (place.granted(&values).await?, place.used());
    let asked: Use = (String::new(), "update".to_owned(), of_group("backup-target.dev", ASKED_BY_ADMISSION));
    let is_used = |right: &Use| *right == asked || used.iter().any(|done| covers(right, done));
    let unused: Vec<_> = granted.iter().filter(|right| !is_used(right)).collect();
    ensure!(unused.is_empty(), "the chart grants what the operator does not do: {unused:#?}");
    let missing: Vec<_> = used.iter().filter(|done| !granted.iter().any(|right| covers(right, done))).collect();
    ensure!(missing.is_empty(), "the operator does what the chart does not grant: {missing:#?}");
    Ok(())
}

/// The right to list Secrets is not there, so that asking for it would be refused; and nobody asks.
async fn without_the_watch_a_lost_secret_comes_back_and_none_is_listed(_: Arc<World>) -> Result<()> {
    let lab = Lab::start("chart-unwatched").await?;
    lab.create_namespace(TEAM).await?;
    let values = json!({"secretWatch": false, "leaderElection": {"enabled": false}, "replicas": 1});
    let file = lab.helm.values("values.yaml", &values)?;
    lab.install(&["--values", text(&file)?]).await?;
    let api = Proxy::start(&lab.control_plane.upstream()).await?;
    let options = Options { server: Some(api.url().to_owned()), ..Options::default() }.env("WATCH_SECRETS", "false");
    let _operator = lab.operator(options.args(&["--resync", "2s"])).await?;
    let place = Place { lab, api };
    place.lab.write_credentials().await?;
    create(&place.stores(), json!({"metadata": {"name": "default"}, "spec": place.lab.store_spec(&[TEAM])})).await?;
    place.create_target().await?;
    place.a_lost_secret_comes_back().await?;
    place.targets().delete("dataset-1", &DeleteParams::default()).await?;
    place.until_gone().await?;

    let (granted, used) = (place.granted(&values).await?, place.used());
    let missing: Vec<_> = used.iter().filter(|done| !granted.iter().any(|right| covers(right, done))).collect();
    ensure!(missing.is_empty(), "the operator does what the chart does not grant: {missing:#?}");
    for verb in ["list", "watch"] {
        let (client, who) = (&place.lab.client, operator());
        until_may(client, &who, verb, "", "secrets", NAMESPACE).await?;
        ensure!(!may(client, &who, verb, "", "secrets", TEAM).await?, "it may {verb} the Secrets of others");
    }
    Ok(())
}

/// A right that is granted nowhere in particular holds everywhere.
fn covers(right: &Use, done: &Use) -> bool {
    let (place, verb, resource) = right;
    (place.is_empty() || *place == done.0) && (verb, resource) == (&done.1, &done.2)
}

struct Place {
    lab: Lab,
    /// In front of the API server, for the operator alone.
    api: Proxy,
}

impl Place {
    /// All that the operator has to do something for, and twice what makes an event count up.
    async fn life_of_a_store_and_a_target(&self) -> Result<()> {
        let (targets, stores) = (self.targets(), self.stores());
        let spec = self.lab.store_spec(&[TEAM]);
        create(&stores, json!({"metadata": {"name": "default"}, "spec": spec})).await?;
        for _ in 0..2 {
            self.until_store("without credentials", "CredentialsNotFound").await?;
            self.lab.write_credentials().await?;
            self.until_store("with credentials", "CredentialsValid").await?;
            self.secrets(NAMESPACE).delete("aws-credentials", &DeleteParams::default()).await?;
        }
        self.until_store("without credentials", "CredentialsNotFound").await?;
        self.lab.write_credentials().await?;

        let folder = json!({"prefix": format!("{TEAM}/dataset-1/")});
        self.create_target().await?;
        for _ in 0..2 {
            self.change(json!({"prefix": "elsewhere/"})).await?;
            self.until("stalled", |target| stalled_with(target, "NotAllowed")).await?;
            self.change(folder.clone()).await?;
            self.until("ready", is_ready).await?;
        }
        self.change(json!({"secret": {"remote": "other"}})).await?;
        self.until("ready", is_ready).await?;
        self.a_lost_secret_comes_back().await?;
        targets.delete("dataset-1", &DeleteParams::default()).await?;
        self.until_gone().await
    }

    async fn a_lost_secret_comes_back(&self) -> Result<()> {
        let secrets = self.secrets(TEAM);
        let lost = secrets.get("dataset-1").await?;
        secrets.delete("dataset-1", &DeleteParams::default()).await?;
        wait_until("the Secret to come back", PATIENCE, async || {
            ensure!(secrets.get("dataset-1").await?.uid() != lost.uid(), "it is the old one");
            Ok(())
        })
        .await?;
        self.until("ready", is_ready).await
    }

    /// A second replica waits for the lead, and gets it.
    async fn the_lead_changes(&self, mut first: Operator, options: Options) -> Result<Operator> {
        let mark = self.api.mark();
        // It says that it works once it leads, so the first one has to go meanwhile.
        let second = self.lab.operator(options);
        let hand_over = async {
            wait_until("a replica to wait for the lead", PATIENCE, async || {
                let waits = |call: &Call| call.is_watch() && call.path.ends_with("/leases") && call.succeeded();
                ensure!(!self.api.calls_since(mark, waits).is_empty(), "nobody watches the Lease");
                Ok(())
            })
            .await?;
            first.stop();
            Ok(())
        };
        let (second, ()) = tokio::try_join!(second, hand_over)?;
        Ok(second)
    }

    /// Without it the operator cannot let a target go.
    async fn a_target_needs_the_right_on_its_finalizer(&self) -> Result<()> {
        self.create_target().await?;
        let api = Api::<ClusterRole>::all(self.lab.client.clone());
        let whole = api.get(RELEASE).await?;
        let mut less = whole.clone();
        let rules = less.rules.as_mut().context("a ClusterRole without rules")?;
        rules.retain(|rule| rule.resources.as_deref() != Some(&[ASKED_BY_ADMISSION.to_owned()]));
        let changed = api.replace(&whole.name_any(), &PostParams::default(), &less).await?;
        wait_until("the API server to know of the change", PATIENCE, async || {
            let (group, resource) = ("backup-target.dev", ASKED_BY_ADMISSION);
            ensure!(!may(&self.lab.client, &operator(), "update", group, resource, TEAM).await?, "the right is there");
            Ok(())
        })
        .await?;

        let mark = self.api.mark();
        self.targets().delete("dataset-1", &DeleteParams::default()).await?;
        wait_until("the operator to be refused", PATIENCE, async || {
            let refused = |call: &Call| call.path.ends_with("/backuptargets/dataset-1") && call.status == Some(403);
            ensure!(!self.api.calls_since(mark, refused).is_empty(), "nothing was refused");
            Ok(())
        })
        .await?;
        let whole = ClusterRole { metadata: changed.metadata, ..whole };
        api.replace(&whole.name_any(), &PostParams::default(), &whole).await?;
        self.until_gone().await
    }

    /// What the rendered rules say, one by one.
    async fn granted(&self, values: &Value) -> Result<BTreeSet<Use>> {
        let mut granted = BTreeSet::new();
        for object in self.lab.helm.render(values).await? {
            let place = match object["kind"].as_str() {
                Some("Role") => object["metadata"]["namespace"].as_str().context("a Role without a namespace")?,
                // The others are what users may do.
                Some("ClusterRole") if object["metadata"]["name"] == RELEASE => "",
                _ => continue,
            };
            for rule in texts(&object["rules"]) {
                let group = rule["apiGroups"][0].as_str().context("a rule without a group")?;
                for resource in texts(&rule["resources"]).iter().filter_map(Value::as_str) {
                    for verb in texts(&rule["verbs"]).iter().filter_map(Value::as_str) {
                        granted.insert((place.to_owned(), verb.to_owned(), of_group(group, resource)));
                    }
                }
            }
        }
        ensure!(granted.len() > 20, "only {granted:?}");
        Ok(granted)
    }

    /// What the operator did.
    fn used(&self) -> BTreeSet<Use> {
        self.api.calls(|_| true).iter().filter_map(use_of).collect()
    }

    async fn create_target(&self) -> Result<()> {
        let spec = json!({"bucket": BUCKET, "prefix": format!("{TEAM}/dataset-1/"), "keyOverlap": "1s"});
        create(&self.targets(), json!({"metadata": {"name": "dataset-1"}, "spec": spec})).await?;
        self.until("ready", is_ready).await
    }

    async fn change(&self, spec: Value) -> Result<()> {
        let patch = json!({"spec": spec});
        self.targets().patch("dataset-1", &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    async fn until(&self, what: &str, wanted: impl Fn(&BackupTarget) -> bool) -> Result<()> {
        wait_until(&format!("the target to be {what}"), PATIENCE, async || {
            let target = self.targets().get("dataset-1").await?;
            let current = status(&target).observed_generation == target.metadata.generation;
            ensure!(current && wanted(&target), "{}", serde_json::to_string(&target.status)?);
            Ok(())
        })
        .await
    }

    async fn until_store(&self, what: &str, reason: &str) -> Result<()> {
        wait_until(&format!("the store to be {what}"), PATIENCE, async || {
            let status = self.stores().get("default").await?.status.unwrap_or_default();
            ensure!(status.conditions.iter().any(|condition| condition.reason == reason), "{:?}", status.conditions);
            Ok(())
        })
        .await
    }

    async fn until_gone(&self) -> Result<()> {
        wait_until("the target to be gone", PATIENCE, async || {
            ensure!(self.targets().get_opt("dataset-1").await?.is_none(), "it is there");
            Ok(())
        })
        .await
    }

    fn targets(&self) -> Api<BackupTarget> {
        Api::namespaced(self.lab.client.clone(), TEAM)
    }

    fn stores(&self) -> Api<BackupStore> {
        Api::all(self.lab.client.clone())
    }

    fn secrets(&self, namespace: &str) -> Api<Secret> {
        Api::namespaced(self.lab.client.clone(), namespace)
    }
}

fn texts(list: &Value) -> &[Value] {
    list.as_array().map_or(&[], Vec::as_slice)
}

fn of_group(group: &str, resource: &str) -> String {
    format!("{resource} of {}", if group.is_empty() { "v1" } else { group })
}

/// What a request asks to do, as RBAC sees it; nothing for requests that are not about objects.
fn use_of(call: &Call) -> Option<Use> {
    let path: Vec<&str> = call.path.trim_matches('/').split('/').collect();
    // /api/v1/… and /apis/GROUP/VERSION/…
    let (group, rest) = match path.as_slice() {
        ["api", _, rest @ ..] => ("", rest),
        ["apis", group, _, rest @ ..] => (*group, rest),
        _ => return None,
    };
    let (place, rest) = match rest {
        ["namespaces", place, rest @ ..] if !rest.is_empty() => (*place, rest),
        rest => ("", rest),
    };
    let (resource, name) = match rest {
        [resource] => ((*resource).to_owned(), None),
        [resource, name] => ((*resource).to_owned(), Some(name)),
        [resource, name, subresource] => (format!("{resource}/{subresource}"), Some(name)),
        _ => return None,
    };
    let verb = match (&call.method, name) {
        (&Method::GET, _) if call.is_watch() => "watch",
        (&Method::GET, Some(_)) => "get",
        (&Method::GET, None) => "list",
        (&Method::POST, _) => "create",
        (&Method::PUT, _) => "update",
        (&Method::PATCH, _) => "patch",
        (&Method::DELETE, _) => "delete",
        _ => return None,
    };
    Some((place.to_owned(), verb.to_owned(), of_group(group, &resource)))
}
