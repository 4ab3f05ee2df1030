//! A store of which nothing is known but that it speaks S3, as data.

use crate::{
    api::{Capability, backup_target::PolicyForm},
    probe::{Family, Reading, probes::Verb},
    provider::{Limits, Words, aws::amazon},
};

/// Whatever store it is.
pub const LIMITS: Limits = Limits {
    words: Words {
        principal: "holder of a key,",
        system: "the store",
        account: "the store at",
        connected: "the keys are those in spec.staticKeys, and each is tried before it is published; the store is the one at {account}",
        excess: "the store's administrator made the key: have them make it narrower, by what `backup-target-operator render -o policy` \
                 prints, as far as the store can",
        unrevoked: Some(
            "the access key itself is the store's administrator's and works until they revoke it: the operator revokes no such key",
        ),
        // The operator leaves no key in a principal's way, switches none off, and knows no hold.
        delete_key: "",
        activate_key: "",
        end_hold: "",
    },
    keys: 1,
    brings_keys: true,
    knows_last_use: false,
    keys_make_keys: false,
    // Nothing is stored, so anything fits.
    forms: &[(PolicyForm::External, usize::MAX)],
    // A look reads a Secret, and asks the store nothing.
    requests_per_look: 0,
    verification: &ANSWERS,
    rclone: "Other",
    unsupported: &[(
        Capability::CreateBucket,
        "whether a key that was brought may create buckets cannot be tried without creating one: create the bucket yourself",
    )],
};

/// What S3 answers where it is not known whose it is. What some stores answer before they look at rights says nothing here.
pub const ANSWERS: Family = Family {
    name: "StaticKeys",
    successes: &[
        (Verb::PutDamaged, Reading::Done),
        (Verb::ListPartsOfMissing, Reading::Impossible),
        // MinIO has nothing to abort and says that it is done, to those who may.
        (Verb::AbortMissing, Reading::Allowed),
    ],
    silent: &[
        (Verb::SetAclOfMissing, "some stores look for the object before they look at rights"),
        (Verb::ListPartsOfMissing, "some stores look for the upload before they look at rights"),
        (Verb::ListBuckets, "many stores answer everybody, with the buckets that are theirs"),
    ],
    hides_root: Some("many stores take an empty s3:prefix for none; the levels below are listed"),
    has_sts: false,
    deniers: &[],
    ..amazon::ANSWERS
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::reading::Answer;

    #[test]
    fn a_key_that_reaches_too_far_is_seen_on_whatever_store() {
        let failed = |code| Answer::failure(400, code, None);
        let table = [
            (Verb::PutDamaged, failed("BadDigest")),
            (Verb::GetMissing, failed("NoSuchKey")),
            (Verb::AbortMissing, failed("NoSuchUpload")),
            (Verb::AbortMissing, Answer::Success),
            (Verb::List, Answer::Success),
            (Verb::ListUploads, Answer::Success),
        ];
        for (verb, answer) in table {
            assert!(ANSWERS.read(verb, &answer).is_allowed(), "{verb:?} {answer:?}");
            assert!(matches!(ANSWERS.read(verb, &failed("AccessDenied")), Reading::Refused(_)), "{verb:?}");
        }
        assert!(ANSWERS.cannot_tell(Verb::LocateBucket).is_none(), "ListAllBuckets is told by this alone");
    }
}
