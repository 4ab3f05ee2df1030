//! A server whose clock is wrong, as far as its answers show that.

use anyhow::{Context, Result};
use http_body_util::BodyExt;
use hyper::{
    Response,
    header::{CONTENT_LENGTH, DATE},
};
use jiff::{SignedDuration, Timestamp, fmt::rfc2822::DateTimePrinter};

use super::forward::{Answer, whole};

/// The elements of IAM's answers that are times.
const TIMES: [&str; 2] = ["CreateDate", "LastUsedDate"];

/// The same answer of a server whose clock is ahead by that much.
pub(super) async fn ahead(answer: Answer, by: SignedDuration) -> Result<Answer> {
    let (mut head, body) = answer.into_parts();
    let mut text = String::from_utf8(body.collect().await?.to_bytes().to_vec()).context("an answer that is no text")?;
    for element in TIMES {
        text = shifted(&text, element, by)?;
    }
    let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&(Timestamp::now() + by))?;
    head.headers.insert(DATE, date.parse()?);
    head.headers.remove(CONTENT_LENGTH);
    Ok(Response::from_parts(head, whole(text)))
}

fn shifted(text: &str, element: &str, by: SignedDuration) -> Result<String> {
    let begin = format!("<{element}>");
    let mut parts = text.split(begin.as_str());
    let head = parts.next().unwrap_or_default().to_owned();
    let shift = |part: &str| {
        let (time, rest) = part.split_once('<').context("an element without an end")?;
        let time: Timestamp = time.parse().with_context(|| format!("{element} is {time}"))?;
        Ok(format!("{begin}{}<{rest}", time + by))
    };
    let tail: Result<Vec<String>> = parts.map(shift).collect();
    Ok(head + &tail?.concat())
}
