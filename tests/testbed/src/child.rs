//! A child process that ends with the one that started it.

use std::{
    env,
    ffi::OsStr,
    io,
    process::{self, Command, ExitStatus, Stdio},
    sync::{
        OnceLock,
        mpsc::{Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::sleep;

/// How long a program may take to end by itself when asked to.
const GRACE: Duration = Duration::from_secs(3);

/// A command with nothing of this program's environment but the `PATH`: the machine's may hold credentials, certificates and
/// proxies. `setpriv` has the kernel kill the program when this one dies, even when this one is killed itself.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(program);
    command.env_clear().stdin(Stdio::null());
    if let Some(path) = env::var_os("PATH") {
        command.env("PATH", path);
    }
    command
}

/// A started program; dropping it ends the program.
pub struct Child(process::Child);

impl Child {
    pub fn start(command: Command) -> Result<Self> {
        let child = spawn(command).context("failed to run `setpriv`; install util-linux")?;
        Ok(Self(child))
    }

    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// How the program ended, if it has.
    pub(crate) fn exited(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().ok().flatten()
    }

    /// Waits until the program ends by itself.
    pub async fn ended(&mut self) -> ExitStatus {
        loop {
            if let Some(status) = self.exited() {
                return status;
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Sends a signal, unless the program has ended: its number may belong to another one by then.
    pub fn signal(&mut self, signal: Signal) {
        if self.exited().is_none() {
            // Failing means that it ended just now, which is what most callers want and all others find out.
            let _ = kill_process(Pid::from_child(&self.0), signal);
        }
    }

    /// Ends the program as a crash would, and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    /// Asks the program to end, and insists when it does not.
    pub fn stop(&mut self) {
        self.signal(Signal::TERM);
        let end = Instant::now() + GRACE;
        while self.exited().is_none() {
            if Instant::now() >= end {
                return self.kill();
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Spawns from a thread that never ends: the kernel takes the death of the *thread* that spawned for the death of the
/// parent, and the threads of tests and of async runtimes come and go.
fn spawn(command: Command) -> io::Result<process::Child> {
    type Order = (Command, Sender<io::Result<process::Child>>);
    static SPAWNER: OnceLock<Sender<Order>> = OnceLock::new();

    let spawner = SPAWNER.get_or_init(|| {
        let (orders, incoming) = channel::<Order>();
        thread::spawn(move || {
            for (mut command, answer) in incoming {
                let _ = answer.send(command.spawn());
            }
        });
        orders
    });
    let (answer, child) = channel();
    spawner.send((command, answer)).map_err(io::Error::other)?;
    child.recv().map_err(io::Error::other)?
}
