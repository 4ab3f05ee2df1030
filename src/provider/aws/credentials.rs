//! Why the operator has no credentials of its own to sign with, in our own words: of what the SDK, STS and agents wrote nothing is passed
//! on (docs/decisions/aws-reality.md).

use std::{error::Error, io, iter::successors};

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sts::{
    error::{ConnectorError, ProvideErrorMetadata},
    operation::{
        assume_role::AssumeRoleError, assume_role_with_web_identity::AssumeRoleWithWebIdentityError as WebIdentityError,
    },
};

use crate::provider::Kind;

const NONE: &str = "there are none: name a Secret in spec.credentials of the BackupStore, or give the operator's ServiceAccount a role (IAM roles \
                    for service accounts, EKS Pod Identity)";
const UNUSABLE: &str = "the AWS configuration in the operator's environment cannot be used; check its variables AWS_… and the files that they name";
const NO_TOKEN: &str = "the file with the token of its ServiceAccount (AWS_WEB_IDENTITY_TOKEN_FILE) cannot be read; check that the pod was made \
                        after the ServiceAccount got its role";
const NO_AGENT: &str = "what gives them to the operator, such as the agent of EKS Pod Identity, gives none; check that its ServiceAccount is \
                        associated with a role, and the agent's log";
const ROLE_DENIED: &str = "the role of its ServiceAccount does not let it in; the role's trust policy has to allow \
                           sts:AssumeRoleWithWebIdentity to this cluster's OIDC provider, for that ServiceAccount";
const TOKEN_UNKNOWN: &str = "the role's account does not take the token of its ServiceAccount; this cluster's OIDC provider has to be there in \
                             IAM, with the audience sts.amazonaws.com";
const TOKEN_EXPIRED: &str = "the token of its ServiceAccount has expired; the kubelet writes it anew: check the node, its clock, and restart the pod";
const REGION_OFF: &str = "STS is not switched on in that region for the role's account; switch it on in IAM's account settings, or set AWS_REGION \
                          in the operator's environment to the cluster's region";
const ROLE_OF_PROFILE_DENIED: &str = "the role that its AWS profile names does not let it in; the role's trust policy, and its own, have to allow sts:AssumeRole";
const ROLE_REFUSED: &str = "STS gives none for the role of the operator; check the role's ARN and its trust policy";
const UNREACHABLE: &str = "whoever gives them does not answer: STS of the region in AWS_REGION, the agent of EKS Pod Identity, or the \
                           instance's metadata; check the network, proxies (NO_PROXY) and NetworkPolicies";

/// What codes of STS say of a role that a ServiceAccount is to assume.
const WEB_IDENTITY: [(&str, &str); 7] = [
    ("AccessDenied", ROLE_DENIED),
    ("InvalidIdentityToken", TOKEN_UNKNOWN),
    ("InvalidIdentityTokenException", TOKEN_UNKNOWN),
    ("IDPRejectedClaim", TOKEN_UNKNOWN),
    ("ExpiredToken", TOKEN_EXPIRED),
    ("ExpiredTokenException", TOKEN_EXPIRED),
    ("RegionDisabledException", REGION_OFF),
];

/// Why there are no credentials, if that is why a call failed. Then nothing was sent.
pub fn lacking(error: &(dyn Error + 'static)) -> Option<Kind> {
    let mut chain = successors(Some(error), |error| (*error).source());
    // The SDK shows that it gave up waiting for them only in words.
    let failed = chain.find_map(|error| {
        let gave_up = error.to_string().starts_with("identity resolver timed out");
        error.downcast_ref::<CredentialsError>().map(Some).or(gave_up.then_some(None))
    })?;
    let Some(failed) = failed else { return Some(Kind::CredentialsUnreachable(UNREACHABLE)) };
    Some(match failed {
        CredentialsError::ProviderTimedOut(_) => Kind::CredentialsUnreachable(UNREACHABLE),
        CredentialsError::CredentialsNotLoaded(_) => Kind::NoCredentials(NONE),
        CredentialsError::InvalidConfiguration(_) => Kind::NoCredentials(UNUSABLE),
        other => refused(other),
    })
}

fn refused(error: &CredentialsError) -> Kind {
    let below = || successors(error.source(), |error| (*error).source());
    if let Some(error) = below().find_map(|error| error.downcast_ref::<WebIdentityError>()) {
        let code = error.code().unwrap_or_default();
        let known = WEB_IDENTITY.iter().find(|(theirs, _)| *theirs == code);
        return Kind::NoCredentials(known.map_or(ROLE_REFUSED, |(_, ours)| *ours));
    }
    if let Some(error) = below().find_map(|error| error.downcast_ref::<AssumeRoleError>()) {
        let denied = error.code() == Some("AccessDenied");
        return Kind::NoCredentials(if denied { ROLE_OF_PROFILE_DENIED } else { ROLE_REFUSED });
    }
    if below().any(<dyn Error>::is::<ConnectorError>) {
        return Kind::CredentialsUnreachable(UNREACHABLE);
    }
    if below().any(<dyn Error>::is::<io::Error>) {
        return Kind::NoCredentials(NO_TOKEN);
    }
    Kind::NoCredentials(NO_AGENT)
}

#[cfg(test)]
mod tests {
    use aws_sdk_iam::error::ErrorMetadata;

    use super::*;

    fn web_identity(code: &str) -> CredentialsError {
        let metadata = ErrorMetadata::builder().code(code).message("Not authorized, odd").build();
        CredentialsError::provider_error(WebIdentityError::generic(metadata))
    }

    fn assume_role(code: &str) -> CredentialsError {
        let metadata = ErrorMetadata::builder().code(code).message("odd").build();
        CredentialsError::provider_error(AssumeRoleError::generic(metadata))
    }

    fn connector() -> ConnectorError {
        ConnectorError::io("refused, odd".into())
    }

    #[test]
    fn what_is_lacking_is_named_and_no_word_of_others_is_passed_on() {
        let lacks = [
            (CredentialsError::not_loaded("odd"), "spec.credentials"),
            (CredentialsError::invalid_configuration("odd"), "environment"),
            (web_identity("AccessDenied"), "trust policy"),
            (web_identity("InvalidIdentityToken"), "OIDC provider"),
            (web_identity("ExpiredTokenException"), "expired"),
            (web_identity("RegionDisabledException"), "AWS_REGION"),
            (web_identity("Odd"), "ARN"),
            (assume_role("AccessDenied"), "sts:AssumeRole"),
            (CredentialsError::provider_error(io::Error::from(io::ErrorKind::NotFound)), "AWS_WEB_IDENTITY_TOKEN_FILE"),
            (CredentialsError::provider_error("odd"), "Pod Identity"),
        ];
        for (error, words) in lacks {
            let Some(Kind::NoCredentials(told)) = lacking(&error) else { panic!("{error:?}") };
            assert!(told.contains(words) && !told.contains("odd"), "{told}");
        }
    }

    #[test]
    fn who_gives_none_in_time_may_do_so_later() {
        let late = CredentialsError::provider_timed_out(std::time::Duration::from_secs(1));
        for error in [late, CredentialsError::unhandled(connector()), CredentialsError::provider_error(connector())] {
            assert!(matches!(lacking(&error), Some(Kind::CredentialsUnreachable(_))), "{error:?}");
        }
    }

    #[test]
    fn another_failure_is_none_of_credentials() {
        assert_eq!(lacking(&connector()), None);
        assert_eq!(lacking(&io::Error::from(io::ErrorKind::NotFound)), None);
    }
}
