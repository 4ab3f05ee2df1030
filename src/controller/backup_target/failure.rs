//! What still goes on, and what is done instead, once a step failed. Pure.

use super::{
    error::Error,
    plan::{KeyEnd, SecretKey, Step, WriteSecret},
    state::State,
};
use crate::provider::Principal;

/// Whether a step is begun, after what became of those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    Yes,
    /// It is not, and that is no failure: there is a better time for it.
    Later,
    /// It is not, since something before it failed, or since it is too late.
    No,
}

/// Whether a step is begun. A refusal, and the end of the time, hold back all but what takes away; a store that says nothing would
/// only be asked in vain.
#[must_use]
pub fn may_begin(step: &Step, state: &State, before: &Result<(), Error>, is_late: bool) -> Begin {
    let may = match before {
        Ok(()) => !is_late || step.takes_away(),
        Err(error) => error.is_definite() && step.takes_away(),
    };
    match step {
        _ if !may => Begin::No,
        Step::DeactivateKey { id, retire: false } if would_look_like_a_hold(id, state) => Begin::Later,
        _ => Begin::Yes,
    }
}

/// Where status could not be told that the key is withheld, one that is off looks as if somebody in AWS had switched it off.
/// Without a policy nothing works with it already, so it stays on until status can be told.
fn would_look_like_a_hold(id: &str, state: &State) -> bool {
    let untold = state.record.keys.iter().any(|record| record.id == id && !record.withheld);
    untold && matches!(&state.principal, Principal::Ours(ours) if ours.rights.are_absent())
}

/// What is done at once where a step failed.
#[must_use]
pub fn instead(step: &Step, error: &Error, state: &State) -> Option<Step> {
    match step {
        // What the rules no longer allow goes, and where the narrower document is refused, with all the rest.
        Step::CutBack(_) if error.is_definite() => Some(Step::DeletePolicy),
        // Certainly not published, so nobody can have the key: an orphan. What came in between may be an earlier write of our own
        // that took effect late: it is looked at before the key that it may hold goes.
        Step::WriteSecret(WriteSecret { key: SecretKey::Unpublished(_), .. })
            if matches!(error, Error::Cluster(error) if error.is_definite()) && !error.came_in_between() =>
        {
            let created = state.in_hand.as_ref()?;
            Some(Step::DeleteKey { id: created.key.id.clone(), why: KeyEnd::Orphan })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{api::backup_target::Record, provider};

    fn begins(step: &Step, before: &Result<(), Error>, is_late: bool) -> bool {
        let state = State::new(Record::default(), Principal::Absent);
        may_begin(step, &state, before, is_late) == Begin::Yes
    }

    fn failed(kind: provider::Kind) -> Result<(), Error> {
        Err(Error::Store(provider::Error { kind, action: "iam:PutUserPermissionsBoundary" }))
    }

    #[test]
    fn neither_a_refusal_nor_the_time_holds_back_what_takes_away() {
        let takes = |why| Step::DeleteKey { id: "K1".into(), why };
        let (revokes, makes_room) = (takes(KeyEnd::Expired), takes(KeyEnd::MakesRoom));
        let deactivates = Step::DeactivateKey { id: "K1".into(), retire: false };
        for step in [&Step::DeletePolicy, &deactivates, &revokes] {
            assert!(begins(step, &Ok(()), true), "{step:?} has no deadline");
            assert!(
                begins(step, &failed(provider::Kind::Denied("allow it")), false),
                "{step:?} needs nothing of what was refused"
            );
            assert!(begins(step, &Err(Error::TimedOut), true), "{step:?}");
            assert!(!begins(step, &failed(provider::Kind::Unreachable), false), "nobody would hear {step:?}");
        }
        for step in [&Step::CreateKey, &Step::RemovePrincipal, &Step::ReleaseTarget, &makes_room] {
            assert!(begins(step, &Ok(()), false), "{step:?}");
            assert!(!begins(step, &Ok(()), true), "{step:?}");
            assert!(!begins(step, &failed(provider::Kind::Denied("allow it")), false), "{step:?}");
        }
    }
}
