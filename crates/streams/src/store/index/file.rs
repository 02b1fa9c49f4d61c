//! The index of a sealed segment: a summary for each stream in memory, all else read from its file when asked.

use std::fmt;
use std::sync::Arc;

use foldhash::quality::RandomState;
use hashbrown::HashMap;

use super::super::bytes::Bytes;
use super::super::disk::DiskFile;
use super::super::header::{Header, SegmentId};
use super::block::{Entry, Part, entries};
use super::encode::{FOOTER_BYTES, MAGIC, VERSION};
use super::outline::{ChunkHead, StreamOutline};
use super::{IndexFailed, Place, Summary, TopicSummary, decode_places};

pub(in super::super) struct FileIndex {
    file: Arc<dyn DiskFile>,
    len: u64,
    streams: HashMap<u32, StreamIndex, RandomState>,
    blocks: Vec<Part>,
    ids: Part,
    log_len: u64,
}

struct StreamIndex {
    outline: StreamOutline,
    /// For each of its chunk heads.
    chunks: Vec<Part>,
}

impl fmt::Debug for FileIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileIndex").field("streams", &self.streams.len()).finish_non_exhaustive()
    }
}

impl FileIndex {
    /// Reads the summary of the index that belongs to a segment with this header and at least this length: an index
    /// knows what a log lost at its end, but not what was appended after it was made.
    pub(in super::super) fn open(file: Arc<dyn DiskFile>, header: Header, log_len: u64) -> Result<Self, IndexFailed> {
        let len = file.len().map_err(|error| IndexFailed::of(&error))?;
        let footer_at = len.checked_sub(FOOTER_BYTES as u64).ok_or(IndexFailed::Damaged)?;
        let mut footer = [0; FOOTER_BYTES];
        file.read_at(&mut footer, footer_at).map_err(|error| IndexFailed::of(&error))?;
        let part = read_footer(&footer).ok_or(IndexFailed::Damaged)?;
        if part.position.checked_add(u64::from(part.len)) != Some(footer_at) {
            return Err(IndexFailed::Damaged);
        }
        let summary = read(&*file, len, &part)?;
        read_summary(Bytes(&summary), (file, len), header, log_len).ok_or(IndexFailed::Damaged)
    }

    /// How long the log was when the index was made.
    pub(in super::super) fn log_len(&self) -> u64 {
        self.log_len
    }

    pub(super) fn outline(&self, stream: u32) -> Option<&StreamOutline> {
        self.streams.get(&stream).map(|index| &index.outline)
    }

    pub(super) fn outlines(&self) -> impl Iterator<Item = &StreamOutline> {
        self.streams.values().map(|index| &index.outline)
    }

    pub(super) fn places(&self, stream: u32, chunk: usize) -> Result<Option<Vec<Place>>, IndexFailed> {
        let Some(StreamIndex { outline, chunks }) = self.streams.get(&stream) else { return Ok(None) };
        let Some((head, part)) = outline.chunk_heads.get(chunk).zip(chunks.get(chunk)) else { return Ok(None) };
        decode_places(head.sequence, head.offset, &self.read(part)?).map(Some)
    }

    pub(super) fn topic(&self, stream: u32, topic: &str) -> Result<Option<TopicSummary>, IndexFailed> {
        Ok(self.find(stream, topic)?.map(|(summary, _)| summary))
    }

    pub(super) fn topic_places(&self, stream: u32, topic: &str) -> Result<Vec<Place>, IndexFailed> {
        match self.find(stream, topic)? {
            Some((_, places)) => decode_places(0, 0, &self.read(&places)?),
            None => Ok(Vec::new()),
        }
    }

    pub(super) fn each_topic(&self, visit: &mut impl FnMut(u32, &str, TopicSummary)) -> Result<(), IndexFailed> {
        for block in &self.blocks {
            for entry in entries(&self.read(block)?)? {
                visit(entry.stream, entry.topic, entry.summary);
            }
        }
        Ok(())
    }

    pub(super) fn each_topic_of(
        &self,
        stream: u32,
        prefix: &str,
        visit: &mut impl FnMut(&str, TopicSummary),
    ) -> Result<(), IndexFailed> {
        self.each_entry_of(stream, prefix, |entry| {
            visit(entry.topic, entry.summary);
            Ok(())
        })
    }

    pub(super) fn each_topic_places_of(
        &self,
        stream: u32,
        prefix: &str,
        is_wanted: impl Fn(&str) -> bool,
        mut visit: impl FnMut(&str, Vec<Place>),
    ) -> Result<(), IndexFailed> {
        self.each_entry_of(stream, prefix, |entry| {
            if is_wanted(entry.topic) {
                visit(entry.topic, decode_places(0, 0, &self.read(&entry.places)?)?);
            }
            Ok(())
        })
    }

    /// The entries of a stream's topics whose names begin with `prefix`: neighbours, as they are sorted.
    fn each_entry_of(
        &self,
        stream: u32,
        prefix: &str,
        mut visit: impl FnMut(&Entry<'_>) -> Result<(), IndexFailed>,
    ) -> Result<(), IndexFailed> {
        if !self.streams.contains_key(&stream) {
            return Ok(());
        }
        for block in self.blocks.get(self.block(stream, prefix)?..).unwrap_or_default() {
            for entry in &entries(&self.read(block)?)? {
                if (entry.stream, entry.topic) < (stream, prefix) {
                    continue;
                }
                if entry.stream != stream || !entry.topic.starts_with(prefix) {
                    return Ok(());
                }
                visit(entry)?;
            }
        }
        Ok(())
    }

    pub(super) fn ids(&self) -> Result<Vec<u8>, IndexFailed> {
        self.read(&self.ids)
    }

    fn find(&self, stream: u32, topic: &str) -> Result<Option<(TopicSummary, Part)>, IndexFailed> {
        if !self.streams.contains_key(&stream) {
            return Ok(None);
        }
        let Some(part) = self.blocks.get(self.block(stream, topic)?) else { return Ok(None) };
        let block = self.read(part)?;
        let found = entries(&block)?.into_iter().find(|entry| (entry.stream, entry.topic) == (stream, topic));
        Ok(found.map(|entry| (entry.summary, entry.places)))
    }

    /// The first block with an entry that is not before this one: halves the blocks until it is found.
    fn block(&self, stream: u32, topic: &str) -> Result<usize, IndexFailed> {
        let (mut low, mut high) = (0, self.blocks.len());
        while low < high {
            let middle = low.midpoint(high);
            let Some(part) = self.blocks.get(middle) else { break };
            let block = self.read(part)?;
            let is_before = entries(&block)?.last().is_none_or(|last| (last.stream, last.topic) < (stream, topic));
            if is_before {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    fn read(&self, part: &Part) -> Result<Vec<u8>, IndexFailed> {
        read(&*self.file, self.len, part)
    }
}

/// Reads a part of a file that has `len` bytes.
fn read(file: &dyn DiskFile, len: u64, part: &Part) -> Result<Vec<u8>, IndexFailed> {
    // A length that damage made too large must not become an allocation.
    if part.position.checked_add(u64::from(part.len)).is_none_or(|end| end > len) {
        return Err(IndexFailed::Damaged);
    }
    let mut bytes = vec![0; part.len as usize];
    file.read_at(&mut bytes, part.position).map_err(|error| IndexFailed::of(&error))?;
    if crc32c::crc32c(&bytes) == part.checksum { Ok(bytes) } else { Err(IndexFailed::Damaged) }
}

fn read_footer(footer: &[u8]) -> Option<Part> {
    let mut fields = Bytes(footer);
    let part = Part { position: fields.u64()?, len: fields.u32()?, checksum: fields.u32()? };
    (fields.0 == MAGIC).then_some(part)
}

fn read_summary(
    mut fields: Bytes<'_>,
    (file, len): (Arc<dyn DiskFile>, u64),
    header: Header,
    log_len: u64,
) -> Option<FileIndex> {
    let version = fields.u32()?;
    let id = SegmentId { number: fields.u64()?, generation: fields.u32()? };
    let found = Header { id, salt: fields.u32()? };
    // An index of another version is only made anew.
    if version != VERSION || found != header {
        return None;
    }
    let known_len = fields.u64()?;
    if known_len < log_len {
        return None;
    }
    let ids = Part::described(&mut fields)?;
    let mut streams = HashMap::default();
    for _ in 0..fields.varint()? {
        let index = read_stream(&mut fields)?;
        streams.insert(index.outline.summary.stream, index);
    }
    let mut blocks = Vec::new();
    for _ in 0..fields.varint()? {
        blocks.push(Part::described(&mut fields)?);
    }
    fields.is_empty().then_some(FileIndex { file, len, streams, blocks, ids, log_len: known_len })
}

fn read_stream(fields: &mut Bytes<'_>) -> Option<StreamIndex> {
    let summary = Summary {
        stream: fields.u32()?,
        covers: (fields.varint()?, fields.varint()?),
        first_sequence: fields.varint()?,
        last_sequence: fields.varint()?,
        first_time_us: fields.varint()?,
        last_time_us: fields.varint()?,
        count: fields.varint()?,
        bytes: fields.varint()?,
    };
    let mut lost = Vec::new();
    for _ in 0..fields.varint()? {
        lost.push((fields.varint()?, fields.varint()?));
    }
    let (mut chunk_heads, mut chunks) = (Vec::new(), Vec::new());
    for _ in 0..fields.varint()? {
        let (sequence, time_us, offset) = (fields.varint()?, fields.varint()?, fields.varint()?);
        chunk_heads.push(ChunkHead { sequence, time_us, offset });
        chunks.push(Part::described(fields)?);
    }
    Some(StreamIndex { outline: StreamOutline { summary, lost, chunk_heads }, chunks })
}
