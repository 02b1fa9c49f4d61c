//! What goes wrong with a store. The texts are for its operator.

use std::io;

/// Why a store could not be opened. Nothing in it was changed, unless the error came from changing it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The operating system said no.
    #[error("cannot open the store: {operation} {file}: {source}")]
    Io {
        /// What was done.
        operation: &'static str,
        /// With which of the store's files.
        file: String,
        /// Why it failed.
        source: io::Error,
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
    /// There are segments and no manifest.
    #[error(
        "{file} is missing and there are segments, of which it tells which count; restore it from a backup, nothing was changed"
    )]
    ManifestMissing {
        /// Which of the store's files.
        file: String,
    },
    /// Without the manifest nobody knows which segments count.
    #[error(
        "{file} is damaged in both of its copies, and tells which segments count; restore it from a backup, nothing was changed"
    )]
    ManifestDamaged {
        /// Which of the store's files.
        file: String,
    },
}

impl OpenError {
    /// Neither this nor what it could be made anew from was given by the disk.
    pub(crate) fn unread(file: impl Into<String>) -> Self {
        Self::Io { operation: "read", file: file.into(), source: io::Error::other(Unreadable) }
    }
}

/// A write or sync failed. Where nobody can tell what of it is on disk, the store takes nothing more until it is opened
/// again ([`Log::failed`](super::Log::failed)); what was committed stays readable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the store cannot {operation} {file}: {reason}")]
pub struct StoreFailed {
    /// What was done.
    pub operation: &'static str,
    /// With which of the store's files.
    pub file: String,
    /// Why it failed.
    pub reason: String,
    /// Whether there was no room: then retention may make some.
    pub full: bool,
}

impl StoreFailed {
    pub(super) fn new(operation: &'static str, file: impl Into<String>, error: &io::Error) -> Self {
        let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        Self { operation, file: file.into(), reason: error.to_string(), full }
    }
}

/// The disk gave an error for something that was to be read. It may be sound: ask again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the disk gave an error while the store was read; ask again")]
pub struct Unreadable;

/// Whether an error of a read says that the bytes are not there, and not only that they could not be had now.
pub(super) fn is_damage(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::UnexpectedEof
}

/// Why a record was not taken. Those before it still are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// Something failed, now or before. Open the store again.
    #[error("the store takes nothing more until it is opened again: {0}")]
    Failed(#[from] StoreFailed),
    /// The topic or message id is longer than 65,535 bytes, or all together longer than 64 MiB.
    #[error("a record's topic and message id may have 65,535 bytes each, and a record 64 MiB")]
    TooLong,
    /// Sequences have no holes.
    #[error("stream {stream} goes on with sequence {expected}, not {found}")]
    OutOfOrder {
        /// The stream's number.
        stream: u32,
        /// What comes next.
        expected: u64,
        /// What was given.
        found: u64,
    },
}
