//! The log, on standard error: for people where that is a terminal, one JSON object on each line elsewhere.
//!
//! What is logged says nothing of payloads and holds no secret; that is up to each event, and
//! [`Secret`](crate::config::Secret) helps.

use std::io::{self, IsTerminal};

use tracing_subscriber::{EnvFilter, filter::ParseError};

use crate::config::LogFormat;

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The level is not one.
    #[error("the log level is not valid: {0}")]
    Level(#[from] ParseError),
    /// Somebody set the log up before.
    #[error("the log was set up twice: {0}")]
    Twice(Box<dyn std::error::Error + Send + Sync>),
}

/// Starts the log of this process. `level` is one of off, error, warn, info, debug, trace, or a list of them by module such
/// as `info,carillon_listener=debug`.
pub fn start(format: LogFormat, level: &str) -> Result<(), LoggingError> {
    let filter = EnvFilter::builder().parse(level)?;
    let terminal = io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let started = match format {
        LogFormat::Auto if terminal => lines.with_target(false).with_ansi(true).try_init(),
        LogFormat::Text => lines.with_target(false).with_ansi(terminal).try_init(),
        LogFormat::Auto | LogFormat::Json => lines.json().flatten_event(true).with_ansi(false).try_init(),
    };
    started.map_err(LoggingError::Twice)
}
