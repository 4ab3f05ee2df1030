//! Real servers on loopback, and the operator among them, for the tests and for play.
//!
//! Nothing here is a mock: etcd, kube-apiserver, helm, rclone and the operator are the real programs, and AWS is played by
//! one that enforces its policies. Each program gets an environment of its own and ends when the program that started it
//! ends, whatever the reason.
#![allow(
    missing_docs,
    clippy::missing_errors_doc,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    clippy::return_self_not_must_use,
    reason = "its only users are the tests beside it; a name says what there is, and each error fails a test"
)]

pub mod aws;
pub mod canary;
pub mod certificates;
pub mod child;
pub mod harness;
pub mod install;
pub mod kubectl;
pub mod kubernetes;
pub mod manifests;
pub mod moto;
pub mod objects;
pub mod operator;
pub mod operator_policy;
pub mod ports;
pub mod process;
pub mod program;
pub mod proxy;
pub mod rclone;
pub mod rights;
pub mod run;
pub mod seaweedfs;
pub mod story;
pub mod tools;
pub mod tunnel;
pub mod wait;
pub mod webhook;
