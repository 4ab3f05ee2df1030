//! Whose the operator's credentials are: nothing is done in an account that is not the one that a store is pinned to.

use std::{sync::Arc, time::Duration};

use aws_config::{Region, SdkConfig, retry::RetryConfig};

use super::{Account, Aws, Listener, dialect, regions, sdk_error, settings::Settings};
use crate::{
    access::Partition,
    api::backup_store::BackupStoreSpec,
    provider::{
        Error, Identity,
        answers::{account_id, word},
        clock::Clock,
        gate::Gate,
        rate_limiter::{Turn, Urgency},
    },
    sdk::{bounded::Bounded, fenced::Fenced},
};

/// How long it may take until it is asked whose the credentials are.
const TURN_WITHIN: Duration = Duration::from_secs(30);

/// Asks whose the credentials are.
///
/// # Errors
/// When they do not work or the store does not answer.
pub async fn prove(
    config: &SdkConfig,
    gate: Arc<Gate>,
    clock: Clock,
    spec: &BackupStoreSpec,
    region_of_sts: &str,
    settings: Settings,
) -> Result<(Aws, Identity), Error> {
    let dialect = super::dialect(spec.provider);
    let iam = iam(config, &gate, &clock, spec);
    // Nothing goes on without that answer.
    let end = Some(tokio::time::Instant::now() + TURN_WITHIN);
    let turn = Turn { urgency: Urgency::Revocation, end, ..Turn::default() };
    let (action, account, arn) = match dialect.identity {
        dialect::Identity::CallerIdentity => {
            let (action, sts) = ("sts:GetCallerIdentity", sts(config, &gate, &clock, spec, region_of_sts));
            let call = async || {
                let answer = sts.get_caller_identity().send().await;
                answer.map_err(|error| sdk_error::read(action, &error, &clock))
            };
            let answer = gate.pass_again(action, &turn, call).await?;
            let account = account_id(action, answer.account.unwrap_or_default())?;
            (action, Some(account), answer.arn.unwrap_or_default())
        }
        dialect::Identity::OwnUser => {
            let action = "iam:GetUser";
            let call = async || {
                let answer = iam.get_user().send().await;
                answer.map_err(|error| sdk_error::read(action, &error, &clock))
            };
            let answer = gate.pass_again(action, &turn, call).await?;
            (action, None, answer.user.map(|user| user.arn).unwrap_or_default())
        }
    };
    let arn = word(action, arn)?;
    let identity = match account {
        Some(account) => Identity { account, caller: Some(arn) },
        None => Identity { account: word(action, arn.split(':').nth(4).unwrap_or_default().to_owned())?, caller: None },
    };
    let partition = Partition::of(&spec.region, identity.caller.as_deref());
    let account = Account { dialect, partition, id: identity.account.clone(), settings };
    Ok((Aws::new(iam, gate, clock, account), identity))
}

fn sts(config: &SdkConfig, gate: &Gate, clock: &Clock, spec: &BackupStoreSpec, region: &str) -> aws_sdk_sts::Client {
    let mut sts = aws_sdk_sts::config::Builder::from(config)
        .region(Region::new(region.to_owned()))
        // Each try passes the gate.
        .retry_config(RetryConfig::disabled())
        .interceptor(Fenced(gate.fence().clone()))
        .interceptor(Listener(clock.clone()))
        .interceptor(Bounded);
    // Without an endpoint of its own, the store's is what the SDK finds: AWS's, or AWS_ENDPOINT_URL of the operator.
    if let Some(endpoint) = &spec.aws.sts_endpoint {
        // An endpoint is the answer to these already, and together the SDK takes them for a mistake.
        sts = sts.endpoint_url(endpoint).use_fips(false).use_dual_stack(false);
    }
    aws_sdk_sts::Client::from_conf(sts.build())
}

fn iam(config: &SdkConfig, gate: &Gate, clock: &Clock, spec: &BackupStoreSpec) -> aws_sdk_iam::Client {
    let mut iam = aws_sdk_iam::config::Builder::from(config)
        .retry_config(RetryConfig::disabled())
        .interceptor(Fenced(gate.fence().clone()))
        .interceptor(Listener(clock.clone()))
        .interceptor(Bounded);
    // Where the store has none of its own for it, IAM answers where S3 does.
    let own = match super::dialect(spec.provider).identity {
        dialect::Identity::CallerIdentity => {
            iam = iam.region(Region::new(regions::of_iam(&spec.region).to_owned()));
            &spec.aws.iam_endpoint
        }
        dialect::Identity::OwnUser => &spec.endpoint,
    };
    if let Some(endpoint) = own {
        iam = iam.endpoint_url(endpoint).use_fips(false).use_dual_stack(false);
    }
    aws_sdk_iam::Client::from_conf(iam.build())
}
