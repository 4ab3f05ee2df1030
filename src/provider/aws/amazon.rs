//! Amazon Web Services, after whom the dialects are measured.

use super::dialect::{Dialect, INLINE_LIMIT, Identity, MANAGED_LIMIT, Ownership, PolicyChange};
use crate::{
    api::backup_target::PolicyForm,
    probe::{Family, Reading, probes::Verb, reading::Denier},
    provider::{Limits, Words},
};

/// Amazon Web Services.
pub const AWS: Dialect = Dialect {
    limits: Limits {
        words: Words {
            principal: "IAM user",
            system: "IAM",
            account: "AWS account",
            connected: "the credentials work, in AWS account {account}",
            excess: "look at the bucket's policy, its ACLs, and what else the principal has",
            unrevoked: None,
            delete_key: "aws iam delete-access-key --user-name {principal} --access-key-id {key}",
            activate_key: "aws iam update-access-key --user-name {principal} --access-key-id {key} --status Active",
            end_hold: "aws iam untag-user --user-name {principal} --tag-keys backup-target.dev/hold",
        },
        keys: 2,
        brings_keys: false,
        knows_last_use: true,
        keys_make_keys: false,
        forms: &[(PolicyForm::Inline, INLINE_LIMIT), (PolicyForm::Managed, MANAGED_LIMIT)],
        requests_per_look: 6,
        verification: &ANSWERS,
        rclone: "AWS",
        unsupported: &[],
    },
    identity: Identity::CallerIdentity,
    ownership: Ownership::PathAndTags,
    change: PolicyChange::Version,
    unbounded: "the store names no permissions boundary, so whoever has the operator's credentials can give any right to its principals; \
                `backup-target-operator render -o boundary` prints one for spec.aws",
};

/// No policy of the key's principal allows it.
pub const NO_GRANT: Denier = Denier { advice: "; new rights take a while to spread", may_pass: true };
/// A policy of the key's principal denies it.
pub const PRINCIPAL_POLICY: Denier =
    Denier { advice: " by another policy of the target's principal; detach that policy", may_pass: false };
/// The bucket's policy denies it.
pub const BUCKET_POLICY: Denier =
    Denier { advice: " by the bucket's policy; except the target's principal from that denial", may_pass: false };
/// The permissions boundary does not let it through.
pub const BOUNDARY: Denier = Denier { advice: " by the permissions boundary; allow it there", may_pass: false };
/// A policy of the organization does not let it through.
pub const ORGANIZATION: Denier = Denier { advice: " by a policy of the organization; allow it there", may_pass: false };
/// The policy of the VPC endpoint does not let it through.
pub const VPC_ENDPOINT: Denier =
    Denier { advice: " by the policy of the VPC endpoint; allow it there", may_pass: false };
/// The bucket is in another account, which does not allow it.
pub const BUCKET_OWNER: Denier = Denier {
    advice: "; the bucket belongs to another account, whose bucket policy does not allow it; correct the bucket's name, or allow the \
             target's principal there",
    may_pass: false,
};

/// How AWS says that, to members of the account that owns the resource (IAM User Guide, troubleshoot_access-denied).
const DENIERS: [(&str, &Denier); 10] = [
    ("no identity-based policy allows", &NO_GRANT),
    ("explicit deny in an identity-based policy", &PRINCIPAL_POLICY),
    ("explicit deny in a resource-based policy", &BUCKET_POLICY),
    ("no resource-based policy allows", &BUCKET_OWNER),
    ("permissions boundary", &BOUNDARY),
    ("service control policy", &ORGANIZATION),
    ("resource control policy", &ORGANIZATION),
    ("VPC endpoint policy", &VPC_ENDPOINT),
    ("no session policy allows", &NO_GRANT),
    ("explicit deny in a session policy", &PRINCIPAL_POLICY),
];

/// What S3 answers (Amazon S3 API Reference, ErrorResponses).
pub const ANSWERS: Family = Family {
    name: "AWS",
    codes: &[
        ("AccessDenied", Reading::Refused(None)),
        ("InvalidAccessKeyId", Reading::KeyUnknownYet),
        ("InvalidClientTokenId", Reading::KeyUnknownYet),
        ("SignatureDoesNotMatch", Reading::KeyUnknownYet),
        ("InvalidToken", Reading::KeyUnknownYet),
        ("RequestTimeTooSkewed", Reading::ClockSkewed),
        ("RequestExpired", Reading::ClockSkewed),
        ("NoSuchBucket", Reading::BucketMissing),
        ("PermanentRedirect", Reading::WrongRegion),
        ("TemporaryRedirect", Reading::WrongRegion),
        ("AuthorizationHeaderMalformed", Reading::WrongRegion),
        ("IllegalLocationConstraintException", Reading::WrongRegion),
        ("NotImplemented", Reading::Unsupported),
        ("SlowDown", Reading::Throttled),
        ("Throttling", Reading::Throttled),
        ("ThrottlingException", Reading::Throttled),
        ("RequestLimitExceeded", Reading::Throttled),
    ],
    answers: &[
        // InvalidDigest is not among them: a header can be found wrong before rights are looked at.
        (Verb::PutDamaged, "BadDigest", Reading::Allowed),
        (Verb::Put, "PreconditionFailed", Reading::Taken),
        (Verb::GetMissing, "NoSuchKey", Reading::Allowed),
        (Verb::SetAcl, "AccessControlListNotSupported", Reading::AclsDisabled),
        (Verb::SetAclOfMissing, "AccessControlListNotSupported", Reading::AclsDisabled),
        (Verb::SetAclOfMissing, "NoSuchKey", Reading::Allowed),
        (Verb::ListPartsOfMissing, "NoSuchUpload", Reading::Allowed),
        (Verb::AbortMissing, "NoSuchUpload", Reading::Allowed),
    ],
    successes: &[
        (Verb::PutDamaged, Reading::Done),
        (Verb::ListPartsOfMissing, Reading::Impossible),
        (Verb::AbortMissing, Reading::Impossible),
    ],
    deniers: &DENIERS,
    silent: &[],
    hides_root: None,
    hides_missing_buckets: false,
    has_sts: true,
};
