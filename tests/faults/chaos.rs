//! Plans by chance: pairs of faults, and schedules of several, from a seed.

use std::env;

use anyhow::{Context, Result};

use crate::plan::{Break, Calls, MODES, Mode, Plan, is_stale_possible, numbered};
use crate::scenario::Phase;
use crate::shape::Shape;

const DEFAULT_PLANS: u64 = 100;
const MOST_BREAKS: usize = 5;

/// Whether plans are drawn by chance, instead of all single ones.
pub fn is_on() -> bool {
    env::var_os("CHAOS").is_some()
}

/// As many plans as `PLANS` says, from `SEED`; both have defaults. A plan depends on its own seed alone.
pub fn plans(calls: &Calls) -> Result<Vec<Plan>> {
    let seed = number("SEED")?.unwrap_or_else(|| fastrand::u64(..u64::from(u32::MAX)));
    let count = number("PLANS")?.unwrap_or(DEFAULT_PLANS);
    println!("make chaos SEED={seed} PLANS={count}");
    Ok((seed..seed + count).map(|seed| draw(calls, seed)).collect())
}

fn number(name: &str) -> Result<Option<u64>> {
    match env::var(name) {
        Ok(text) if !text.is_empty() => Ok(Some(text.parse().with_context(|| format!("{name}={text}"))?)),
        _ => Ok(None),
    }
}

fn draw(calls: &Calls, seed: u64) -> Plan {
    let mut chance = fastrand::Rng::with_seed(seed);
    let phases: Vec<&Phase> = calls.keys().collect();
    let phase = *phases[chance.usize(..phases.len())];
    let candidates = numbered(&calls[&phase]);
    // Pairs half of the time, longer schedules otherwise.
    let count = if chance.bool() { 2 } else { chance.usize(3..=MOST_BREAKS) };
    let breaks = (0..count).map(|_| {
        let (nth, call) = candidates[chance.usize(..candidates.len())].clone();
        let modes: Vec<Mode> = MODES.into_iter().filter(|mode| fits(*mode, &call)).collect();
        Break { nth, mode: modes[chance.usize(..modes.len())], call }
    });
    Plan { phase, breaks: breaks.collect(), seed: Some(seed) }
}

fn fits(mode: Mode, call: &Shape) -> bool {
    match mode {
        Mode::Stale => is_stale_possible(call),
        Mode::AnswerLost | Mode::AppliedLate => call.writes,
        _ => true,
    }
}
