//! Ways to break a request.

use std::{future::pending, time::Duration};

use anyhow::{Result, bail};
use hyper::{
    Response, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};

use super::{
    forward::{Answer, whole},
    ledger::Call,
};

/// What happens to a request instead of just being passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The connection is closed without an answer, and nobody heard the request.
    Refuse,
    /// There is never an answer.
    Hang,
    /// The answer is a success in a language nobody speaks.
    Garbage,
    /// The answer is this status, with an empty body.
    Status(u16),
    /// The same, asking for a second of patience.
    RetryAfter(u16),
    /// Too many requests, as this API says it.
    Throttle,
    /// It is passed on after this time.
    Delay(Duration),
    /// It takes effect, and the answer is lost.
    LoseAnswer,
    /// The connection is closed at once; after this time it takes effect.
    Late(Duration),
    /// The answer is that of the same question before the last [`super::Proxy::freeze`]; what was never asked, never was.
    Stale,
    /// It is held for ever, before it takes effect.
    HoldBefore,
    /// It is held for ever, after it took effect.
    HoldAfter,
    /// A watch begins and says that what it would tell is forgotten.
    Gone,
    /// A watch begins and stays silent.
    Silence,
    /// The answer is this status and this error of S3.
    S3Error(u16, &'static str),
    /// The answer is this status, and this error of IAM or STS in these words.
    IamError(u16, &'static str, &'static str),
    /// It is passed on, and its answer is that of a server whose clock is ahead by so many seconds.
    ClockAhead(i64),
}

impl Fault {
    /// The answer of a fault for which the server behind is not asked.
    pub(super) async fn answer(self, call: &Call) -> Result<Answer> {
        match self {
            Self::HoldBefore => pending().await,
            Self::Garbage => Ok(Response::new(whole("\u{1f9e8} <<not what you asked for"))),
            Self::S3Error(status, code) => as_xml(with_status(status, &s3_error(code))?),
            Self::IamError(status, code, message) => iam_error(status, code, message),
            Self::Status(status) => with_status(status, ""),
            Self::RetryAfter(status) => patient(with_status(status, "")?),
            Self::Throttle => throttle(call),
            Self::Gone => Ok(Response::new(whole(GONE))),
            _ => bail!("refused"),
        }
    }
}

const GONE: &str = concat!(
    r#"{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","#,
    r#""message":"too old resource version: 1 (2)","reason":"Expired","code":410}}"#,
    "\n"
);

/// Kubernetes has a status for it; IAM and S3 have words.
fn throttle(call: &Call) -> Result<Answer> {
    if call.action.is_some() {
        return iam_error(400, "Throttling", "Rate exceeded");
    }
    if call.access_key.is_some() {
        return as_xml(with_status(503, &s3_error("SlowDown"))?);
    }
    patient(with_status(429, "")?)
}

fn s3_error(code: &str) -> String {
    format!("<Error><Code>{code}</Code><Message>as the test wants it</Message></Error>")
}

/// What IAM says of something that is not there.
pub(super) fn no_such_entity() -> Result<Answer> {
    iam_error(404, "NoSuchEntity", "not found")
}

/// An error as IAM and STS write it.
pub(super) fn iam_error(status: u16, code: &str, message: &str) -> Result<Answer> {
    let error = format!("<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>");
    as_xml(with_status(status, &format!("<ErrorResponse>{error}<RequestId>0</RequestId></ErrorResponse>"))?)
}

fn with_status(status: u16, body: &str) -> Result<Answer> {
    let mut answer = Response::new(whole(body.to_owned()));
    *answer.status_mut() = StatusCode::from_u16(status)?;
    Ok(answer)
}

fn patient(mut answer: Answer) -> Result<Answer> {
    answer.headers_mut().insert(RETRY_AFTER, "1".parse()?);
    Ok(answer)
}

fn as_xml(mut answer: Answer) -> Result<Answer> {
    answer.headers_mut().insert(CONTENT_TYPE, "text/xml".parse()?);
    Ok(answer)
}
