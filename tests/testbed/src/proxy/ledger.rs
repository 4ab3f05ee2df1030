//! What a proxy remembers of each request.

use std::sync::{Mutex, MutexGuard, PoisonError};

use hyper::{
    Method, Request, StatusCode,
    header::{self, HeaderName},
};

use super::fault::Fault;

/// One request and what became of it. Nothing of the bodies is kept but an AWS action's name.
#[derive(Clone, Debug)]
pub struct Call {
    pub method: Method,
    /// Whom the client takes the server for; S3 has the bucket in it.
    pub host: String,
    pub path: String,
    pub query: String,
    /// The `Action` of a request to IAM or STS.
    pub action: Option<String>,
    /// The id of the access key that signed a request to AWS.
    pub access_key: Option<String>,
    /// The region that a request to AWS is signed for.
    pub signed_for: Option<String>,
    /// The canned ACL that a request to S3 carries.
    pub acl: Option<String>,
    /// Absent while there is no answer, and for good when there was none.
    pub status: Option<u16>,
    /// How the proxy broke it, if it did.
    pub fault: Option<Fault>,
}

impl Call {
    pub(super) fn of<B>(request: &Request<B>, form: Option<&str>) -> Self {
        let query = request.uri().query().unwrap_or_default();
        Self {
            method: request.method().clone(),
            host: text(request, header::HOST).unwrap_or_default().to_owned(),
            path: request.uri().path().to_owned(),
            query: query.to_owned(),
            action: action(form.unwrap_or_default()).or_else(|| action(query)),
            access_key: credential(request, 0),
            signed_for: credential(request, 2),
            acl: text(request, HeaderName::from_static("x-amz-acl")).map(str::to_owned),
            status: None,
            fault: None,
        }
    }

    /// Whether the request is this action of IAM or STS.
    pub fn is(&self, action: &str) -> bool {
        self.action.as_deref() == Some(action)
    }

    /// Whether the request is one that changes something.
    pub fn is_write(&self) -> bool {
        match &self.action {
            Some(action) => !["Get", "List", "Simulate"].iter().any(|verb| action.starts_with(verb)),
            None => ![Method::GET, Method::HEAD, Method::OPTIONS].contains(&self.method),
        }
    }

    /// Whether the answer goes on for as long as somebody listens.
    pub fn is_watch(&self) -> bool {
        self.query.contains("watch=")
    }

    /// Whether the answer was one that says that it went well.
    pub fn succeeded(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }

    /// The namespace that a request to Kubernetes is about.
    pub fn namespace(&self) -> Option<&str> {
        let (_, rest) = self.path.split_once("/namespaces/")?;
        rest.split('/').next()
    }
}

/// A moment in a ledger; the default is its beginning.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mark(usize);

#[derive(Default)]
pub(super) struct Ledger {
    calls: Mutex<Vec<Call>>,
}

impl Ledger {
    pub(super) fn enter(&self, call: Call) -> usize {
        let mut calls = self.calls();
        calls.push(call);
        calls.len() - 1
    }

    pub(super) fn answered(&self, entry: usize, status: StatusCode) {
        self.calls()[entry].status = Some(status.as_u16());
    }

    pub(super) fn since(&self, Mark(start): Mark, wanted: impl Fn(&Call) -> bool) -> Vec<Call> {
        self.calls()[start..].iter().filter(|call| wanted(call)).cloned().collect()
    }

    pub(super) fn mark(&self) -> Mark {
        Mark(self.calls().len())
    }

    fn calls(&self) -> MutexGuard<'_, Vec<Call>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn action(form: &str) -> Option<String> {
    form.split('&').find_map(|field| field.strip_prefix("Action=")).map(str::to_owned)
}

/// A part of the scope in which a request is signed: key, day, region, service.
fn credential<B>(request: &Request<B>, part: usize) -> Option<String> {
    let (_, credential) = text(request, header::AUTHORIZATION)?.split_once("Credential=")?;
    credential.split(['/', ',']).nth(part).map(str::to_owned)
}

fn text<B>(request: &Request<B>, name: HeaderName) -> Option<&str> {
    request.headers().get(name)?.to_str().ok()
}
