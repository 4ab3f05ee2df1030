//! Ways to break a request, and which requests to break.

use std::{
    future::pending,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::{Result, bail};
use hyper::{Response, StatusCode};

use super::{
    forward::{Answer, whole},
    ledger::Call,
};

/// What happens to a request, mostly instead of being passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The connection is closed without an answer.
    Refuse,
    /// The request is passed on, and its answer is lost.
    LoseAnswer,
    /// There is never an answer.
    Hang,
    /// The answer is a success in a language nobody speaks.
    Garbage,
    /// The answer is this status, with an empty body.
    Status(u16),
    /// The answer is this status and this error of S3.
    S3Error(u16, &'static str),
}

impl Fault {
    pub async fn answer(self) -> Result<Answer> {
        match self {
            Self::Refuse | Self::LoseAnswer => bail!("refused"),
            Self::Hang => pending().await,
            Self::Garbage => Ok(Response::new(whole("\u{1f9e8} <<not what you asked for"))),
            Self::Status(status) => failure(status, String::new()),
            Self::S3Error(status, code) => {
                failure(status, format!("<Error><Code>{code}</Code><Message>as the test wants it</Message></Error>"))
            }
        }
    }
}

fn failure(status: u16, body: String) -> Result<Answer> {
    let mut answer = Response::new(whole(body));
    *answer.status_mut() = StatusCode::from_u16(status)?;
    Ok(answer)
}

/// A fault in force; it ends when this is dropped.
pub struct Active {
    rule: Arc<Rule>,
}

impl Active {
    /// How many requests it has broken.
    pub fn hits(&self) -> usize {
        self.rule.hits.load(Ordering::Relaxed)
    }
}

struct Rule {
    fault: Fault,
    matches: Box<dyn Fn(&Call) -> bool + Send + Sync>,
    hits: AtomicUsize,
}

#[derive(Default)]
pub struct Faults {
    rules: Mutex<Vec<Weak<Rule>>>,
}

impl Faults {
    pub fn add(&self, fault: Fault, matches: impl Fn(&Call) -> bool + Send + Sync + 'static) -> Active {
        let rule = Arc::new(Rule { fault, matches: Box::new(matches), hits: AtomicUsize::new(0) });
        self.rules.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&rule));
        Active { rule }
    }

    /// The fault for a request, if one is in force; the newest wins.
    pub fn of(&self, call: &Call) -> Option<Fault> {
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        rules.retain(|rule| rule.strong_count() > 0);
        let rule = rules.iter().rev().filter_map(Weak::upgrade).find(|rule| (rule.matches)(call))?;
        rule.hits.fetch_add(1, Ordering::Relaxed);
        Some(rule.fault)
    }
}
