//! A stretch of a stream as it was read from the disk.

use bytes::Bytes;

use super::page::{Part, Room};

/// A slice that is smaller than this part of its chunk is copied: whoever waits for a slow socket with it would keep the
/// whole chunk in memory.
const WORTH_SHARING: usize = 4;

/// A stretch of a stream: all of its messages that were asked for, none of them lost.
///
/// What retention takes later is still in it, so whoever uses it asks for the stream's bounds first.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chunk {
    /// It begins behind this sequence.
    after: u64,
    /// And ends with this one.
    through: u64,
    deliveries: Bytes,
    messages: Box<[Message]>,
}

/// Where a message ends in the chunk's deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) sequence: u64,
    pub(super) end: usize,
}

/// A part of a chunk.
#[derive(Debug)]
pub(super) struct CutOut {
    /// `None`: no message of it is in the part.
    pub(super) messages: Option<Part>,
    pub(super) complete_through: u64,
    /// It ends where it does because there was no more room.
    pub(super) is_full: bool,
}

impl Chunk {
    /// `messages` are ascending, behind `after` and up to `through`, and end in `deliveries`.
    pub(super) fn new(after: u64, through: u64, deliveries: Bytes, messages: Box<[Message]>) -> Self {
        debug_assert!(after < through, "a chunk is a stretch");
        debug_assert!(messages.iter().all(|it| after < it.sequence && it.sequence <= through));
        Self { after, through, deliveries, messages }
    }

    pub(super) fn after(&self) -> u64 {
        self.after
    }

    pub(super) fn through(&self) -> u64 {
        self.through
    }

    /// What its messages' deliveries take.
    pub(super) fn delivery_bytes(&self) -> usize {
        self.deliveries.len()
    }

    /// What it takes in memory, without what tells where it is.
    pub(super) fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.deliveries.len() + size_of_val(&*self.messages)
    }

    /// What is behind one sequence and up to another, as far as there is room.
    pub(super) fn cut(&self, after: u64, through: u64, room: &mut Room) -> CutOut {
        let start = self.messages.partition_point(|message| message.sequence <= after);
        let asked_end = self.messages.partition_point(|message| message.sequence <= through).max(start);
        let start_byte = self.end_of_message_before(start);
        let mut end_byte = start_byte;
        let asked = self.messages.get(start..asked_end).unwrap_or_default();
        let taken = asked.iter().take_while(|message| {
            let fits = room.take(message.end.saturating_sub(end_byte));
            if fits {
                end_byte = message.end;
            }
            fits
        });
        let count = taken.count();
        let complete_through = match asked.get(count) {
            Some(left_out) => left_out.sequence.saturating_sub(1),
            None => self.through.min(through),
        };
        let ends = asked.first().zip(count.checked_sub(1).and_then(|last| asked.get(last)));
        let messages = ends.map(|(first, last)| Part::Messages {
            bytes: self.share(start_byte, end_byte),
            count: u32::try_from(count).unwrap_or(u32::MAX),
            first: first.sequence,
            last: last.sequence,
        });
        CutOut { messages, complete_through, is_full: count < asked.len() }
    }

    fn end_of_message_before(&self, index: usize) -> usize {
        let before = index.checked_sub(1).and_then(|before| self.messages.get(before));
        before.map_or(0, |message| message.end)
    }

    fn share(&self, start: usize, end: usize) -> Bytes {
        let end = end.min(self.deliveries.len());
        let slice = self.deliveries.slice(start.min(end)..end);
        let is_worth_it = slice.len() >= self.deliveries.len() / WORTH_SHARING;
        if is_worth_it { slice } else { Bytes::copy_from_slice(&slice) }
    }
}
