//! proof × age → what keeps a key from being published, and what the conditions say.

use super::*;
use crate::provider::aws::amazon;
use crate::{
    controller::backup_target::fixtures::{access, at, says},
    probe::{
        Depth, Probe,
        probes::{Expect, Verb},
        reading::Skipped,
        sample::{self, with},
    },
};

const YOUNG: Duration = Duration::from_secs(119);
const OLD: Duration = Duration::from_mins(2);
const ACLS: Tier = Tier::Optional(Capability::ObjectAcls);
const UPLOADS: Tier = Tier::Optional(Capability::MultipartUploads);
const CREATE: Tier = Tier::Optional(Capability::CreateBucket);

fn proof(capabilities: &[Capability], but: impl Fn(&Probe) -> Option<Reading>) -> Proof {
    sample::proof(sample::plan(&access(capabilities, false), Depth::Write), but)
}

/// A proof of base access in which one request was answered so.
fn base(reading: &Reading) -> Proof {
    proof(&[], with(Verb::Get, Expect::Works, reading))
}

/// A proof of the right to set ACLs, in which just that was answered so.
fn acls(reading: &Reading) -> Proof {
    proof(&[Capability::ObjectAcls], with(Verb::SetAcl, Expect::Works, reading))
}

fn without_bucket(capabilities: &[Capability], identity: Option<Reading>) -> Proof {
    sample::without_bucket(sample::plan(&access(capabilities, false), Depth::Write), identity)
}

mod failures {
    use super::*;

    const PASSES: Retry = Retry::Backoff;
    const STAYS: Retry = Retry::Stalled;

    fn of(proof: &Proof, publishes: bool, age: Duration) -> Option<(Reason, Retry)> {
        failure(proof, publishes, age).map(|failure| (failure.reason, failure.retry))
    }

    #[test]
    fn nothing_is_wrong_with_a_key_that_can_what_it_may() {
        for proof in [proof(&[], |_| None), proof(&Capability::ALL, |_| None), acls(&Reading::AclsDisabled)] {
            assert_eq!((of(&proof, true, YOUNG), of(&proof, false, OLD)), (None, None));
        }
    }

    #[test]
    fn a_store_that_says_nothing_is_a_failure_whatever_it_is_asked_for() {
        let table = [
            (Reading::Unreachable, Reason::StoreUnreachable, PASSES),
            (Reading::NotTried(Skipped::OutOfTime), Reason::StoreUnreachable, PASSES),
            (Reading::Throttled, Reason::Throttled, PASSES),
            (Reading::ClockSkewed, Reason::ClockSkewed, STAYS),
        ];
        for (reading, reason, retry) in table {
            for (publishes, age) in [(true, YOUNG), (true, OLD), (false, YOUNG), (false, OLD)] {
                for proof in [base(&reading), acls(&reading)] {
                    assert_eq!(of(&proof, publishes, age), Some((reason, retry)), "{reading:?} {publishes} {age:?}");
                    assert!(failure(&proof, publishes, age).is_some_and(|failure| failure.is_silence()));
                }
            }
        }
    }

    #[test]
    fn base_access_has_to_work_before_a_key_is_published() {
        let (spreads, broken) = (Some((Reason::Propagating, PASSES)), Some((Reason::NotWorking, STAYS)));
        let unclear = Some((Reason::Inconclusive, STAYS));
        let no_bucket = Some((Reason::BucketNotFound, STAYS));
        let five = Duration::from_mins(5);
        let table = [
            (Reading::Refused(None), YOUNG, spreads),
            (Reading::Refused(None), OLD, broken),
            (Reading::Refused(Some(&amazon::NO_GRANT)), YOUNG, spreads),
            (Reading::Refused(Some(&amazon::BUCKET_POLICY)), YOUNG, broken),
            (Reading::KeyUnknownYet, YOUNG, spreads),
            (Reading::KeyUnknownYet, five, spreads),
            (Reading::KeyUnknownYet, five * 2, broken),
            (Reading::WrongRegion, YOUNG, broken),
            (Reading::Unsupported, YOUNG, broken),
            (Reading::BucketMissing, YOUNG, no_bucket),
            (Reading::Inconclusive("Odd".into()), YOUNG, unclear),
        ];
        for (reading, age, expected) in table {
            assert_eq!(of(&base(&reading), true, age), expected, "{reading:?} after {age:?}");
            assert_eq!(of(&base(&reading), false, age), None, "{reading:?}: the conditions tell it of a published key");
        }
    }

    #[test]
    fn a_further_tier_holds_up_a_key_only_while_time_may_help() {
        let spreads = Some((Reason::Propagating, PASSES));
        let table = [
            (Reading::Refused(None), YOUNG, spreads),
            (Reading::Refused(None), OLD, None),
            (Reading::Refused(Some(&amazon::BUCKET_POLICY)), YOUNG, None),
            (Reading::Unsupported, YOUNG, None),
            (Reading::Inconclusive("Odd".into()), YOUNG, None),
        ];
        for (reading, age, expected) in table {
            assert_eq!(of(&acls(&reading), true, age), expected, "{reading:?} after {age:?}");
            assert_eq!(of(&acls(&reading), false, age), None, "{reading:?}");
        }
    }

    #[test]
    fn a_missing_bucket_is_no_failure_for_who_creates_it() {
        let create = [Capability::CreateBucket, Capability::ObjectAcls];
        let known = without_bucket(&create, Some(Reading::Allowed));
        assert_eq!((of(&known, true, YOUNG), of(&known, true, OLD)), (None, None));
        let unknown = without_bucket(&create, Some(Reading::KeyUnknownYet));
        for proof in [unknown, without_bucket(&create, None), without_bucket(&[], None)] {
            assert_eq!(of(&proof, true, YOUNG), Some((Reason::BucketNotFound, STAYS)));
            assert_eq!(of(&proof, false, YOUNG), None);
        }
    }
}

mod conditions {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

    type Said = (Truth, Reason);

    const SPREADS: Said = (Truth::Unknown, Reason::Propagating);
    const WORKS: Said = (Truth::True, Reason::Verified);
    const BROKEN: Said = (Truth::False, Reason::NotWorking);
    const UNCLEAR: Said = (Truth::Unknown, Reason::Inconclusive);

    fn told(granted: &[Capability], proof: &Proof, age: Duration, before: &[Condition]) -> Vec<Condition> {
        let mut conditions = Conditions::new(before, Some(2), at(9));
        tell(
            &mut conditions,
            &access(granted, false),
            proof,
            age,
            &crate::controller::backup_target::fixtures::limits().words,
        );
        conditions.finish()
    }

    #[track_caller]
    fn assert_says(conditions: &[Condition], type_: &str, (truth, reason): Said) {
        assert_eq!(says(conditions, type_), Some((truth.as_str(), reason)), "{type_}");
    }

    #[test]
    fn each_standing_of_what_was_granted_is_told() {
        let table = [
            (Reading::Allowed, WORKS, WORKS),
            (Reading::Refused(None), SPREADS, BROKEN),
            (Reading::Throttled, SPREADS, BROKEN),
            (Reading::KeyUnknownYet, SPREADS, SPREADS),
            (Reading::Refused(Some(&amazon::BOUNDARY)), BROKEN, BROKEN),
            (Reading::Unsupported, (Truth::False, Reason::Unsupported), (Truth::False, Reason::Unsupported)),
            (Reading::Inconclusive("Odd".into()), UNCLEAR, UNCLEAR),
        ];
        for (reading, young, old) in table {
            for (age, expected) in [(YOUNG, young), (OLD, old)] {
                let granted = [Capability::ObjectAcls];
                assert_says(&told(&[], &base(&reading), age, &[]), Tier::BaseAccess.name(), expected);
                let told = told(&granted, &acls(&reading), age, &[]);
                assert_says(&told, ACLS.name(), expected);
                assert_says(&told, Tier::BaseAccess.name(), WORKS);
            }
        }
        let late = told(&[], &base(&Reading::KeyUnknownYet), KEY_PATIENCE, &[]);
        assert_says(&late, Tier::BaseAccess.name(), BROKEN);
    }

    #[test]
    fn each_standing_of_what_was_not_granted_is_told() {
        let allowed = (Truth::True, Reason::NotRequestedButAllowed);
        let denied = (Truth::False, Reason::VerifiedDenied);
        let (held, exceeded) = (WORKS, (Truth::False, Reason::ExcessAccess));
        let unverified = (Truth::Unknown, Reason::NotVerified);
        // Of the tier, and of the limits as a whole.
        let table = [
            (Reading::Refused(None), YOUNG, denied, held),
            (Reading::Refused(Some(&amazon::BUCKET_POLICY)), OLD, denied, held),
            (Reading::Allowed, YOUNG, SPREADS, SPREADS),
            (Reading::Allowed, OLD, allowed, exceeded),
            (Reading::Done, OLD, allowed, exceeded),
            (Reading::Throttled, OLD, UNCLEAR, unverified),
            (Reading::Inconclusive("Odd".into()), YOUNG, UNCLEAR, unverified),
            (Reading::Unsupported, YOUNG, (Truth::False, Reason::Unsupported), held),
        ];
        for (reading, age, tier, limits) in table {
            let proof = proof(&[], with(Verb::ListUploads, Expect::Refused, &reading));
            let told = told(&[], &proof, age, &[]);
            assert_says(&told, UPLOADS.name(), tier);
            assert_says(&told, LEAST_PRIVILEGE, limits);
        }
    }

    #[test]
    fn what_cannot_be_tried_is_told_as_the_policy_has_it() {
        let granted = told(&[Capability::CreateBucket], &proof(&[Capability::CreateBucket], |_| None), OLD, &[]);
        assert_says(&granted, CREATE.name(), (Truth::True, Reason::Granted));
        assert_says(&told(&[], &proof(&[], |_| None), OLD, &[]), CREATE.name(), (Truth::False, Reason::NotRequested));
    }

    #[test]
    fn without_a_bucket_nothing_but_the_right_to_create_it_is_known() {
        let waits = (Truth::Unknown, Reason::BucketNotFound);
        let granted = [Capability::CreateBucket, Capability::ObjectAcls];
        let creates = told(&granted, &without_bucket(&granted, Some(Reading::Allowed)), OLD, &[]);
        assert_says(&creates, Tier::BaseAccess.name(), waits);
        assert_says(&creates, ACLS.name(), waits);
        assert_says(&creates, CREATE.name(), (Truth::True, Reason::Granted));
        assert_says(&creates, UPLOADS.name(), UNCLEAR);
        assert_says(&creates, LEAST_PRIVILEGE, (Truth::Unknown, Reason::NotVerified));
        assert_says(&told(&[], &without_bucket(&[], None), YOUNG, &[]), Tier::BaseAccess.name(), BROKEN);
    }

    /// Only where an ACL is set does it show that they are switched off.
    #[test]
    fn acls_that_are_switched_off_stay_so_until_one_is_set_again() {
        let (granted, off) = ([Capability::ObjectAcls], (Truth::True, Reason::AclsDisabled));
        let before = told(&granted, &acls(&Reading::AclsDisabled), OLD, &[]);
        assert_says(&before, ACLS.name(), off);
        let quiet = |reading| {
            let plan = sample::plan(&access(&granted, false), Depth::Quiet);
            sample::proof(plan, with(Verb::SetAclOfMissing, Expect::Works, &reading))
        };
        assert_says(&told(&granted, &quiet(Reading::Allowed), OLD, &before), ACLS.name(), off);
        assert_says(&told(&granted, &quiet(Reading::Allowed), OLD, &[]), ACLS.name(), WORKS);
        assert_says(&told(&granted, &quiet(Reading::Refused(None)), OLD, &before), ACLS.name(), BROKEN);
        assert_says(&told(&granted, &acls(&Reading::Allowed), OLD, &before), ACLS.name(), WORKS);
    }
}

#[test]
fn a_key_is_as_old_as_its_policy_and_no_younger_than_now() {
    assert_eq!(age(at(10), at(70)), Duration::from_mins(1));
    assert_eq!(age(at(70), at(10)), Duration::ZERO);
}
