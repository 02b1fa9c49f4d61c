//! Memory for records that a thread's connections share, so that one that is idle has none of its own.

use std::{cell::Cell, rc::Rc};

use super::{
    record::{MAX_OVERHEAD_BYTES, MAX_PLAIN_BYTES},
    session::MAX_CONTROL_BYTES,
};

/// What one read of a socket takes at most. It has room for the front of a record of the greatest length, and more.
const RECEIVE_BYTES: usize = 32 << 10;
/// What is sealed for one write to a socket: all that a connection gathers for one, and a head behind. It bounds what a
/// connection holds for a socket that takes no more, beside the outbox's bound.
const RECORDS_FOR_EACH_WRITE: usize = 5;
const SEAL_BYTES: usize =
    RECORDS_FOR_EACH_WRITE * (MAX_PLAIN_BYTES + MAX_OVERHEAD_BYTES + MAX_CONTROL_BYTES) + MAX_CONTROL_BYTES;

/// Buffers that connections take for the time of one turn. Who comes while one is taken gets another.
#[derive(Default)]
pub(crate) struct Buffers {
    receive: Cell<Vec<u8>>,
    seal: Cell<Vec<u8>>,
}

impl Buffers {
    /// Takes the one that is received into. All of it is initialised.
    pub(super) fn take_receive(&self) -> Vec<u8> {
        sized(self.receive.take(), RECEIVE_BYTES)
    }

    pub(super) fn give_receive(&self, buffer: Vec<u8>) {
        self.receive.set(buffer);
    }

    /// Takes the one that is sealed into. All of it is initialised.
    pub(super) fn take_seal(&self) -> Vec<u8> {
        sized(self.seal.take(), SEAL_BYTES)
    }

    pub(super) fn give_seal(&self, buffer: Vec<u8>) {
        self.seal.set(buffer);
    }
}

fn sized(buffer: Vec<u8>, bytes: usize) -> Vec<u8> {
    if buffer.len() == bytes { buffer } else { vec![0; bytes] }
}

/// What came from a socket and was not consumed: first plain text, then records that are not opened yet. What is left
/// when a turn is over is the connection's own; while it goes on, it lies in the buffer that all share.
pub(super) struct Received {
    shared: Rc<Buffers>,
    bytes: Vec<u8>,
    is_shared: bool,
    /// Where plain text begins and ends.
    plain_start: usize,
    plain_end: usize,
    /// Where the records begin and end.
    start: usize,
    end: usize,
}

impl Received {
    /// Starts with records that came with the handshake.
    pub(super) fn new(shared: Rc<Buffers>, bytes: Vec<u8>) -> Self {
        let end = bytes.len();
        let mut this = Self { shared, bytes, is_shared: false, plain_start: 0, plain_end: 0, start: 0, end };
        // Without the room that the handshake needed.
        this.keep_own();
        this
    }

    /// Plain text that was not consumed.
    pub(super) fn plain(&self) -> &[u8] {
        self.bytes.get(self.plain_start..self.plain_end).unwrap_or_default()
    }

    pub(super) fn consume(&mut self, bytes: usize) {
        self.plain_start = (self.plain_start + bytes).min(self.plain_end);
        if self.is_empty() {
            self.give_back();
        }
    }

    /// The records that are not opened.
    pub(super) fn records_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.start..self.end).unwrap_or_default()
    }

    /// The first record is opened, and its plain text lies there. There was none left of the one before.
    pub(super) fn opened(&mut self, plain: std::ops::Range<usize>, record_bytes: usize) {
        self.plain_start = self.start + plain.start;
        self.plain_end = self.start + plain.end;
        self.start += record_bytes;
    }

    /// The first record is done.
    pub(super) fn skip(&mut self, record_bytes: usize) {
        self.start += record_bytes;
    }

    /// Room to receive into, behind what is there. There must be no plain text.
    pub(super) fn room(&mut self) -> &mut [u8] {
        let left = self.start..self.end;
        let left_bytes = left.len();
        if self.is_shared {
            self.bytes.copy_within(left, 0);
        } else {
            let mut buffer = self.shared.take_receive();
            let own = self.bytes.get(left).unwrap_or_default();
            if let Some(front) = buffer.get_mut(..own.len()) {
                front.copy_from_slice(own);
            }
            self.bytes = buffer;
            self.is_shared = true;
        }
        (self.plain_start, self.plain_end, self.start, self.end) = (0, 0, 0, left_bytes);
        self.bytes.get_mut(left_bytes..).unwrap_or_default()
    }

    /// So many bytes were received into the room.
    pub(super) fn received(&mut self, bytes: usize) {
        self.end = (self.end + bytes).min(self.bytes.len());
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        (self.plain_start, self.plain_end, self.start, self.end) = (0, 0, 0, 0);
        self.give_back();
    }

    /// Gives the shared buffer back, and keeps what is left in memory of its own.
    pub(super) fn park(&mut self) {
        if self.is_shared {
            self.keep_own();
        }
    }

    /// Memory that is the connection's own.
    #[cfg(test)]
    pub(super) fn own_bytes(&self) -> usize {
        if self.is_shared { 0 } else { self.bytes.capacity() }
    }

    fn is_empty(&self) -> bool {
        self.plain_start == self.plain_end && self.start == self.end
    }

    fn keep_own(&mut self) {
        let from = if self.plain_start < self.plain_end { self.plain_start } else { self.start };
        let own = self.bytes.get(from..self.end).unwrap_or_default().to_vec();
        self.give_back();
        self.bytes = own;
        for place in [&mut self.plain_start, &mut self.plain_end, &mut self.start, &mut self.end] {
            *place = place.saturating_sub(from);
        }
    }

    fn give_back(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        if self.is_shared {
            self.shared.give_receive(bytes);
            self.is_shared = false;
        }
    }
}
