//! How a run ends before its time: something is wrong with the broker, or the run could not be made.

use std::{fmt::Display, io};

/// Why a run did not end well.
#[derive(Debug)]
pub enum Torture {
    /// The broker broke a promise: which.
    Broken(String),
    /// The run could not be made here, which tells nothing about the broker.
    NotMade(String),
}

impl From<io::Error> for Torture {
    fn from(error: io::Error) -> Self {
        if is_broken(&error) { Self::Broken(error.to_string()) } else { Self::NotMade(error.to_string()) }
    }
}

/// A broken promise, as an error among those of connections, which are no news here.
pub(super) fn broken(what: impl Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_string())
}

/// Whether it is one.
pub(super) fn is_broken(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidData
}
