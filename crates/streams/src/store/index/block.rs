//! One block of an index' table of topics: a few entries, sorted by stream and topic.

use super::super::bytes::{Bytes, put_text, put_varint};
use super::{IndexFailed, Place, TopicSummary};

/// A part of the file, and its checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) position: u64,
    pub(super) len: u32,
    pub(super) checksum: u32,
}

impl Part {
    /// Puts `bytes` behind what is in `out`.
    pub(super) fn put(out: &mut Vec<u8>, bytes: &[u8]) -> Self {
        let position = out.len() as u64;
        out.extend_from_slice(bytes);
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        Self { position, len, checksum: crc32c::crc32c(bytes) }
    }

    pub(super) fn describe(&self, out: &mut Vec<u8>) {
        put_varint(out, self.position);
        put_varint(out, u64::from(self.len));
        out.extend_from_slice(&self.checksum.to_le_bytes());
    }

    pub(super) fn described(bytes: &mut Bytes<'_>) -> Option<Self> {
        let position = bytes.varint()?;
        let len = u32::try_from(bytes.varint()?).ok()?;
        Some(Self { position, len, checksum: bytes.u32()? })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    pub(super) stream: u32,
    pub(super) topic: &'a str,
    pub(super) summary: TopicSummary,
    pub(super) places: Part,
}

impl<'a> Entry<'a> {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.stream.to_le_bytes());
        put_text(out, self.topic);
        let TopicSummary { count, bytes, first_sequence, last } = self.summary;
        for number in [count, bytes, first_sequence, last.sequence, last.offset, last.len] {
            put_varint(out, number);
        }
        self.places.describe(out);
    }

    fn take(bytes: &mut Bytes<'a>) -> Option<Self> {
        let stream = bytes.u32()?;
        let topic = bytes.text()?;
        let summary = TopicSummary {
            count: bytes.varint()?,
            bytes: bytes.varint()?,
            first_sequence: bytes.varint()?,
            last: Place { sequence: bytes.varint()?, offset: bytes.varint()?, len: bytes.varint()? },
        };
        Some(Self { stream, topic, summary, places: Part::described(bytes)? })
    }
}

/// The entries of a block.
pub(super) fn entries(block: &[u8]) -> Result<Vec<Entry<'_>>, IndexFailed> {
    let mut bytes = Bytes(block);
    let mut entries = Vec::new();
    while !bytes.is_empty() {
        entries.push(Entry::take(&mut bytes).ok_or(IndexFailed::Damaged)?);
    }
    Ok(entries)
}
