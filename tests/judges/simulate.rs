//! The judge: `iam-simulate`, an independent simulator of IAM, run as a program of its own.

use std::{
    io::{Seek, Write},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
use testbed::{child::command, program::run, tools::tool};

use crate::{
    can::Form,
    request::{Asker, Place, Request},
};

pub const ACCOUNT: &str = "123456789012";
const OTHER_ACCOUNT: &str = "999999999999";
const USER: &str = "user/backup-target/cluster/btgt-1";

const START: Duration = Duration::from_mins(1);
/// Ten times what it takes on a machine with nothing else to do.
const EACH: Duration = Duration::from_millis(2);

/// A policy to judge requests by.
#[derive(Clone, Debug)]
pub struct Document<'a> {
    pub form: Form,
    pub policy: &'a Value,
    pub cloud: &'static str,
    pub requests: &'a [Request],
}

/// What the judge says: for each request whether it is allowed, or why the document cannot be judged.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Answers(Answers),
    Error(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub struct Answers(pub Vec<bool>);

impl From<String> for Answers {
    fn from(text: String) -> Self {
        Self(text.chars().map(|answer| answer == 'A').collect())
    }
}

/// The ARN of the one whose key it is.
pub fn holder(cloud: &str) -> String {
    format!("arn:{cloud}:iam::{ACCOUNT}:{USER}")
}

/// Has all documents judged, by one process.
pub async fn judge(documents: &[Document<'_>]) -> Result<Vec<Verdict>> {
    let questions: Vec<Value> = documents.iter().map(question).collect();
    let verdicts = answers(&questions, documents.iter().map(|document| document.requests.len()).sum()).await?;
    for (document, verdict) in documents.iter().zip(&verdicts) {
        if let Verdict::Answers(Answers(answers)) = verdict {
            ensure!(answers.len() == document.requests.len(), "as many answers as requests");
        }
    }
    Ok(verdicts)
}

/// What the judge says to each question; `requests` is how many there are in all of them.
pub async fn answers(questions: &[Value], requests: usize) -> Result<Vec<Verdict>> {
    let lines: String = questions.iter().map(|question| question.to_string() + "\n").collect();
    let mut file = tempfile::tempfile()?;
    file.write_all(lines.as_bytes())?;
    file.rewind()?;
    let mut program = command(tool("iam-simulate")?);
    program.stdin(file);
    let deadline = START + EACH * u32::try_from(requests)?;
    let answers = run("iam-simulate", program, deadline).await?.succeeded()?;
    let verdicts: Vec<Verdict> = answers
        .lines()
        .map(|line| serde_json::from_str(line).with_context(|| format!("what iam-simulate says: {line}")))
        .collect::<Result<_>>()?;
    ensure!(verdicts.len() == questions.len(), "{} documents, {} verdicts", questions.len(), verdicts.len());
    Ok(verdicts)
}

fn question(document: &Document) -> Value {
    json!({
        "form": match document.form {
            Form::Identity => "identity",
            Form::Bucket => "bucket",
        },
        "holder": holder(document.cloud),
        "policy": document.policy,
        "requests": document.requests.iter().map(|asked| request(asked, document.cloud)).collect::<Vec<_>>(),
    })
}

/// `cloud` is the holder's: nobody has a key for another one.
fn request(request: &Request, cloud: &str) -> Value {
    let owner = if request.own_bucket { ACCOUNT } else { OTHER_ACCOUNT };
    let listing = &request.listing;
    let max_keys = listing.max_keys.map(|count| count.to_string());
    let context: serde_json::Map<String, Value> = [
        ("s3:prefix", listing.prefix.as_deref()),
        ("s3:delimiter", listing.delimiter.as_deref()),
        ("s3:max-keys", max_keys.as_deref()),
        ("s3:locationconstraint", request.location.as_deref()),
        ("s3:x-amz-acl", request.acl.as_deref()),
        ("aws:SecureTransport", Some(if request.over_tls { "true" } else { "false" })),
        ("s3:ResourceAccount", Some(owner)),
        ("aws:TokenIssueTime", request.by_session.then_some("2026-01-01T00:00:00Z")),
    ]
    .into_iter()
    .filter_map(|(key, value)| Some((key.to_owned(), value?.into())))
    .collect();
    json!({
        "principal": match request.asker {
            Asker::Holder => holder(cloud),
            Asker::Neighbour => format!("{}0", holder(cloud)),
            Asker::Stranger => format!("arn:{cloud}:iam::{OTHER_ACCOUNT}:{USER}"),
        },
        "action": request.action,
        "resource": resource(&request.place, request.cloud),
        "account": owner,
        "context": context,
    })
}

fn resource(place: &Place, cloud: &str) -> String {
    match place {
        Place::Bucket(bucket) => format!("arn:{cloud}:s3:::{bucket}"),
        Place::Object(bucket, key) => format!("arn:{cloud}:s3:::{bucket}/{key}"),
        Place::Account => "*".to_owned(),
        Place::User(name) => format!("arn:{cloud}:iam::{ACCOUNT}:user/{name}"),
    }
}
