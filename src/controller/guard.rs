//! What keeps one object from stopping all others: one that this version of the operator cannot read, or that makes it panic,
//! is told on the object itself, and everything else goes on.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Instant};

use futures::FutureExt;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{Resource, runtime::controller::Action};
use tracing::warn;

use super::{
    context::Context,
    seen::{Kept, Seen},
    time::now,
};
use crate::api::{
    Reason,
    condition::{Conditions, READY, RECONCILING, STALLED, Truth},
};

/// What is said of a field that cannot be read, at most, in characters.
const LONGEST_DETAIL: usize = 300;

/// Why an object could not be worked on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Its fields are not those that this version knows.
    #[error(
        "this version of the operator cannot read the object ({0}); mend the field, or let operator and CRDs be of the same \
         version; what was given before stays as it is"
    )]
    Unreadable(String),
    /// The operator has a fault.
    #[error(
        "the operator came upon a fault of its own while it worked on this object; please report it with the line of the log \
         that says where; what was given before stays as it is, and it is tried again every few minutes"
    )]
    Panicked,
}

impl Fault {
    fn reason(&self) -> Reason {
        match self {
            Self::Unreadable(_) => Reason::Unreadable,
            Self::Panicked => Reason::InternalError,
        }
    }
}

/// Reconciles an object if it can be read. When it cannot be, or when that panics, its status says so.
pub async fn reconcile<K, F>(
    seen: Arc<Seen<K>>,
    context: Arc<Context>,
    reconcile: impl FnOnce(Arc<Seen<K>>, Arc<Context>) -> F,
) -> Action
where
    K: Kept,
    F: Future<Output = Action>,
{
    let telemetry = &context.telemetry;
    let kind = K::kind(&());
    let (begun, _work, _counted) = (Instant::now(), telemetry.health.begin(), telemetry.metrics.under_way(&kind));
    let result = match &seen.object {
        Ok(_) => caught(reconcile(seen.clone(), context.clone())).await,
        Err(unreadable) => Err(Fault::Unreadable(unreadable.error.chars().take(LONGEST_DETAIL).collect())),
    };
    telemetry.metrics.took(&kind, begun.elapsed());
    let fault = match result {
        Ok(action) => return action,
        Err(fault) => fault,
    };
    let meta = seen.meta();
    warn!(%kind, name = meta.name, namespace = meta.namespace, "{fault}");
    let rewrite = |before: &[Condition]| conditions(before, meta.generation, &fault, now());
    if let Err(error) = Box::pin(context.cluster.rewrite_conditions::<K>(meta, rewrite)).await {
        warn!(%error, "that could not be told in its status");
    }
    Action::requeue(context.failed(meta.uid.as_deref().unwrap_or_default()))
}

/// What reconciles share is whole whenever no lock is held, and locks that a panic poisoned are taken all the same.
async fn caught(work: impl Future<Output = Action>) -> Result<Action, Fault> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(|_| Fault::Panicked)
}

/// Whether it is ready cannot be said any more; what else was found out before stands.
fn conditions(before: &[Condition], generation: Option<i64>, fault: &Fault, now: Timestamp) -> Vec<Condition> {
    let mut conditions = Conditions::new(before, generation, now);
    for old in before.iter().filter(|old| ![READY, RECONCILING, STALLED].contains(&old.type_.as_str())) {
        conditions.keep(&old.type_);
    }
    conditions.set(READY, Truth::Unknown, fault.reason(), fault.to_string());
    conditions.set(STALLED, Truth::True, fault.reason(), fault.to_string());
    conditions.finish()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::api::condition;

    #[tokio::test]
    async fn a_panic_is_caught_and_the_next_object_is_worked_on() {
        assert_eq!(caught(async { panic!("a fault") }).await, Err(Fault::Panicked));
        let works = async { Action::requeue(Duration::from_secs(7)) };
        assert_eq!(caught(works).await, Ok(Action::requeue(Duration::from_secs(7))));
    }

    #[test]
    fn what_was_found_out_before_stands() {
        let mut before = Conditions::new(&[], Some(1), Timestamp::UNIX_EPOCH);
        before.set(READY, Truth::True, Reason::Provisioned, "");
        before.set(RECONCILING, Truth::True, Reason::Pending, "");
        before.set("BaseAccess", Truth::True, Reason::Verified, "");
        let told = conditions(&before.finish(), Some(2), &Fault::Panicked, now());
        let seen: Vec<_> = told.iter().map(|told| (told.type_.as_str(), told.status.as_str())).collect();
        assert_eq!(seen, [(READY, "Unknown"), (STALLED, "True"), ("BaseAccess", "True")]);
        assert!(condition::find(&told, STALLED).and_then(Reason::of) == Some(Reason::InternalError));
    }
}
