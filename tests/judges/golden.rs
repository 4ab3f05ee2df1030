//! A policy for `backups/dataset-1/` that was written by hand, and what is known of it (docs/decisions/policy.md): the judge, the
//! specification and the operator's builder all have to say the same of it.

use serde_json::{Value, json};

use crate::{
    can::{Form, can},
    cases::{BUCKET, Case, declare, requests},
    promise::disagreements,
    request::{Place, Request},
    simulate::{Answers, Document, Verdict, holder, judge},
    subject,
};

const FOLDER: &str = "backups/dataset-1/";

/// The text of the document: a bucket policy with a principal, an identity policy without one.
fn document(form: Form) -> Value {
    let mut document: Value = serde_json::from_str(
        r#"{"Version":"2012-10-17","Statement":[
          {"Sid":"AllowListingAncestors","Effect":"Allow","Action":["s3:ListBucket"],"Resource":["arn:aws:s3:::my-backups"],
           "Condition":{"StringEquals":{"s3:prefix":["","backups/","backups/dataset-1/"],"s3:delimiter":["/"]}}},
          {"Sid":"AllowListingWithin","Effect":"Allow","Action":["s3:ListBucket"],"Resource":["arn:aws:s3:::my-backups"],
           "Condition":{"StringLike":{"s3:prefix":["backups/dataset-1/*"]}}},
          {"Sid":"AllowObjects","Effect":"Allow","Action":["s3:PutObject","s3:GetObject","s3:DeleteObject"],
           "Resource":"arn:aws:s3:::my-backups/backups/dataset-1/*"}]}"#,
    )
    .expect("JSON");
    if form == Form::Bucket {
        for statement in document["Statement"].as_array_mut().expect("a list") {
            statement["Principal"] = json!({"AWS": holder("aws")});
        }
    }
    document
}

/// What is known of it, and whether it is allowed.
fn known() -> Vec<(Request, bool)> {
    let list = |prefix, delimiter| Request::list(BUCKET, prefix, delimiter);
    let object = |action, key| Request::object(action, BUCKET, key);
    let bucket = |action| Request::new(action, Place::Bucket(BUCKET.to_owned()));
    let allowed = [
        list(Some(""), Some("/")),
        list(Some("backups/"), Some("/")),
        list(Some("backups/dataset-1/"), None),
        list(Some("backups/dataset-1/"), Some("/")),
        list(Some("backups/dataset-1/x"), None),
        object("s3:GetObject", "backups/dataset-1/a"),
        object("s3:PutObject", "backups/dataset-1/a"),
        object("s3:DeleteObject", "backups/dataset-1/a"),
    ];
    let refused = [
        list(Some(""), None),
        // HeadBucket.
        list(None, None),
        list(Some("backups/dataset-1"), None),
        list(Some("backups/dataset-10/"), None),
        object("s3:GetObject", "backups/dataset-10/a"),
        object("s3:GetObject", "backups/dataset-1"),
        object("s3:AbortMultipartUpload", "backups/dataset-1/a"),
        object("s3:GetObjectVersion", "backups/dataset-1/a"),
        object("s3:DeleteObjectVersion", "backups/dataset-1/a"),
        object("s3:PutObjectAcl", "backups/dataset-1/a"),
        bucket("s3:CreateBucket"),
        Request::new("s3:ListAllMyBuckets", Place::Account),
    ];
    let told = |requests: Vec<Request>, answer| requests.into_iter().map(move |request| (request, answer));
    told(allowed.into(), true).chain(told(refused.into(), false)).collect()
}

#[tokio::test]
async fn what_is_known_is_said_by_all() {
    for form in [Form::Identity, Form::Bucket] {
        let declared = [declare(FOLDER, [].into(), true)];
        let (requests, expected): (Vec<_>, Vec<_>) = known().into_iter().unzip();
        let (theirs, ours) = (document(form), subject::policy(form, &declared, &holder("aws")));
        for policy in [&theirs, &ours] {
            let document = Document { form, policy, cloud: "aws", requests: &requests };
            let verdicts = judge(&[document]).await.expect("judged");
            assert_eq!(verdicts, [Verdict::Answers(Answers(expected.clone()))], "{form:?}: {policy}");
        }
        let promised: Vec<bool> = requests.iter().map(|request| can(form, &declared, &request.wish())).collect();
        assert_eq!(promised, expected, "{form:?}: the specification");
    }
}

#[tokio::test]
async fn the_documents_own_policy_keeps_the_specification() {
    for form in [Form::Identity, Form::Bucket] {
        let found = disagreements(&[case(form)], &[document(form)]).await.expect("judged").concat();
        assert!(found.is_empty(), "{found:#?}");
    }
}

/// All that can be asked of it. It was written before anybody thought of sessions.
fn case(form: Form) -> Case {
    let declared = declare(FOLDER, [].into(), true);
    let requests = requests(form, &declared, 0).into_iter().filter(|request| !request.by_session).collect();
    Case { form, requests, declared: vec![declared] }
}

/// A judge that finds nothing wrong could be one that does not look: each of these is wrong, and is told so.
#[tokio::test]
async fn wrong_policies_are_found_out() {
    let wrong = [
        // Too much: siblings that share the beginning of the name, other buckets, more than one level, another action.
        ("dataset-1/*\"]", "dataset-1*\"]"),
        ("my-backups/backups/dataset-1/*", "my-backups/backups/dataset-1*"),
        ("my-backups/backups", "my-backups*/backups"),
        ("arn:aws:s3:::my-backups\"", "arn:aws:s3:::*\""),
        ("backups/dataset-1/\"]", "backups/dataset-1/\",\"backups/dataset-10/\"]"),
        ("\"s3:delimiter\":[\"/\"],", ""),
        ("s3:DeleteObject", "s3:DeleteObject*"),
        ("s3:GetObject", "s3:*"),
        // Too little.
        ("\"\",", ""),
        ("\"StringLike\"", "\"StringEquals\""),
        ("s3:GetObject\"", "s3:GetObjectAcl\""),
        ("s3:GetObject\"", "s3:HeadObject\""),
        ("my-backups/backups/dataset-1/*", "my-backups/backups/Dataset-1/*"),
        ("[\"s3:ListBucket\"]", "[\"s3:ListObjectsV2\"]"),
        ("\"Allow\"", "\"Deny\""),
        ("aws:s3", "aws-cn:s3"),
        // No policies at all; the first is how the document itself was printed.
        ("\"s3:PutObject\"", "\"s3:AbortMultipartUploads3:ListMultipartUploadParts\""),
        ("StringEquals", "StringsEqual"),
        ("\"Action\"", "\"Acton\""),
        ("arn:aws:s3:::my-backups\"", "my-backups\""),
    ];
    for form in [Form::Identity, Form::Bucket] {
        let right = document(form).to_string();
        let change = |(from, to): &(&str, &str)| {
            let changed = right.replacen(from, to, 1);
            assert_ne!(changed, right, "{from} is not in {right}");
            serde_json::from_str(&changed).expect("JSON")
        };
        let policies: Vec<Value> = wrong.iter().map(change).collect();
        let found = disagreements(&vec![case(form); policies.len()], &policies).await.expect("judged");
        let unseen: Vec<_> = wrong.iter().zip(found).filter(|(_, found)| found.is_empty()).collect();
        assert!(unseen.is_empty(), "{form:?}: nobody saw what is wrong with {unseen:#?}");
    }
}
