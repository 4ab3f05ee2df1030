use super::*;
use crate::{
    access::{BucketName, Prefix, terms::AccountId},
    api::{Capability, backup_store::BackupStoreSpec},
};

/// A policy for `backups/dataset-1/` that was written by hand, as a bucket policy.
const REFERENCE: &str = r#"{"Version":"2012-10-17","Statement":[
  {"Sid":"AllowListingAncestors","Effect":"Allow","Principal":{"AWS":["arn:aws:iam::123456789012:user/backup"]},
   "Action":["s3:ListBucket"],"Resource":["arn:aws:s3:::my-backups"],
   "Condition":{"StringEquals":{"s3:prefix":["","backups/","backups/dataset-1/"],"s3:delimiter":["/"]}}},
  {"Sid":"AllowListingWithin","Effect":"Allow","Principal":{"AWS":["arn:aws:iam::123456789012:user/backup"]},
   "Action":["s3:ListBucket"],"Resource":["arn:aws:s3:::my-backups"],
   "Condition":{"StringLike":{"s3:prefix":["backups/dataset-1/*"]}}},
  {"Sid":"AllowObjects","Effect":"Allow","Principal":{"AWS":["arn:aws:iam::123456789012:user/backup"]},
   "Action":["s3:PutObject","s3:GetObject","s3:DeleteObject"],
   "Resource":"arn:aws:s3:::my-backups/backups/dataset-1/*"}]}"#;
const PRINCIPAL: &str = r#""Principal":{"AWS":["arn:aws:iam::123456789012:user/backup"]},"#;

fn terms(region: &str) -> Terms {
    let spec: BackupStoreSpec = serde_json::from_value(serde_json::json!({"region": region})).expect("a spec");
    Terms::parse(&spec, None).expect("valid")
}

fn access(prefix: Option<&str>, capabilities: &[Capability]) -> Access {
    Access {
        bucket: BucketName::parse("my-backups").expect("valid"),
        prefix: prefix.map_or_else(Prefix::whole_bucket, |p| Prefix::parse(p).expect("valid")),
        capabilities: capabilities.iter().copied().collect(),
        ancestor_listing: true,
    }
}

fn document(access: &Access) -> PolicyDocument {
    PolicyDocument::new(&terms("us-east-1"), [access])
}

const KEYS_ONLY: &str = r#"{"Sid":"KeysOnly","Effect":"Deny","Action":"*","Resource":"*","Condition":{"Null":{"aws:TokenIssueTime":"false"}}}"#;

/// Without the principal, and for keys only.
fn reference_identity() -> String {
    REFERENCE.replace(PRINCIPAL, "").replace(r#""Statement":["#, &format!(r#""Statement":[{KEYS_ONLY},"#))
}

fn reference_bucket_policy() -> String {
    let no_session = r#""Condition":{"Null":{"aws:TokenIssueTime":"true"}"#;
    REFERENCE
        .replace(r#""Condition":{"#, &format!("{no_session},"))
        .replace(r#"dataset-1/*"}]}"#, &format!(r#"dataset-1/*",{no_session}}}}}]}}"#))
}

#[test]
fn base_access_is_the_reference_policy_in_both_forms() {
    let access = access(Some("backups/dataset-1"), &[]);
    assert_eq!(Some(document(&access).meaning()), Meaning::read(&reference_identity()));
    let principals = ["arn:aws:iam::123456789012:user/backup".to_owned()].into();
    let bucket_policy = PolicyDocument::for_bucket(&terms("us-east-1"), [&access], &principals);
    assert_eq!(Some(bucket_policy.meaning()), Meaning::read(&reference_bucket_policy()));
    assert_ne!(bucket_policy.meaning(), document(&access).meaning());
}

#[test]
fn the_text_is_canonical_and_minimal() {
    assert_eq!(
        document(&access(Some("a/b"), &[Capability::MultipartUploads])).to_json(),
        concat!(
            r#"{"Version":"2012-10-17","Statement":["#,
            r#"{"Sid":"Bucket","Effect":"Allow","Action":"s3:ListBucketMultipartUploads","#,
            r#""Resource":"arn:aws:s3:::my-backups"},"#,
            r#"{"Sid":"KeysOnly","Effect":"Deny","Action":"*","Resource":"*","#,
            r#""Condition":{"Null":{"aws:TokenIssueTime":"false"}}},"#,
            r#"{"Sid":"ListFolder","Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::my-backups","#,
            r#""Condition":{"StringLike":{"s3:prefix":"a/b/*"}}},"#,
            r#"{"Sid":"ListOnTheWay","Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::my-backups","#,
            r#""Condition":{"StringEquals":{"s3:delimiter":"/","s3:prefix":["","a/"]}}},"#,
            r#"{"Sid":"Objects","Effect":"Allow","Action":["s3:AbortMultipartUpload","s3:DeleteObject","s3:GetObject","#,
            r#""s3:ListMultipartUploadParts","s3:PutObject"],"Resource":"arn:aws:s3:::my-backups/a/b/*"}]}"#,
        )
    );
}

#[test]
fn each_capability_adds_its_own_actions_only() {
    let base = document(&access(Some("a"), &[])).to_json();
    let table: [(Capability, &[&str]); 4] = [
        (
            Capability::MultipartUploads,
            &["s3:AbortMultipartUpload", "s3:ListBucketMultipartUploads", "s3:ListMultipartUploadParts"],
        ),
        (Capability::ObjectAcls, &["s3:PutObjectAcl"]),
        (Capability::ListAllBuckets, &["s3:GetBucketLocation", "s3:ListAllMyBuckets"]),
        (Capability::CreateBucket, &["s3:CreateBucket"]),
    ];
    for (capability, expected) in table {
        let json = document(&access(Some("a"), &[capability])).to_json();
        assert_eq!(actions(&json).difference(&actions(&base)).copied().collect::<Vec<_>>(), expected);
    }
}

/// A key that may set any ACL could show a backup to everybody.
#[test]
fn acls_show_objects_to_nobody_else() {
    let json = document(&access(Some("a"), &[Capability::ObjectAcls])).to_json();
    let statement =
        r#"{"Sid":"Acls","Effect":"Allow","Action":"s3:PutObjectAcl","Resource":"arn:aws:s3:::my-backups/a/*","#;
    let condition = r#""Condition":{"StringEquals":{"s3:x-amz-acl":["bucket-owner-full-control","private"]}}}"#;
    assert!(json.contains(&format!("{statement}{condition}")), "{json}");
}

fn actions(json: &str) -> BTreeSet<&str> {
    let keys = ["s3:prefix", "s3:delimiter", "s3:locationconstraint", "s3:x-amz-acl", "s3:ResourceAccount"];
    json.split('"').filter(|part| part.starts_with("s3:") && !keys.contains(part)).collect()
}

#[test]
fn the_whole_bucket_is_listed_without_condition() {
    let json = document(&access(None, &[])).to_json();
    assert!(!json.replace(KEYS_ONLY, "").contains("Condition"), "{json}");
    assert!(json.contains("arn:aws:s3:::my-backups/*"), "{json}");
}

#[test]
fn a_bucket_is_created_in_the_region_of_the_store_only() {
    let create = access(Some("a"), &[Capability::CreateBucket]);
    let elsewhere = PolicyDocument::new(&terms("eu-central-1"), [&create]).to_json();
    assert!(elsewhere.contains(r#""StringEquals":{"s3:locationconstraint":"eu-central-1"}"#), "{elsewhere}");
    assert!(!document(&create).to_json().contains("locationconstraint"));
}

#[test]
fn the_stores_options_are_on_every_statement_that_can_have_them() {
    let owner = Some(AccountId::parse("123456789012").expect("valid"));
    let terms = Terms { bucket_owner: owner, tls_only: true, ..terms("us-east-1") };
    let all = access(Some("a"), &Capability::ALL);
    let json = PolicyDocument::new(&terms, [&all]).to_json();
    let statements = json.replace(KEYS_ONLY, "").matches(r#""Sid""#).count();
    assert_eq!(json.matches(r#""Bool":{"aws:SecureTransport":"true"}"#).count(), statements);
    // Neither the account nor a bucket that is only to be has an owner to compare.
    assert_eq!(json.matches(r#""s3:ResourceAccount":"123456789012""#).count(), statements - 2);
    let principals = ["arn:aws:iam::123456789012:user/backup".to_owned()].into();
    let bucket_policy = PolicyDocument::for_bucket(&terms, [&all], &principals).to_json();
    assert!(bucket_policy.contains("SecureTransport") && !bucket_policy.contains("ResourceAccount"));
}

#[test]
fn a_bucket_policy_leaves_out_what_it_cannot_grant() {
    let principals = ["a".to_owned(), "b".to_owned()].into();
    let all = access(Some("a"), &Capability::ALL);
    let json = PolicyDocument::for_bucket(&terms("us-east-1"), [&all], &principals).to_json();
    assert!(json.contains(r#""Principal":{"AWS":["a","b"]}"#), "{json}");
    assert!(json.contains("s3:GetBucketLocation") && json.contains("s3:ListBucketMultipartUploads"));
    assert!(!json.contains("s3:ListAllMyBuckets") && !json.contains("s3:CreateBucket"));
}

#[test]
fn a_union_covers_both_places_in_as_few_statements_as_one() {
    let (old, new) = (access(Some("old"), &[]), access(Some("new"), &[]));
    let document = PolicyDocument::new(&terms("cn-north-1"), [&old, &new]);
    let json = document.to_json();
    assert!(json.contains(r#"["arn:aws-cn:s3:::my-backups/new/*","arn:aws-cn:s3:::my-backups/old/*"]"#), "{json}");
    assert!(json.contains(r#""s3:prefix":["new/*","old/*"]"#), "{json}");
    assert_eq!(json.matches(r#""Sid""#).count(), 4);
    assert_eq!(document.to_json(), PolicyDocument::new(&terms("cn-north-1"), [&new, &old]).to_json());
}

#[test]
fn what_cannot_be_joined_has_ids_of_its_own() {
    let (old, new) = (access(Some("old"), &[Capability::MultipartUploads]), access(Some("new"), &[]));
    let json = document(&old).to_json();
    assert!(json.contains(r#""Sid":"Objects""#) && !json.contains("Objects2"));
    let json = PolicyDocument::new(&terms("us-east-1"), [&old, &new]).to_json();
    assert!(json.contains(r#""Sid":"Objects""#) && json.contains(r#""Sid":"Objects2""#), "{json}");
}

#[test]
fn a_size_is_counted_as_iam_counts_it() {
    let size = |prefix| document(&access(Some(prefix), &[])).size();
    assert!(size("ab") > 100);
    assert_eq!(size("a b"), size("ab"), "AWS does not count spaces");
    assert_eq!(size("ü"), size("u"), "AWS counts characters, not bytes");
    assert!(size("abc") > size("ab"));
}

#[test]
fn another_spelling_means_the_same() {
    let ours = document(&access(Some("backups/dataset-1"), &[])).meaning();
    let reference = reference_identity();
    for (from, to) in [
        ("AllowObjects", "Renamed"),
        ("s3:GetObject", "S3:getobject"),
        ("s3:prefix", "S3:Prefix"),
        (r#""Action":["s3:ListBucket"]"#, r#""Action":"s3:ListBucket""#),
        (r#","backups/dataset-1/"]"#, "]"),
        (r#""s3:GetObject","#, r#""s3:GetObject","s3:GetObject","#),
        (r#"["arn:aws:s3:::my-backups"]"#, r#"["arn:aws:s3:::my-backups","arn:aws:s3:::my-backups/x"]"#),
    ] {
        let changed = reference.replacen(from, to, 1);
        assert_ne!(changed, reference, "{from} is in the document");
        assert_eq!(Some(&ours), Meaning::read(&changed).as_ref(), "{from} -> {to}");
    }
}

#[test]
fn a_difference_in_meaning_is_a_difference() {
    let ours = document(&access(Some("backups/dataset-1"), &[])).meaning();
    let reference = reference_identity();
    for (from, to) in [
        ("s3:GetObject", "s3:GetObjectAcl"),
        ("s3:GetObject", "s3:*"),
        ("s3:GetObject", "s3:PutObject"),
        ("dataset-1/*\"]}}}", "dataset-1*\"]}}}"),
        ("my-backups/backups/dataset-1/*", "my-backups/*"),
        ("\"StringEquals\"", "\"StringNotEquals\""),
        ("\"Allow\"", "\"Deny\""),
        ("2012-10-17", "2008-10-17"),
        ("\"Action\"", "\"NotAction\""),
        (",\"s3:delimiter\":[\"/\"]", ""),
        ("\"s3:delimiter\":[\"/\"]", "\"s3:max-keys\":[\"1\"]"),
        ("[\"\",\"backups/\"", "[\"${aws:username}\",\"backups/\""),
    ] {
        let changed = reference.replacen(from, to, 1);
        assert_ne!(changed, reference, "{from} is in the document");
        assert_ne!(Some(&ours), Meaning::read(&changed).as_ref(), "{from} -> {to}");
    }
}

#[test]
fn a_document_that_lists_without_end_is_not_ours() {
    let many: Vec<String> = (0..150).map(|n| format!("\"{n}/\"")).collect();
    let many = many.join(",");
    let document = format!(
        r#"{{"Version":"2012-10-17","Statement":{{"Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::b",
        "Condition":{{"StringEquals":{{"s3:prefix":[{many}],"s3:delimiter":[{many}]}}}}}}}}"#
    );
    assert_eq!(Meaning::read(&document), None);
}

/// Anybody can make a session from a key, and it would outlive the key.
#[test]
fn a_session_is_refused_in_every_form() {
    let document = document(&access(Some("a"), &Capability::ALL));
    assert_eq!(document.to_json().matches(KEYS_ONLY).count(), 1);
    let user = "arn:aws:iam::123456789012:user/role/u".to_owned();
    let roles = ["arn:aws:iam::123456789012:role/r", "arn:aws:sts::123456789012:assumed-role/r/s"];
    let roles: BTreeSet<String> = roles.map(str::to_owned).into();
    let of = |principals: &BTreeSet<String>| {
        PolicyDocument::for_bucket(&terms("us-east-1"), [&access(Some("a"), &Capability::ALL)], principals).to_json()
    };
    let refused = |json: &str| json.matches(r#""Null":{"aws:TokenIssueTime":"true"}"#).count();
    let json = of(&[user.clone()].into());
    assert_eq!(refused(&json), json.matches(r#""Sid""#).count(), "{json}");
    assert_eq!(refused(&of(&roles)), 0, "a role has nothing but sessions");
    let both = of(&roles.iter().cloned().chain([user]).collect());
    assert_eq!(refused(&both) * 2, both.matches(r#""Sid""#).count(), "{both}");
    assert!(PolicyDocument::new(&terms("us-east-1"), []).is_empty());
}

#[test]
fn what_refuses_sessions_is_read_in_every_spelling() {
    let ours = document(&access(Some("backups/dataset-1"), &[])).meaning();
    let reference = reference_identity();
    for (from, to) in [
        (r#""Action":"*""#, r#""Action":["*"]"#),
        (r#""Resource":"*""#, r#""Resource":["*","*"]"#),
        (r#""aws:TokenIssueTime":"false""#, r#""AWS:tokenissuetime":["false"]"#),
        (r#""aws:TokenIssueTime":"false""#, r#""aws:TokenIssueTime":false"#),
        (r#""Sid":"KeysOnly","#, ""),
    ] {
        let changed = reference.replacen(from, to, 1);
        assert_ne!(changed, reference, "{from} is in the document");
        assert_eq!(Some(&ours), Meaning::read(&changed).as_ref(), "{from} -> {to}");
    }
    for (from, to) in [
        (KEYS_ONLY, r#"{"Effect":"Allow","Action":"s3:GetBucketLocation","Resource":"arn:aws:s3:::my-backups"}"#),
        (r#""Action":"*""#, r#""Action":"s3:*""#),
        (r#""Resource":"*""#, r#""Resource":"arn:aws:s3:::my-backups""#),
        (r#""aws:TokenIssueTime":"false""#, r#""aws:TokenIssueTime":"true""#),
        (r#""aws:TokenIssueTime":"false""#, r#""aws:TokenIssueTime":"false","aws:SourceIp":"false""#),
        (r#"{"Null":{"aws:TokenIssueTime":"false"}}"#, r#"{"Null":{"aws:TokenIssueTime":"false"},"Bool":{}}"#),
        (r#""Action":"*","#, ""),
    ] {
        let changed = reference.replacen(from, to, 1);
        assert_ne!(changed, reference, "{from} is in the document");
        assert_ne!(Some(&ours), Meaning::read(&changed).as_ref(), "{from} -> {to}");
    }
}

#[test]
fn a_document_only_denies_when_each_of_its_statements_does() {
    let table = [
        (r#"{"Statement":{"Effect":"Deny","Action":"*","Resource":"*"}}"#, true),
        (r#"{"Statement":[{"Effect":"Deny","NotAction":"s3:*","Resource":"*","Condition":{"Bool":{"a":"b"}}}]}"#, true),
        (r#"{"Statement":[{"Effect":"Deny","Action":"*","Resource":"*"},{"Effect":"Allow","Action":"*"}]}"#, false),
        (r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#, false),
        (r#"{"Statement":{"Effect":"deny","Action":"*","Resource":"*"}}"#, false),
        (r#"{"Statement":[]}"#, false),
        (r#"{"Statement":["Deny"]}"#, false),
        ("{}", false),
        ("not JSON", false),
    ];
    for (json, expected) in table {
        assert_eq!(only_denies(json), expected, "{json}");
    }
    assert!(!only_denies(&document(&access(Some("a"), &Capability::ALL)).to_json()));
}

#[test]
fn whatever_is_written_is_understood() {
    for prefix in [None, Some("a"), Some("Größe/été/a b+c")] {
        for region in ["us-east-1", "cn-north-1", "us-isob-east-1"] {
            let all = access(prefix, &Capability::ALL);
            let document = PolicyDocument::new(&terms(region), [&all]);
            assert_eq!(Meaning::read(&document.to_pretty_json()), Some(document.meaning()));
        }
    }
}
