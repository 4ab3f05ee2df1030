//! Says what happens, and counts what was seen.

use std::time::Instant;

use anyhow::{Result, ensure};

pub struct Story {
    name: &'static str,
    start: Instant,
    checks: usize,
    failed: usize,
}

impl Story {
    pub fn new(name: &'static str) -> Self {
        Self { name, start: Instant::now(), checks: 0, failed: 0 }
    }

    pub fn chapter(&self, title: &str) {
        println!("\n[{:4.1} s] {title}", self.start.elapsed().as_secs_f32());
    }

    pub async fn check(&mut self, what: &str, check: impl AsyncFnOnce() -> Result<()>) {
        self.seen(what, check).await;
    }

    /// The same for what the rest of the story needs: an error when it was not seen.
    pub async fn need(&mut self, what: &str, check: impl AsyncFnOnce() -> Result<()>) -> Result<()> {
        ensure!(self.seen(what, check).await, "what follows needs this");
        Ok(())
    }

    async fn seen(&mut self, what: &str, check: impl AsyncFnOnce() -> Result<()>) -> bool {
        let start = Instant::now();
        let seen = check().await;
        self.checks += 1;
        let took = start.elapsed().as_secs_f32();
        match &seen {
            Ok(()) => println!("  ok  {what} ({took:.1} s)"),
            Err(error) => {
                self.failed += 1;
                println!("  FAILED  {what} ({took:.1} s): {error:#}");
            }
        }
        seen.is_ok()
    }

    /// The closing line; whether all of it was seen.
    pub fn end(&self) -> bool {
        println!(
            "\n{}: {} checks, {} failed, {:.0} s",
            self.name,
            self.checks,
            self.failed,
            self.start.elapsed().as_secs_f32()
        );
        self.failed == 0
    }
}

/// What belongs to the line above it.
pub fn indented(text: &str) -> String {
    text.trim_end().lines().map(|line| format!("      {line}")).collect::<Vec<_>>().join("\n")
}
