//! The program: parses the command line and does what it says.

use std::process::ExitCode;

use backup_target_operator::commands::{self, Arguments, Command};
use clap::Parser;

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Run(arguments) => commands::run::run(arguments).await,
        Command::Crds => commands::crds::yaml().map(|yaml| print!("{yaml}")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}
