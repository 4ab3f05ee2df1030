//! Starting a testbed that stays, and ending it.

use std::{
    env,
    fs::{self, File},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Signal, kill_process};
use testbed::wait::wait_until;
use tokio::{signal::ctrl_c, time::sleep};

use crate::state::{Running, environment, log};

const END: Duration = Duration::from_secs(30);

/// Starts the testbed and waits until it is ready. Standard output gets only what a shell can evaluate.
pub async fn up() -> Result<()> {
    if let Some(running) = Running::find()? {
        ensure!(running.is_ready(), "the testbed is starting already; its progress is in {}", log().display());
        eprintln!("The testbed is already running.");
        explain(&running);
        return Ok(());
    }
    eprintln!("Starting the testbed:");
    let start = Instant::now();
    let mut supervisor = start_supervisor()?;
    let running = tokio::select! {
        running = follow(&mut supervisor) => running?,
        _ = ctrl_c() => {
            kill_process(rustix::process::Pid::from_child(&supervisor), Signal::TERM)?;
            supervisor.wait()?;
            bail!("interrupted; what was started has been ended");
        }
    };
    eprintln!("Ready after {:.1} s.", start.elapsed().as_secs_f32());
    explain(&running);
    Ok(())
}

/// Ends the testbed, and says what that was.
pub async fn down() -> Result<()> {
    let Some(running) = Running::find()? else {
        println!("No testbed is running.");
        return Ok(());
    };
    let pid = running.pid().context("a testbed runs, and its state does not say which process it is; try again")?;
    kill_process(pid, Signal::TERM).context("failed to end the testbed")?;
    if let Err(error) = wait_until("the testbed to end", END, gone).await {
        // The kernel ends its children with it.
        kill_process(pid, Signal::KILL).with_context(|| format!("{error:#}"))?;
        wait_until("the testbed to end", END, gone).await?;
    }
    println!("Ended the testbed ({pid}):", pid = pid.as_raw_nonzero());
    for part in running.parts() {
        println!("  {part}");
    }
    Ok(())
}

/// The same program again; it takes a session of its own.
fn start_supervisor() -> Result<Child> {
    let _ = fs::remove_file(log());
    let output = File::options()
        .create(true)
        .append(true)
        .open(log())
        .with_context(|| format!("failed to create {}", log().display()))?;
    Command::new(env::current_exe()?)
        .arg("serve")
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .spawn()
        .context("failed to start the testbed")
}

/// Passes on what the supervisor says until it is ready.
async fn follow(supervisor: &mut Child) -> Result<Running> {
    let mut shown = 0;
    loop {
        let ended = supervisor.try_wait()?;
        let running = Running::find()?.filter(Running::is_ready);
        let said = fs::read_to_string(log())?;
        // Whole lines only; the rest comes with the next look.
        let whole = said.rfind('\n').map_or(0, |end| end + 1);
        eprint!("{}", said.get(shown..whole).unwrap_or_default());
        shown = whole;
        match (running, ended) {
            (Some(running), _) => return Ok(running),
            (None, Some(_)) => bail!("the testbed did not start; the reason is above and in {}", log().display()),
            (None, None) => sleep(Duration::from_millis(50)).await,
        }
    }
}

fn explain(running: &Running) {
    for export in running.exports() {
        println!("{export}");
    }
    eprintln!("Put these lines into a shell, or all at once:");
    eprintln!("  source {}", environment().display());
    eprintln!("There is a bucket my-backups and a BackupStore default that lets the namespace backups use it. Try:");
    eprintln!("  kubectl apply -f examples/target.yaml");
    eprintln!("  kubectl get backuptargets,backupstores -A");
    eprintln!("  kubectl describe backuptarget -n backups dataset-1");
    eprintln!("End it with `make down`.");
}

async fn gone() -> Result<()> {
    ensure!(Running::find()?.is_none(), "it still runs");
    Ok(())
}
