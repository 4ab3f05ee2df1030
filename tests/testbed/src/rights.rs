//! Who may do what, as the API server's authorizer goes by it now.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::{Api, Client, api::PostParams};

use super::wait::wait_until;

const PATIENCE: Duration = Duration::from_secs(30);

/// Whether somebody may do something: `backuptargets/status` is a subresource, and a namespace of "" is all of them.
pub async fn may(
    client: &Client,
    user: &str,
    verb: &str,
    group: &str,
    resource: &str,
    namespace: &str,
) -> Result<bool> {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let attributes = ResourceAttributes {
        group: Some(group.to_owned()),
        namespace: Some(namespace.to_owned()),
        resource: Some(resource.to_owned()),
        subresource: Some(subresource.to_owned()),
        verb: Some(verb.to_owned()),
        ..ResourceAttributes::default()
    };
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            resource_attributes: Some(attributes),
            user: Some(user.to_owned()),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let answer = Api::all(client.clone()).create(&PostParams::default(), &review).await?;
    Ok(answer.status.context("no answer")?.allowed)
}

/// Waits until a binding that was written is one that the API server goes by: its authorizer hears of it a moment later.
pub async fn until_may(
    client: &Client,
    user: &str,
    verb: &str,
    group: &str,
    resource: &str,
    namespace: &str,
) -> Result<()> {
    wait_until(&format!("{user} to {verb} {resource}"), PATIENCE, async || {
        ensure!(may(client, user, verb, group, resource, namespace).await?, "it is forbidden");
        Ok(())
    })
    .await
}
