//! Real servers on loopback, and the operator among them, for the tests and for play.
//!
//! Nothing here is a mock: etcd, kube-apiserver, helm, rclone and the operator are the real programs, and AWS is played by
//! one that enforces its policies. Each program gets an environment of its own and ends when the program that started it
//! ends, whatever the reason.
#![allow(dead_code, reason = "several programs share this tree and each uses its part")]

pub mod aws;
pub mod canary;
pub mod certificates;
pub mod child;
pub mod install;
pub mod kubectl;
pub mod kubernetes;
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

/// Names the tests of a file, for a program with a type `Test`: a name, and what is done in a world.
#[macro_export]
macro_rules! tests {
    ($($name:ident),+ $(,)?) => {
        pub const TESTS: &[$crate::Test] = &[$((
            concat!(module_path!(), "::", stringify!($name)),
            |world| Box::pin($name(world)),
        )),+];
    };
}
