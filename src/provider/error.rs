//! What can go wrong at a store, in our own words: nothing that a server wrote is passed on (docs/decisions/status.md).

use super::clock::Skew;
use crate::cluster;

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
    /// The operator's credentials may not do it: what to do.
    Denied(&'static str),
    /// The operator's credentials are not valid.
    InvalidCredentials,
    /// The store takes no signatures for the region that the request was signed for.
    SignedElsewhere,
    /// The operator has no credentials to sign with, so nothing was sent: why, and what to do.
    NoCredentials(&'static str),
    /// Whoever gives the operator its credentials does not answer, so nothing was sent: who that is, and what to do.
    CredentialsUnreachable(&'static str),
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
    /// Something that is not this operator's hangs on it: what that is, and how to remove it.
    DeleteConflict(&'static str),
    /// Somebody else is changing it right now.
    Busy,
    /// This replica may not act any more, so nothing was sent.
    NotLeading,
    /// Its turn did not come in time, so nothing was sent.
    Overdue,
    /// The store has no such call, so nothing was done.
    Unsupported,
    /// The store's administrator has not brought the key that is needed: what is missing, and what they have to do.
    NotBrought(&'static str),
    /// The Secret that a brought key is in could not be read.
    Unread(cluster::Error),
    /// Any other refusal, by its error code.
    Refused(String),
}

impl Kind {
    /// Its name, for metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Denied(_) => "Denied",
            Self::InvalidCredentials | Self::NoCredentials(_) => "InvalidCredentials",
            Self::SignedElsewhere => "SignedElsewhere",
            Self::CredentialsUnreachable(_) => "CredentialsUnreachable",
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
            Self::Unsupported => "Unsupported",
            Self::NotBrought(_) => "NotBrought",
            Self::Unread(_) => "Unread",
            Self::Refused(_) => "Refused",
        }
    }
}

impl Error {
    pub(super) fn new(action: &'static str, kind: Kind) -> Self {
        Self { kind, action }
    }

    /// Whether the same call may well succeed in a moment.
    #[must_use]
    pub(super) fn may_pass_soon(&self) -> bool {
        matches!(self.kind, Kind::Throttled | Kind::Unreachable)
    }

    /// Whether the call certainly changed nothing.
    #[must_use]
    pub fn is_definite(&self) -> bool {
        !matches!(self.kind, Kind::Unreachable | Kind::Unreadable)
    }
}

impl std::error::Error for Error {}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let action = self.action;
        match &self.kind {
            Kind::Denied(advice) => write!(f, "the operator's credentials may not call {action}; {advice}"),
            Kind::InvalidCredentials => write!(
                f,
                "the store does not accept the operator's credentials ({action}); check the store's credentials Secret or the \
                 role of the operator's ServiceAccount, and whether the account has the region of spec.region switched on"
            ),
            Kind::SignedElsewhere => write!(
                f,
                "the store's endpoint takes {action} only when it is signed for another region; check that spec.region and the store's \
                 endpoints belong together"
            ),
            Kind::NoCredentials(why) => write!(f, "the operator has no credentials for {action}: {why}"),
            Kind::CredentialsUnreachable(why) => {
                write!(f, "the operator has no credentials for {action} yet: {why}; trying again")
            }
            Kind::ClockSkewed(skew) => {
                write!(
                    f,
                    "the store does not take the operator's requests ({action}), most likely for their time: {skew}"
                )
            }
            Kind::Throttled => write!(f, "the store asks for fewer requests ({action}); trying again more slowly"),
            Kind::Unreachable => {
                write!(f, "no usable answer to {action}; check the store's endpoints and the network; trying again")
            }
            Kind::Unreadable => write!(
                f,
                "the answer to {action} cannot be read; check that the store's endpoints point at what they should; trying again"
            ),
            Kind::LimitExceeded => {
                write!(f, "a quota of the account is used up ({action}); raise it or remove what is not needed")
            }
            Kind::AlreadyExists => write!(f, "{action}: it exists already; looking again"),
            Kind::NotFound => write!(f, "{action}: it does not exist any more; looking again"),
            Kind::DeleteConflict(hanging) => {
                write!(f, "{action}: {hanging}; this operator did not make that: remove it, and the rest goes")
            }
            Kind::NotLeading => write!(f, "{action}: this replica does not lead any more; another one goes on"),
            Kind::Overdue => write!(
                f,
                "{action} was not sent: its turn among the store's requests did not come in time; trying again. If it lasts, raise \
                 spec.requestsPerSecond of the BackupStore"
            ),
            Kind::Busy => write!(f, "{action}: it is being changed by somebody else; trying again"),
            Kind::Unsupported => {
                write!(f, "the store knows no {action}; check that its endpoints and spec.provider are right")
            }
            Kind::NotBrought(problem) => f.write_str(problem),
            Kind::Unread(error) => error.fmt(f),
            Kind::Refused(code) => write!(f, "the store refused {action} with {code}"),
        }
    }
}
