//! Answers that were given, for a proxy that has to give an old one again.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::Result;
use http_body_util::BodyExt;
use hyper::{Response, StatusCode, body::Bytes, header::CONTENT_TYPE, http::HeaderValue};

use super::{
    fault::no_such_entity,
    forward::{Answer, whole},
    ledger::Call,
};

/// Off until it is told to begin: to keep an answer, it has to be whole before it is passed on.
#[derive(Default)]
pub(super) struct History {
    on: AtomicBool,
    answers: Mutex<Answers>,
}

#[derive(Default)]
struct Answers {
    latest: HashMap<String, Old>,
    frozen: HashMap<String, Old>,
    /// Secret access keys that AWS handed out: what must appear nowhere.
    secrets: BTreeSet<String>,
}

#[derive(Clone)]
struct Old {
    status: StatusCode,
    kind: Option<HeaderValue>,
    body: Bytes,
}

impl History {
    pub(super) fn begin(&self) {
        self.on.store(true, Ordering::Relaxed);
    }

    /// From now on, an old answer is one that was given before.
    pub(super) fn freeze(&self) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let latest = answers.latest.clone();
        answers.frozen = latest;
    }

    pub(super) fn secrets(&self) -> BTreeSet<String> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).secrets.clone()
    }

    /// Keeps an answer, unless it never ends.
    pub(super) async fn keep(&self, call: &Call, question: String, answer: Answer) -> Result<Answer> {
        if !self.on.load(Ordering::Relaxed) || call.is_watch() {
            return Ok(answer);
        }
        let (head, body) = answer.into_parts();
        let body = body.collect().await?.to_bytes();
        let old = Old { status: head.status, kind: head.headers.get(CONTENT_TYPE).cloned(), body: body.clone() };
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if call.is("CreateAccessKey") {
            answers.secrets.extend(secret(&body));
        }
        if !call.is_write() {
            answers.latest.insert(question, old);
        }
        Ok(Response::from_parts(head, whole(body)))
    }

    /// What was answered then.
    pub(super) fn old(&self, question: &str) -> Result<Answer> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(old) = answers.frozen.get(question).cloned() else { return no_such_entity() };
        let mut answer = Response::new(whole(old.body));
        *answer.status_mut() = old.status;
        answer.headers_mut().extend(old.kind.map(|kind| (CONTENT_TYPE, kind)));
        Ok(answer)
    }
}

fn secret(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body).into_owned();
    let (_, rest) = text.split_once("<SecretAccessKey>")?;
    rest.split('<').next().map(str::to_owned)
}
