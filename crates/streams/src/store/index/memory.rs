//! The index of a segment while it grows.

use std::collections::HashMap;

use super::super::bytes::put_varint;
use super::super::record::{Kind, Read};
use super::{By, CHUNK_RECORDS, ChunkHead, IndexDamaged, Place, Summary, TopicSummary, decode_offsets, decode_places};

#[derive(Debug, Default)]
pub(in super::super) struct MemoryIndex {
    pub(super) streams: HashMap<u32, StreamIndex>,
    /// As [`next_id`](super::next_id) reads them.
    pub(super) ids: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct StreamIndex {
    pub(super) summary: Summary,
    pub(super) lost: Vec<(u64, u64)>,
    pub(super) chunks: Vec<Chunk>,
    pub(super) topics: HashMap<Box<str>, TopicIndex>,
    /// Behind the last record.
    end: u64,
}

#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) head: ChunkHead,
    pub(super) bytes: Vec<u8>,
    records: usize,
}

#[derive(Debug)]
pub(super) struct TopicIndex {
    pub(super) summary: TopicSummary,
    pub(super) offsets: Vec<u8>,
}

impl StreamIndex {
    fn new(stream: u32, covers: (u64, u64)) -> Self {
        let summary = Summary {
            stream,
            covers,
            first_sequence: 0,
            last_sequence: 0,
            first_time_us: 0,
            last_time_us: 0,
            count: 0,
            bytes: 0,
        };
        Self { summary, lost: Vec::new(), chunks: Vec::new(), topics: HashMap::new(), end: 0 }
    }

    fn cover(&mut self, (first, last): (u64, u64)) {
        let covers = &mut self.summary.covers;
        *covers = (covers.0.min(first), covers.1.max(last));
    }

    /// The sequence that comes next if nothing is missing.
    fn expected(&self) -> u64 {
        if self.summary.count == 0 { self.summary.covers.0 } else { self.summary.last_sequence.saturating_add(1) }
    }

    fn add_place(&mut self, offset: u64, len: u64, sequence: u64, time_us: u64) {
        let begins_chunk = self.chunks.last().is_none_or(|chunk| chunk.records >= CHUNK_RECORDS);
        if begins_chunk {
            let head = ChunkHead { sequence, time_us, offset };
            self.chunks.push(Chunk { head, bytes: Vec::new(), records: 0 });
        }
        let (expected, end) = if begins_chunk { (sequence, offset) } else { (self.expected(), self.end) };
        if let Some(chunk) = self.chunks.last_mut() {
            put_varint(&mut chunk.bytes, sequence.saturating_sub(expected));
            put_varint(&mut chunk.bytes, offset.saturating_sub(end));
            put_varint(&mut chunk.bytes, len);
            chunk.records += 1;
        }
        self.end = offset + len;
    }

    fn add_topic(&mut self, topic: &str, offset: u64, sequence: u64) {
        let summary = TopicSummary { count: 1, first_sequence: sequence, last_sequence: sequence, last_offset: offset };
        if let Some(known) = self.topics.get_mut(topic) {
            put_varint(&mut known.offsets, offset - known.summary.last_offset);
            let TopicSummary { count, first_sequence, .. } = known.summary;
            known.summary = TopicSummary { count: count + 1, first_sequence, ..summary };
        } else {
            let mut offsets = Vec::new();
            put_varint(&mut offsets, offset);
            self.topics.insert(topic.into(), TopicIndex { summary, offsets });
        }
    }
}

impl MemoryIndex {
    /// Takes in a record that stands behind all that were taken in.
    pub(in super::super) fn add(&mut self, offset: u64, read: &Read<'_>) {
        let record = &read.record;
        match read.kind {
            Kind::Message => {
                let covers = (record.sequence, record.sequence);
                let stream = self.stream(record.stream, covers);
                let (sequence, time_us, len) = (record.sequence, record.time_us, read.len as u64);
                stream.add_place(offset, len, sequence, time_us);
                stream.add_topic(record.topic, offset, sequence);
                let summary = &mut stream.summary;
                if summary.count == 0 {
                    (summary.first_sequence, summary.first_time_us) = (sequence, time_us);
                }
                (summary.last_sequence, summary.last_time_us) = (sequence, time_us);
                summary.count += 1;
                summary.bytes += len;
                if !record.message_id.is_empty() {
                    super::put_id(&mut self.ids, record.stream, sequence, time_us, record.message_id);
                }
            }
            Kind::Covered | Kind::Lost => {
                if let Some(range) = read.range() {
                    let stream = self.stream(record.stream, range);
                    stream.end = offset + read.len as u64;
                    stream.summary.last_time_us = stream.summary.last_time_us.max(record.time_us);
                    if read.kind == Kind::Lost {
                        stream.lost.push(range);
                    }
                }
            }
            Kind::Mark => {}
        }
    }

    fn stream(&mut self, stream: u32, covers: (u64, u64)) -> &mut StreamIndex {
        let index = self.streams.entry(stream).or_insert_with(|| StreamIndex::new(stream, covers));
        index.cover(covers);
        index
    }

    /// The sequences of a stream that are missing between its last record and a record that comes now, if bytes from
    /// `bad` on were unreadable; noted as lost.
    pub(in super::super) fn note_hole(&mut self, stream: u32, bad: u64, before: u64) {
        if let Some(index) = self.streams.get_mut(&stream)
            && index.end <= bad
        {
            let expected = index.expected();
            if expected < before {
                index.lost.push((expected, before - 1));
            }
        }
    }

    /// As [`note_hole`](Self::note_hole), for what every stream should still have when the segment ends.
    pub(in super::super) fn note_holes_at_end(&mut self, bad: u64) {
        let ends: Vec<_> = self.streams.iter().map(|(stream, index)| (*stream, index.summary.covers.1)).collect();
        for (stream, last) in ends {
            self.note_hole(stream, bad, last.saturating_add(1));
        }
    }

    pub(super) fn summary(&self, stream: u32) -> Option<Summary> {
        self.streams.get(&stream).map(|index| index.summary)
    }

    pub(super) fn summaries(&self) -> Vec<Summary> {
        self.streams.values().map(|index| index.summary).collect()
    }

    pub(super) fn lost(&self, stream: u32) -> &[(u64, u64)] {
        self.streams.get(&stream).map_or(&[], |index| &index.lost)
    }

    pub(super) fn chunk(&self, stream: u32, by: By) -> usize {
        let chunks = self.streams.get(&stream).map_or(&[][..], |index| &index.chunks);
        chunks.partition_point(|chunk| chunk.head.is_not_behind(by)).saturating_sub(1)
    }

    pub(super) fn places(&self, stream: u32, chunk: usize) -> Result<Option<Vec<Place>>, IndexDamaged> {
        let chunk = self.streams.get(&stream).and_then(|index| index.chunks.get(chunk));
        chunk.map(|chunk| decode_places(chunk.head, &chunk.bytes)).transpose()
    }

    fn topic_index(&self, stream: u32, topic: &str) -> Option<&TopicIndex> {
        self.streams.get(&stream)?.topics.get(topic)
    }

    pub(super) fn topic(&self, stream: u32, topic: &str) -> Option<TopicSummary> {
        self.topic_index(stream, topic).map(|index| index.summary)
    }

    pub(super) fn topic_offsets(&self, stream: u32, topic: &str) -> Result<Vec<u64>, IndexDamaged> {
        self.topic_index(stream, topic).map_or(Ok(Vec::new()), |index| decode_offsets(&index.offsets))
    }

    pub(super) fn each_topic(&self, mut visit: impl FnMut(u32, &str, TopicSummary)) {
        for (stream, index) in &self.streams {
            for (topic, entry) in &index.topics {
                visit(*stream, topic, entry.summary);
            }
        }
    }

    pub(super) fn message_ids(&self) -> &[u8] {
        &self.ids
    }
}
