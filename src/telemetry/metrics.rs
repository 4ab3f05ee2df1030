//! What is counted. Labels have few values: kinds, reasons, actions, tiers, and the names of stores; never those of targets.

use std::{
    collections::{BTreeMap, HashSet},
    hash::Hash,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicI64},
    time::Duration,
};

use kube::Resource;

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use crate::api::{BackupStore, BackupTarget, Reason};

/// Before every name.
const PREFIX: &str = "backup_target_operator";
/// How a reconcile ended that did not end well.
const ERROR: &str = "error";
/// Upper bounds of how long a reconcile takes, in seconds: from nothing to do up to its deadline.
const SECONDS: [f64; 9] = [0.005, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0, 30.0, 120.0];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfKind {
    kind: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfOutcome {
    kind: String,
    result: &'static str,
    reason: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfStore {
    store: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfCall {
    store: String,
    operation: &'static str,
    code: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfProof {
    tier: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfVersion {
    version: &'static str,
}

/// Targets that have something in common.
#[derive(Clone, Debug, Default, Hash, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
pub struct OfTargets {
    /// Name of their BackupStore.
    pub store: String,
    /// Status of their condition `Ready`.
    pub ready: String,
    /// Its reason.
    pub reason: String,
}

/// Conditions that say the same.
#[derive(Clone, Debug, Hash, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
pub struct OfConditions {
    /// Type of the condition: a tier, or `LeastPrivilege`.
    pub condition: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
}

/// What there is, counted when somebody asks.
#[derive(Clone, Debug, Default)]
pub struct Census {
    /// How many targets are ready or not, and why.
    pub targets: BTreeMap<OfTargets, i64>,
    /// How many targets have which tiers.
    pub conditions: BTreeMap<OfConditions, i64>,
    /// Age of the oldest access key that is in use, by store, in seconds.
    pub oldest_keys: BTreeMap<String, i64>,
    /// Whether a store's credentials work.
    pub stores: BTreeMap<String, bool>,
    /// How many principals there are, by store.
    pub principals: BTreeMap<String, i64>,
    /// How many there may be, by store; where that is limited.
    pub most_principals: BTreeMap<String, i64>,
}

/// Everything that is counted.
pub struct Metrics {
    registry: Registry,
    reconciles: Family<OfOutcome, Counter>,
    durations: Family<OfKind, Histogram>,
    under_way: Family<OfKind, Gauge>,
    waiting: OfStores<OfStore, Gauge>,
    calls: OfStores<OfCall, Counter>,
    repairs: OfStores<OfStore, Counter>,
    proofs: Family<OfProof, Counter>,
    leading: Gauge<i64, AtomicI64>,
    targets: Family<OfTargets, Gauge>,
    conditions: Family<OfConditions, Gauge>,
    oldest_keys: Family<OfStore, Gauge>,
    stores: Family<OfStore, Gauge>,
    principals: Family<OfStore, Gauge>,
    most_principals: Family<OfStore, Gauge>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        let metrics = Self {
            reconciles: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            under_way: Family::default(),
            waiting: OfStores::default(),
            calls: OfStores::default(),
            repairs: OfStores::default(),
            proofs: Family::default(),
            leading: Gauge::default(),
            targets: Family::default(),
            conditions: Family::default(),
            oldest_keys: Family::default(),
            stores: Family::default(),
            principals: Family::default(),
            most_principals: Family::default(),
            registry: Registry::default(),
        };
        metrics.register(&mut registry);
        metrics.begin();
        Self { registry, ..metrics }
    }
}

impl Metrics {
    fn register(&self, registry: &mut Registry) {
        let build: Family<OfVersion, Gauge> = Family::default();
        build.get_or_create(&OfVersion { version: env!("CARGO_PKG_VERSION") }).set(1);
        registry.register("build", "The version that runs; always 1", build);
        registry.register(
            "leading",
            "1 while this replica works, 0 while it starts or stands by",
            self.leading.clone(),
        );
        registry.register("reconciles", "Reconciles that ended, by the reason in Ready", self.reconciles.clone());
        let help = "How long reconciles took, with the wait for their turn";
        registry.register_with_unit("reconcile_duration", help, Unit::Seconds, self.durations.clone());
        registry.register(
            "reconciles_under_way",
            "Reconciles that work or wait for their turn",
            self.under_way.clone(),
        );
        registry.register("targets_waiting", "Reconciles of targets that wait for a slot", self.waiting.family.clone());
        let help = "Calls to what makes a store's principals and keys, after the SDK's own retries";
        registry.register("store_calls", help, self.calls.family.clone());
        registry.register(
            "drift_repairs",
            "Targets in which somebody else's change was put right",
            self.repairs.family.clone(),
        );
        registry.register(
            "proofs",
            "Tiers that were tried with a target's own key, and what came of it",
            self.proofs.clone(),
        );
        registry.register("targets", "BackupTargets, by what their condition Ready says", self.targets.clone());
        let help = "Tier conditions and LeastPrivilege of all BackupTargets";
        registry.register("target_conditions", help, self.conditions.clone());
        let help = "Age of the oldest access key that is published";
        registry.register_with_unit("oldest_key_age", help, Unit::Seconds, self.oldest_keys.clone());
        registry.register("store_ready", "1 for a BackupStore whose credentials work", self.stores.clone());
        let help = "Principals of a BackupStore";
        registry.register("store_principals", help, self.principals.clone());
        let help = "The most principals that the operator keeps for a BackupStore, where it says so";
        registry.register("store_max_principals", help, self.most_principals.clone());
    }

    /// Counts of what should never happen are there from the start: nobody could see that a count which begins at 1 has grown.
    fn begin(&self) {
        for kind in [BackupTarget::kind(&()), BackupStore::kind(&())] {
            let fault = OfOutcome { kind: kind.into(), result: ERROR, reason: Reason::InternalError.to_string() };
            self.reconciles.get_or_create(&fault).inc_by(0);
        }
    }

    /// A reconcile ended.
    pub fn reconciled(&self, kind: &str, well: bool, reason: &str) {
        let result = if well { "success" } else { ERROR };
        self.reconciles.get_or_create(&OfOutcome { kind: kind.to_owned(), result, reason: reason.to_owned() }).inc();
    }

    /// A reconcile took so long.
    pub fn took(&self, kind: &str, time: Duration) {
        self.durations.get_or_create(&OfKind { kind: kind.to_owned() }).observe(time.as_secs_f64());
    }

    /// A reconcile is under way for as long as what is returned is kept.
    #[must_use]
    pub fn under_way(&self, kind: &str) -> Counted {
        Counted::new(self.under_way.get_or_create_owned(&OfKind { kind: kind.to_owned() }))
    }

    /// A target waits for a slot of its store for as long as what is returned is kept.
    #[must_use]
    pub fn waiting(&self, store: &str) -> Counted {
        Counted::new(self.waiting.of(OfStore { store: store.to_owned() }))
    }

    /// A store was asked for something.
    pub fn called(&self, store: &str, operation: &'static str, code: &'static str) {
        self.calls.of(OfCall { store: store.to_owned(), operation, code }).inc();
    }

    /// Something that somebody else changed was put right.
    pub fn repaired(&self, store: &str) {
        self.repairs.of(OfStore { store: store.to_owned() }).inc();
    }

    /// A tier was tried.
    pub fn proven(&self, tier: &'static str, result: &'static str) {
        self.proofs.get_or_create(&OfProof { tier, result }).inc();
    }

    /// All of it, in the text format of `OpenMetrics`: what is counted while it happens, whether this replica works, and a
    /// census.
    #[must_use]
    pub fn exposition(&self, works: bool, census: &Census) -> String {
        self.leading.set(i64::from(works));
        self.take(census);
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }

    fn take(&self, census: &Census) {
        // What is not there any more must not stay as it was.
        self.targets.clear();
        self.conditions.clear();
        self.oldest_keys.clear();
        self.stores.clear();
        self.principals.clear();
        self.most_principals.clear();
        let is_there = |store: &str| census.stores.contains_key(store);
        self.waiting.keep(|of, waiting| is_there(&of.store) || waiting.get() > 0);
        self.calls.keep(|of, _| is_there(&of.store));
        self.repairs.keep(|of, _| is_there(&of.store));
        for (of, count) in &census.targets {
            self.targets.get_or_create(of).set(*count);
        }
        for (of, count) in &census.conditions {
            self.conditions.get_or_create(of).set(*count);
        }
        for (store, seconds) in &census.oldest_keys {
            self.oldest_keys.get_or_create(&OfStore { store: store.clone() }).set(*seconds);
        }
        for (store, ready) in &census.stores {
            self.stores.get_or_create(&OfStore { store: store.clone() }).set(i64::from(*ready));
        }
        for (family, counts) in
            [(&self.principals, &census.principals), (&self.most_principals, &census.most_principals)]
        {
            for (store, count) in counts {
                family.get_or_create(&OfStore { store: store.clone() }).set(*count);
            }
        }
    }
}

/// What is counted by store: it goes with its store.
struct OfStores<L, M> {
    family: Family<L, M>,
    /// Of whom there is something; a family does not say.
    counted: Mutex<HashSet<L>>,
}

impl<L: Clone + Hash + Eq, M: Default> Default for OfStores<L, M> {
    fn default() -> Self {
        Self { family: Family::default(), counted: Mutex::default() }
    }
}

impl<L: Clone + Hash + Eq, M: Clone + Default> OfStores<L, M> {
    fn of(&self, labels: L) -> M {
        let metric = self.family.get_or_create_owned(&labels);
        self.lock().insert(labels);
        metric
    }

    fn keep(&self, stays: impl Fn(&L, &M) -> bool) {
        self.lock().retain(|labels| {
            let stays = self.family.get(labels).is_some_and(|metric| stays(labels, &metric));
            if !stays {
                self.family.remove(labels);
            }
            stays
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<L>> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One more, until it is dropped.
pub struct Counted(Gauge);

impl Counted {
    fn new(gauge: Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Counts the calls to one store.
#[derive(Clone, Default)]
pub struct Meter {
    metrics: Arc<Metrics>,
    store: String,
}

impl Meter {
    /// Counts for that store.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>, store: &str) -> Self {
        Self { metrics, store: store.to_owned() }
    }

    /// A call ended.
    pub fn called(&self, operation: &'static str, code: &'static str) {
        self.metrics.called(&self.store, operation, code);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Alerts and dashboard speak of what is told, and of nothing else.
    #[test]
    fn the_chart_asks_for_metrics_that_there_are() {
        let metrics = Metrics::default();
        metrics.reconciled("BackupTarget", true, "Provisioned");
        metrics.took("BackupTarget", Duration::ZERO);
        metrics.called("default", "iam:CreateUser", "OK");
        metrics.repaired("default");
        metrics.proven("BaseAccess", "Works");
        let (_under_way, _waiting) = (metrics.under_way("BackupTarget"), metrics.waiting("default"));
        let of = OfConditions { condition: "BaseAccess".to_owned(), status: "True".to_owned() };
        let census = Census {
            targets: BTreeMap::from([(OfTargets::default(), 1)]),
            conditions: BTreeMap::from([(of, 1)]),
            oldest_keys: BTreeMap::from([("default".to_owned(), 1)]),
            stores: BTreeMap::from([("default".to_owned(), true)]),
            principals: BTreeMap::from([("default".to_owned(), 1)]),
            most_principals: BTreeMap::from([("default".to_owned(), 1)]),
        };
        let text = metrics.exposition(true, &census);
        let told: BTreeSet<&str> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split(['{', ' ']).next().unwrap())
            .collect();
        let files = [
            include_str!("../../charts/backup-target-operator/files/alerts.yaml"),
            include_str!("../../charts/backup-target-operator/files/dashboard.json"),
        ];
        for file in files {
            let names = file.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
            let asked: BTreeSet<&str> = names.filter(|name| name.starts_with(&format!("{PREFIX}_"))).collect();
            assert!(!asked.is_empty() && asked.is_subset(&told), "{:?}", asked.difference(&told));
        }
    }

    #[test]
    fn names_are_by_convention_and_what_is_gone_is_not_told() {
        let metrics = Metrics::default();
        metrics.reconciled("BackupTarget", true, "Provisioned");
        metrics.took("BackupTarget", Duration::from_millis(20));
        metrics.called("default", "iam:CreateUser", "OK");
        let of = OfTargets { store: "default".to_owned(), ready: "True".to_owned(), reason: "Provisioned".to_owned() };
        let stores = BTreeMap::from([("default".to_owned(), true)]);
        let census = Census { targets: BTreeMap::from([(of, 7)]), stores, ..Census::default() };
        let text = metrics.exposition(true, &census);
        for line in [
            r#"backup_target_operator_reconciles_total{kind="BackupTarget",result="success",reason="Provisioned"} 1"#,
            r#"backup_target_operator_reconcile_duration_seconds_bucket{le="0.025",kind="BackupTarget"} 1"#,
            r#"backup_target_operator_store_calls_total{store="default",operation="iam:CreateUser",code="OK"} 1"#,
            r#"backup_target_operator_targets{store="default",ready="True",reason="Provisioned"} 7"#,
            "# EOF",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        let _under_way = metrics.under_way("BackupTarget");
        let text = metrics.exposition(true, &Census::default());
        assert!(text.contains(r#"backup_target_operator_reconciles_under_way{kind="BackupTarget"} 1"#), "{text}");
        assert!(!text.contains("targets{store"), "{text}");
    }

    #[test]
    fn a_first_fault_is_a_count_that_grows() {
        let metrics = Metrics::default();
        let series = |text: &str| -> BTreeSet<String> {
            text.lines().filter_map(|line| line.rsplit_once(' ')).map(|(series, _)| series.to_owned()).collect()
        };
        let before = metrics.exposition(true, &Census::default());
        for kind in ["BackupTarget", "BackupStore"] {
            metrics.reconciled(kind, false, Reason::InternalError.as_str());
        }
        let after = metrics.exposition(true, &Census::default());
        assert_eq!(series(&before), series(&after));
        assert!(after.contains(r#"reconciles_total{kind="BackupStore",result="error",reason="InternalError"} 1"#));
    }

    #[test]
    fn nothing_is_told_of_a_store_that_is_gone() {
        let metrics = Metrics::default();
        let count = |store: &str| {
            metrics.called(store, "iam:CreateUser", "OK");
            metrics.repaired(store);
            let _ = metrics.waiting(store);
        };
        let both = BTreeMap::from([("gone".to_owned(), true), ("there".to_owned(), true)]);
        let one = BTreeMap::from([("there".to_owned(), true)]);
        let told = |stores: &BTreeMap<String, bool>, store: &str| {
            let text = metrics.exposition(true, &Census { stores: stores.clone(), ..Census::default() });
            text.lines().filter(|line| line.contains(&format!("store=\"{store}\""))).count()
        };
        count("gone");
        count("there");
        assert_eq!((told(&both, "gone"), told(&both, "there")), (4, 4));
        assert_eq!((told(&one, "gone"), told(&one, "there")), (0, 4));
        // Who waits for a store that is not there is told of for as long as he does.
        let waits = metrics.waiting("");
        assert_eq!(told(&one, ""), 1);
        drop(waits);
        assert_eq!(told(&one, ""), 0);
        count("gone");
        assert_eq!(told(&both, "gone"), 4);
    }
}
