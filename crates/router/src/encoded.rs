//! A message as it goes over the wire.

use std::fmt;

use crate::memory::{Counted, Memory};

/// A message, encoded once and shared by all connections of the shard that get it.
pub struct Encoded {
    seq: u64,
    accepted_nanos: Option<u64>,
    bytes: Box<[u8]>,
    _counted: Counted,
}

impl Encoded {
    pub(crate) fn delivery(seq: u64, accepted_nanos: u64, bytes: Box<[u8]>, memory: &Memory) -> Self {
        Self::new(seq, Some(accepted_nanos), bytes, memory)
    }

    pub(crate) fn reply(seq: u64, bytes: Box<[u8]>, memory: &Memory) -> Self {
        Self::new(seq, None, bytes, memory)
    }

    fn new(seq: u64, accepted_nanos: Option<u64>, bytes: Box<[u8]>, memory: &Memory) -> Self {
        Self { seq, accepted_nanos, _counted: memory.count(bytes.len()), bytes }
    }

    /// Its place in the order of the shard: what was published later has a larger number. The first is 1.
    pub const fn seq(&self) -> u64 {
        self.seq
    }

    /// The time that [`Router::publish`](crate::Router::publish) was given; `None` for a reply, which is no delivery.
    pub const fn accepted_nanos(&self) -> Option<u64> {
        self.accepted_nanos
    }

    /// What is to be sent.
    pub const fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Payloads stay out of logs.
impl fmt::Debug for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoded")
            .field("seq", &self.seq)
            .field("accepted_nanos", &self.accepted_nanos)
            .field("bytes", &self.bytes.len())
            .finish_non_exhaustive()
    }
}
