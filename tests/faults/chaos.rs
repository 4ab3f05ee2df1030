//! Plans by chance: pairs of faults, and schedules of several, from a seed.

use std::env;

use anyhow::{Context, Result};

use crate::plan::{Break, Calls, MODES, Mode, Plan, is_stale_possible, numbered};
use crate::scenario::Phase;
use crate::shape::Shape;

const DEFAULT_PLANS: u64 = 100;
const MOST_BREAKS: usize = 5;

/// What is to be drawn. Each plan depends on its own seed alone.
#[derive(Clone, Copy)]
pub struct Chaos {
    pub seed: u64,
    plans: u64,
}

impl Chaos {
    /// Whether plans are drawn by chance, instead of all single ones: as many as `PLANS` says, from `SEED`; both have defaults.
    pub fn asked() -> Result<Option<Self>> {
        if env::var_os("CHAOS").is_none() {
            return Ok(None);
        }
        let seed = number("SEED")?.unwrap_or_else(|| fastrand::u64(..u64::from(u32::MAX)));
        let plans = number("PLANS")?.unwrap_or(DEFAULT_PLANS);
        println!("make chaos SEED={seed} PLANS={plans}");
        Ok(Some(Self { seed, plans }))
    }

    pub fn plans(self, calls: &Calls) -> Vec<Plan> {
        (self.seed..self.seed + self.plans).map(|seed| draw(calls, seed)).collect()
    }
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
