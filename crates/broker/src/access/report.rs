//! What was found wrong, collected so that all of it can be told at once.

use std::{fmt, fs, os::unix::fs::MetadataExt, path::Path};

use crate::config::{ConfigError, Problem};

/// That everybody else than the file's owner and group may read it.
pub(crate) const OTHERS_READ: u32 = 0o004;
/// The same, for writing.
pub(crate) const OTHERS_WRITE: u32 = 0o002;

/// Problems and warnings, in the order in which they were found.
#[derive(Debug, Default)]
pub(super) struct Report {
    origin: String,
    problems: Vec<Problem>,
    warnings: Vec<String>,
}

impl Report {
    /// What comes next is about this file.
    pub(super) fn now_about(&mut self, path: &Path) {
        self.origin = format!("file {}", path.display());
    }

    /// What comes next is about the main configuration.
    pub(super) fn now_about_configuration(&mut self) {
        "configuration".clone_into(&mut self.origin);
    }

    pub(super) fn problem(&mut self, key: impl Into<String>, message: impl fmt::Display) {
        self.problems.push(Problem::new(key.into(), self.origin.clone(), message.to_string()));
    }

    pub(super) fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }

    /// How many problems there are so far.
    pub(super) fn problems(&self) -> usize {
        self.problems.len()
    }

    /// Whoever can write what decides on access can let themselves in.
    pub(super) fn warn_if_others_may_write(&mut self, path: &Path) {
        if has_mode(path, OTHERS_WRITE) {
            self.warn(format!(
                "{} can be written by every user of this machine, who could let themselves in; chmod o-w it",
                path.display()
            ));
        }
    }

    /// Gives the warnings if there were no problems.
    pub(super) fn finish(self) -> Result<Vec<String>, ConfigError> {
        if self.problems.is_empty() { Ok(self.warnings) } else { Err(ConfigError::Problems(self.problems)) }
    }
}

/// Whether the file has one of these bits in its mode. A file that is not there has none; who reads it will tell.
pub(crate) fn has_mode(path: &Path, bits: u32) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.mode() & bits != 0)
}
