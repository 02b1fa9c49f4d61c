//! Where the records of one segment are: by stream and sequence, by stream and topic, and the message ids.
//!
//! While a segment is written its index grows in [`memory`]; when it is sealed, the same bytes go into a [`file`]
//! beside it, and memory keeps only a summary for each stream. What the file says is covered by checksums, and all of
//! it can be made anew from the segment.

mod block;
mod encode;
mod file;
mod ids;
mod memory;
mod outline;

use std::io;
use std::sync::Arc;

pub(super) use encode::encode;
pub(super) use file::FileIndex;
pub(super) use ids::{Id, Ids};
pub(super) use memory::MemoryIndex;

use outline::StreamOutline;

use super::bytes::{Bytes, put_varint};
use super::error::is_damage;

/// How many records one chunk of a stream's places has.
const CHUNK_RECORDS: usize = if cfg!(test) { 4 } else { 512 };

/// What a segment has of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) stream: u32,
    /// The range that the segment stands for. What is not in it was replaced, or is damaged.
    pub(super) covers: (u64, u64),
    /// Of the records that are there; meaningless where `count` is 0.
    pub(super) first_sequence: u64,
    pub(super) last_sequence: u64,
    pub(super) first_time_us: u64,
    pub(super) last_time_us: u64,
    pub(super) count: u64,
    /// Of their records.
    pub(super) bytes: u64,
}

/// Where one record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) sequence: u64,
    pub(super) offset: u64,
    pub(super) len: u64,
}

impl Place {
    pub(super) fn end(&self) -> u64 {
        self.offset + self.len
    }
}

/// What a segment has of one topic of a stream: at least one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TopicSummary {
    pub(super) count: u64,
    /// Of their records.
    pub(super) bytes: u64,
    pub(super) first_sequence: u64,
    pub(super) last: Place,
}

/// Why an index' file cannot tell; the segment itself can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IndexFailed {
    /// It was read and is wrong.
    Damaged,
    /// It could not be read. It may be sound all the same.
    Unread,
}

impl IndexFailed {
    fn of(error: &io::Error) -> Self {
        if is_damage(error) { Self::Damaged } else { Self::Unread }
    }
}

/// What chunks are looked up by.
#[derive(Debug, Clone, Copy)]
pub(super) enum By {
    /// The chunk where this sequence would be.
    Sequence(u64),
    /// The chunk in which the first record that is not before this time would be.
    Time(u64),
}

/// Wherever the index is.
#[derive(Debug)]
pub(super) enum Index {
    Memory(MemoryIndex),
    File(Arc<FileIndex>),
}

impl Index {
    fn outline(&self, stream: u32) -> Option<&StreamOutline> {
        match self {
            Self::Memory(index) => index.outline(stream),
            Self::File(index) => index.outline(stream),
        }
    }

    pub(super) fn summary(&self, stream: u32) -> Option<Summary> {
        self.outline(stream).map(|outline| outline.summary)
    }

    pub(super) fn summaries(&self) -> Vec<Summary> {
        match self {
            Self::Memory(index) => index.outlines().map(|outline| outline.summary).collect(),
            Self::File(index) => index.outlines().map(|outline| outline.summary).collect(),
        }
    }

    /// The ranges of a stream that are damaged, as far as they are known, in order.
    pub(super) fn lost(&self, stream: u32) -> Vec<(u64, u64)> {
        self.outline(stream).map_or_else(Vec::new, |outline| outline.lost.clone())
    }

    /// Which chunk of the stream to begin with.
    pub(super) fn chunk(&self, stream: u32, by: By) -> usize {
        self.outline(stream).map_or(0, |outline| outline.chunk(by))
    }

    /// When the first message of a chunk was published; `None` behind the last chunk.
    pub(super) fn chunk_time(&self, stream: u32, chunk: usize) -> Option<u64> {
        Some(self.outline(stream)?.chunk_heads.get(chunk)?.time_us)
    }

    /// The places in a chunk, in order; `None` behind the last chunk.
    pub(super) fn places(&self, stream: u32, chunk: usize) -> Result<Option<Vec<Place>>, IndexFailed> {
        match self {
            Self::Memory(index) => index.places(stream, chunk),
            Self::File(index) => index.places(stream, chunk),
        }
    }

    pub(super) fn topic(&self, stream: u32, topic: &str) -> Result<Option<TopicSummary>, IndexFailed> {
        match self {
            Self::Memory(index) => Ok(index.topic(stream, topic)),
            Self::File(index) => index.topic(stream, topic),
        }
    }

    /// The places of all records of a topic, in order.
    pub(super) fn topic_places(&self, stream: u32, topic: &str) -> Result<Vec<Place>, IndexFailed> {
        match self {
            Self::Memory(index) => index.topic_places(stream, topic),
            Self::File(index) => index.topic_places(stream, topic),
        }
    }

    /// Every topic of every stream.
    pub(super) fn each_topic(&self, mut visit: impl FnMut(u32, &str, TopicSummary)) -> Result<(), IndexFailed> {
        match self {
            Self::Memory(index) => {
                index.each_topic(visit);
                Ok(())
            }
            Self::File(index) => index.each_topic(&mut visit),
        }
    }

    /// The topics of a stream whose names begin with `prefix`.
    pub(super) fn each_topic_of(
        &self,
        stream: u32,
        prefix: &str,
        mut visit: impl FnMut(&str, TopicSummary),
    ) -> Result<(), IndexFailed> {
        match self {
            Self::Memory(index) => {
                index.each_topic_of(stream, prefix, visit);
                Ok(())
            }
            Self::File(index) => index.each_topic_of(stream, prefix, &mut visit),
        }
    }

    /// The places of topics of a stream whose names begin with `prefix`.
    pub(super) fn each_topic_places_of(
        &self,
        stream: u32,
        prefix: &str,
        is_wanted: impl Fn(&str) -> bool,
        visit: impl FnMut(&str, Vec<Place>),
    ) -> Result<(), IndexFailed> {
        match self {
            Self::Memory(index) => index.each_topic_places_of(stream, prefix, is_wanted, visit),
            Self::File(index) => index.each_topic_places_of(stream, prefix, is_wanted, visit),
        }
    }

    /// The message ids.
    pub(super) fn message_ids(&self) -> Result<Ids, IndexFailed> {
        match self {
            Self::Memory(index) => Ids::read(index.encode_ids()),
            Self::File(index) => Ids::read(index.ids()?),
        }
    }
}

/// Reads places: for each the sequences left out before it, the bytes left out before it, its length.
fn decode_places(sequence: u64, offset: u64, bytes: &[u8]) -> Result<Vec<Place>, IndexFailed> {
    let mut bytes = Bytes(bytes);
    // No place takes less than three bytes.
    let mut places = Vec::with_capacity(bytes.0.len() / 3);
    let (mut sequence, mut offset) = (sequence, offset);
    while !bytes.is_empty() {
        let mut next = || bytes.varint().ok_or(IndexFailed::Damaged);
        let (skipped, gap, len) = (next()?, next()?, next()?);
        sequence = sequence.checked_add(skipped).ok_or(IndexFailed::Damaged)?;
        offset = offset.checked_add(gap).ok_or(IndexFailed::Damaged)?;
        places.push(Place { sequence, offset, len });
        sequence = sequence.checked_add(1).ok_or(IndexFailed::Damaged)?;
        offset = offset.checked_add(len).ok_or(IndexFailed::Damaged)?;
    }
    Ok(places)
}

/// Puts a place behind one before, or behind the beginning.
fn put_place(out: &mut Vec<u8>, place: Place, (expected, end): (u64, u64)) {
    put_varint(out, place.sequence.saturating_sub(expected));
    put_varint(out, place.offset.saturating_sub(end));
    put_varint(out, place.len);
}
