//! What goes wrong with definitions. The texts are for the store's operator.

use crate::stream::StreamName;

/// Why definitions could not be read or changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DefinitionsError {
    /// The operating system said no when it was opened.
    #[error("cannot open the definitions of the streams: {operation} {file}: {reason}")]
    Open {
        /// What was done.
        operation: &'static str,
        /// With which of the store's files.
        file: String,
        /// Why it failed.
        reason: String,
    },
    /// There are messages, and nothing says of which streams.
    #[error(
        "{file} is missing and there are segments, of whose streams it tells; restore it from a backup, nothing was changed"
    )]
    Missing {
        /// Which of the store's files.
        file: String,
    },
    /// A newer program wrote it.
    #[error(
        "{file} has version {found} of its format and this program knows {known}; use the newer program, nothing was changed"
    )]
    Newer {
        /// Which of the store's files.
        file: String,
        /// Its version.
        found: u32,
        /// The newest one known here.
        known: u32,
    },
    /// Its checksums or its content are wrong.
    #[error("{file} is damaged: {reason}; restore it from a backup, nothing was changed")]
    Damaged {
        /// Which of the store's files.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// A change could not be written. Nobody can tell whether it is on disk, so nothing more is taken.
    #[error("no stream can be changed until the store is opened again: cannot write {file}: {reason}")]
    Failed {
        /// Which of the store's files.
        file: String,
        /// Why.
        reason: String,
    },
    /// A number that another stream has or had.
    #[error("stream `{name}` cannot have the number {number}, which another one has or had")]
    NumberTaken {
        /// The stream that should have it.
        name: StreamName,
        /// The number.
        number: u32,
    },
}
