//! Collects what targets left behind that went without being let go.

use std::time::Duration;

use futures::{StreamExt, stream};
use tokio::{sync::watch, time::sleep};
use tracing::{info, warn};

use super::{
    decide::{self, Goal},
    error::Error,
    perform::{Performer, Tools},
    plan::{self, Fresh, Step},
    settle::settle,
    state::State,
};
use crate::{
    access::claim::object_name,
    api::Reason,
    cluster::Note,
    controller::{connection::pinned, context::Context, departed::Left},
    names,
    provider::{
        Principal, Questions,
        rate_limiter::{Turn, Urgency},
    },
};

/// How often it is looked which targets are gone.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How many are removed at once.
const AT_ONCE: usize = 8;

/// How far it got with a target that is gone.
enum Progress {
    /// It is there after all, nothing of it is left, or its store is another operator's.
    Nothing,
    /// All that was made for it is removed.
    Removed,
    /// Something may still appear.
    Waits,
}

/// Looks again and again which targets are gone, and removes what is left of them, until the operator is to stop.
pub async fn tend(context: &Context, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            // An error means that the sender is gone, which is a reason to stop as well.
            _ = stop.wait_for(|stop| *stop) => return,
            () = sleep(LOOK_EVERY) => {}
        }
        let due = context.departed.due(&context.seen.uids());
        stream::iter(due).for_each_concurrent(AT_ONCE, async |(uid, left)| tell(context, &uid, &left).await).await;
    }
}

async fn tell(context: &Context, uid: &str, left: &Left) {
    let (name, principal) = (format!("{}/{}", left.namespace, left.name), names::principal(uid));
    match Box::pin(remove(context, uid, left)).await {
        Ok(Progress::Nothing) => context.departed.let_go(uid),
        Ok(Progress::Removed) => {
            info!(name, principal, "the target was deleted without being let go; all that was made for it is removed");
            context.departed.let_go(uid);
        }
        Ok(Progress::Waits) => context.departed.put_off(uid),
        Err(error) => {
            warn!(name, principal, %error, "the target was deleted without being let go; its principal waits to be removed");
            context.departed.put_off(uid);
        }
    }
}

async fn remove(context: &Context, uid: &str, left: &Left) -> Result<Progress, Error> {
    let found = context.cluster.target(&left.namespace, &left.name).await?;
    if found.is_some_and(|found| found.metadata.uid.as_deref() == Some(uid)) {
        return Ok(Progress::Nothing);
    }
    let name = object_name("spec.storeRef.name", &left.store)?;
    let Some(store) = context.cluster.store(&name).await? else {
        // What is left in a store that another operator has is for that one to remove.
        let is_anothers = context.cluster.is_store_of_another(&name).await?;
        return if is_anothers { Ok(Progress::Nothing) } else { Err(Error::StoreNotFound(name.to_string())) };
    };
    let connection = pinned(context, &store).await.map_err(|error| Error::of_store(error, name.as_str()))?;
    let target = left.target(uid);
    let turn = Turn { urgency: Urgency::Revocation, namespace: (*left.namespace).into(), end: None };
    let provider = connection.provider.for_turn(turn);
    let spec = provider.principal(decide::owner(&target, &context.cluster_id));
    let principal = provider.observe(&spec, &Questions::default()).await?;
    let mut state = State {
        in_hand: context.unpublished_keys.get(uid),
        ..State::new(target.status.clone().unwrap_or_default().record, principal)
    };
    let was_there = state.principal != Principal::Absent;
    let clock = provider.clock();
    settle(&mut state, &spec, Duration::ZERO, clock.now());
    let fresh = Fresh { now: clock.now(), store_time: clock.heard(), nonce: String::new() };
    let plan = plan::plan(&Goal::Remove, &spec, &state, &fresh);
    let tools = Tools {
        cluster: &context.cluster,
        provider: &provider,
        unpublished_keys: &context.unpublished_keys,
        reach: connection.reach(&store.spec),
    };
    let mut performer = Performer::new(tools, &spec, &Goal::Remove, target);
    // There is nothing to let go, and another target may have its name by now.
    for planned in plan.steps.iter().filter(|planned| !matches!(planned.step, Step::ReleaseTarget)) {
        performer.take(&planned.step, &mut state).await?;
    }
    match (plan.blocked, plan.waiting) {
        (Some(blocked), _) => Err(Error::Blocked(blocked)),
        (None, Some(_)) => Ok(Progress::Waits),
        (None, None) if was_there => {
            let message = format!(
                "BackupTarget {}/{} was deleted while the operator's finalizer was off it; its {}, access key and \
                 policy are removed",
                left.namespace, left.name, spec.name
            );
            context.cluster.publish(&store, &Note { warning: true, reason: Reason::Deleted, message }).await;
            Ok(Progress::Removed)
        }
        (None, None) => Ok(Progress::Nothing),
    }
}
