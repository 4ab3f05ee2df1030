//! What Flux, Argo CD and Helm see of a target, and what they leave alone.

mod argo;
mod examples;
mod health;
mod helm;
mod life;
mod managers;

use testbed::harness::Test;

use crate::world::World;

pub const TESTS: &[&[Test<World>]] = &[life::TESTS, argo::TESTS, helm::TESTS, managers::TESTS, examples::TESTS];
