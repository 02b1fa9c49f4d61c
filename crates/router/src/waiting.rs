//! How much waits for a connection, and what it counts for.

use crate::{gaps::Gap, memory::OVERHEAD_BYTES};

/// What a match counts for beside the message, and the gap that it may become.
pub(crate) const MATCH_BYTES: usize = 16;
const _: () = assert!(size_of::<Gap>() == MATCH_BYTES);

/// What a message takes in the outbox of each connection that it waits for.
pub(crate) const ENTRY_BYTES: usize = 24;

/// Memory that a message takes beside its bytes in an outbox that has it alone: itself, and its entry.
const MESSAGE_OVERHEAD_BYTES: usize = OVERHEAD_BYTES + ENTRY_BYTES;

/// How much waits for a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Bytes of messages, asides, replies, matches and gaps, as [`Limits::outbox_bytes`](crate::Limits::outbox_bytes)
    /// counts them.
    pub bytes: usize,
    /// Messages, those of streams included, without replies, gaps and asides.
    pub messages: usize,
    /// Asides.
    pub asides: usize,
    /// Bytes of asides; they are part of `bytes`.
    pub aside_bytes: usize,
}

impl Waiting {
    /// Memory that this takes where no other connection shares its messages, nor anybody the bodies of its asides.
    pub const fn memory_bytes(&self) -> usize {
        self.bytes + self.messages * MESSAGE_OVERHEAD_BYTES + self.asides * OVERHEAD_BYTES
    }

    /// Whether nothing waits at all: everything that does has its bytes.
    pub const fn is_empty(&self) -> bool {
        self.bytes == 0
    }
}
