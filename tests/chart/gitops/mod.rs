//! What Flux, Argo CD and Helm see of a target, and what they leave alone.

mod argo;
mod examples;
mod health;
mod helm;
mod life;
mod managers;

use crate::Test;

pub const TESTS: &[&[Test]] = &[life::TESTS, argo::TESTS, helm::TESTS, managers::TESTS, examples::TESTS];
