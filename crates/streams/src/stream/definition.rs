//! What an operator says about a stream.

use std::{fmt, num::NonZeroU64, sync::Arc};

use carillon_wire::PatternBuf;

use super::Retention;

/// The most bytes of a stream's name.
pub const MAX_NAME_BYTES: usize = carillon_wire::MAX_STREAM_BYTES;
/// The most patterns of a stream.
pub const MAX_PATTERNS: usize = 256;

/// A stream's name: 1 to [`MAX_NAME_BYTES`] ASCII letters, digits, `-` and `_`. It stands in metrics, in commands and
/// on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamName(Arc<str>);

impl StreamName {
    /// Checks a name.
    pub fn new(name: &str) -> Result<Self, StreamNameError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.bytes().all(allowed) {
            return Err(StreamNameError { name: name.chars().take(MAX_NAME_BYTES).collect() });
        }
        Ok(Self(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that is no stream's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is no name of a stream; one has 1 to {MAX_NAME_BYTES} ASCII letters, digits, `-` and `_`")]
pub struct StreamNameError {
    /// What was given, cut after [`MAX_NAME_BYTES`] characters.
    pub name: String,
}

/// What a stream's messages survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Reconnects and slow readers, but not the end of the broker.
    Memory,
    /// The end of the broker and of the machine too: acknowledged means on disk.
    Disk,
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "memory",
            Self::Disk => "disk",
        })
    }
}

/// For how long, and how many, message ids are remembered, so that a publication that is sent again is kept once.
/// Whichever is reached first forgets the oldest. Zero in either: none is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DedupWindow {
    /// Microseconds after the message's own time.
    pub time_us: u64,
    /// Ids. One costs about 100 bytes of memory and its own.
    pub ids: usize,
}

/// A stream, as the configuration describes it. [`Routes::new`](super::Routes::new) checks it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// Unique in the broker.
    pub name: StreamName,
    /// Whose topics it keeps: 1 to [`MAX_PATTERNS`]. They may overlap each other, but no other stream's.
    pub patterns: Vec<PatternBuf>,
    /// What its messages survive.
    pub durability: Durability,
    /// When messages are taken away.
    pub retention: Retention,
    /// How publications that are sent again are found.
    pub dedup: DedupWindow,
    /// The most topics with a kept message: 1 to `u32::MAX - 1`. One costs about 100 bytes of memory and its name. A publication
    /// to one more is refused.
    pub max_topics: u32,
}

impl Definition {
    /// What can be said without looking at other streams.
    pub fn check(&self) -> Result<(), DefinitionError> {
        let refused = |fault| Err(DefinitionError { stream: self.name.clone(), fault });
        if self.patterns.is_empty() || self.patterns.len() > MAX_PATTERNS {
            return refused(DefinitionFault::Patterns { count: self.patterns.len() });
        }
        if self.max_topics == 0 || self.max_topics == u32::MAX {
            return refused(DefinitionFault::MaxTopics { max: self.max_topics });
        }
        if self.retention.max_age_us.map(NonZeroU64::get).is_some_and(|age| age > MAX_TIME_US) {
            return refused(DefinitionFault::AgeTooLong);
        }
        if self.durability == Durability::Memory && self.retention.max_bytes.is_none() {
            return refused(DefinitionFault::UnboundedMemory);
        }
        Ok(())
    }
}

/// No time and no span is longer: what the wire's integers hold.
pub(super) const MAX_TIME_US: u64 = (1 << 53) - 1;

/// What is wrong with one definition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("stream `{stream}`: {fault}")]
pub struct DefinitionError {
    /// Which.
    pub stream: StreamName,
    /// What.
    pub fault: DefinitionFault,
}

/// What can be wrong with a definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DefinitionFault {
    /// None, or too many.
    #[error("it has {count} patterns; a stream has 1 to {MAX_PATTERNS}")]
    Patterns {
        /// How many it has.
        count: usize,
    },
    /// `max_topics` is 0, or as large as its type.
    #[error("max_topics is {max}; it may be 1 to 4,294,967,294")]
    MaxTopics {
        /// What it is.
        max: u32,
    },
    /// An age beyond what times on the wire can be.
    #[error("its largest age is beyond 285 years; leave it out to keep messages of any age")]
    AgeTooLong,
    /// A memory stream without a bound in bytes.
    #[error("it is kept in memory without a bound in bytes; set its largest bytes")]
    UnboundedMemory,
}
