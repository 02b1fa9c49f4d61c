//! Reading, on any thread, while the log goes on.
//!
//! Only what was committed is seen. Damage is no error: it is named in the page, and everything around it is read.

use std::sync::Arc;

use super::bytes::Bytes;
use super::index::{By, Place, next_id};
use super::page::Page;
use super::record::{self, Kind, Read};
use super::segment::{Segment, read_lock};
use super::shared::{Shared, Snapshot, StreamState};

/// How much is read at once, and how many bytes of other streams are read along rather than reading twice.
const SPAN_BYTES: u64 = 256 << 10;
const READ_ALONG_BYTES: u64 = 4 << 10;

/// Reads a log. Cheap to clone; blocks on the disk, so it belongs on threads that may.
#[derive(Debug, Clone)]
pub struct Reader {
    shared: Arc<Shared>,
}

/// A message id, as deduplication remembers it after a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageId {
    /// The stream's number.
    pub stream: u32,
    /// The sequence of the message that had it.
    pub sequence: u64,
    /// When that one was published, in microseconds since 1970.
    pub time_us: u64,
    /// The id.
    pub id: Vec<u8>,
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Where a stream begins and ends now; `None` for one that never had a message.
    pub fn stream(&self, stream: u32) -> Option<StreamState> {
        read_lock(&self.shared.state).streams.get(&stream).copied()
    }

    /// The messages of a stream from a sequence on, until the deliveries have `max_bytes` (at least one message) or the
    /// stream ends.
    pub fn read(&self, stream: u32, from_sequence: u64, max_bytes: usize) -> Page {
        self.walk(stream, from_sequence, |walk, segment, page| walk.read_all(segment, page, max_bytes))
    }

    /// As [`read`](Self::read), but only messages of these topics, found by the index.
    pub fn read_topics(&self, stream: u32, topics: &[&str], from_sequence: u64, max_bytes: usize) -> Page {
        self.walk(stream, from_sequence, |walk, segment, page| walk.read_topics(segment, topics, page, max_bytes))
    }

    /// The last message of a topic, if there is one. What the page calls damaged may have been a later one.
    pub fn last_of_topic(&self, stream: u32, topic: &str) -> Page {
        let Some(snapshot) = self.shared.snapshot(stream) else { return Page::new(1) };
        let walk = Walk { stream, snapshot: &snapshot };
        let StreamState { first_sequence, last_sequence, .. } = snapshot.stream;
        let mut found = Page::new(first_sequence);
        for segment in snapshot.segments.iter().rev() {
            let last = segment.look_up(|index| index.topic(stream, topic)).flatten();
            if let Some(last) = last.filter(|last| last.last_sequence >= first_sequence) {
                let mut page = self.read_topics(stream, &[topic], last.last_sequence, 0);
                if page.is_empty() {
                    // The record that should have been it is damaged, so an earlier one has to do.
                    page = walk.last_but_damaged(segment, topic);
                }
                if !page.is_empty() {
                    found = page;
                    break;
                }
            }
        }
        // Damage behind it is named by passing all that comes after it.
        let from = found.messages().next().map_or(first_sequence, |message| message.sequence + 1);
        let rest = self.read_topics(stream, &[topic], from, usize::MAX);
        for range in rest.damaged() {
            found.damage(*range.start(), *range.end());
        }
        found.pass(last_sequence.saturating_add(1));
        found.finish()
    }

    /// The first sequence that was not published before a time; one more than the last where all were.
    pub fn sequence_at(&self, stream: u32, time_us: u64) -> u64 {
        let Some(snapshot) = self.shared.snapshot(stream) else { return 1 };
        let StreamState { first_sequence, last_sequence, .. } = snapshot.stream;
        let walk = Walk { stream, snapshot: &snapshot };
        for segment in snapshot.segments.iter() {
            let summary = segment.look_up(|index| Ok(index.summary(stream))).flatten();
            if summary.is_some_and(|summary| summary.count > 0 && summary.last_time_us >= time_us)
                && let Some(sequence) = walk.first_at(segment, time_us)
            {
                return sequence.clamp(first_sequence, last_sequence.saturating_add(1));
            }
        }
        last_sequence.saturating_add(1).max(first_sequence)
    }

    /// The message ids of all segments that have messages from a time on, oldest first; some may be older than that.
    /// Reads one segment's at a time.
    pub fn message_ids(&self, from_time_us: u64) -> impl Iterator<Item = MessageId> + use<> {
        let segments = Arc::clone(&read_lock(&self.shared.state).segments);
        let young = move |segment: &Arc<Segment>| {
            let summaries = segment.look_up(|index| Ok(index.summaries())).unwrap_or_default();
            summaries.iter().any(|summary| summary.last_time_us >= from_time_us)
        };
        (0..segments.len()).filter_map(move |at| segments.get(at).filter(|segment| young(segment)).cloned()).flat_map(
            |segment| {
                let bytes = segment.look_up(super::index::Index::message_ids).unwrap_or_default();
                let mut at = 0;
                std::iter::from_fn(move || {
                    let mut rest = Bytes(bytes.get(at..)?);
                    let (stream, sequence, time_us, id) = next_id(&mut rest)?;
                    let id = id.to_vec();
                    at = bytes.len() - rest.0.len();
                    Some(MessageId { stream, sequence, time_us, id })
                })
            },
        )
    }

    /// Goes through the segments that have the stream, and names what no segment has.
    fn walk(&self, stream: u32, from_sequence: u64, read: impl Fn(&Walk<'_>, &Segment, &mut Page) -> Full) -> Page {
        let Some(snapshot) = self.shared.snapshot(stream) else { return Page::new(from_sequence.max(1)) };
        let StreamState { first_sequence, last_sequence, .. } = snapshot.stream;
        let mut page = Page::new(from_sequence.max(first_sequence));
        let walk = Walk { stream, snapshot: &snapshot };
        for segment in walk.segments_from(page.next_sequence()) {
            let Some(summary) = segment.look_up(|index| Ok(index.summary(stream))).flatten() else { continue };
            let (first, last) = summary.covers;
            if last < page.next_sequence() {
                continue;
            }
            if first > last_sequence {
                break;
            }
            page.damage(page.next_sequence(), first.saturating_sub(1));
            page.pass(first);
            for (first, last) in segment.look_up(|index| Ok(index.lost(stream))).unwrap_or_default() {
                page.damage(first, last);
            }
            if read(&walk, segment, &mut page) == Full::Yes {
                return page.finish();
            }
            page.pass(last.min(last_sequence).saturating_add(1));
        }
        page.damage(page.next_sequence(), last_sequence);
        page.pass(last_sequence.saturating_add(1));
        page.finish()
    }
}

/// Whether a page has room for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Full {
    Yes,
    No,
}

/// A read of one stream, on its way through the segments.
struct Walk<'a> {
    stream: u32,
    snapshot: &'a Snapshot,
}

impl<'a> Walk<'a> {
    /// The segments that may have a sequence or later ones. Readers are mostly near the end, so it is sought from there.
    fn segments_from(&self, sequence: u64) -> impl Iterator<Item = &'a Arc<Segment>> + use<'a> {
        let segments = &self.snapshot.segments;
        let begins_before = |segment: &Arc<Segment>| {
            let summary = segment.look_up(|index| Ok(index.summary(self.stream))).flatten();
            summary.is_some_and(|summary| summary.covers.0 <= sequence)
        };
        let start = segments.iter().rposition(begins_before).unwrap_or(0);
        segments.iter().skip(start)
    }

    fn read_all(&self, segment: &Segment, page: &mut Page, max_bytes: usize) -> Full {
        let from = page.next_sequence();
        let first_chunk = segment.look_up(|index| Ok(index.chunk(self.stream, By::Sequence(from)))).unwrap_or(0);
        for chunk in first_chunk.. {
            let Some(places) = segment.look_up(|index| index.places(self.stream, chunk)).flatten() else { break };
            let from = page.next_sequence();
            let wanted = |place: &Place| place.sequence >= from && place.sequence <= self.snapshot.stream.last_sequence;
            let places: Vec<Place> = places.into_iter().filter(wanted).collect();
            if self.read_places(segment, &places, page, max_bytes) == Full::Yes {
                return Full::Yes;
            }
        }
        Full::No
    }

    /// Reads records, those that lie close together at once.
    fn read_places(&self, segment: &Segment, mut places: &[Place], page: &mut Page, max_bytes: usize) -> Full {
        let mut buffer = Vec::new();
        while let Some(first) = places.first() {
            // What surely is too much for the page need not be read.
            let room =
                (max_bytes.saturating_sub(page.deliveries().len()) as u64).clamp(first.len, SPAN_BYTES.max(first.len));
            let mut end = first.end();
            let fits = |place: &&Place| {
                let near = place.offset >= first.offset
                    && place.offset - first.offset <= room
                    && place.offset <= end + READ_ALONG_BYTES;
                if near {
                    end = end.max(place.end());
                }
                near
            };
            let count = places.iter().take_while(fits).count().max(1);
            let (span, rest) = places.split_at(count);
            buffer.clear();
            // An index that damage made nonsense of must not become an allocation.
            if end <= segment.file.len().unwrap_or(0) {
                buffer.resize(usize::try_from(end - first.offset).unwrap_or(0), 0);
                if segment.file.read_at(&mut buffer, first.offset).is_err() {
                    buffer.clear();
                }
            }
            for place in span {
                let bytes = usize::try_from(place.offset - first.offset).ok().and_then(|start| buffer.get(start..));
                let single = bytes.is_none_or(<[u8]>::is_empty).then(|| read_alone(segment, place)).flatten();
                let bytes = single.as_deref().or(bytes).unwrap_or_default();
                let read = record::read(bytes, segment.header.salt).ok();
                if self.take(read.as_ref(), place.sequence, page, max_bytes) == Full::Yes {
                    return Full::Yes;
                }
            }
            places = rest;
        }
        Full::No
    }

    /// Puts a record into the page, or names its sequence as damaged.
    fn take(&self, read: Option<&Read<'_>>, sequence: u64, page: &mut Page, max_bytes: usize) -> Full {
        let is_it = |read: &&Read<'_>| {
            read.kind == Kind::Message && read.record.stream == self.stream && read.record.sequence == sequence
        };
        if let Some(Read { record, .. }) = read.filter(is_it) {
            if !self.snapshot.is_replaced(record.topic, sequence) {
                if page.is_full_for(record.delivery.len(), max_bytes) {
                    return Full::Yes;
                }
                page.push(sequence, record.time_us, record.topic, record.delivery);
            }
        } else {
            page.damage(sequence, sequence);
        }
        page.pass(sequence.saturating_add(1));
        Full::No
    }

    fn read_topics(&self, segment: &Segment, topics: &[&str], page: &mut Page, max_bytes: usize) -> Full {
        let mut offsets = Vec::new();
        for topic in topics {
            offsets.extend(segment.look_up(|index| index.topic_offsets(self.stream, topic)).unwrap_or_default());
        }
        if offsets.is_empty() {
            return Full::No;
        }
        offsets.sort_unstable();
        let from = segment.offset_of(self.stream, page.next_sequence());
        let mut buffer = Vec::new();
        for offset in offsets.into_iter().filter(|offset| *offset >= from) {
            let read = segment.read_record(offset, &mut buffer);
            let read = read.filter(|read| topics.contains(&read.record.topic));
            let Some(sequence) = read.map(|read| read.record.sequence).or_else(|| self.sequence_of(segment, offset))
            else {
                continue;
            };
            if sequence > self.snapshot.stream.last_sequence {
                break;
            }
            if self.take(read.as_ref(), sequence, page, max_bytes) == Full::Yes {
                return Full::Yes;
            }
        }
        Full::No
    }

    /// The sequence of a record that cannot be read itself.
    fn sequence_of(&self, segment: &Segment, offset: u64) -> Option<u64> {
        let chunk = segment.look_up(|index| Ok(index.chunk(self.stream, By::Offset(offset))))?;
        let places = segment.look_up(|index| index.places(self.stream, chunk)).flatten()?;
        places.iter().find(|place| place.offset == offset).map(|place| place.sequence)
    }

    /// The last message of a topic in a segment in which the very last one is damaged.
    fn last_but_damaged(&self, segment: &Segment, topic: &str) -> Page {
        let first_sequence = self.snapshot.stream.first_sequence;
        let mut page = Page::new(first_sequence);
        let mut buffer = Vec::new();
        let offsets = segment.look_up(|index| index.topic_offsets(self.stream, topic)).unwrap_or_default();
        for offset in offsets.into_iter().rev() {
            if let Some(Read { record, .. }) = segment.read_record(offset, &mut buffer)
                && (record.stream, record.topic) == (self.stream, topic)
            {
                if record.sequence >= first_sequence {
                    page.push(record.sequence, record.time_us, record.topic, record.delivery);
                }
                break;
            }
        }
        page
    }

    /// The first sequence in a segment that was not published before a time.
    fn first_at(&self, segment: &Segment, time_us: u64) -> Option<u64> {
        let chunk = segment.look_up(|index| Ok(index.chunk(self.stream, By::Time(time_us))))?;
        let mut buffer = Vec::new();
        for chunk in chunk.. {
            let places = segment.look_up(|index| index.places(self.stream, chunk)).flatten()?;
            for place in places {
                let read = segment.read_record(place.offset, &mut buffer);
                if read.is_some_and(|read| read.record.time_us >= time_us) {
                    return Some(place.sequence);
                }
            }
        }
        None
    }
}

/// One record where the read of a whole span failed.
fn read_alone(segment: &Segment, place: &Place) -> Option<Vec<u8>> {
    if place.end() > segment.file.len().ok()? {
        return None;
    }
    let mut bytes = vec![0; usize::try_from(place.len).ok()?];
    segment.file.read_at(&mut bytes, place.offset).ok()?;
    Some(bytes)
}
