//! An operation: what is run, what it changes, and how it is judged.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use futures::future::BoxFuture;
use testbed::{program::Ran, proxy::Mark};

use crate::{
    calls,
    must::{Calls, Must, Rules},
    place::Place,
    releases::Release,
    tiers::{Extent, TierSet},
};

/// An operation, as a row of the matrix.
#[derive(Clone, Copy)]
pub struct Operation {
    /// What it is, for people.
    pub title: &'static str,
    /// What is run. Words in capitals stand for places, see [`Place::command`].
    pub command: &'static str,
    /// How it is run.
    pub run: Run,
    /// Which sets of tiers it is tried with.
    pub extent: Extent,
    /// Whether nothing is under the prefix when it begins.
    pub fresh: bool,
    /// What must happen; it must work where none of them holds.
    pub rules: Rules,
    /// How the place is other than before, when it worked.
    pub change: fn(&mut Place),
    /// Whether the operations after it build on that: where it must not work, the account's root does it.
    pub needed: bool,
    /// What else must hold when it worked.
    pub holds: fn(&Place, &Ran) -> Result<()>,
    /// Calls that S3 must have seen when it worked: they show that it is what the title says.
    pub calls: Calls,
    /// Calls that S3 must not have seen.
    pub never: Calls,
}

impl Operation {
    /// What must happen; nothing where it is not tried.
    pub fn must(&self, release: Release, tiers: &TierSet) -> Option<Must> {
        let row = self.rules.iter().find(|(when, _)| when.iter().all(|when| when.holds(release, tiers)));
        (self.extent <= tiers.extent).then_some(row.map_or(Must::Work, |(_, must)| *must))
    }
}

/// How an operation is run.
#[derive(Clone, Copy)]
pub enum Run {
    /// The command alone.
    Alone,
    /// With this many bytes at its standard input.
    Fed(usize),
    /// In a way of its own.
    Specially(for<'a> fn(&'a mut Place, Vec<String>) -> BoxFuture<'a, Result<Ran>>),
}

/// The plainest operation.
pub const PLAIN: Operation = Operation {
    title: "",
    command: "",
    run: Run::Alone,
    extent: Extent::Most,
    fresh: false,
    rules: &[],
    change: |_| {},
    needed: false,
    holds: |_, _| Ok(()),
    calls: &[],
    never: &[],
};

/// Runs an operation and says how what happened differs from what must.
pub async fn check(operation: &Operation, place: &mut Place) -> Result<()> {
    let Some(must) = operation.must(place.release, place.tiers) else { return Ok(()) };
    if operation.fresh {
        place.empty().await?;
    }
    let mark = place.world.tls.mark();
    let ran = run(operation, place).await?;
    judge(operation, place, mark, must, &ran)
        .with_context(|| format!("it ended with {:?} and said:\n{}{}", ran.code, ran.stderr, ran.stdout))?;
    let found = if place.has_bucket().await? {
        if must.works() {
            (operation.change)(place);
        }
        place.is_as_it_must().await
    } else {
        Ok(())
    };
    if operation.needed && !must.works() {
        place.change_as_root(operation.change).await?;
    }
    found
}

async fn run(operation: &Operation, place: &mut Place) -> Result<Ran> {
    let words = place.command(operation.command);
    let args: Vec<&str> = words.iter().map(String::as_str).collect();
    match operation.run {
        Run::Alone => place.rclone.run(&args).await,
        Run::Fed(size) => {
            let input = place.local("input");
            std::fs::write(&input, crate::files::filled(size))?;
            place.rclone.run_with_input(&args, &input).await
        }
        Run::Specially(run) => run(place, words).await,
    }
}

fn judge(operation: &Operation, place: &Place, mark: Mark, must: Must, ran: &Ran) -> Result<()> {
    let (made, refused) = calls_of(place, mark);
    let (to_refuse, says) = must.refusal();
    ensure!(must.works() == (ran.code == Some(0)), "it must be {must:?}; S3 refused {refused:?}");
    ensure!(refused == to_refuse.iter().copied().collect(), "it must be {must:?}; S3 refused {refused:?}");
    ensure!(ran.stderr.contains(says), "it did not say '{says}'");
    if must.works() {
        let missing: Vec<_> = operation.calls.iter().filter(|call| !made.contains(*call)).collect();
        ensure!(missing.is_empty(), "S3 was not asked for {missing:?} but for {made:?}");
        let excess: Vec<_> = operation.never.iter().filter(|call| made.contains(*call)).collect();
        ensure!(excess.is_empty(), "S3 was asked for {excess:?}");
        (operation.holds)(place, ran)?;
    }
    Ok(())
}

/// The calls that rclone made since then, and those that S3 refused.
fn calls_of(place: &Place, mark: Mark) -> (BTreeSet<&'static str>, BTreeSet<&'static str>) {
    let ours = place.world.tls.calls_since(mark, |call| call.access_key.as_deref() == Some(place.key()));
    let refused = ours.iter().filter(|call| call.status.is_some_and(|status| status >= 400 && status != 404));
    (ours.iter().map(calls::name).collect(), refused.map(calls::name).collect())
}
