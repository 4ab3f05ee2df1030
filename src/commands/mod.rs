//! The command line.

pub mod crds;
pub mod run;

use clap::{Parser, Subcommand};

/// Least-privilege IAM credentials for backups, declared as Kubernetes objects and handed to rclone.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the operator.
    Run(run::Arguments),
    /// Print the CustomResourceDefinitions as YAML.
    Crds,
}
