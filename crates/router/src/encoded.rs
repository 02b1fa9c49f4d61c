//! A message as it goes over the wire.

use std::{cell::Cell, fmt, rc::Rc};

/// What a message takes beside its bytes: this struct, its counts, and what an allocator adds.
pub(crate) const OVERHEAD_BYTES: usize = 96;

/// A message, encoded once and shared by all connections of the shard that get it.
pub struct Encoded {
    seq: u64,
    accepted_nanos: Option<u64>,
    bytes: Box<[u8]>,
    _counted: Counted,
}

/// The memory of all messages of a router that are still needed, each counted once however many connections share it,
/// and of all asides that wait.
#[derive(Debug, Clone, Default)]
pub(crate) struct Memory(Rc<Cell<u64>>);

impl Memory {
    pub(crate) fn bytes(&self) -> u64 {
        self.0.get()
    }

    /// Counts something of so many bytes, and its overhead, until what is returned is dropped.
    pub(crate) fn count(&self, bytes: usize) -> Counted {
        let bytes = (bytes + OVERHEAD_BYTES) as u64;
        self.0.set(self.0.get() + bytes);
        Counted { bytes, memory: self.clone() }
    }
}

/// A part of the memory.
#[derive(Debug)]
pub(crate) struct Counted {
    bytes: u64,
    memory: Memory,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let Memory(bytes) = &self.memory;
        bytes.set(bytes.get() - self.bytes);
    }
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
