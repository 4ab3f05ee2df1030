//! What the answers of one proof say together: about each tier, about what is too wide, and about what nobody can tell.

use std::fmt;

use super::{
    plan::{Plan, Untested},
    probes::{Depth, Expect, Probe, Verb},
    reading::{Denier, Reading, Skipped},
};
use crate::api::Tier;

static NOTHING_SAID: Untested = Untested { tier: None, what: String::new(), why: String::new() };

/// One probe and what its answer says. Its text is for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was tried.
    pub probe: Probe,
    /// What came of it.
    pub reading: Reading,
}

/// All that one proof found.
///
/// It is of one moment. Rights spread slowly, and old ones linger: what is not there yet, and what should not be there any
/// more, is only to be believed after some patience, which is the caller's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    depth: Depth,
    granted: Vec<Tier>,
    findings: Vec<Finding>,
    untested: Vec<Untested>,
}

/// How things stand with a tier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing<'a> {
    /// Granted, and all of it works.
    Works,
    /// Granted, and it works, but the bucket has ACLs switched off.
    WorksWithoutEffect(&'a Finding),
    /// Granted, and waiting may be all it needs.
    NotYet(&'a Finding),
    /// Granted, and it does not work until somebody changes something.
    Broken(&'a Finding),
    /// Not granted, and all of it was refused.
    Denied,
    /// Not granted, and this works nevertheless.
    Allowed(Vec<&'a Finding>),
    /// The answer says nothing.
    Unknown(&'a Finding),
    /// The store has no such thing.
    Unsupported(&'a Finding),
    /// It cannot be tried, granted or not.
    Untried(&'a Untested),
}

impl Standing<'_> {
    /// Its name, for metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Works => "Works",
            Self::WorksWithoutEffect(_) => "WorksWithoutEffect",
            Self::NotYet(_) => "NotYet",
            Self::Broken(_) => "Broken",
            Self::Denied => "Denied",
            Self::Allowed(_) => "Allowed",
            Self::Unknown(_) => "Unknown",
            Self::Unsupported(_) => "Unsupported",
            Self::Untried(_) => "Untried",
        }
    }
}

/// How things stand with everything that was not granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limits {
    /// All that was tried was refused.
    Held,
    /// Something was allowed.
    Exceeded,
    /// Nothing was allowed, and not everything was answered.
    Unclear,
}

impl Proof {
    /// Takes together what came of a plan.
    #[must_use]
    pub fn new(plan: Plan, findings: Vec<Finding>) -> Self {
        let blind = !can_list_outside(&findings);
        let inside = plan.access.prefix.as_str();
        let (hidden, findings) = findings.into_iter().partition(|finding| blind && is_hidden(finding, inside));
        let mut untested = plan.untested;
        untested.extend(Vec::into_iter(hidden).map(|finding: Finding| Untested {
            tier: Some(finding.probe.tier),
            what: finding.probe.to_string(),
            why: "while listing is refused, S3 answers the same for an object that does not exist".to_owned(),
        }));
        Self { depth: plan.depth, granted: plan.access.tiers().collect(), findings, untested }
    }

    /// Whether nothing was written, and some things that only writing shows could not be seen.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.depth == Depth::Quiet
    }

    /// Whether everything that was granted works.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.expected(Expect::Works).all(|finding| finding.reading.is_allowed())
    }

    /// Whether a key with this proof may be published: base access works, or the key is known and may create the bucket
    /// that is missing. Tiers beyond base access may still be waiting: [`Self::complete`] says whether they are.
    #[must_use]
    pub fn publishable(&self) -> bool {
        let mut identities = self.expected(Expect::Works).filter(|finding| finding.probe.verb == Verb::Identify);
        self.tier(Tier::BaseAccess) == Standing::Works
            || (self.is_bucket_missing() && identities.any(|finding| finding.reading.is_allowed()))
    }

    /// Whether there is no such bucket.
    #[must_use]
    pub fn is_bucket_missing(&self) -> bool {
        self.findings.iter().any(|finding| finding.reading == Reading::BucketMissing)
    }

    /// How things stand with a tier.
    #[must_use]
    pub fn tier(&self, tier: Tier) -> Standing<'_> {
        let standing = if self.granted.contains(&tier) { self.granted_tier(tier) } else { self.refused_tier(tier) };
        standing.unwrap_or_else(|| {
            Standing::Untried(
                self.untested.iter().find(|untested| untested.tier == Some(tier)).unwrap_or(&NOTHING_SAID),
            )
        })
    }

    /// How things stand with everything that was not granted.
    #[must_use]
    pub fn limits(&self) -> Limits {
        if self.excess().next().is_some() {
            Limits::Exceeded
        } else if self.unclear().next().is_some() {
            Limits::Unclear
        } else {
            Limits::Held
        }
    }

    /// What is allowed although it was not granted.
    pub fn excess(&self) -> impl Iterator<Item = &Finding> {
        self.expected(Expect::Refused).filter(|finding| finding.reading.is_allowed())
    }

    /// What was tried and refused, as it should be.
    pub fn refused(&self) -> impl Iterator<Item = &Finding> {
        self.expected(Expect::Refused).filter(|finding| is_refusal(&finding.reading))
    }

    /// What should be refused and got no clear answer.
    pub fn unclear(&self) -> impl Iterator<Item = &Finding> {
        self.expected(Expect::Refused).filter(|finding| !finding.reading.is_allowed() && !is_refusal(&finding.reading))
    }

    /// What was not tried because nothing could be learnt from it, or not without harm.
    #[must_use]
    pub fn untested(&self) -> &[Untested] {
        &self.untested
    }

    /// Each probe and what came of it.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    fn expected(&self, expect: Expect) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(move |finding| finding.probe.expect == expect)
    }

    /// The worst that is to be said of a tier that was granted; `None` when nothing of it was tried.
    fn granted_tier(&self, tier: Tier) -> Option<Standing<'_>> {
        self.expected(Expect::Works)
            // Who the key belongs to says nothing about what it may do.
            .filter(|finding| finding.probe.tier == tier && finding.probe.verb != Verb::Identify)
            .map(Finding::of_granted)
            .reduce(|worst, next| if severity(&next) > severity(&worst) { next } else { worst })
    }

    fn refused_tier(&self, tier: Tier) -> Option<Standing<'_>> {
        let findings = || self.expected(Expect::Refused).filter(|finding| finding.probe.tier == tier);
        let allowed: Vec<&Finding> = findings().filter(|finding| finding.reading.is_allowed()).collect();
        if !allowed.is_empty() {
            return Some(Standing::Allowed(allowed));
        }
        findings()
            .map(|finding| match finding.reading {
                Reading::Refused(_) => Standing::Denied,
                Reading::Unsupported => Standing::Unsupported(finding),
                _ => Standing::Unknown(finding),
            })
            .reduce(|worst, next| if severity(&next) > severity(&worst) { next } else { worst })
    }
}

impl Finding {
    fn of_granted(&self) -> Standing<'_> {
        match &self.reading {
            Reading::Allowed | Reading::Done => Standing::Works,
            Reading::AclsDisabled => Standing::WorksWithoutEffect(self),
            Reading::Refused(Some(denier)) if !denier.may_pass => Standing::Broken(self),
            Reading::BucketMissing | Reading::WrongRegion => Standing::Broken(self),
            Reading::Refused(_)
            | Reading::KeyUnknownYet
            | Reading::ClockSkewed
            | Reading::Throttled
            | Reading::Unreachable
            | Reading::NotTried(_) => Standing::NotYet(self),
            Reading::Unsupported => Standing::Unsupported(self),
            Reading::Taken | Reading::Impossible | Reading::Inconclusive(_) => Standing::Unknown(self),
        }
    }
}

fn severity(standing: &Standing) -> u8 {
    match standing {
        Standing::Works | Standing::Denied | Standing::Allowed(_) | Standing::Untried(_) => 0,
        Standing::WorksWithoutEffect(_) => 1,
        // What was not tried because of something worse says less than that.
        Standing::NotYet(finding) if matches!(finding.reading, Reading::NotTried(_)) => 2,
        Standing::Unknown(finding) if matches!(finding.reading, Reading::NotTried(_)) => 2,
        Standing::Unsupported(_) => 3,
        // Of a store that left one request unanswered, what it says to another may follow from that: an object of the try before
        // is still there. It passes by itself, and so may the other.
        Standing::NotYet(finding) if matches!(finding.reading, Reading::Throttled | Reading::Unreachable) => 6,
        Standing::NotYet(_) => 4,
        Standing::Unknown(_) => 5,
        Standing::Broken(_) => 7,
    }
}

/// A store that does not know a request lets nobody do it.
fn is_refusal(reading: &Reading) -> bool {
    matches!(reading, Reading::Refused(_) | Reading::Unsupported)
}

fn can_list_outside(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.probe.is(Verb::List, Expect::Refused) && finding.reading.is_allowed())
}

/// A refusal that S3 gives for an object that does not exist whatever the rights (docs/decisions/verification.md).
fn is_hidden(finding: &Finding, inside: &str) -> bool {
    let about_missing = matches!(finding.probe.verb, Verb::GetMissing | Verb::SetAclOfMissing);
    about_missing && !finding.probe.at.starts_with(inside) && matches!(finding.reading, Reading::Refused(_))
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let probe = &self.probe;
        match &self.reading {
            Reading::Allowed | Reading::Done => write!(f, "{probe} is allowed"),
            Reading::AclsDisabled => write!(
                f,
                "{probe} is allowed, but the bucket has ACLs switched off, so that no ACL can be set; leave ObjectAcls out, \
                 or switch ACLs on in the bucket's Object Ownership"
            ),
            Reading::Refused(denier) => write!(f, "{probe} is refused{}", advice(*denier)),
            Reading::KeyUnknownYet => write!(f, "the store does not know the key yet; new keys take a while to spread"),
            Reading::BucketMissing => {
                write!(f, "the bucket does not exist; create it, or correct its name, or ask for CreateBucket")
            }
            Reading::WrongRegion => {
                write!(f, "the bucket is in another region than the store; use a store of the bucket's region")
            }
            Reading::ClockSkewed => write!(
                f,
                "the store takes no request of this operator ({probe}), because their clocks differ; mend the clock of the \
                 operator's node"
            ),
            Reading::Unsupported => write!(f, "the store does not know {probe}"),
            Reading::Throttled => write!(f, "the store asks for fewer requests ({probe}); trying again more slowly"),
            Reading::Unreachable => {
                write!(f, "no usable answer to {probe}; check the store's endpoints and the network; trying again")
            }
            Reading::Taken => {
                write!(f, "the answer to {probe} says nothing about the key's rights: something else is in its place")
            }
            Reading::Impossible => write!(f, "the answer to {probe} says nothing about the key's rights"),
            Reading::Inconclusive(code) => {
                write!(f, "the answer to {probe} says nothing about the key's rights ({code})")
            }
            Reading::NotTried(why) => write!(f, "{probe} was not tried: {why}"),
        }
    }
}

fn advice(denier: Option<&'static Denier>) -> &'static str {
    denier.map_or(
        "; new rights take a while to spread; if it stays so, check whether a policy of the bucket, of the organization, or what bounds \
         the principal denies it, and whether the bucket belongs to this account",
        |denier| denier.advice,
    )
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stopped => "something else has to work first",
            Self::OutOfTime => "the time for one proof was up",
            Self::DigestUnchecked => "the store was not seen to check the digest of an upload, so it might write",
            Self::NothingThere => "there was nothing to try it on",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::aws::amazon;
    use crate::{
        access::{Access, BucketName, Prefix},
        api::Capability,
        probe::sample::{self, with},
    };

    const ACLS: Tier = Tier::Optional(Capability::ObjectAcls);
    const UPLOADS: Tier = Tier::Optional(Capability::MultipartUploads);
    const BUCKETS: Tier = Tier::Optional(Capability::ListAllBuckets);
    const CREATE: Tier = Tier::Optional(Capability::CreateBucket);

    fn plan(capabilities: &[Capability]) -> Plan {
        let access = Access {
            bucket: BucketName::parse("my-backups").expect("valid"),
            prefix: Prefix::parse("a").expect("valid"),
            capabilities: capabilities.iter().copied().collect(),
            ancestor_listing: false,
        };
        sample::plan(&access, Depth::Write)
    }

    fn proof(capabilities: &[Capability], but: impl Fn(&Probe) -> Option<Reading>) -> Proof {
        sample::proof(plan(capabilities), but)
    }

    #[test]
    fn when_all_is_as_it_should_be_all_is_proven() {
        for capabilities in [&[][..], &Capability::ALL] {
            let proof = proof(capabilities, |_| None);
            assert!(proof.complete() && proof.publishable());
            assert_eq!((proof.limits(), proof.tier(Tier::BaseAccess)), (Limits::Held, Standing::Works));
            for tier in [ACLS, UPLOADS, BUCKETS] {
                let expected = if capabilities.is_empty() { Standing::Denied } else { Standing::Works };
                assert_eq!(proof.tier(tier), expected, "{tier:?}");
            }
            assert!(matches!(proof.tier(CREATE), Standing::Untried(_)));
        }
    }

    #[test]
    fn each_answer_to_what_was_granted_has_its_standing() {
        let table = [
            (Reading::Refused(None), "NotYet", "policy of the bucket"),
            (Reading::Refused(Some(&amazon::NO_GRANT)), "NotYet", "take a while"),
            (Reading::Refused(Some(&amazon::BUCKET_POLICY)), "Broken", "bucket's policy"),
            (Reading::Refused(Some(&amazon::BOUNDARY)), "Broken", "permissions boundary"),
            (Reading::Refused(Some(&amazon::ORGANIZATION)), "Broken", "organization"),
            (Reading::Refused(Some(&amazon::BUCKET_OWNER)), "Broken", "another account"),
            (Reading::Refused(Some(&amazon::PRINCIPAL_POLICY)), "Broken", "detach"),
            (Reading::Refused(Some(&amazon::VPC_ENDPOINT)), "Broken", "VPC endpoint"),
            (Reading::KeyUnknownYet, "NotYet", "does not know the key yet"),
            (Reading::ClockSkewed, "NotYet", "mend the clock"),
            (Reading::Throttled, "NotYet", "fewer requests"),
            (Reading::Unreachable, "NotYet", "no usable answer"),
            (Reading::NotTried(Skipped::OutOfTime), "NotYet", "time for one proof"),
            (Reading::BucketMissing, "Broken", "create it"),
            (Reading::WrongRegion, "Broken", "region"),
            (Reading::Unsupported, "Unsupported", "does not know s3:GetObject"),
            (Reading::Inconclusive("Odd".into()), "Unknown", "(Odd)"),
            (Reading::Taken, "Unknown", "something else is in its place"),
            (Reading::Impossible, "Unknown", "says nothing"),
        ];
        for (reading, standing, told) in table {
            let proof = proof(&[], with(Verb::Get, Expect::Works, &reading));
            let seen = proof.tier(Tier::BaseAccess);
            let (Standing::NotYet(finding)
            | Standing::Broken(finding)
            | Standing::Unknown(finding)
            | Standing::Unsupported(finding)) = &seen
            else {
                panic!("{reading:?}: {seen:?}");
            };
            assert!(format!("{seen:?}").starts_with(standing), "{reading:?}: {seen:?}");
            assert!(finding.to_string().contains(told), "{finding}");
            assert!(!proof.publishable() && !proof.complete(), "{reading:?}");
            assert_eq!(proof.tier(ACLS), Standing::Denied, "other tiers are not concerned");
        }
    }

    #[test]
    fn a_tier_beyond_base_access_does_not_hold_up_a_key() {
        let reading = Reading::Refused(Some(&amazon::BUCKET_POLICY));
        let proof = proof(&[Capability::ObjectAcls], with(Verb::SetAcl, Expect::Works, &reading));
        assert!(proof.publishable() && !proof.complete());
        assert!(matches!(proof.tier(ACLS), Standing::Broken(_)));
    }

    #[test]
    fn acls_switched_off_are_no_failure() {
        let proof = proof(&[Capability::ObjectAcls], with(Verb::SetAcl, Expect::Works, &Reading::AclsDisabled));
        assert!(proof.complete());
        let Standing::WorksWithoutEffect(why) = proof.tier(ACLS) else { panic!("{:?}", proof.tier(ACLS)) };
        assert!(why.to_string().contains("Object Ownership"), "{why}");
    }

    #[test]
    fn the_worst_is_told_and_not_what_follows_from_it() {
        let proof = proof(&[], |probe| match (probe.verb, probe.expect) {
            (Verb::PutDamaged, Expect::Works) => Some(Reading::NotTried(Skipped::Stopped)),
            (Verb::Put, _) => Some(Reading::Refused(None)),
            (Verb::Get | Verb::Delete, Expect::Works) => Some(Reading::NotTried(Skipped::NothingThere)),
            _ => None,
        });
        let Standing::NotYet(why) = proof.tier(Tier::BaseAccess) else { panic!("{proof:?}") };
        assert_eq!(why.probe.verb, Verb::Put);
    }

    #[test]
    fn what_a_store_left_unanswered_is_told_before_what_may_follow_from_it() {
        for silence in [Reading::Throttled, Reading::Unreachable] {
            let proof = proof(&[], |probe| match (probe.verb, probe.expect) {
                (Verb::Put, Expect::Works) => Some(Reading::Taken),
                (Verb::Delete, Expect::Works) => Some(silence.clone()),
                _ => None,
            });
            let Standing::NotYet(why) = proof.tier(Tier::BaseAccess) else { panic!("{proof:?}") };
            assert_eq!(why.probe.verb, Verb::Delete);
        }
    }

    #[test]
    fn what_should_be_refused_and_is_not_is_an_excess() {
        for (verb, tier) in [
            (Verb::ListUploads, UPLOADS),
            (Verb::AbortMissing, UPLOADS),
            (Verb::SetAclOfMissing, ACLS),
            (Verb::ListBuckets, BUCKETS),
            (Verb::LocateBucket, BUCKETS),
        ] {
            for reading in [Reading::Allowed, Reading::Done, Reading::AclsDisabled] {
                let proof = proof(&[], with(verb, Expect::Refused, &reading));
                assert_eq!(proof.limits(), Limits::Exceeded);
                let Standing::Allowed(found) = proof.tier(tier) else { panic!("{verb:?}: {:?}", proof.tier(tier)) };
                assert_eq!(found, proof.excess().collect::<Vec<_>>());
                assert!(proof.publishable(), "a key that may too much works nevertheless");
            }
        }
        let proof = proof(&[], with(Verb::PutDamaged, Expect::Refused, &Reading::Allowed));
        assert_eq!((proof.limits(), proof.tier(Tier::BaseAccess)), (Limits::Exceeded, Standing::Works));
    }

    #[test]
    fn a_limit_without_a_clear_answer_is_unclear() {
        for reading in [
            Reading::KeyUnknownYet,
            Reading::ClockSkewed,
            Reading::Unreachable,
            Reading::Throttled,
            Reading::BucketMissing,
            Reading::Inconclusive("Odd".into()),
            Reading::NotTried(Skipped::DigestUnchecked),
        ] {
            let proof = proof(&[], with(Verb::ListBuckets, Expect::Refused, &reading));
            assert_eq!((proof.limits(), proof.unclear().count()), (Limits::Unclear, 1), "{reading:?}");
            assert!(matches!(proof.tier(BUCKETS), Standing::Unknown(_)), "{reading:?}");
        }
        let proof = proof(&[], with(Verb::ListBuckets, Expect::Refused, &Reading::Unsupported));
        assert_eq!(proof.limits(), Limits::Held);
        assert!(matches!(proof.tier(BUCKETS), Standing::Unsupported(_)));
    }

    #[test]
    fn a_refusal_counts_only_where_a_missing_object_would_be_told() {
        let reads = |proof: &Proof| {
            let reads = |text: &str| text.starts_with("s3:GetObject outside");
            let refused = proof.refused().any(|finding| reads(&finding.to_string()));
            (refused, proof.untested().iter().any(|untested| reads(&untested.to_string())))
        };
        assert_eq!(reads(&proof(&[], |_| None)), (false, true));
        assert_eq!(reads(&proof(&[], with(Verb::List, Expect::Refused, &Reading::Allowed))), (true, false));
        let open = proof(&[], with(Verb::GetMissing, Expect::Refused, &Reading::Allowed));
        assert_eq!((reads(&open), open.limits()), ((false, false), Limits::Exceeded));
        // Inside of the folder listing is granted, so a missing object is told there.
        let inside = proof(&[], |_| None);
        assert!(inside.refused().any(|finding| finding.probe.verb == Verb::SetAclOfMissing));
    }

    #[test]
    fn a_missing_bucket_is_published_only_to_who_may_create_it() {
        let missing = |capabilities: &[Capability], identity: Option<Reading>| {
            sample::without_bucket(plan(capabilities), identity)
        };
        let create = [Capability::CreateBucket];
        for (proof, publishable) in [
            (missing(&[], None), false),
            (missing(&create, None), false),
            (missing(&create, Some(Reading::KeyUnknownYet)), false),
            (missing(&create, Some(Reading::Allowed)), true),
        ] {
            assert_eq!((proof.publishable(), proof.is_bucket_missing()), (publishable, true));
            assert!(matches!(proof.tier(Tier::BaseAccess), Standing::Broken(_)) && !proof.complete());
            assert!(matches!(proof.tier(CREATE), Standing::Untried(_)));
            assert_eq!(proof.limits(), Limits::Unclear);
        }
    }
}
