//! What an installation puts into a cluster, except for the operator's pod: the CRDs, and the rights the chart gives.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use k8s_openapi::{
    api::{
        authentication::v1::{TokenRequest, TokenRequestSpec},
        core::v1::ServiceAccount,
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams},
};
use serde_json::Value;

use super::{manifests::namespace, tools::project, wait::wait_until};

/// The operator's own namespace.
pub const NAMESPACE: &str = "backup-target-system";
const CLUSTER_SCOPED: [&str; 8] = [
    "Namespace",
    "CustomResourceDefinition",
    "FlowSchema",
    "ClusterRole",
    "ClusterRoleBinding",
    "BackupStore",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
];
/// What the chart renders with no values of anybody's.
const CHART_BY_DEFAULT: &str = "tests/chart/defaults.yaml";
/// The name under which the chart is installed.
pub const RELEASE: &str = "backup-target-operator";
/// Longer than any testbed is left running.
const TOKEN_SECONDS: i64 = 30 * 24 * 60 * 60;
const ESTABLISHED: Duration = Duration::from_secs(20);

/// Applies every CRD of a folder and waits until the API serves it.
pub async fn crds(client: &Client, folder: &Path) -> Result<()> {
    let api = Api::<CustomResourceDefinition>::all(client.clone());
    let mut names = Vec::new();
    for object in objects_in(folder)? {
        let crd: CustomResourceDefinition = serde_json::from_value(object)?;
        api.patch(&crd.name_any(), &by_force(), &Patch::Apply(&crd)).await?;
        names.push(crd.name_any());
    }
    ensure!(!names.is_empty(), "there are no CRDs in {}", folder.display());
    for name in names {
        wait_until(&format!("the CRD `{name}` to be established"), ESTABLISHED, async || {
            let crd = api.get(&name).await?;
            let conditions = crd.status.and_then(|status| status.conditions).unwrap_or_default();
            let established = conditions.iter().any(|is| is.type_ == "Established" && is.status == "True");
            ensure!(established, "{conditions:?}");
            // "Established" comes a moment before the API answers.
            let version = crd.spec.versions.first().context("a CRD without a version")?;
            let path = format!("/apis/{}/{}/{}?limit=1", crd.spec.group, version.name, crd.spec.names.plural);
            client.request::<Value>(hyper::Request::get(path).body(Vec::new())?).await?;
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// Applies what the chart grants and forbids: the `ServiceAccount`, the RBAC objects and the admission policies. They are taken from
/// what the chart renders by default, which a test of the chart keeps true; so whoever needs only them needs no Helm.
pub async fn rights(client: &Client) -> Result<()> {
    apply(client, namespace(NAMESPACE)).await?;
    let rendered = objects(&fs::read_to_string(project().join(CHART_BY_DEFAULT))?)?;
    for object in rendered {
        let group = object["apiVersion"].as_str().unwrap_or_default();
        let rules = ["rbac.authorization.k8s.io/", "admissionregistration.k8s.io/"];
        if object["kind"] == "ServiceAccount" || rules.iter().any(|rule| group.starts_with(rule)) {
            apply(client, object).await?;
        }
    }
    Ok(())
}

/// A token of the `ServiceAccount` the operator's pod would run as.
pub(crate) async fn operator_token(client: &Client) -> Result<String> {
    let api = Api::<ServiceAccount>::namespaced(client.clone(), NAMESPACE);
    let request = TokenRequest {
        spec: TokenRequestSpec { expiration_seconds: Some(TOKEN_SECONDS), ..TokenRequestSpec::default() },
        ..TokenRequest::default()
    };
    let answer = api.create_token_request(RELEASE, &PostParams::default(), &request).await?;
    Ok(answer.status.context("the API server gave no token")?.token)
}

/// Applies one object of any kind.
pub async fn apply(client: &Client, object: Value) -> Result<()> {
    apply_with(client, object, &by_force()).await
}

/// Asks the API server whether it would take an object from that manager of fields; a field that it does not know is an error.
pub async fn try_to_apply(client: &Client, object: Value, manager: &str) -> Result<()> {
    apply_with(client, object, &PatchParams::apply(manager).force().dry_run().validation_strict()).await
}

async fn apply_with(client: &Client, object: Value, params: &PatchParams) -> Result<()> {
    let object: DynamicObject = serde_json::from_value(object)?;
    let types = object.types.as_ref().context("an object without a kind")?;
    let resource = ApiResource::from_gvk(&GroupVersionKind::try_from(types)?);
    let api: Api<DynamicObject> = if CLUSTER_SCOPED.contains(&types.kind.as_str()) {
        Api::all_with(client.clone(), &resource)
    } else {
        let namespace = object.namespace().unwrap_or_else(|| NAMESPACE.to_owned());
        Api::namespaced_with(client.clone(), &namespace, &resource)
    };
    api.patch(&object.name_any(), params, &Patch::Apply(&object))
        .await
        .with_context(|| format!("failed to apply the {} `{}`", types.kind, object.name_any()))?;
    Ok(())
}

fn by_force() -> PatchParams {
    PatchParams::apply("testbed").force()
}

fn objects_in(folder: &Path) -> Result<Vec<Value>> {
    let files = fs::read_dir(folder).with_context(|| format!("failed to read {}", folder.display()))?;
    let mut all = Vec::new();
    for file in files {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            all.extend(
                objects(&fs::read_to_string(&path)?).with_context(|| format!("failed to read {}", path.display()))?,
            );
        }
    }
    Ok(all)
}

/// The objects of a stream of YAML documents.
pub fn objects(yaml: &str) -> Result<Vec<Value>> {
    Ok(serde_saphyr::from_multiple(yaml)?)
}
