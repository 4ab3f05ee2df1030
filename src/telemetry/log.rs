//! Logs: for people on a terminal, JSON elsewhere.

use std::{io::IsTerminal, panic::PanicHookInfo};

use clap::ValueEnum;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{FilterExt, filter_fn},
    fmt,
    layer::{Filter, SubscriberExt},
    registry::LookupSpan,
    util::SubscriberInitExt,
};

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
    let filter = filter_of(filter)?;
    let logger = fmt::layer().with_writer(std::io::stderr);
    let terminal = std::io::stderr().is_terminal();
    let text = match format {
        LogFormat::Auto => terminal,
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    if text {
        let logger = logger.with_ansi(terminal).with_target(false);
        tracing_subscriber::registry().with(logger.with_filter(filter)).init();
    } else {
        let logger = logger.json().flatten_event(true).with_current_span(false).with_span_list(false);
        tracing_subscriber::registry().with(logger.with_target(false).with_filter(filter)).init();
    }
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// What the user wants to see, without what nobody may see.
fn filter_of<S>(wanted: &str) -> Result<impl Filter<S> + use<S>, String>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let wanted = EnvFilter::try_new(wanted)
        .map_err(|error| format!("--log-filter cannot be understood: {error}; write something like info"))?;
    Ok(wanted.and(filter_fn(may_be_told)))
}

/// kube would log whole bodies that it cannot read, and those may be Secrets. This is no part of the user's filter, in which a
/// directive that is more precise would count for more.
fn may_be_told(metadata: &Metadata<'_>) -> bool {
    !metadata.target().starts_with("kube_client::client") || *metadata.level() == Level::ERROR
}

/// One line in the log's own form. Only words that stand in the source are told: others may hold what must not be told.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    let words = panic.payload().downcast_ref::<&'static str>().copied().unwrap_or_default();
    tracing::error!("panicked at {location}: {words}");
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::{Event, subscriber::with_default, trace, trace_span, warn};
    use tracing_subscriber::layer::Context;

    use super::*;

    /// Keeps the targets of what is logged.
    #[derive(Clone, Default)]
    struct Told(Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber> Layer<S> for Told {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            self.0.lock().unwrap().push(event.metadata().target().to_owned());
        }
    }

    #[test]
    fn no_filter_makes_kube_log_bodies() {
        for filter in [
            "trace",
            "info,kube_client::client=trace",
            "info,kube_client::client::body=trace",
            "info,kube_client::client[request]=trace",
            "info,[request{secret}]=trace",
        ] {
            let told = Told::default();
            let logger = told.clone().with_filter(filter_of(filter).unwrap());
            with_default(tracing_subscriber::registry().with(logger), || {
                let _within = trace_span!(target: "kube_client::client", "request", secret = 1).entered();
                warn!(target: "kube_client::client", "a body");
                trace!(target: "kube_client::client::body", "a body");
                tracing::error!(target: "kube_client::client", "no body");
            });
            assert_eq!(*told.0.lock().unwrap(), ["kube_client::client"], "{filter}");
        }
        assert!(filter_of::<tracing_subscriber::Registry>("a=b=c").is_err());
    }
}
