//! How a program of tests runs them: what all of them share is started once, and not at all when they are only listed.

use std::{fmt::Debug, process::ExitCode, sync::Arc};

use anyhow::Result;
use futures::future::BoxFuture;
use libtest_mimic::Arguments;
pub use libtest_mimic::Trial;
use tokio::runtime::Runtime;

/// A test: its name, and what it does in the world that all share.
pub type Test<W> = (&'static str, fn(Arc<W>) -> BoxFuture<'static, Result<()>>);

/// Names the tests of a file, which has the type `World` of its program at hand.
#[macro_export]
macro_rules! tests {
    ($($name:ident),+ $(,)?) => {
        pub const TESTS: &[$crate::harness::Test<World>] = &[$((
            concat!(module_path!(), "::", stringify!($name)),
            |world| Box::pin($name(world)),
        )),+];
    };
}

/// How a program ends that says whether all went as it should.
pub fn exit_code(ended: Result<bool>) -> ExitCode {
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A program of tests, with the arguments that it was called with.
pub struct Harness {
    arguments: Arguments,
}

impl Harness {
    /// As many tests run at once as there are cores, unless the arguments say how many.
    pub fn from_arguments() -> Self {
        Self { arguments: Arguments::from_args() }
    }

    /// The same with another number than that of the cores.
    pub fn at_once(mut self, tests: usize) -> Self {
        self.arguments.test_threads.get_or_insert(tests);
        self
    }

    /// Whether only those tests are asked for whose names fit.
    pub fn is_filtered(&self) -> bool {
        self.arguments.filter.is_some()
    }

    /// Starts the world and runs the trials in it.
    pub fn run<W>(
        &self,
        start: impl Future<Output = Result<W>>,
        trials: impl FnOnce(&Servers<W>) -> Vec<Trial>,
    ) -> ExitCode {
        self.run_and_judge(start, trials, async |_| true)
    }

    /// The same, where `judge` says in the end whether the world is as it should be.
    pub fn run_and_judge<W>(
        &self,
        start: impl Future<Output = Result<W>>,
        trials: impl FnOnce(&Servers<W>) -> Vec<Trial>,
        judge: impl AsyncFnOnce(&W) -> bool,
    ) -> ExitCode {
        if self.arguments.list {
            return libtest_mimic::run(&self.arguments, trials(&Servers(None))).exit_code();
        }
        let runtime = Arc::new(Runtime::new().expect("an async runtime"));
        let world = match runtime.block_on(start) {
            Ok(world) => Arc::new(world),
            Err(error) => {
                eprintln!("the tests could not begin: {error:#}");
                return ExitCode::FAILURE;
            }
        };
        let trials = trials(&Servers(Some((runtime.clone(), world.clone()))));
        let conclusion = libtest_mimic::run(&self.arguments, trials);
        if runtime.block_on(judge(&world)) { conclusion.exit_code() } else { ExitCode::FAILURE }
    }
}

/// What trials run with; nothing when they are only listed.
pub struct Servers<W>(Option<(Arc<Runtime>, Arc<W>)>);

impl<W: Send + Sync + 'static> Servers<W> {
    /// What all trials share, unless they are only listed.
    pub fn world(&self) -> Option<&Arc<W>> {
        self.0.as_ref().map(|(_, world)| world)
    }

    pub fn trials(&self, tests: &[Test<W>]) -> Vec<Trial> {
        tests.iter().map(|&(name, test)| self.trial(name, test)).collect()
    }

    /// A test of any kind; its error is told as it shows itself for debugging.
    pub fn trial<E: Debug>(
        &self,
        name: impl Into<String>,
        test: impl AsyncFnOnce(Arc<W>) -> Result<(), E> + Send + 'static,
    ) -> Trial {
        let servers = self.0.clone();
        Trial::test(name, move || {
            let (runtime, world) = servers.expect("trials are only run with servers");
            runtime.block_on(test(world)).map_err(|error| format!("{error:?}").into())
        })
    }
}

/// A trial that needs no server.
pub fn check(name: impl Into<String>, check: impl FnOnce() -> Result<()> + Send + 'static) -> Trial {
    Trial::test(name, move || check().map_err(|error| format!("{error:?}").into()))
}
