//! backup-target-operator: a user says which folder of which bucket a backup may use, and gets credentials that can do
//! exactly that.
//!
//! ```text
//!  watch ─▶ reconcile ─▶ decide ─▶ observe ─▶ plan ─▶ perform ─▶ record ─▶ report ─▶ requeue
//!           (IO)         (pure)    (IO)       (pure)  (IO)       (pure)    (pure, then one status write)
//! ```
//!
//! [`api`] is what users write and read, [`access`] what a target may do, `controller` the pipelines. IO stands behind three
//! doors: `cluster` (Kubernetes), [`provider`] (principals, policies, keys) and [`probe`] (the object stores themselves).

pub mod access;
pub mod api;
pub(crate) mod cluster;
pub mod commands;
pub(crate) mod controller;
pub mod fair;
pub mod fence;
pub mod leader_election;
pub mod names;
pub mod probe;
pub mod provider;
pub(crate) mod sdk;
pub mod telemetry;
