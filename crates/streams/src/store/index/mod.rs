//! Where the records of one segment are: by stream and sequence, by stream and topic, and the message ids.
//!
//! While a segment is written its index grows in [`memory`]; when it is sealed, the same bytes go into a [`file`]
//! beside it, and memory keeps only a summary for each stream. What the file says is covered by checksums, and all of
//! it can be made anew from the segment.

mod block;
mod encode;
mod file;
mod memory;

use std::sync::Arc;

pub(super) use encode::encode;
pub(super) use file::FileIndex;
pub(super) use memory::MemoryIndex;

use super::bytes::{Bytes, put_varint};

/// How many records one chunk of a stream's places has.
const CHUNK_RECORDS: usize = 512;

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

/// What a segment has of one topic of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TopicSummary {
    pub(super) count: u64,
    pub(super) first_sequence: u64,
    pub(super) last_sequence: u64,
    pub(super) last_offset: u64,
}

/// The index' file is damaged or cannot be read; the segment itself can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct IndexDamaged;

/// What chunks are looked up by.
#[derive(Debug, Clone, Copy)]
pub(super) enum By {
    /// The chunk where this sequence would be.
    Sequence(u64),
    /// The chunk in which the first record that is not before this time would be.
    Time(u64),
    /// The chunk where the record at this offset would be.
    Offset(u64),
}

/// The first record of a chunk.
#[derive(Debug, Clone, Copy)]
struct ChunkHead {
    sequence: u64,
    time_us: u64,
    offset: u64,
}

impl ChunkHead {
    /// Whether what is looked for may stand in this chunk or behind it.
    fn is_not_behind(&self, by: By) -> bool {
        match by {
            By::Sequence(sequence) => self.sequence <= sequence,
            By::Time(time_us) => self.time_us < time_us,
            By::Offset(offset) => self.offset <= offset,
        }
    }
}

/// Wherever the index is.
#[derive(Debug)]
pub(super) enum Index {
    Memory(MemoryIndex),
    File(Arc<FileIndex>),
}

impl Index {
    pub(super) fn summary(&self, stream: u32) -> Option<Summary> {
        match self {
            Self::Memory(index) => index.summary(stream),
            Self::File(index) => index.summary(stream),
        }
    }

    pub(super) fn summaries(&self) -> Vec<Summary> {
        match self {
            Self::Memory(index) => index.summaries(),
            Self::File(index) => index.summaries(),
        }
    }

    /// The ranges of a stream that are damaged, as far as they are known, in order.
    pub(super) fn lost(&self, stream: u32) -> Vec<(u64, u64)> {
        match self {
            Self::Memory(index) => index.lost(stream).to_vec(),
            Self::File(index) => index.lost(stream).to_vec(),
        }
    }

    /// Which chunk of the stream to begin with.
    pub(super) fn chunk(&self, stream: u32, by: By) -> usize {
        match self {
            Self::Memory(index) => index.chunk(stream, by),
            Self::File(index) => index.chunk(stream, by),
        }
    }

    /// The places in a chunk, in order; `None` behind the last chunk.
    pub(super) fn places(&self, stream: u32, chunk: usize) -> Result<Option<Vec<Place>>, IndexDamaged> {
        match self {
            Self::Memory(index) => index.places(stream, chunk),
            Self::File(index) => index.places(stream, chunk),
        }
    }

    pub(super) fn topic(&self, stream: u32, topic: &str) -> Result<Option<TopicSummary>, IndexDamaged> {
        match self {
            Self::Memory(index) => Ok(index.topic(stream, topic)),
            Self::File(index) => index.topic(stream, topic),
        }
    }

    /// The offsets of all records of a topic, in order.
    pub(super) fn topic_offsets(&self, stream: u32, topic: &str) -> Result<Vec<u64>, IndexDamaged> {
        match self {
            Self::Memory(index) => index.topic_offsets(stream, topic),
            Self::File(index) => index.topic_offsets(stream, topic),
        }
    }

    /// Every topic of every stream.
    pub(super) fn each_topic(&self, mut visit: impl FnMut(u32, &str, TopicSummary)) -> Result<(), IndexDamaged> {
        match self {
            Self::Memory(index) => {
                index.each_topic(visit);
                Ok(())
            }
            Self::File(index) => index.each_topic(&mut visit),
        }
    }

    /// The message ids, as [`ids`] reads them.
    pub(super) fn message_ids(&self) -> Result<Vec<u8>, IndexDamaged> {
        match self {
            Self::Memory(index) => Ok(index.message_ids().to_vec()),
            Self::File(index) => index.message_ids(),
        }
    }
}

/// Stream, sequence, time and id of the message ids in `bytes`.
pub(super) fn next_id<'a>(bytes: &mut Bytes<'a>) -> Option<(u32, u64, u64, &'a [u8])> {
    let stream = u32::try_from(bytes.varint()?).ok()?;
    let sequence = bytes.varint()?;
    let time_us = bytes.varint()?;
    let len = usize::try_from(bytes.varint()?).ok()?;
    Some((stream, sequence, time_us, bytes.take(len)?))
}

fn put_id(out: &mut Vec<u8>, stream: u32, sequence: u64, time_us: u64, id: &[u8]) {
    for number in [u64::from(stream), sequence, time_us, id.len() as u64] {
        put_varint(out, number);
    }
    out.extend_from_slice(id);
}

/// Reads the places of a chunk: for each the sequences left out before it, the bytes left out before it, its length.
fn decode_places(head: ChunkHead, bytes: &[u8]) -> Result<Vec<Place>, IndexDamaged> {
    let mut bytes = Bytes(bytes);
    let mut places = Vec::with_capacity(CHUNK_RECORDS);
    let (mut sequence, mut offset) = (head.sequence, head.offset);
    while !bytes.is_empty() {
        let mut next = || bytes.varint().ok_or(IndexDamaged);
        let (skipped, gap, len) = (next()?, next()?, next()?);
        sequence = sequence.checked_add(skipped).ok_or(IndexDamaged)?;
        offset = offset.checked_add(gap).ok_or(IndexDamaged)?;
        places.push(Place { sequence, offset, len });
        sequence = sequence.checked_add(1).ok_or(IndexDamaged)?;
        offset = offset.checked_add(len).ok_or(IndexDamaged)?;
    }
    Ok(places)
}

/// Reads a topic's offsets: each as its distance from the one before.
fn decode_offsets(bytes: &[u8]) -> Result<Vec<u64>, IndexDamaged> {
    let mut bytes = Bytes(bytes);
    let mut offsets = Vec::new();
    let mut offset = 0_u64;
    while !bytes.is_empty() {
        offset = bytes.varint().and_then(|distance| offset.checked_add(distance)).ok_or(IndexDamaged)?;
        offsets.push(offset);
    }
    Ok(offsets)
}
