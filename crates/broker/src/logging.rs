//! The log, on standard error: for people where that is a terminal, one JSON object on each line elsewhere.
//!
//! What is logged says nothing of payloads and holds no secret; that is up to each event, and
//! [`Secret`](crate::config::Secret) helps.

use std::io::{self, IsTerminal};

use carillon_streams::keeper::Finding;
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

/// rustls warns of what strangers send, such as alerts, so everybody could fill the log. What comes of a handshake, the
/// broker tells itself. A level that names rustls goes over this.
const QUIET: &str = "rustls=off";

/// Starts the log of this process. `level` is one of off, error, warn, info, debug, trace, or a list of them by module such
/// as `info,carillon_listener=debug`.
pub fn start(format: LogFormat, level: &str) -> Result<(), LoggingError> {
    let filter = filter(level)?;
    let terminal = io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let started = match format {
        LogFormat::Auto if terminal => lines.with_target(false).with_ansi(true).try_init(),
        LogFormat::Text => lines.with_target(false).with_ansi(terminal).try_init(),
        LogFormat::Auto | LogFormat::Json => lines.json().flatten_event(true).with_ansi(false).try_init(),
    };
    started.map_err(LoggingError::Twice)
}

/// Logs what was found when a store was opened. What is no loss, such as the end of a crash, needs nobody.
pub(crate) fn log_findings(report: &[Finding]) {
    for finding in report {
        if finding.is_loss {
            tracing::error!("{}", finding.text);
        } else {
            tracing::info!("{}", finding.text);
        }
    }
}

fn filter(level: &str) -> Result<EnvFilter, ParseError> {
    EnvFilter::builder().parse(format!("{QUIET},{level}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rustls_says_nothing_unless_it_is_named() {
        let directives = |level: &str| {
            let text = filter(level).unwrap().to_string();
            let mut directives: Vec<_> = text.split(',').map(str::to_owned).collect();
            directives.sort();
            directives
        };
        assert_eq!(directives("info"), ["info", "rustls=off"]);
        assert_eq!(directives("debug,rustls=trace"), ["debug", "rustls=trace"]);
        assert!(filter("carillon=loud").is_err());
    }
}
