//! backup-target-operator: a user says which folder of which bucket a backup may use, and gets credentials that can do
//! exactly that.
//!
//! ```text
//!  watch ─▶ observe ─▶ parse ─▶ plan ─▶ execute ─▶ report ─▶ requeue
//!           (IO)      (pure)   (pure)   (IO)       (pure, then one status write)
//! ```
//!
//! [`api`] is what users write and read, [`access`] what a target may do, [`controller`] the pipeline. IO stands behind three
//! doors: [`cluster`] (Kubernetes), [`store`] (principals, policies, keys) and [`probe`] (the object stores themselves).

pub mod access;
pub mod api;
pub mod cluster;
pub mod commands;
pub mod controller;
pub mod fair;
pub mod leader;
pub mod names;
pub mod probe;
pub mod store;
pub mod telemetry;
