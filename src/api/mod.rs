//! What users write and read: the two kinds, and the words their status speaks.

pub mod backup_store;
pub mod backup_target;
pub mod condition;
pub mod duration;
pub mod reason;
pub mod tier;

pub use backup_store::BackupStore;
pub use backup_target::BackupTarget;
pub use reason::Reason;
pub use tier::{Capability, Tier};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{CustomResourceDefinition, JSON};
use kube::{CustomResourceExt, core::Rule};

/// API group of both kinds.
pub const GROUP: &str = "backup-target.dev";

/// The rule for the name of another object: [`crate::names::ObjectName`], as the API server checks it.
fn object_name(whose: &str) -> Rule {
    let message = format!(
        "the name of a {whose} has lower-case letters, digits, '-' and '.', and each part between dots begins and ends with a letter \
         or digit"
    );
    Rule::new(r"self.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?([.][a-z0-9]([a-z0-9-]*[a-z0-9])?)*$')")
        .message(message.as_str())
}

/// The CustomResourceDefinitions, exactly as `crds/` holds them and the chart installs them.
#[must_use]
pub fn crds() -> Vec<CustomResourceDefinition> {
    [BackupTarget::crd(), BackupStore::crd()].into_iter().map(never_seen_is_not_healthy).collect()
}

/// Defaults `status.observedGeneration` to -1.
///
/// kstatus takes an object without status for healthy, so without this Helm and Flux would call a target ready
/// before the operator has seen it (docs/decisions/status.md).
fn never_seen_is_not_healthy(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    let status = crd
        .spec
        .versions
        .iter_mut()
        .filter_map(|version| version.schema.as_mut()?.open_api_v3_schema.as_mut())
        .filter_map(|root| root.properties.as_mut()?.get_mut("status"));
    for schema in status {
        schema.default = Some(JSON(serde_json::json!({ "observedGeneration": -1 })));
    }
    crd
}
