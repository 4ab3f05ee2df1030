//! Logs: for people on a terminal, JSON elsewhere.

use std::{io::IsTerminal, panic::PanicHookInfo};

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// One line of text each.
    Text,
    /// One JSON object each.
    Json,
}

/// Starts logging to standard error.
///
/// # Errors
/// When the filter cannot be understood.
pub fn init(format: LogFormat, filter: &str) -> Result<(), String> {
    // kube would log whole bodies that it cannot read, and those may be Secrets.
    let filter = EnvFilter::try_new(format!("{filter},kube_client::client=error"))
        .map_err(|error| format!("--log-filter cannot be understood: {error}; write something like info"))?;
    let logger = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let terminal = std::io::stderr().is_terminal();
    let text = match format {
        LogFormat::Auto => terminal,
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    if text {
        logger.with_ansi(terminal).with_target(false).init();
    } else {
        logger.json().flatten_event(true).with_current_span(false).with_span_list(false).with_target(false).init();
    }
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// One line in the log's own form. Only words that stand in the source are told: others may hold what must not be told.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    let words = panic.payload().downcast_ref::<&'static str>().copied().unwrap_or_default();
    tracing::error!("panicked at {location}: {words}");
}
