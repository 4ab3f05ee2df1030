//! What an answer of an AWS SDK says, in our own words: nothing that a server wrote is passed on (docs/decisions/status.md).

use aws_sdk_iam::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};
use aws_smithy_types::error::display::DisplayErrorContext;

use super::{credentials, denial};
use crate::provider::{Error, Kind, clock::Clock};

/// What may have made a key is never taken for undone (docs/decisions/key-creation.md).
pub const CREATE_KEY: &str = "iam:CreateAccessKey";

/// How IAM says what has to go before something is deleted, and how we say it, with the command that removes it. Of its words
/// nothing is passed on.
const HANGING: [(&str, &str); 9] = [
    (
        "login profile",
        "a login profile, which is a password for the console, hangs on it: aws iam delete-login-profile",
    ),
    ("MFA device", "an MFA device hangs on it: aws iam deactivate-mfa-device"),
    ("signing certificate", "a signing certificate hangs on it: aws iam delete-signing-certificate"),
    ("SSH public key", "an SSH public key hangs on it: aws iam delete-ssh-public-key"),
    (
        "service specific credential",
        "a service-specific credential hangs on it: aws iam delete-service-specific-credential",
    ),
    (
        "service-specific credential",
        "a service-specific credential hangs on it: aws iam delete-service-specific-credential",
    ),
    ("access key", "an access key hangs on it: aws iam delete-access-key"),
    ("polic", "a policy hangs on it: aws iam detach-user-policy or delete-user-policy"),
    ("group", "it is a member of a group: aws iam remove-user-from-group"),
];
/// Something that is in none of these.
const SOMETHING: &str =
    "something hangs on it (a policy, group, key or login of the IAM user, or another principal that uses its policy)";

/// Reads an answer. The clock is the store's, which that answer has set: AWS says of a request that is signed at the wrong time
/// that its signature is wrong.
pub fn read<E>(action: &'static str, error: &SdkError<E, HttpResponse>, clock: &Clock) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let kind = match (kind(action, error), clock.skew()) {
        (Kind::InvalidCredentials, Some(skew)) if skew.too_much => Kind::ClockSkewed(skew),
        (kind, _) => kind,
    };
    Error::new(action, kind)
}

fn kind<E>(action: &'static str, error: &SdkError<E, HttpResponse>) -> Kind
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match error {
        SdkError::ServiceError(service) => match (service.err().code(), service.raw().status().as_u16()) {
            (_, 429) => Kind::Throttled,
            // What a store does not know, it has not done.
            (_, 405 | 501) => Kind::Unsupported,
            // A server that failed may have done it nevertheless, whatever it calls the failure.
            (code, 500..) => match by_code(code.unwrap_or_default()) {
                Kind::Throttled if action != CREATE_KEY => Kind::Throttled,
                _ => Kind::Unreachable,
            },
            (None | Some(""), 403) => Kind::InvalidCredentials,
            (code, _) => match by_code(code.unwrap_or_default()) {
                Kind::DeleteConflict(_) => Kind::DeleteConflict(hanging(service.err().message().unwrap_or_default())),
                // The key is good, and the region in the signature is not the endpoint's.
                Kind::InvalidCredentials if is_about_region(service.err().message().unwrap_or_default()) => {
                    Kind::SignedElsewhere
                }
                Kind::Denied(_) => denial::read(service.err().message().unwrap_or_default()),
                kind => kind,
            },
        },
        SdkError::ResponseError(_) => Kind::Unreadable,
        _ => {
            // The connector's own words (address, TLS) are for the log only; it never sees a secret.
            tracing::debug!(action, error = %DisplayErrorContext(error), "store call failed");
            credentials::lacking(error).unwrap_or(Kind::Unreachable)
        }
    }
}

fn by_code(code: &str) -> Kind {
    match code {
        "AccessDenied" | "AccessDeniedException" | "UnauthorizedOperation" => denial::read(""),
        "InvalidClientTokenId"
        | "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "RequestExpired"
        | "RequestTimeTooSkewed"
        | "MissingAuthenticationToken"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "AuthFailure"
        | "UnrecognizedClientException" => Kind::InvalidCredentials,
        "Throttling" | "ThrottlingException" | "TooManyRequestsException" | "RequestLimitExceeded" | "SlowDown" => {
            Kind::Throttled
        }
        "InternalFailure" | "ServiceFailure" | "ServiceUnavailable" | "InternalError" => Kind::Unreachable,
        "EntityAlreadyExists" => Kind::AlreadyExists,
        "NoSuchEntity" => Kind::NotFound,
        "LimitExceeded" => Kind::LimitExceeded,
        "InvalidAction" | "NotImplemented" => Kind::Unsupported,
        "DeleteConflict" => Kind::DeleteConflict(SOMETHING),
        "ConcurrentModification" | "EntityTemporarilyUnmodifiable" => Kind::Busy,
        "" => Kind::Unreadable,
        other => Kind::Refused(other.chars().filter(char::is_ascii_alphanumeric).take(64).collect()),
    }
}

fn is_about_region(message: &str) -> bool {
    message.contains("Credential should be scoped to")
}

fn hanging(message: &str) -> &'static str {
    let message = message.to_lowercase();
    let known = HANGING.iter().find(|(theirs, _)| message.contains(&theirs.to_lowercase()));
    known.map_or(SOMETHING, |(_, ours)| *ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What IAM answers to DeleteUser.
    #[test]
    fn what_has_to_go_first_is_told_in_our_own_words() {
        let table = [
            ("Cannot delete entity, must delete login profile first.", "delete-login-profile"),
            ("Cannot delete entity, must delete MFA device first.", "deactivate-mfa-device"),
            ("Cannot delete entity, must delete signing certificates first.", "certificate"),
            ("Cannot delete entity, must delete SSH public keys first.", "ssh-public-key"),
            ("Cannot delete entity, must delete access keys first.", "delete-access-key"),
            ("Cannot delete entity, must detach all policies first.", "detach-user-policy"),
            ("Cannot delete entity, must remove users from group first.", "remove-user-from-group"),
            ("User: <odd>", "another principal"),
        ];
        for (message, words) in table {
            let told = Error::new("iam:DeleteUser", Kind::DeleteConflict(hanging(message))).to_string();
            assert!(told.contains(words) && !told.contains("odd"), "{told}");
        }
    }
}
