//! What an answer says about a right, as data for each family of stores.
//!
//! Only what a family is known to answer after it has checked rights counts as a grant or a refusal; everything else is
//! inconclusive, whatever it looks like.

use super::probes::Verb;

/// An answer, reduced to what may be read and told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was done.
    Success,
    /// It was not.
    Failure {
        /// HTTP status.
        status: u16,
        /// Error code, letters and digits only; empty when there was none.
        code: String,
        /// Who refused, where the store told.
        denier: Option<&'static Denier>,
    },
    /// The probe object has another content than ours.
    Foreign,
    /// There was none in time.
    Silence,
    /// It was not of the API.
    Gibberish,
}

impl Answer {
    /// A failure. Of what a server wrote only the code is kept.
    #[must_use]
    pub fn failure(status: u16, code: &str, denier: Option<&'static Denier>) -> Self {
        let code = code.chars().filter(char::is_ascii_alphanumeric).take(64).collect();
        Self::Failure { status, code, denier }
    }

    /// Whether it is this error.
    #[must_use]
    pub fn is(&self, wanted: &str) -> bool {
        matches!(self, Self::Failure { code, .. } if code == wanted)
    }
}

/// What refused a request, as a store tells some of those who ask.
#[derive(Debug, PartialEq, Eq)]
pub struct Denier {
    /// What it is, and what to do.
    pub advice: &'static str,
    /// Whether waiting for a new policy to spread can change it.
    pub may_pass: bool,
}

/// What an answer says about the right to do what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// The key may.
    Allowed,
    /// The key may, and something was done that a fitting store would have turned down.
    Done,
    /// The key may, but the bucket has ACLs switched off.
    AclsDisabled,
    /// The key may not.
    Refused(Option<&'static Denier>),
    /// The store does not know the key, as it does for a while after a key was made.
    KeyUnknownYet,
    /// There is no such bucket.
    BucketMissing,
    /// The bucket is in another region than the store.
    WrongRegion,
    /// The operator's clock and the store's differ too much.
    ClockSkewed,
    /// The store does not know the request.
    Unsupported,
    /// Too many requests.
    Throttled,
    /// No answer, not in time, or one that the server failed.
    Unreachable,
    /// Something is where the probe object was to be written.
    Taken,
    /// A success that cannot be: the store did not look at what it was asked for.
    Impossible,
    /// An answer that says nothing about rights, by its error code.
    Inconclusive(String),
    /// It was not asked.
    NotTried(Skipped),
}

/// Why a probe was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skipped {
    /// An earlier answer made it pointless.
    Stopped,
    /// The time was up.
    OutOfTime,
    /// The store was not seen to check the digest of what is uploaded, so the request might write.
    DigestUnchecked,
    /// There was nothing to do it to.
    NothingThere,
}

impl Reading {
    /// Whether the key may.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed | Self::Done | Self::AclsDisabled)
    }

    /// Whether further requests would only get the same answer.
    #[must_use]
    pub fn ends_the_proof(&self) -> bool {
        matches!(
            self,
            Self::KeyUnknownYet
                | Self::BucketMissing
                | Self::WrongRegion
                | Self::ClockSkewed
                | Self::Throttled
                | Self::Unreachable
        )
    }
}

/// How a family of stores answers.
#[derive(Debug, PartialEq, Eq)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// Error codes that say the same in answer to every request.
    pub codes: &'static [(&'static str, Reading)],
    /// Error codes that say something only in answer to one request.
    pub answers: &'static [(Verb, &'static str, Reading)],
    /// How a store says who refused, by a part of its message.
    pub deniers: &'static [(&'static str, &'static Denier)],
    /// Requests whose success is not simply that the key may.
    pub successes: &'static [(Verb, Reading)],
    /// Requests whose answers say nothing in this family, and why.
    pub silent: &'static [(Verb, &'static str)],
    /// Why the first level of a bucket is not listed to a key that may only list the way to its folder, if so.
    pub hides_root: Option<&'static str>,
    /// Whether a bucket that is missing looks like one that the key may not use. The operator's own key is told.
    pub hides_missing_buckets: bool,
    /// Whether there is an STS, which says whose a key is. Without one, a key that is known at all lists buckets, if only none.
    pub has_sts: bool,
}

impl Family {
    /// Who refused, where the store tells.
    #[must_use]
    pub fn denier(&self, message: &str) -> Option<&'static Denier> {
        self.deniers.iter().find(|(words, _)| message.contains(words)).map(|(_, denier)| *denier)
    }

    /// What an answer to a request says.
    #[must_use]
    pub fn read(&self, verb: Verb, answer: &Answer) -> Reading {
        match answer {
            Answer::Success => self.success(verb),
            Answer::Failure { status, code, denier } => match self.failure(verb, code) {
                Some(Reading::Refused(_)) => Reading::Refused(*denier),
                Some(reading) => reading,
                None => by_status(*status, code),
            },
            Answer::Foreign => Reading::Inconclusive("another content".to_owned()),
            Answer::Silence => Reading::Unreachable,
            Answer::Gibberish => Reading::Inconclusive("no S3 answer".to_owned()),
        }
    }

    /// Why nothing can be learnt from a request, if so.
    #[must_use]
    pub fn cannot_tell(&self, verb: Verb) -> Option<&'static str> {
        self.silent.iter().find(|(silent, _)| *silent == verb).map(|(_, why)| *why)
    }

    fn success(&self, verb: Verb) -> Reading {
        self.successes.iter().find(|row| row.0 == verb).map_or(Reading::Allowed, |row| row.1.clone())
    }

    fn failure(&self, verb: Verb, code: &str) -> Option<Reading> {
        let special = self.answers.iter().find(|row| (row.0, row.1) == (verb, code)).map(|row| row.2.clone());
        special.or_else(|| self.codes.iter().find(|row| row.0 == code).map(|row| row.1.clone()))
    }
}

fn by_status(status: u16, code: &str) -> Reading {
    match status {
        429 => Reading::Throttled,
        501 => Reading::Unsupported,
        500.. => Reading::Unreachable,
        _ if code.is_empty() => Reading::Inconclusive(format!("HTTP {status}")),
        _ => Reading::Inconclusive(code.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::aws::amazon::{self, ANSWERS};

    fn read(verb: Verb, status: u16, code: &str) -> Reading {
        ANSWERS.read(verb, &Answer::failure(status, code, None))
    }

    #[test]
    fn some_codes_say_the_same_whatever_was_asked() {
        let table = [
            (403, "AccessDenied", Reading::Refused(None)),
            (403, "InvalidAccessKeyId", Reading::KeyUnknownYet),
            (403, "InvalidClientTokenId", Reading::KeyUnknownYet),
            (403, "SignatureDoesNotMatch", Reading::KeyUnknownYet),
            (400, "InvalidToken", Reading::KeyUnknownYet),
            (404, "NoSuchBucket", Reading::BucketMissing),
            (301, "PermanentRedirect", Reading::WrongRegion),
            (400, "AuthorizationHeaderMalformed", Reading::WrongRegion),
            (501, "NotImplemented", Reading::Unsupported),
            (503, "SlowDown", Reading::Throttled),
            (429, "", Reading::Throttled),
            (500, "InternalError", Reading::Unreachable),
            (503, "", Reading::Unreachable),
            (403, "", Reading::Inconclusive("HTTP 403".into())),
            (404, "NoSuchKey", Reading::Inconclusive("NoSuchKey".into())),
            (403, "RequestTimeTooSkewed", Reading::ClockSkewed),
            (403, "AllAccessDisabled", Reading::Inconclusive("AllAccessDisabled".into())),
        ];
        for (status, code, reading) in table {
            for verb in [Verb::List, Verb::Put, Verb::ListUploads, Verb::Identify] {
                assert_eq!(read(verb, status, code), reading, "{verb:?} {status} {code}");
            }
        }
    }

    #[test]
    fn other_codes_say_something_about_one_request_only() {
        let table = [
            (Verb::PutDamaged, "BadDigest", Reading::Allowed),
            (Verb::PutDamaged, "InvalidDigest", Reading::Inconclusive("InvalidDigest".into())),
            (Verb::Put, "BadDigest", Reading::Inconclusive("BadDigest".into())),
            (Verb::Put, "PreconditionFailed", Reading::Taken),
            (Verb::PutDamaged, "PreconditionFailed", Reading::Inconclusive("PreconditionFailed".into())),
            (Verb::GetMissing, "NoSuchKey", Reading::Allowed),
            (Verb::Get, "NoSuchKey", Reading::Inconclusive("NoSuchKey".into())),
            (Verb::SetAcl, "AccessControlListNotSupported", Reading::AclsDisabled),
            (Verb::SetAclOfMissing, "AccessControlListNotSupported", Reading::AclsDisabled),
            (Verb::SetAclOfMissing, "NoSuchKey", Reading::Allowed),
            (Verb::SetAcl, "NoSuchKey", Reading::Inconclusive("NoSuchKey".into())),
            (Verb::AbortMissing, "NoSuchUpload", Reading::Allowed),
            (Verb::AbortUpload, "NoSuchUpload", Reading::Inconclusive("NoSuchUpload".into())),
            (Verb::ListPartsOfMissing, "NoSuchUpload", Reading::Allowed),
            (Verb::ListParts, "NoSuchUpload", Reading::Inconclusive("NoSuchUpload".into())),
        ];
        for (verb, code, reading) in table {
            assert_eq!(read(verb, 404, code), reading, "{verb:?} {code}");
        }
    }

    #[test]
    fn success_is_not_always_what_it_seems() {
        assert_eq!(ANSWERS.read(Verb::List, &Answer::Success), Reading::Allowed);
        assert_eq!(ANSWERS.read(Verb::PutDamaged, &Answer::Success), Reading::Done);
        assert_eq!(ANSWERS.read(Verb::AbortMissing, &Answer::Success), Reading::Impossible);
        assert_eq!(ANSWERS.read(Verb::Get, &Answer::Silence), Reading::Unreachable);
        for answer in [Answer::Foreign, Answer::Gibberish] {
            assert!(matches!(ANSWERS.read(Verb::Get, &answer), Reading::Inconclusive(_)), "{answer:?}");
        }
    }

    #[test]
    fn who_refused_is_told_where_the_store_says_so() {
        let why = |words: &str| {
            let message = format!("User: arn:aws:iam::1:user/x is not authorized to perform: s3:PutObject {words}");
            ANSWERS.read(Verb::Put, &Answer::failure(403, "AccessDenied", ANSWERS.denier(&message)))
        };
        let table = [
            ("because no identity-based policy allows the s3:PutObject action", Some(&amazon::NO_GRANT)),
            ("with an explicit deny in an identity-based policy", Some(&amazon::PRINCIPAL_POLICY)),
            ("with an explicit deny in a resource-based policy", Some(&amazon::BUCKET_POLICY)),
            ("because no resource-based policy allows the s3:PutObject action", Some(&amazon::BUCKET_OWNER)),
            ("because no permissions boundary allows the s3:PutObject action", Some(&amazon::BOUNDARY)),
            ("with an explicit deny in a service control policy", Some(&amazon::ORGANIZATION)),
            ("with an explicit deny in a resource control policy", Some(&amazon::ORGANIZATION)),
            ("because no VPC endpoint policy allows the s3:PutObject action", Some(&amazon::VPC_ENDPOINT)),
            ("for reasons of its own", None),
        ];
        for (words, denier) in table {
            assert_eq!(why(words), Reading::Refused(denier), "{words}");
        }
    }

    #[test]
    fn nothing_but_letters_and_digits_of_a_code_is_kept() {
        let long = format!("A{}", "b".repeat(1000));
        for (code, kept) in [("Odd \u{1b}[31m<x>\n", "Odd31mx"), (&long, &long[..64])] {
            assert_eq!(read(Verb::List, 400, code), Reading::Inconclusive(kept.into()));
        }
    }

    #[test]
    fn a_family_may_differ() {
        let other = Family {
            answers: &[(Verb::ListUploads, "MethodNotAllowed", Reading::Unsupported)],
            silent: &[(Verb::AbortMissing, "it misses the upload before it looks at rights")],
            ..ANSWERS
        };
        let answer = Answer::failure(405, "MethodNotAllowed", None);
        assert_eq!(other.read(Verb::ListUploads, &answer), Reading::Unsupported);
        assert_eq!(other.read(Verb::List, &answer), Reading::Inconclusive("MethodNotAllowed".into()));
        assert!(other.cannot_tell(Verb::AbortMissing).is_some() && ANSWERS.cannot_tell(Verb::AbortMissing).is_none());
    }
}
