//! The index of a segment while it grows.

use foldhash::quality::RandomState;
use hashbrown::HashMap;
use hashbrown::hash_map::EntryRef;

use super::super::record::{Kind, Read};
use super::ids::MemoryIds;
use super::outline::{ChunkHead, StreamOutline};
use super::{CHUNK_RECORDS, IndexFailed, Place, Summary, TopicSummary, decode_places, put_place};

#[derive(Debug, Default)]
pub(in super::super) struct MemoryIndex {
    pub(super) streams: HashMap<u32, StreamIndex, RandomState>,
    ids: MemoryIds,
}

#[derive(Debug)]
pub(super) struct StreamIndex {
    pub(super) outline: StreamOutline,
    /// For each of its chunk heads.
    pub(super) chunks: Vec<Chunk>,
    pub(super) topics: HashMap<Box<str>, TopicIndex, RandomState>,
    /// Behind the last record.
    end: u64,
}

#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) bytes: Vec<u8>,
    records: usize,
}

#[derive(Debug)]
pub(super) struct TopicIndex {
    pub(super) summary: TopicSummary,
    /// As [`decode_places`] reads them, from 0 on.
    pub(super) places: Vec<u8>,
    /// Its number among those that have message ids.
    id_topic: Option<u32>,
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
        let outline = StreamOutline { summary, lost: Vec::new(), chunk_heads: Vec::new() };
        Self { outline, chunks: Vec::new(), topics: HashMap::default(), end: 0 }
    }

    fn cover(&mut self, (first, last): (u64, u64)) {
        let covers = &mut self.outline.summary.covers;
        *covers = (covers.0.min(first), covers.1.max(last));
    }

    /// The sequence that comes next if nothing is missing.
    fn expected(&self) -> u64 {
        let Summary { covers, last_sequence, count, .. } = &self.outline.summary;
        if *count == 0 { covers.0 } else { last_sequence.saturating_add(1) }
    }

    fn add_place(&mut self, place: Place, time_us: u64) {
        let Place { sequence, offset, .. } = place;
        let begins_chunk = self.chunks.last().is_none_or(|chunk| chunk.records >= CHUNK_RECORDS);
        if begins_chunk {
            self.outline.chunk_heads.push(ChunkHead { sequence, time_us, offset });
            self.chunks.push(Chunk { bytes: Vec::new(), records: 0 });
        }
        let before = if begins_chunk { (sequence, offset) } else { (self.expected(), self.end) };
        if let Some(chunk) = self.chunks.last_mut() {
            put_place(&mut chunk.bytes, place, before);
            chunk.records += 1;
        }
        self.end = place.end();
    }

    fn add_topic(&mut self, topic: &str, place: Place) -> &mut TopicIndex {
        match self.topics.entry_ref(topic) {
            EntryRef::Occupied(known) => {
                let known = known.into_mut();
                let TopicSummary { count, bytes, last, .. } = &mut known.summary;
                put_place(&mut known.places, place, (last.sequence.saturating_add(1), last.end()));
                *count += 1;
                *bytes += place.len;
                *last = place;
                known
            }
            EntryRef::Vacant(new) => {
                let summary = TopicSummary { count: 1, bytes: place.len, first_sequence: place.sequence, last: place };
                let mut places = Vec::new();
                put_place(&mut places, place, (0, 0));
                new.insert_with_key(topic.into(), TopicIndex { summary, places, id_topic: None })
            }
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
                let Self { streams, ids } = self;
                let stream = Self::stream(streams, record.stream, covers);
                let (sequence, time_us, len) = (record.sequence, record.time_us, read.len as u64);
                let place = Place { sequence, offset, len };
                stream.add_place(place, time_us);
                let topic = stream.add_topic(record.topic, place);
                if !record.message_id.is_empty() {
                    ids.add(&mut topic.id_topic, (record.stream, sequence, time_us), record.message_id);
                }
                let summary = &mut stream.outline.summary;
                if summary.count == 0 {
                    (summary.first_sequence, summary.first_time_us) = (sequence, time_us);
                }
                (summary.last_sequence, summary.last_time_us) = (sequence, time_us);
                summary.count += 1;
                summary.bytes += len;
            }
            Kind::Covered | Kind::Lost => {
                if let Some(range) = read.range() {
                    let stream = Self::stream(&mut self.streams, record.stream, range);
                    stream.end = offset + read.len as u64;
                    let StreamOutline { summary, lost, .. } = &mut stream.outline;
                    summary.last_time_us = summary.last_time_us.max(record.time_us);
                    if read.kind == Kind::Lost {
                        lost.push(range);
                    }
                }
            }
            Kind::Mark => {}
        }
    }

    fn stream(
        streams: &mut HashMap<u32, StreamIndex, RandomState>,
        stream: u32,
        covers: (u64, u64),
    ) -> &mut StreamIndex {
        let index = streams.entry(stream).or_insert_with(|| StreamIndex::new(stream, covers));
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
                index.outline.lost.push((expected, before - 1));
            }
        }
    }

    /// As [`note_hole`](Self::note_hole), for what every stream should still have when the segment ends.
    pub(in super::super) fn note_holes_at_end(&mut self, bad: u64) {
        let end = |(stream, index): (&u32, &StreamIndex)| (*stream, index.outline.summary.covers.1);
        let ends: Vec<_> = self.streams.iter().map(end).collect();
        for (stream, last) in ends {
            self.note_hole(stream, bad, last.saturating_add(1));
        }
    }

    pub(super) fn outline(&self, stream: u32) -> Option<&StreamOutline> {
        self.streams.get(&stream).map(|index| &index.outline)
    }

    pub(super) fn outlines(&self) -> impl Iterator<Item = &StreamOutline> {
        self.streams.values().map(|index| &index.outline)
    }

    pub(super) fn places(&self, stream: u32, chunk: usize) -> Result<Option<Vec<Place>>, IndexFailed> {
        let Some(StreamIndex { outline, chunks, .. }) = self.streams.get(&stream) else { return Ok(None) };
        let chunk = outline.chunk_heads.get(chunk).zip(chunks.get(chunk));
        chunk.map(|(head, chunk)| decode_places(head.sequence, head.offset, &chunk.bytes)).transpose()
    }

    fn topic_index(&self, stream: u32, topic: &str) -> Option<&TopicIndex> {
        self.streams.get(&stream)?.topics.get(topic)
    }

    pub(super) fn topic(&self, stream: u32, topic: &str) -> Option<TopicSummary> {
        self.topic_index(stream, topic).map(|index| index.summary)
    }

    pub(super) fn topic_places(&self, stream: u32, topic: &str) -> Result<Vec<Place>, IndexFailed> {
        self.topic_index(stream, topic).map_or(Ok(Vec::new()), |index| decode_places(0, 0, &index.places))
    }

    pub(super) fn each_topic(&self, mut visit: impl FnMut(u32, &str, TopicSummary)) {
        for (stream, index) in &self.streams {
            for (topic, entry) in &index.topics {
                visit(*stream, topic, entry.summary);
            }
        }
    }

    pub(super) fn each_topic_of(&self, stream: u32, prefix: &str, mut visit: impl FnMut(&str, TopicSummary)) {
        let topics = self.streams.get(&stream).into_iter().flat_map(|index| &index.topics);
        for (topic, entry) in topics.filter(|(topic, _)| topic.starts_with(prefix)) {
            visit(topic, entry.summary);
        }
    }

    pub(super) fn each_topic_places_of(
        &self,
        stream: u32,
        prefix: &str,
        is_wanted: impl Fn(&str) -> bool,
        mut visit: impl FnMut(&str, Vec<Place>),
    ) -> Result<(), IndexFailed> {
        let topics = self.streams.get(&stream).into_iter().flat_map(|index| &index.topics);
        for (topic, entry) in topics.filter(|(topic, _)| topic.starts_with(prefix) && is_wanted(topic)) {
            visit(topic, decode_places(0, 0, &entry.places)?);
        }
        Ok(())
    }

    pub(super) fn encode_ids(&self) -> Vec<u8> {
        let topics = self.streams.values().flat_map(|index| &index.topics);
        self.ids.encode(topics.filter_map(|(topic, entry)| Some((&**topic, entry.id_topic?))))
    }
}
