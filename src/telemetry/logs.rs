//! The tracing subscriber: pretty lines for a person, JSON for a collector, always on standard error, so that
//! standard output carries answers alone. Called once, by `cli`.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::util::TryInitError;
use tracing_subscriber::{layer::SubscriberExt, util::SubscriberInitExt};

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Pretty where standard error is a terminal, else JSON.
    Auto,
    Pretty,
    Json,
}

/// Why logging could not start.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("log.level: \"{filter}\" is no filter ({error}); write a level (info) or targets (explaind=debug,warn)")]
    Filter { filter: String, error: tracing_subscriber::filter::ParseError },
    #[error("logging was already set up: {0}")]
    Twice(#[from] TryInitError),
}

/// Starts logging and replaces the panic hook.
///
/// # Errors
/// `filter` is not in tracing's syntax, or a subscriber is already in place.
pub fn init(format: Format, filter: &str) -> Result<(), LogError> {
    let levels = EnvFilter::try_new(filter).map_err(|error| LogError::Filter { filter: filter.to_owned(), error })?;
    let terminal = std::io::stderr().is_terminal();
    let json = match format {
        Format::Auto => !terminal,
        Format::Pretty => false,
        Format::Json => true,
    };
    let registry = tracing_subscriber::registry().with(levels);
    if json {
        let lines = fmt::layer().json().flatten_event(true).with_writer(std::io::stderr);
        registry.with(lines).try_init()?;
    } else {
        let lines = fmt::layer().with_ansi(terminal).with_target(false).with_writer(std::io::stderr);
        registry.with(lines).try_init()?;
    }
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// Says where, never what: a panic's message may hold the input that caused it.
fn log_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    match panic.location() {
        Some(place) => tracing::error!(thread, file = place.file(), line = place.line(), "panicked"),
        None => tracing::error!(thread, "panicked"),
    }
}
