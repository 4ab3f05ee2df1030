//! Who may do what in IAM, where AWS is stricter than the stand-in (docs/decisions/aws-reality.md).
//!
//! IAM authorizes a request about a user who is not there against `user/NAME`, without a path. A policy for the users under a path does
//! not allow that, and whoever is not allowed is not told that there is no such user. The stand-in, which knows users by name alone,
//! says 404 to everybody. Nor does the stand-in look for which region a request is signed.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context as _, Result};
use http_body_util::BodyExt;
use hyper::{Request, Response, StatusCode};
use serde_json::{Value, json};

use super::{
    fault::iam_error,
    forward::{Answer, Body, Forward, whole},
    iam_request::IamRequest,
    statement::{Context, allows},
};

/// What the caller may do, and what is known of that on which it depends.
pub(super) struct Authority {
    /// Whether the server behind plays AWS.
    as_aws: bool,
    state: Mutex<State>,
}

/// The one region for which IAM takes signatures in the partition `aws`.
const REGION: &str = "us-east-1";

#[derive(Default)]
struct State {
    /// The statements of the caller's policy; nobody is asked where there are none, as with the keys of an account's root.
    policy: Option<Vec<Value>>,
    /// Users by their names, and policies by their ARNs, as far as they were seen.
    seen: HashMap<String, Thing>,
}

/// What there is to know of a user or a policy.
#[derive(Clone, Default)]
struct Thing {
    /// Of a user.
    path: String,
    /// Of a user.
    boundary: Option<String>,
    tags: BTreeSet<String>,
}

impl Authority {
    /// Where the server behind plays AWS, the caller may do everything to users under a path, until it is said what it may do.
    pub(super) fn new(as_aws: bool) -> Self {
        let policy = as_aws.then(|| {
            vec![
                json!({"Effect": "Allow", "Action": "iam:*", "Resource": ["arn:aws:iam::*:user/*/*", "arn:aws:iam::*:policy/*"]}),
                json!({"Effect": "Allow", "Action": "iam:GetUser", "Resource": "arn:aws:iam::*:user/btgt-*"}),
            ]
        });
        Self { as_aws, state: Mutex::new(State { policy, ..State::default() }) }
    }

    /// The caller may do what these statements say, and nothing else. With none, it may do everything.
    pub(super) fn set(&self, policy: Option<Vec<Value>>) {
        self.state().policy = policy;
    }

    /// Passes a request on that is allowed, and its answer back. Whether one that only reads is, shows in what it finds.
    pub(super) async fn pass(
        &self,
        asked: &IamRequest,
        signed_for: Option<&str>,
        request: Request<Body>,
        forward: &Forward,
    ) -> Result<Answer> {
        if self.as_aws
            && let Some(region) = signed_for.filter(|region| *region != REGION)
        {
            let text = format!("Credential should be scoped to a valid region, not '{region}'. ");
            return iam_error(403, "SignatureDoesNotMatch", &text);
        }
        if !asked.only_reads() && !self.allows(asked) {
            return iam_error(403, "AccessDenied", &refusal(asked));
        }
        let (head, body) = forward.send(request).await.into_parts();
        let body = body.collect().await.context("an answer that breaks off")?.to_bytes();
        let text = String::from_utf8_lossy(&body);
        let is_missing = head.status == StatusCode::NOT_FOUND && text.contains("user with name");
        self.state().learn(asked, head.status, is_missing, &text);
        if (is_missing || asked.only_reads()) && !self.allows(asked) {
            return iam_error(403, "AccessDenied", &refusal(asked));
        }
        Ok(Response::from_parts(head, whole(body)))
    }

    fn allows(&self, asked: &IamRequest) -> bool {
        let state = self.state();
        let (Some(policy), Some((resource, context))) = (&state.policy, state.about(asked)) else { return true };
        let action = format!("iam:{}", asked.action());
        policy.iter().any(|statement| allows(statement, &action, &resource, &context))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The resource of a request, and what conditions can go by. Of what is about no user and no policy, nothing is decided.
    fn about(&self, asked: &IamRequest) -> Option<(String, Context)> {
        let arn = asked.field("PolicyArn");
        let (resource, thing) = if let Some(name) = asked.field("UserName") {
            let known =
                if asked.action() == "CreateUser" { Some(Thing::new(asked)) } else { self.seen.get(name).cloned() };
            let thing = known.unwrap_or_default();
            let path = if thing.path.is_empty() { "/" } else { &thing.path };
            (format!("user{path}{name}"), thing)
        } else if let Some(name) = asked.field("PolicyName") {
            (format!("policy{}{name}", asked.field("Path").unwrap_or("/")), Thing::default())
        } else {
            (arn?.splitn(6, ':').nth(5)?.to_owned(), self.seen.get(arn?).cloned().unwrap_or_default())
        };
        let bound = asked.field("PermissionsBoundary").map(str::to_owned).or(thing.boundary);
        let mut context: Context =
            thing.tags.iter().map(|tag| (format!("aws:ResourceTag/{tag}"), Vec::new())).collect();
        context.insert("aws:TagKeys".to_owned(), asked.tags().into_iter().collect());
        context.extend(bound.map(|bound| ("iam:PermissionsBoundary".to_owned(), vec![bound])));
        context.extend(arn.map(|arn| ("iam:PolicyARN".to_owned(), vec![arn.to_owned()])));
        Some((resource, context))
    }

    fn learn(&mut self, asked: &IamRequest, status: StatusCode, is_missing: bool, answer: &str) {
        let Some(name) = asked.field("UserName").or(asked.field("PolicyArn")).map(str::to_owned) else { return };
        if is_missing {
            self.seen.remove(&name);
        }
        if !status.is_success() {
            return;
        }
        match asked.action() {
            "GetUser" | "GetPolicy" => drop(self.seen.insert(name, Thing::read(answer))),
            "CreateUser" => drop(self.seen.insert(name, Thing::new(asked))),
            "DeleteUser" => drop(self.seen.remove(&name)),
            "TagUser" | "TagPolicy" => self.seen.entry(name).or_default().tags.extend(asked.tags()),
            "PutUserPermissionsBoundary" => {
                self.seen.entry(name).or_default().boundary = asked.field("PermissionsBoundary").map(str::to_owned);
            }
            _ => {}
        }
    }
}

impl Thing {
    /// One that a request is to create.
    fn new(asked: &IamRequest) -> Self {
        let text = |name| asked.field(name).map(str::to_owned);
        Self {
            path: text("Path").unwrap_or_default(),
            boundary: text("PermissionsBoundary"),
            // Conditions on what has tags are about what is there already.
            tags: BTreeSet::new(),
        }
    }

    fn read(answer: &str) -> Self {
        Self {
            path: elements(answer, "Path").next().unwrap_or_default(),
            boundary: elements(answer, "PermissionsBoundaryArn").next(),
            tags: elements(answer, "Key").collect(),
        }
    }
}

fn elements<'a>(answer: &'a str, name: &str) -> impl Iterator<Item = String> + use<'a> {
    let begin = format!("<{name}>");
    let parts: Vec<&str> = answer.split(begin.as_str()).skip(1).collect();
    parts.into_iter().map(|part| part.split('<').next().unwrap_or_default().to_owned())
}

/// As IAM says it (IAM User Guide, troubleshoot_access-denied).
fn refusal(asked: &IamRequest) -> String {
    let action = asked.action();
    let about = asked.field("UserName").map(|name| format!("user {name}")).unwrap_or_default();
    format!(
        "User: arn:aws:iam::123456789012:user/operator is not authorized to perform: iam:{action} on resource: {about} because no \
         identity-based policy allows the iam:{action} action"
    )
}
