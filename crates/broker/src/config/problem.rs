//! What can be wrong with a configuration, told for whoever wrote it.

use std::{fmt, io, path::PathBuf};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key, such as `limits.max_payload_bytes`.
    pub key: String,
    /// Where its value comes from: a file, a variable, a flag, or the default.
    pub origin: String,
    /// What is wrong, and what is allowed.
    pub message: String,
}

impl Problem {
    pub(crate) fn new(key: String, origin: String, message: String) -> Self {
        Self { key, origin, message }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.key, self.origin, self.message)
    }
}

/// Why there is no configuration to start with.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file that was named cannot be read.
    #[error("the configuration file {} cannot be read: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The file that was named is no TOML.
    #[error("the configuration file {} is not valid TOML: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and what.
        message: String,
    },
    /// Keys or values are wrong: all of them, in the order of their sources.
    #[error("{}", list(.0))]
    Problems(Vec<Problem>),
    /// The broker contradicts itself. Its tests would show it.
    #[error("the configuration could not be put together: {0}")]
    Internal(String),
}

impl ConfigError {
    #[expect(clippy::needless_pass_by_value, reason = "it is what map_err passes")]
    pub(super) fn internal(error: figment::Error) -> Self {
        Self::Internal(error.to_string())
    }
}

fn list(problems: &[Problem]) -> String {
    let mut text = match problems.len() {
        1 => "the configuration has a problem:".to_owned(),
        count => format!("the configuration has {count} problems:"),
    };
    for problem in problems {
        text.push_str("\n  ");
        text.push_str(&problem.to_string());
    }
    text
}
