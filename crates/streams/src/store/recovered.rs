//! What the caller is told of each stream when a store was opened.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::damage::{Cut, Damage};
use super::error::{OpenError, Unreadable};
use super::index::{By, Index, Summary};
use super::ledger::Ledger;
use super::manifest::{Floor, Manifest};
use super::segment::Segment;
use super::shared::{StreamState, StreamStates};
use crate::stream::{Extent, Totals};

/// What a store has, and what happened to it.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Whether there was nothing at all: a new store, unless the caller knows better.
    pub is_new: bool,
    /// What a crash had left half written.
    pub cut: Option<Cut>,
    /// What cannot be read any more.
    pub damage: Vec<Damage>,
    /// Every stream that ever had a message and was not removed, by its number.
    pub streams: BTreeMap<u32, RecoveredStream>,
    /// Whether a stream that is not among them surely never had a message.
    pub absent_streams_are_empty: bool,
}

/// What a store has of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveredStream {
    /// What is before it retention took. One more than the last sequence where no message is left.
    pub first_sequence: u64,
    /// The last one; 0 where there never was one.
    pub last_sequence: u64,
    /// When that one was published, in microseconds since 1970.
    pub last_time_us: u64,
    /// Messages that are there.
    pub count: u64,
    /// Of their records on disk.
    pub bytes: u64,
    /// What is there of each topic.
    pub topics: HashMap<Box<str>, TopicTail>,
    /// Whether nothing is damaged that may have been a later message of this stream. If it is not, sequences that were
    /// given out once may be given out again: the stream needs another epoch.
    pub end_is_certain: bool,
}

/// What a stream has of a topic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TopicTail {
    /// The last message's.
    pub last_sequence: u64,
    /// Messages that are there.
    pub count: u64,
}

/// Segments' numbers, and where in each the last damage begins whose messages are not known.
pub(super) type Uncertain = [(u64, u64)];

pub(super) struct RecoveredStreams {
    streams: BTreeMap<u32, RecoveredStream>,
    nothing_is_uncertain: bool,
}

/// A stream while the segments are gone through.
struct Gathering {
    stream: RecoveredStream,
    /// The sequence that comes next if nothing is missing.
    expected: u64,
    /// The segment of the last message.
    last_segment: Option<(Arc<Segment>, Summary)>,
}

impl Gathering {
    fn new(floor: Floor) -> Self {
        let first_sequence = floor.first_sequence.max(1);
        let stream = RecoveredStream {
            first_sequence,
            last_sequence: floor.last_sequence,
            last_time_us: floor.last_time_us,
            count: 0,
            bytes: 0,
            topics: HashMap::new(),
            end_is_certain: true,
        };
        Self { stream, expected: first_sequence, last_segment: None }
    }

    fn add(
        &mut self,
        segment: &Arc<Segment>,
        summary: Summary,
        ledger: &mut Ledger,
        damage: &mut Vec<Damage>,
    ) -> Result<(), Unreadable> {
        let first_sequence = self.stream.first_sequence;
        let (covers_first, covers_last) = summary.covers;
        if covers_last >= self.stream.last_sequence {
            // The last message's, also where the time of one before was later.
            (self.stream.last_sequence, self.stream.last_time_us) = (covers_last, summary.last_time_us);
        }
        if summary.count > 0 {
            self.last_segment = Some((Arc::clone(segment), summary));
        }
        if covers_last < first_sequence {
            return Ok(());
        }
        self.lose(summary.stream, self.expected, covers_first.saturating_sub(1), damage);
        for (first, last) in segment.lost(summary.stream) {
            self.lose(summary.stream, first, last, damage);
        }
        self.expected = self.expected.max(covers_last.saturating_add(1));
        let totals = if summary.first_sequence >= first_sequence {
            Totals { messages: summary.count, bytes: summary.bytes }
        } else {
            part(segment, summary.stream, first_sequence)?
        };
        self.stream.count += totals.messages;
        self.stream.bytes += totals.bytes;
        if totals.messages > 0 {
            let newest = Extent { last: summary.last_sequence, newest_time_us: summary.last_time_us, totals };
            ledger.add(summary.stream, segment, newest);
        }
        Ok(())
    }

    fn lose(&self, stream: u32, first: u64, last: u64, damage: &mut Vec<Damage>) {
        let first_sequence = first.max(self.stream.first_sequence);
        if first_sequence <= last {
            damage.push(Damage::Messages { stream, first_sequence, last_sequence: last });
        }
    }

    fn end_is_certain(&self, uncertain: &Uncertain) -> bool {
        let Some((segment, summary)) = &self.last_segment else { return uncertain.is_empty() };
        let number = segment.id().number;
        let end = || {
            let by = By::Sequence(summary.last_sequence);
            let look = |index: &Index| index.places(summary.stream, index.chunk(summary.stream, by));
            let places = segment.look_up(look).ok().flatten()?;
            places.last().map(super::index::Place::end)
        };
        !uncertain
            .iter()
            .any(|(damaged, start)| *damaged > number || (*damaged == number && end().is_none_or(|end| end <= *start)))
    }
}

impl RecoveredStreams {
    pub(super) fn gather(
        segments: &[Arc<Segment>],
        manifest: &Manifest,
        uncertain: &Uncertain,
        damage: &mut Vec<Damage>,
    ) -> Result<(Self, Ledger), OpenError> {
        let mut ledger = Ledger::default();
        let floors = manifest.streams.iter();
        let mut streams: BTreeMap<u32, Gathering> =
            floors.map(|(number, floor)| (*number, Gathering::new(*floor))).collect();
        for segment in segments {
            let unread = |_| OpenError::unread(segment.id().index_name());
            for summary in segment.summaries() {
                let stream = streams.entry(summary.stream).or_insert_with(|| Gathering::new(Floor::default()));
                stream.add(segment, summary, &mut ledger, damage).map_err(unread)?;
            }
            add_topics(segment, &mut streams).map_err(unread)?;
        }
        for (number, stream) in &mut streams {
            stream.lose(*number, stream.expected, stream.stream.last_sequence, damage);
            stream.stream.end_is_certain = stream.end_is_certain(uncertain);
        }
        let streams = streams.into_iter().map(|(number, stream)| (number, stream.stream)).collect();
        Ok((Self { streams, nothing_is_uncertain: uncertain.is_empty() }, ledger))
    }

    /// As readers and the log need them, removed ones included.
    pub(super) fn states(&self) -> StreamStates {
        let state = |stream: &RecoveredStream| StreamState {
            first_sequence: stream.first_sequence,
            last_sequence: stream.last_sequence,
            last_time_us: stream.last_time_us,
            totals: Totals { messages: stream.count, bytes: stream.bytes },
        };
        self.streams.iter().map(|(number, stream)| (*number, state(stream))).collect()
    }

    pub(super) fn recovered(mut self, cut: Option<Cut>, damage: Vec<Damage>) -> Recovered {
        self.streams.retain(|_, stream| stream.first_sequence != u64::MAX);
        let (streams, absent_streams_are_empty) = (self.streams, self.nothing_is_uncertain);
        Recovered { is_new: false, cut, damage, streams, absent_streams_are_empty }
    }
}

/// What a segment has of which retention took the beginning.
fn part(segment: &Segment, stream: u32, first_sequence: u64) -> Result<Totals, Unreadable> {
    let mut part = Totals::default();
    for places in segment.chunks_from(stream, first_sequence) {
        for place in places?.iter().filter(|place| place.sequence >= first_sequence) {
            part.messages += 1;
            part.bytes += place.len;
        }
    }
    Ok(part)
}

fn add_topics(segment: &Segment, streams: &mut BTreeMap<u32, Gathering>) -> Result<(), Unreadable> {
    // Visited anew when the index turns out to be damaged, so they are only taken over when all of them were seen.
    let topics = segment.look_up(|index| {
        let mut topics = Vec::new();
        index.each_topic(|stream, topic, summary| topics.push((stream, Box::<str>::from(topic), summary)))?;
        Ok(topics)
    })?;
    for (number, topic, summary) in topics {
        let Some(gathering) = streams.get_mut(&number) else { continue };
        let first_sequence = gathering.stream.first_sequence;
        if summary.last.sequence < first_sequence {
            continue;
        }
        let mut count = summary.count;
        if summary.first_sequence < first_sequence {
            count = count_from(segment, number, &topic, first_sequence)?;
        }
        let tail = gathering.stream.topics.entry(topic).or_default();
        tail.last_sequence = tail.last_sequence.max(summary.last.sequence);
        tail.count += count;
    }
    Ok(())
}

/// How many messages of a topic a segment has from a sequence on.
fn count_from(segment: &Segment, stream: u32, topic: &str, first_sequence: u64) -> Result<u64, Unreadable> {
    let places = segment.topic_places(stream, topic)?;
    Ok(places.iter().filter(|place| place.sequence >= first_sequence).count() as u64)
}
