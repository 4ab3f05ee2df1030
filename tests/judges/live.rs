//! The same cases as real signed requests, to the stand-in for AWS that enforces policies.
//!
//! It judges by itself, as the simulator does, and is one program more that has to agree. Where it is known to be wrong, that
//! is said in [`GAPS`] and in the tests below it, and the specification stays as it is.

use std::{
    collections::BTreeSet,
    io::{Write, stderr},
};

use anyhow::{Context, Result, ensure};
use aws_sdk_iam::{Client, types::AccessKey};
use aws_sdk_s3::types::ObjectCannedAcl;
use backup_target_operator::api::Capability;
use testbed::{
    aws::{ACCOUNT, Aws},
    run::Run,
};

use crate::{
    can::{Declared, Form, can},
    cases::{BUCKET, OTHER_BUCKETS, declare, requests},
    request::{Place, Request},
    send::{Answer, Clients, answer, send},
    subject,
};

/// How many disagreements an error shows.
const SHOWN: usize = 12;

/// Where the stand-in is known to answer otherwise than AWS.
const GAPS: [Gap; 1] = [Gap {
    what: "it takes the slashes at both ends off a key before it asks the policy",
    meets: |request| matches!(&request.place, Place::Object(_, key) if key.starts_with('/') || key.ends_with('/')),
}];

struct Gap {
    what: &'static str,
    meets: fn(&Request) -> bool,
}

#[tokio::test]
async fn real_requests_are_answered_as_promised() {
    answered(&Run::begin("live").expect("a folder")).await.expect("all as promised");
}

async fn answered(run: &Run) -> Result<()> {
    let aws = Aws::start(run).await?;
    for bucket in OTHER_BUCKETS.iter().chain([&BUCKET]) {
        aws.create_bucket(bucket).await?;
    }
    let neighbour = create_user(&aws.iam, "neighbour").await?;
    let stranger = create_user(&aws.account("999999999999").0, "btgt-0").await?;
    let mut findings = Findings::default();
    for (number, (form, declared)) in sample().iter().enumerate() {
        let name = format!("btgt-{number}");
        let clients = Clients {
            holder: aws.user(&create_user(&aws.iam, &name).await?),
            neighbour: aws.user(&neighbour),
            stranger: aws.user(&stranger),
        };
        put(&aws, *form, &name, declared).await?;
        for request in requests(*form, declared, number).iter().filter(|request| can_be_sent(request)) {
            if let Some(answer) = send(&clients, request).await.with_context(|| format!("{request:?}"))? {
                findings.note(*form, declared, request, &answer);
            }
        }
        if *form == Form::Bucket {
            aws.s3.delete_bucket_policy().bucket(BUCKET).send().await?;
        }
    }
    findings.conclude()
}

#[derive(Default)]
struct Findings {
    sent: usize,
    disagreements: Vec<String>,
    gaps: BTreeSet<&'static str>,
}

impl Findings {
    fn note(&mut self, form: Form, declared: &Declared, request: &Request, answer: &Answer) {
        self.sent += 1;
        let promised = can(form, std::slice::from_ref(declared), &request.wish());
        if promised == (*answer != Answer::Denied) {
            return;
        }
        match GAPS.iter().find(|gap| (gap.meets)(request)) {
            Some(gap) => drop(self.gaps.insert(gap.what)),
            None => self.disagreements.push(format!("{answer:?}: {request:?} with {form:?} {declared:?}")),
        }
    }

    fn conclude(self) -> Result<()> {
        let Self { sent, disagreements, gaps } = self;
        let _ =
            writeln!(stderr(), "live: {sent} requests were sent; the stand-in is wrong in {} known ways", gaps.len());
        let some: Vec<_> = disagreements.iter().take(SHOWN).collect();
        ensure!(disagreements.is_empty(), "{} of {sent} answers are not as promised: {some:#?}", disagreements.len());
        // So that the list stays true.
        let closed: Vec<_> = GAPS.iter().map(|gap| gap.what).filter(|what| !gaps.contains(what)).collect();
        ensure!(closed.is_empty(), "these are no gaps any more: {closed:#?}");
        Ok(())
    }
}

/// A session that somebody made from the key is of no use, though it is the same user's; the key itself is.
#[tokio::test]
async fn a_session_of_the_key_can_do_nothing() {
    by_session(&Run::begin("live-session").expect("a folder")).await.expect("refused");
}

async fn by_session(run: &Run) -> Result<()> {
    let aws = Aws::start(run).await?;
    aws.create_bucket(BUCKET).await?;
    for form in [Form::Identity, Form::Bucket] {
        let name = format!("btgt-{form:?}");
        let key = create_user(&aws.iam, &name).await?;
        put(&aws, form, &name, &declare("a/", Capability::ALL.into(), true)).await?;
        let (_, s3) = aws.user(&key);
        let session = aws.session(&key).await?;
        for (who, s3, expected) in [("the key", s3, Answer::Done), ("a session", session, Answer::Denied)] {
            let written = answer(s3.put_object().bucket(BUCKET).key("a/x").send().await)?;
            let listed = answer(s3.list_objects_v2().bucket(BUCKET).prefix("a/").send().await)?;
            ensure!([&written, &listed] == [&expected; 2], "{form:?}, {who}: {written:?}, {listed:?}");
        }
    }
    Ok(())
}

/// Requests that the specification has no words for, and what AWS says to them.
#[tokio::test]
async fn what_the_stand_in_does_otherwise() {
    otherwise(&Run::begin("live-gaps").expect("a folder")).await.expect("known ways");
}

async fn otherwise(run: &Run) -> Result<()> {
    let aws = Aws::start(run).await?;
    aws.create_bucket(BUCKET).await?;
    let (_, s3) = aws.user(&create_user(&aws.iam, "btgt").await?);
    put(&aws, Form::Identity, "btgt", &declare("a/", BTreeSet::new(), false)).await?;

    // The same as AWS, which asks whether the key that is missing could be listed: without that right it would be a 403.
    let missing = s3.get_object().bucket(BUCKET).key("a/missing").send().await;
    ensure!(answer(missing)? == Answer::Other("NoSuchKey".to_owned()));

    // AWS asks for s3:PutObjectAcl as well.
    let with_acl = s3.put_object().bucket(BUCKET).key("a/x").acl(ObjectCannedAcl::BucketOwnerFullControl);
    ensure!(answer(with_acl.send().await)? == Answer::Done, "the stand-in asks for the right to set an ACL now");

    // On AWS, whoever began an upload may abort it and list its parts, without any right to do so.
    let upload = s3.create_multipart_upload().bucket(BUCKET).key("a/x").send().await?.upload_id.context("an upload")?;
    let own = s3.abort_multipart_upload().bucket(BUCKET).key("a/x").upload_id(upload);
    ensure!(answer(own.send().await)? == Answer::Denied, "the stand-in knows the initiator's rights now");
    Ok(())
}

/// Some of the declarations, different in every respect.
fn sample() -> Vec<(Form, Declared)> {
    let some = |tiers: &[Capability]| tiers.iter().copied().collect::<BTreeSet<_>>();
    let all = || some(&Capability::ALL);
    let acls = || some(&[Capability::ObjectAcls, Capability::ListAllBuckets]);
    vec![
        (Form::Identity, declare("backups/dataset-1/", some(&[]), true)),
        (Form::Identity, declare("backups/dataset-1/", all(), false)),
        (Form::Identity, declare("", some(&[Capability::CreateBucket]), false)),
        (Form::Identity, declare("a+b=c@d/it's, (x:y)!/", some(&[Capability::MultipartUploads]), true)),
        (Form::Identity, declare("Größe/Été/ÿ/", acls(), true)),
        (Form::Identity, declare("my backups/every monday/", all(), true)),
        (Form::Bucket, declare("backups/dataset-1/", all(), true)),
        (Form::Bucket, declare("..a/.b/c../", some(&[]), false)),
    ]
}

/// The stand-in speaks neither TLS here nor for another AWS, and has no bucket twice.
fn can_be_sent(request: &Request) -> bool {
    request.over_tls && request.own_bucket && !request.by_session
}

async fn create_user(iam: &Client, name: &str) -> Result<AccessKey> {
    iam.create_user().user_name(name).send().await?;
    let answer = iam.create_access_key().user_name(name).send().await?;
    answer.access_key.context("a key")
}

/// Gives a user what was declared.
async fn put(aws: &Aws, form: Form, user: &str, declared: &Declared) -> Result<()> {
    let holder = format!("arn:aws:iam::{ACCOUNT}:user/{user}");
    let policy = subject::policy(form, std::slice::from_ref(declared), &holder).to_string();
    match form {
        Form::Identity => {
            aws.iam.put_user_policy().user_name(user).policy_name("p").policy_document(policy).send().await?;
        }
        Form::Bucket => {
            aws.s3.put_bucket_policy().bucket(BUCKET).policy(policy).send().await?;
        }
    }
    Ok(())
}
