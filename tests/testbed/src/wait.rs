//! Waiting for a condition, never for a fixed time.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::{Instant, sleep, timeout_at};

const INTERVAL: Duration = Duration::from_millis(25);

/// Waits until `check` succeeds and returns its value. Each error of `check` means "not yet" and says what it saw;
/// the last one tells the reader why the waiting ended in vain.
pub async fn wait_until<T, F: Future<Output = Result<T>>>(
    what: &str,
    deadline: Duration,
    check: impl FnMut() -> F,
) -> Result<T> {
    wait_patiently_until(what, deadline, INTERVAL, check).await
}

/// The same, for many who wait at once and long: looking costs those who are looked at.
pub async fn wait_patiently_until<T, F: Future<Output = Result<T>>>(
    what: &str,
    deadline: Duration,
    interval: Duration,
    mut check: impl FnMut() -> F,
) -> Result<T> {
    let end = Instant::now() + deadline;
    let mut seen = "nothing, the first look at it did not come back".to_owned();
    while Instant::now() < end {
        match timeout_at(end, check()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(not_yet)) => seen = format!("{not_yet:#}"),
            Err(_) => break,
        }
        sleep(interval).await;
    }
    bail!("waited {deadline:?} for {what}; last seen: {seen}")
}
