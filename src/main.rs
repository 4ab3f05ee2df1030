//! The program: parses the command line and does what it says.

use std::{
    io::{ErrorKind, Write, stdout},
    process::ExitCode,
};

use backup_target_operator::commands::{self, Arguments, Command, Failure};
use clap::Parser;

/// As many threads on every machine: the operator mostly waits, and each thread keeps memory of its own.
#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Run(arguments) => commands::run::run(arguments).await.map_err(Failure::from),
        Command::Check(arguments) => {
            commands::check::check(&arguments).await.map_err(Failure::from).and_then(|found| print(found.as_bytes()))
        }
        Command::Leftovers(arguments) => {
            let found = commands::leftovers::leftovers(&arguments).await;
            found.map_err(Failure::from).and_then(|found| print(found.as_bytes()))
        }
        Command::Render(arguments) => commands::render::run(&arguments).and_then(|rendered| {
            for note in &rendered.notes {
                eprintln!("note: {note}");
            }
            print(rendered.text.as_bytes())
        }),
        Command::Crds => commands::crds::yaml().map_err(Failure::from).and_then(|yaml| print(yaml.as_bytes())),
        Command::Completions { shell } => print(&commands::completions(shell)),
        Command::Man { command } => commands::manual(command.as_deref()).and_then(|page| print(&page)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

/// A reader that has seen enough, such as `head`, is no failure.
fn print(bytes: &[u8]) -> Result<(), Failure> {
    match stdout().write_all(bytes).and_then(|()| stdout().flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::Other(format!("standard output cannot be written: {error}")))
        }
        _ => Ok(()),
    }
}
