//! A page as it goes to whoever asked, and how it is put together.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::chunk::Chunk;
use crate::stream::{Bounds, Epochs, Gap, Item, Page, PageLimits, Read};

/// Some of what was asked for, in order. Shared: cloning it copies no messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryPage {
    /// The stream's epoch when this was read. Every message in it belongs to it.
    pub epochs: Arc<Epochs>,
    /// The stream's bounds when this was read.
    pub bounds: Bounds,
    /// Everything up to here that was asked for is in the page, or named in it as lost. The next page starts behind it.
    pub complete_through: u64,
    /// In ascending order.
    pub parts: Vec<Part>,
}

/// A part of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Messages.
    Messages {
        /// Their deliveries as they were kept, back to back.
        bytes: Bytes,
        /// How many; not 0.
        count: u32,
        /// The first one's sequence.
        first: u64,
        /// The last one's.
        last: u64,
    },
    /// What stood here is lost.
    Lost(Gap),
}

/// Smaller parts that follow each other are joined, so that what was read in many small steps is not handed on so.
const JOINED_BELOW_BYTES: usize = 4 << 10;

impl HistoryPage {
    /// How many messages it has.
    pub fn message_count(&self) -> u64 {
        let count = |part: &Part| if let Part::Messages { count, .. } = part { u64::from(*count) } else { 0 };
        self.parts.iter().map(count).sum()
    }

    /// The bytes of its messages.
    pub fn size_bytes(&self) -> usize {
        let bytes = |part: &Part| if let Part::Messages { bytes, .. } = part { bytes.len() } else { 0 };
        self.parts.iter().map(bytes).sum()
    }

    /// It without its parts, as [`Cursor::on_page`](crate::stream::Cursor::on_page) looks at it.
    pub fn outline(&self) -> Page<()> {
        Page {
            epochs: self.epochs.clone(),
            bounds: self.bounds,
            items: Vec::new(),
            complete_through: self.complete_through,
        }
    }
}

/// What still fits into a page. One message always does while there is none in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    messages: usize,
    bytes: usize,
    has_message: bool,
}

impl Room {
    pub(super) fn new(limits: &PageLimits, max_messages: Option<u32>) -> Self {
        let asked = max_messages.and_then(|max| usize::try_from(max).ok()).unwrap_or(usize::MAX);
        Self {
            messages: limits.messages.min(asked).max(1),
            bytes: usize::try_from(limits.bytes).unwrap_or(usize::MAX),
            has_message: false,
        }
    }

    /// Takes the room of one message, if there is any.
    pub(super) fn take(&mut self, bytes: usize) -> bool {
        if self.messages == 0 || self.has_message && bytes > self.bytes {
            return false;
        }
        self.messages -= 1;
        self.bytes = self.bytes.saturating_sub(bytes);
        self.has_message = true;
        true
    }

    /// Whether another message may still fit.
    pub(super) fn is_left(&self) -> bool {
        self.messages > 0 && (self.bytes > 0 || !self.has_message)
    }
}

/// A page that grows from its start on.
#[derive(Debug)]
pub(super) struct Growing {
    /// It begins behind this sequence.
    after: u64,
    /// Everything up to here is in it.
    position: u64,
    /// It ends here at the latest.
    through: u64,
    parts: Vec<Part>,
    room: Room,
    is_full: bool,
}

impl Growing {
    /// One that begins with what is lost behind its start. It ends with the stream, or before.
    pub(super) fn new(read: &Read, bounds: &Bounds, room: Room) -> Self {
        let mut page = Self {
            after: read.after,
            position: read.after,
            through: read.through.min(bounds.last),
            parts: Vec::new(),
            room,
            is_full: false,
        };
        if let Some(gap) = bounds.gap_after(read.after).and_then(|gap| gap.up_to(read.through)) {
            page.position = gap.last;
            page.parts.push(Part::Lost(gap));
        }
        page
    }

    pub(super) fn position(&self) -> u64 {
        self.position
    }

    pub(super) fn through(&self) -> u64 {
        self.through
    }

    /// Whether it is complete up to anything behind its beginning.
    pub(super) fn has_moved(&self) -> bool {
        self.position > self.after
    }

    /// Whether nothing is to be added any more.
    pub(super) fn is_done(&self) -> bool {
        self.is_full || self.position >= self.through || !self.room.is_left()
    }

    /// Adds what a chunk has behind the position, which is in it or where it begins.
    pub(super) fn take(&mut self, chunk: &Chunk) {
        let cut = chunk.cut(self.position, self.through, &mut self.room);
        self.position = self.position.max(cut.complete_through);
        self.is_full |= cut.is_full;
        self.parts.extend(cut.messages);
    }

    /// Adds a range that is lost, as far as it was asked for.
    pub(super) fn lose(&mut self, gap: Gap) {
        let gap = Gap { first: gap.first.max(self.position.saturating_add(1)), ..gap };
        if let Some(gap) = gap.up_to(self.through).filter(|gap| gap.first <= gap.last) {
            self.position = gap.last;
            self.parts.push(Part::Lost(gap));
        }
    }

    pub(super) fn finish(self, epochs: Arc<Epochs>, bounds: Bounds) -> HistoryPage {
        HistoryPage { epochs, bounds, complete_through: self.position, parts: join(&self.parts) }
    }
}

/// Joins small parts of messages that follow each other.
fn join(parts: &[Part]) -> Vec<Part> {
    let is_small = |part: &Part| matches!(part, Part::Messages { bytes, .. } if bytes.len() < JOINED_BELOW_BYTES);
    let runs = parts.chunk_by(|one, next| is_small(one) && is_small(next));
    runs.flat_map(|run| match run {
        [_] => run.to_vec(),
        run => concatenated(run).into_iter().collect(),
    })
    .collect()
}

/// All messages of some parts as one.
fn concatenated(parts: &[Part]) -> Option<Part> {
    let mut joined = BytesMut::new();
    let (mut messages, mut ends) = (0_u32, None);
    for part in parts {
        let Part::Messages { bytes, count, first, last } = part else { continue };
        joined.extend_from_slice(bytes);
        messages = messages.saturating_add(*count);
        ends = Some((ends.map_or(*first, |(first, _)| first), *last));
    }
    ends.map(|(first, last)| Part::Messages { bytes: joined.freeze(), count: messages, first, last })
}

/// A page of messages that each have bytes of their own.
pub(super) fn page_of_memory(page: Page<Bytes>) -> HistoryPage {
    let mut parts = Vec::new();
    let is_message = |item: &Item<Bytes>| matches!(item, Item::Message { .. });
    for run in page.items.chunk_by(|one, next| is_message(one) && is_message(next)) {
        match run {
            [Item::Lost(gap)] => parts.push(Part::Lost(*gap)),
            messages => parts.extend(part_of(messages)),
        }
    }
    HistoryPage { epochs: page.epochs, bounds: page.bounds, complete_through: page.complete_through, parts }
}

fn part_of(messages: &[Item<Bytes>]) -> Option<Part> {
    let single = messages.iter().filter_map(|item| match item {
        Item::Message { sequence, message } => {
            Some(Part::Messages { bytes: message.clone(), count: 1, first: *sequence, last: *sequence })
        }
        Item::Lost(_) => None,
    });
    concatenated(&single.collect::<Vec<_>>())
}
