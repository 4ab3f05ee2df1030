//! What can go wrong at a store, in our own words: nothing that a server wrote is passed on (docs/decisions/status.md).

use aws_sdk_iam::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};
use aws_smithy_types::error::display::DisplayErrorContext;

use super::clock::{Clock, Skew};

/// A failed call to a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What went wrong.
    pub kind: Kind,
    /// The permission that the call needs, such as `iam:CreateUser`.
    pub action: &'static str,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The operator's credentials may not do it.
    Denied,
    /// The operator's credentials are not valid, or there are none.
    InvalidCredentials,
    /// The operator's clock differs from the store's by so much that the store takes none of its requests.
    ClockSkewed(Skew),
    /// Too many requests.
    Throttled,
    /// No answer, not in time, or an answer that the server failed.
    Unreachable,
    /// An answer that is not of the API.
    Unreadable,
    /// A quota of the account is used up.
    LimitExceeded,
    /// It exists already.
    AlreadyExists,
    /// There is no such thing.
    NotFound,
    /// Something is still attached to it.
    DeleteConflict(Hanging),
    /// Somebody else is changing it right now.
    Busy,
    /// This replica may not act any more, so nothing was sent.
    NotLeading,
    /// Its turn did not come in time, so nothing was sent.
    Overdue,
    /// Any other refusal, by its error code.
    Refused(String),
}

/// What hangs on something that is to be deleted, and is not this operator's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hanging {
    /// A password for the console.
    Login,
    /// A device for a second factor.
    MfaDevice,
    /// A certificate that signs requests.
    SigningCertificate,
    /// A public key for CodeCommit.
    SshKey,
    /// Credentials for one service.
    ServiceCredential,
    /// An access key.
    AccessKey,
    /// A policy.
    Policy,
    /// Membership in a group.
    Group,
    /// One of these, or another principal that uses a policy.
    Something,
}

/// How IAM says what has to go first. Of its words nothing is passed on.
const HANGING: [(&str, Hanging); 9] = [
    ("login profile", Hanging::Login),
    ("MFA device", Hanging::MfaDevice),
    ("signing certificate", Hanging::SigningCertificate),
    ("SSH public key", Hanging::SshKey),
    ("service specific credential", Hanging::ServiceCredential),
    ("service-specific credential", Hanging::ServiceCredential),
    ("access key", Hanging::AccessKey),
    ("polic", Hanging::Policy),
    ("group", Hanging::Group),
];

impl Hanging {
    fn read(message: &str) -> Self {
        let message = message.to_lowercase();
        let known = HANGING.iter().find(|(words, _)| message.contains(&words.to_lowercase()));
        known.map_or(Self::Something, |(_, hanging)| *hanging)
    }

    /// What it is, and the command of the AWS CLI that removes it.
    fn words(self) -> &'static str {
        match self {
            Self::Login => {
                "a login profile, which is a password for the console, hangs on it: aws iam delete-login-profile"
            }
            Self::MfaDevice => "an MFA device hangs on it: aws iam deactivate-mfa-device",
            Self::SigningCertificate => "a signing certificate hangs on it: aws iam delete-signing-certificate",
            Self::SshKey => "an SSH public key hangs on it: aws iam delete-ssh-public-key",
            Self::ServiceCredential => {
                "a service-specific credential hangs on it: aws iam delete-service-specific-credential"
            }
            Self::AccessKey => "an access key hangs on it: aws iam delete-access-key",
            Self::Policy => "a policy hangs on it: aws iam detach-user-policy or delete-user-policy",
            Self::Group => "it is a member of a group: aws iam remove-user-from-group",
            Self::Something => {
                "something hangs on it (a policy, group, key or login of the IAM user, or another principal that uses its policy)"
            }
        }
    }
}

impl Kind {
    /// Its name, for metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Denied => "Denied",
            Self::InvalidCredentials => "InvalidCredentials",
            Self::ClockSkewed(_) => "ClockSkewed",
            Self::Throttled => "Throttled",
            Self::Unreachable => "Unreachable",
            Self::Unreadable => "Unreadable",
            Self::LimitExceeded => "LimitExceeded",
            Self::AlreadyExists => "AlreadyExists",
            Self::NotFound => "NotFound",
            Self::DeleteConflict(_) => "DeleteConflict",
            Self::Busy => "Busy",
            Self::NotLeading => "NotLeading",
            Self::Overdue => "Overdue",
            Self::Refused(_) => "Refused",
        }
    }
}

impl Error {
    pub(super) fn new(action: &'static str, kind: Kind) -> Self {
        Self { kind, action }
    }

    /// Reads an answer of an AWS SDK. The clock is the store's, which that answer has set: AWS says of a request that is signed
    /// at the wrong time that its signature is wrong.
    pub(super) fn from_sdk<E>(action: &'static str, error: &SdkError<E, HttpResponse>, clock: &Clock) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let kind = match (kind(action, error), clock.skew()) {
            (Kind::InvalidCredentials, Some(skew)) if skew.too_much => Kind::ClockSkewed(skew),
            (kind, _) => kind,
        };
        Self::new(action, kind)
    }

    /// Whether the call certainly changed nothing.
    #[must_use]
    pub fn is_definite(&self) -> bool {
        !matches!(self.kind, Kind::Unreachable | Kind::Unreadable)
    }
}

fn kind<E>(action: &'static str, error: &SdkError<E, HttpResponse>) -> Kind
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match error {
        // The only thing that a request of ours can lack when it is made are credentials.
        SdkError::ConstructionFailure(_) => Kind::InvalidCredentials,
        SdkError::ServiceError(service) => match (service.err().code(), service.raw().status().as_u16()) {
            (_, 429) => Kind::Throttled,
            // A server that failed may have done it nevertheless, whatever it calls the failure.
            (code, 500..) => match by_code(code.unwrap_or_default()) {
                Kind::Throttled => Kind::Throttled,
                _ => Kind::Unreachable,
            },
            (code, _) => match by_code(code.unwrap_or_default()) {
                Kind::DeleteConflict(_) => {
                    Kind::DeleteConflict(Hanging::read(service.err().message().unwrap_or_default()))
                }
                kind => kind,
            },
        },
        SdkError::ResponseError(_) => Kind::Unreadable,
        SdkError::DispatchFailure(failure) if failure.is_user() => Kind::InvalidCredentials,
        _ => {
            // The connector's own words (address, TLS) are for the log only; it never sees a secret.
            tracing::debug!(action, error = %DisplayErrorContext(error), "store call failed");
            Kind::Unreachable
        }
    }
}

fn by_code(code: &str) -> Kind {
    match code {
        "AccessDenied" | "AccessDeniedException" | "UnauthorizedOperation" => Kind::Denied,
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
        "DeleteConflict" => Kind::DeleteConflict(Hanging::Something),
        "ConcurrentModification" | "EntityTemporarilyUnmodifiable" => Kind::Busy,
        "" => Kind::Unreadable,
        other => Kind::Refused(other.chars().filter(char::is_ascii_alphanumeric).take(64).collect()),
    }
}

impl std::error::Error for Error {}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let action = self.action;
        match &self.kind {
            Kind::Denied => {
                write!(f, "the operator's AWS credentials may not call {action}; allow it in the operator's own policy")
            }
            Kind::InvalidCredentials => write!(
                f,
                "AWS does not accept the operator's credentials ({action}); check the store's credentials Secret or the \
                 role of the operator's ServiceAccount"
            ),
            Kind::ClockSkewed(skew) => {
                write!(f, "AWS does not take the operator's requests ({action}), most likely for their time: {skew}")
            }
            Kind::Throttled => write!(f, "AWS asks for fewer requests ({action}); trying again more slowly"),
            Kind::Unreachable => {
                write!(f, "no usable answer to {action}; check the store's endpoints and the network; trying again")
            }
            Kind::Unreadable => write!(
                f,
                "the answer to {action} is not an AWS answer; check that the store's endpoints point at IAM and STS; \
                 trying again"
            ),
            Kind::LimitExceeded => {
                write!(f, "a quota of the AWS account is used up ({action}); raise it or remove what is not needed")
            }
            Kind::AlreadyExists => write!(f, "{action}: it exists already; looking again"),
            Kind::NotFound => write!(f, "{action}: it does not exist any more; looking again"),
            Kind::DeleteConflict(hanging) => {
                write!(
                    f,
                    "{action}: {}; this operator did not make that: remove it, and the rest goes",
                    hanging.words()
                )
            }
            Kind::NotLeading => write!(f, "{action}: this replica does not lead any more; another one goes on"),
            Kind::Overdue => write!(
                f,
                "{action} was not sent: its turn among the store's requests did not come in time; trying again. If it lasts, raise \
                 spec.iam.requestsPerSecond of the BackupStore"
            ),
            Kind::Busy => write!(f, "{action}: it is being changed by somebody else; trying again"),
            Kind::Refused(code) => write!(f, "AWS refused {action} with {code}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What IAM answers to DeleteUser.
    #[test]
    fn what_has_to_go_first_is_told_in_our_own_words() {
        let table = [
            ("Cannot delete entity, must delete login profile first.", Hanging::Login, "delete-login-profile"),
            ("Cannot delete entity, must delete MFA device first.", Hanging::MfaDevice, "deactivate-mfa-device"),
            (
                "Cannot delete entity, must delete signing certificates first.",
                Hanging::SigningCertificate,
                "certificate",
            ),
            ("Cannot delete entity, must delete SSH public keys first.", Hanging::SshKey, "ssh-public-key"),
            ("Cannot delete entity, must delete access keys first.", Hanging::AccessKey, "delete-access-key"),
            ("Cannot delete entity, must detach all policies first.", Hanging::Policy, "detach-user-policy"),
            ("Cannot delete entity, must remove users from group first.", Hanging::Group, "remove-user-from-group"),
            ("User: <odd>", Hanging::Something, "another principal"),
        ];
        for (message, hanging, words) in table {
            assert_eq!(Hanging::read(message), hanging, "{message}");
            let told = Error::new("iam:DeleteUser", Kind::DeleteConflict(hanging)).to_string();
            assert!(told.contains(words) && !told.contains("odd"), "{told}");
        }
    }
}
