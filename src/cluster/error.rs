//! What can go wrong at the Kubernetes API, in our own words.

/// A failed call to the Kubernetes API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    pub kind: Kind,
    /// What was tried, as an infinitive.
    pub what: &'static str,
}

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// There is no such object.
    NotFound,
    /// An object of that name exists.
    AlreadyExists,
    /// Somebody else changed the object.
    Conflict,
    /// The operator's rights do not allow it, or the namespace is going away.
    Forbidden,
    /// A ResourceQuota of the namespace is used up.
    QuotaExceeded,
    /// A webhook or policy of the cluster does not let the object pass.
    NotAdmitted,
    /// The API server does not take the object.
    Invalid,
    /// This replica may not act any more, so nothing was sent.
    NotLeading,
    /// What the API server answered is not what this version of the operator knows.
    Unreadable,
    /// No answer in time, or an answer that the server failed.
    Unreachable,
}

impl Error {
    pub(super) fn new(what: &'static str, kind: Kind) -> Self {
        Self { kind, what }
    }

    pub(super) fn from_kube(what: &'static str, error: &kube::Error) -> Self {
        let kind = match error {
            kube::Error::Api(status) if (400..500).contains(&status.code) && admission(&status.message).is_some() => {
                admission(&status.message).unwrap_or(Kind::Forbidden)
            }
            kube::Error::Api(status) => match status.code {
                404 => Kind::NotFound,
                409 if status.reason == "AlreadyExists" => Kind::AlreadyExists,
                409 => Kind::Conflict,
                401 | 403 => Kind::Forbidden,
                400 | 405 | 413 | 415 | 422 => Kind::Invalid,
                _ => Kind::Unreachable,
            },
            kube::Error::SerdeError(_) => Kind::Unreadable,
            _ => Kind::Unreachable,
        };
        // The API server's words help an administrator; they never hold Secret data, since no request of ours is echoed.
        if let kube::Error::Api(status) = error {
            tracing::debug!(what, code = status.code, reason = %status.reason, "call to the API server failed");
        } else {
            tracing::debug!(what, "call to the API server got no usable answer");
        }
        Self::new(what, kind)
    }

    /// Whether only a person can go on from here.
    #[must_use]
    pub fn needs_a_person(&self) -> bool {
        matches!(self.kind, Kind::QuotaExceeded | Kind::NotAdmitted)
    }

    /// Whether the call certainly changed nothing.
    #[must_use]
    pub fn is_definite(&self) -> bool {
        !matches!(self.kind, Kind::Unreadable | Kind::Unreachable)
    }
}

/// What refused a request after the operator's rights were found to be enough. The API server has one status for all of them,
/// and tells them apart by these words of its own alone.
fn admission(message: &str) -> Option<Kind> {
    let words = [
        ("exceeded quota: ", Kind::QuotaExceeded),
        ("admission webhook ", Kind::NotAdmitted),
        ("ValidatingAdmissionPolicy '", Kind::NotAdmitted),
    ];
    words.iter().find(|(words, _)| message.contains(words)).map(|(_, kind)| *kind)
}

impl std::error::Error for Error {}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = self.what;
        match self.kind {
            Kind::NotFound => write!(f, "failed to {what}: it does not exist"),
            Kind::AlreadyExists => write!(f, "failed to {what}: an object of that name exists; looking again"),
            Kind::Conflict => write!(f, "failed to {what}: somebody else changed it; looking again"),
            Kind::Forbidden => write!(
                f,
                "failed to {what}: Kubernetes forbids it; check the operator's rights (the chart's rbac.yaml), or the \
                 namespace is being deleted"
            ),
            Kind::QuotaExceeded => write!(
                f,
                "failed to {what}: a ResourceQuota of the namespace is used up (kubectl describe resourcequota); raise it, or remove \
                 what is not needed"
            ),
            Kind::NotAdmitted => write!(
                f,
                "failed to {what}: an admission webhook or policy of the cluster does not let it pass; except what this operator \
                 writes, or ask for what is let through"
            ),
            Kind::Invalid => write!(
                f,
                "failed to {what}: the API server does not take it; check that the CRDs are those of this version"
            ),
            Kind::NotLeading => write!(f, "failed to {what}: this replica does not lead any more; another one goes on"),
            Kind::Unreadable => write!(
                f,
                "failed to {what}: this version of the operator does not know its fields; mend the object, or let operator and \
                 CRDs be of the same version"
            ),
            Kind::Unreachable => write!(f, "failed to {what}: no usable answer from the API server; trying again"),
        }
    }
}
