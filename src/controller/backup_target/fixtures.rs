//! Targets, rules and what status remembers, as tests of the pipeline write them.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use serde_json::{Value, json};

use super::{
    decide::{Facts, Goal, decide},
    plan::Blocked,
};
use crate::{
    access::{Access, Invalid, Terms, allow::Namespace},
    api::{
        BackupTarget, Capability, Reason,
        backup_store::{AllowRule, Provider},
        backup_target::{KeyRecord, PreviousAccess, Record},
        condition,
    },
    cluster::SecretOwner,
    provider::{self, ForeignOwner, Limits, PrincipalName},
};

pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a time")
}

/// A target of the namespace that [`rule`] names.
pub fn target(spec: &Value) -> BackupTarget {
    let mut target: BackupTarget = serde_json::from_value(json!({
        "apiVersion": "backup-target.dev/v1alpha1", "kind": "BackupTarget",
        "metadata": {"name": "dataset-1", "namespace": "team-a"}, "spec": spec,
    }))
    .expect("a target");
    target.metadata.generation = Some(1);
    target
}

/// A claim of the folder of [`rule`], but for what is said.
pub fn claim(fields: &Value) -> BackupTarget {
    let mut spec = json!({"bucket": "b-1", "prefix": "x/"});
    let fields = fields.as_object().expect("fields").clone();
    spec.as_object_mut().expect("a spec").extend(fields);
    target(&spec)
}

/// The same target, as it is being deleted.
pub fn deleted(mut target: BackupTarget) -> BackupTarget {
    target.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
    target
}

/// A rule for the folder `x/` of the bucket `b-1`, but for what is said.
pub fn rule(fields: &Value) -> AllowRule {
    let mut rule = json!({"namespaces": {"names": ["team-a"]}, "buckets": ["b-1"], "prefixes": ["x/"]});
    let fields: Vec<(String, Value)> = fields.as_object().expect("fields").clone().into_iter().collect();
    rule.as_object_mut().expect("a rule").extend(fields);
    serde_json::from_value(rule).expect("a rule")
}

/// Access to the folder of [`rule`].
pub fn access(capabilities: &[Capability], listing: bool) -> Access {
    access_to("x/", capabilities, listing)
}

pub fn access_to(prefix: &str, capabilities: &[Capability], listing: bool) -> Access {
    let record = json!({
        "bucket": "b-1", "prefix": prefix, "capabilities": capabilities,
        "ancestorListing": if listing { "Allow" } else { "Deny" },
    });
    Access::from_record(&serde_json::from_value(record).expect("a record")).expect("an access")
}

/// What status remembers of a target whose published key was given that.
pub fn given(access: &Access) -> Record {
    let key = KeyRecord {
        id: "K1".into(),
        created_at: at(0),
        fingerprint: String::new(),
        superseded_at: None,
        revoke_at: None,
        inactive_since: None,
        off_since: None,
        withheld: false,
    };
    Record {
        access: Some(access.to_record()),
        access_key_id: Some(key.id.clone()),
        keys: vec![key],
        ..Record::default()
    }
}

pub fn former(prefix: &str, until: Timestamp) -> PreviousAccess {
    PreviousAccess { access: access_to(prefix, &[], false).to_record(), until }
}

pub fn terms() -> Terms {
    Terms::parse(&serde_json::from_value(json!({"region": "r"})).expect("a spec"), None).expect("valid")
}

/// What the store can do.
pub fn limits() -> &'static Limits {
    provider::limits(Provider::default())
}

pub fn namespace() -> Namespace {
    Namespace { name: "team-a".into(), ..Namespace::default() }
}

/// The decision at the beginning of time, where nobody comes before the target.
pub fn decided(target: &BackupTarget, record: &Record, rules: &[AllowRule]) -> Result<Goal, Invalid> {
    decide(Facts {
        target,
        record,
        rules,
        terms: &terms(),
        limits: limits(),
        bound: None,
        namespace: &namespace(),
        rivals: &[],
        full: None,
        reactivate_at: None,
        now: Timestamp::UNIX_EPOCH,
    })
}

/// All that can be in the way, with the reason that tells it.
pub fn in_the_way() -> [(Blocked, Reason); 11] {
    let principal = || PrincipalName { name: "btgt-1".to_owned(), words: &limits().words };
    let foreign = |whose| Blocked::ForeignPrincipal { principal: principal(), whose };
    [
        (Blocked::ForeignSecret { name: "s".into(), owner: SecretOwner::Nobody }, Reason::SecretConflict),
        (foreign(ForeignOwner::Other("its path".into())), Reason::PrincipalConflict),
        (foreign(ForeignOwner::Cluster { id: "d".into(), path: "/d/".into() }), Reason::PrincipalConflict),
        (Blocked::ForeignPolicy { name: "arn:p".into(), why: "its tags".into() }, Reason::PrincipalConflict),
        (Blocked::UnknownKeys { ids: vec!["K9".into()], principal: principal() }, Reason::UnknownKey),
        (Blocked::PolicyTooLarge { size: 7_000, limit: 6_144 }, Reason::PolicyTooLarge),
        (Blocked::Compromised { alarm: "arn:q".into(), principal: principal() }, Reason::KeyCompromised),
        (Blocked::Suspended, Reason::ChangeSuspended),
        (Blocked::Invalid(invalid()), Reason::InvalidSpec),
        (Blocked::OnHold { principal: principal() }, Reason::OnHold),
        (Blocked::SwitchedOff { id: "K1".into(), principal: principal() }, Reason::OnHold),
    ]
}

pub fn invalid() -> Invalid {
    Invalid { field: "spec.bucket", problem: "it is none".into() }
}

/// Status and reason of a condition.
pub fn says<'a>(conditions: &'a [Condition], type_: &str) -> Option<(&'a str, Reason)> {
    condition::find(conditions, type_).map(|told| (told.status.as_str(), Reason::of(told).expect("a reason of ours")))
}
