//! The command line.

pub mod check;
pub mod crds;
pub mod leftovers;
pub mod render;
pub mod run;

use std::fmt;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

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
    /// Check an installation, as `helm test` does: the API server answers, and an operator found every BackupStore ready.
    ///
    /// Waits until that is so. What is not is told, store by store, and the exit code is 1.
    Check(check::Arguments),
    /// List IAM users of the BackupStores that belong to no BackupTarget, such as those of a cluster that was built anew.
    ///
    /// Reads the cluster with your kubeconfig and IAM with your own AWS credentials (iam:ListUsers, iam:ListUserTags), and
    /// changes nothing. When a store could not be looked at, it says why, and the exit code is 1.
    Leftovers(leftovers::Arguments),
    /// Show policy, rclone.conf and more of a BackupTarget, without a cluster or an account.
    ///
    /// Prints exactly what the operator would apply for the BackupTargets in the files, with placeholders for the access key.
    ///
    /// It takes files, folders (all .yaml, .yml and .json in them) and standard input, with any number of documents, such as
    /// the output of `kubectl get -o yaml`, `helm template` or `kustomize build`; objects of other kinds are passed over. The
    /// rules of a BackupStore among them are held against each target, as in the cluster; Namespaces give the labels that
    /// rules may select by. Without any BackupStore, one on AWS that allows everything stands in.
    ///
    /// Faults are told with file, document and field, and the exit code is 2; then nothing is printed.
    Render(render::Arguments),
    /// Print the CustomResourceDefinitions as YAML.
    Crds,
    /// Print a script that completes this program's arguments in a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Print the manual page of this program or of one of its commands, in roff.
    Man {
        /// Name of the command, such as render.
        command: Option<String>,
    },
}

/// Why a command failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// What it was given is not valid; one text for each fault.
    Input(Vec<String>),
    /// Anything else.
    Other(String),
}

impl Failure {
    /// The exit code of the program.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Input(_) => 2,
            Self::Other(_) => 1,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults = match self {
            Self::Input(faults) => faults.as_slice(),
            Self::Other(fault) => std::slice::from_ref(fault),
        };
        let lines: Vec<String> = faults.iter().map(|fault| format!("error: {fault}")).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self::Other(message)
    }
}

/// The completion script for a shell.
#[must_use]
pub fn completions(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    let mut command = Arguments::command();
    let name = command.get_name().to_owned();
    clap_complete::generate(shell, &mut command, name, &mut script);
    script
}

/// A manual page: the program's, or that of one command.
///
/// # Errors
/// When there is no command of that name.
pub fn manual(name: Option<&str>) -> Result<Vec<u8>, Failure> {
    let mut program = Arguments::command();
    program.build();
    let command = match name {
        None => program,
        Some(name) => program.find_subcommand(name).cloned().ok_or_else(|| {
            let known: Vec<&str> = program.get_subcommands().map(clap::Command::get_name).collect();
            Failure::Input(vec![format!("there is no command {name}; there are {}", known.join(", "))])
        })?,
    };
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page).map_err(|error| Failure::Other(error.to_string()))?;
    Ok(page)
}
