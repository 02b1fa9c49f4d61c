//! Readers over a real log on a disk in memory, against what was published.

mod cache;
mod cost;
mod history;
mod model;
mod race;
mod replaced;
mod threads;
mod unreadable;

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Instant;

use bytes::Bytes;
use carillon_wire::{PatternBuf, Topic};

use super::super::read::{Found, HistoryStart, ReadFailed, What};
use super::super::shared::{KeptStream, Shared, State};
use super::super::{Observer, Options};
use super::{CountedDisk, HistoryPage, Part, ReadCounts, Reading};
use crate::store::{self, Log, Record, faulty::FaultyDisk};
use crate::stream::{
    Bounds, DedupWindow, Definition, Durability, Epoch, EpochReason, Gap, LossReason, MAX_SEQUENCE, MemoryStream,
    Publication, Read, Retention, Routes, Select, Start, Stream, StreamName, Verdict,
};

const TOPICS: [&str; 5] = ["a.x", "a.y", "b.x", "b.y.z", "rare"];
const PATTERNS: [&str; 6] = [">", "a.*", "a.x", "b.>", "rare", "none"];
/// Times begin here, so that none is 0.
const BEGIN_US: u64 = 1_000;

/// Small, so that a few messages fill segments, pages and the cache.
fn small_options() -> Options {
    Options { segment_bytes: 3_000, page_bytes: 300, page_messages: 6, cache_bytes: 6_000, ..Options::default() }
}

fn pattern(name: &str) -> PatternBuf {
    PatternBuf::new(name).unwrap()
}

fn definition(durability: Durability, max_messages_per_topic: Option<NonZeroU32>) -> Arc<Definition> {
    let max_bytes = (durability == Durability::Memory).then(|| u64::MAX.try_into().unwrap());
    Arc::new(Definition {
        name: StreamName::new("s").unwrap(),
        patterns: vec![pattern(">")],
        durability,
        retention: Retention { max_bytes, max_messages_per_topic, ..Retention::default() },
        dedup: DedupWindow { time_us: 0, ids: 0 },
        max_topics: 1_000,
    })
}

/// A message as the model has it.
#[derive(Debug, Clone)]
struct Message {
    topic: &'static str,
    delivery: Vec<u8>,
}

/// One stream, what does the committer's work for it, and what the readers should find.
struct World {
    disk: FaultyDisk,
    log: Log,
    kept: Arc<KeptStream>,
    reading: Reading,
    counts: Arc<ReadCounts>,
    epochs_made: u64,
    /// What was published in this life of the stream, from sequence 1 on.
    messages: Vec<Message>,
    damaged: BTreeSet<u64>,
    /// When it is read.
    now: Instant,
}

impl World {
    fn new(durability: Durability, options: Options) -> Self {
        Self::with(definition(durability, None), options)
    }

    fn with(definition: Arc<Definition>, options: Options) -> Self {
        let disk = FaultyDisk::new();
        let counts = Arc::new(ReadCounts::default());
        let log_options = store::Options { segment_bytes: options.segment_bytes, reserve_bytes: 0 };
        let counted = CountedDisk::new(disk.clone(), Arc::clone(&counts));
        let (log, _) = Log::open(Arc::new(counted), log_options).unwrap();
        let stream = Stream::new(Arc::clone(&definition), epoch(0), EpochReason::Created);
        let state = match definition.durability {
            Durability::Disk => State::Disk(stream),
            Durability::Memory => State::Memory(MemoryStream::new(stream)),
        };
        let kept = Arc::new(KeptStream::new(0, 1, state));
        let shared = Shared {
            streams: vec![Arc::clone(&kept)],
            routes: Arc::new(Routes::new(vec![definition]).unwrap()),
            reader: RwLock::new(Some(log.reader())),
            observer: Arc::new(()) as Arc<dyn Observer>,
            options,
            read_counts: Arc::clone(&counts),
            store_status: Mutex::default(),
        };
        let reading = Reading::new(Arc::new(shared));
        let (messages, damaged) = (Vec::new(), BTreeSet::new());
        Self { disk, log, kept, reading, counts, epochs_made: 1, messages, damaged, now: Instant::now() }
    }

    /// Publishes messages to these topics, in one group.
    fn publish(&mut self, topics: impl IntoIterator<Item = &'static str>, padding: usize) {
        let mut state = self.kept.write();
        let epoch = state.stream().epochs().current().clone();
        for topic in topics {
            let sequence = self.messages.len() as u64 + 1;
            let time_us = time_of(sequence);
            let mut delivery = format!("<{epoch}/{sequence}/{topic}/").into_bytes();
            delivery.resize(delivery.len() + padding, b'.');
            let bytes = delivery.len() as u64;
            let publication =
                Publication { topic: Topic::new(topic).unwrap(), message_id: None, expected_last: None, bytes };
            let decision = match &mut *state {
                State::Disk(stream) => {
                    let record = Record {
                        stream: self.kept.number(),
                        sequence,
                        time_us,
                        topic,
                        message_id: b"",
                        delivery: &delivery,
                    };
                    self.log.append(&record).unwrap();
                    stream.publish(time_us, &publication)
                }
                State::Memory(memory) => memory.publish(time_us, &publication, |_| Bytes::copy_from_slice(&delivery)),
            };
            assert!(matches!(decision.verdict, Verdict::Append(place) if place.sequence == sequence));
            self.messages.push(Message { topic, delivery });
        }
        self.log.commit().unwrap();
        if let State::Disk(stream) = &mut *state {
            stream.commit(self.messages.len() as u64);
        }
    }

    /// What retention, or an operator, does to the front.
    fn remove_before(&mut self, first: u64, reason: LossReason) {
        let first = first.min(self.messages.len() as u64 + 1);
        self.log.retain(&[(self.kept.number(), first)]).unwrap();
        match (&mut *self.kept.write(), reason) {
            (State::Disk(stream), LossReason::Purge) => stream.purge_before(first),
            (State::Disk(stream), _) => stream.remove_before(first),
            (State::Memory(memory), _) => memory.purge_before(first),
        }
    }

    /// The stream goes, and begins anew under another number, in another epoch.
    fn remove(&mut self) {
        let number = self.kept.number();
        self.log.remove(number).unwrap();
        let next = epoch(self.epochs_made);
        self.epochs_made += 1;
        let mut state = self.kept.write();
        let definition = Arc::clone(state.stream().definition());
        let epochs = state.stream().epochs().followed_by(next, EpochReason::Created, None);
        *state = State::Disk(Stream::restore(definition, recovered(epochs)));
        self.kept.set_number(number + 1);
        (self.messages, self.damaged) = (Vec::new(), BTreeSet::new());
    }

    fn renew_epoch(&mut self) {
        let next = epoch(self.epochs_made);
        self.epochs_made += 1;
        match &mut *self.kept.write() {
            State::Disk(stream) => stream.renew_epoch(next, EpochReason::Renewed),
            State::Memory(memory) => memory.renew_epoch(next, EpochReason::Renewed),
        }
    }

    /// Flips a bit of a message on disk; the second time, back.
    fn damage(&mut self, sequence: u64) {
        let delivery = &self.messages[as_index(sequence) - 1].delivery;
        for name in store::Disk::list(&self.disk).unwrap() {
            let mut bytes = self.disk.bytes(&name).unwrap();
            let is_it = |window: &[u8]| window[1..] == delivery[1..];
            if let Some(at) = bytes.windows(delivery.len()).position(is_it) {
                bytes[at] ^= 1;
                self.disk.set_bytes(&name, &bytes);
                self.damaged.insert(sequence);
            }
        }
    }

    fn bounds(&self) -> Bounds {
        self.kept.read().stream().bounds()
    }

    fn find(&self, pattern_name: &str, what: &What) -> Result<Found, ReadFailed> {
        self.reading.find(0, &pattern(pattern_name), what, self.now)
    }

    fn page(&self, pattern_name: &str, read: Read) -> HistoryPage {
        match self.find(pattern_name, &What::Page(read)) {
            Ok(Found::Page(page)) => page,
            other => panic!("{other:?}"),
        }
    }

    fn is_asked_for(&self, pattern_name: &str, select: Select, sequence: u64) -> bool {
        let topic = self.messages[as_index(sequence) - 1].topic;
        let is_selected = match select {
            Select::All => true,
            Select::LastByTopic { as_of } => {
                let through = as_index(as_of).min(self.messages.len());
                let later = self.messages.get(as_index(sequence)..through).unwrap_or_default();
                sequence <= as_of && !later.iter().any(|message| message.topic == topic)
            }
        };
        is_selected && pattern(pattern_name).as_pattern().matches(Topic::new(topic).unwrap())
    }

    /// Holds a page to what was published. How many messages it has.
    fn check(&self, pattern_name: &str, read: &Read, page: &HistoryPage) -> usize {
        let bounds = self.bounds();
        assert_eq!((page.bounds, &page.epochs), (bounds, self.kept.read().stream().epochs()));
        let gap = bounds.gap_after(read.after).and_then(|gap| gap.up_to(read.through));
        assert!(gap.is_none_or(|gap| page.parts.first() == Some(&Part::Lost(gap))), "{gap:?} is not named first");
        let mut position = read.after;
        let mut messages = 0;
        let nothing_is_missing = |from: u64, to: u64| {
            for sequence in from..to {
                let is_there = sequence >= bounds.first && sequence <= bounds.last;
                assert!(!is_there || !self.is_asked_for(pattern_name, read.select, sequence), "{sequence} is missing");
            }
        };
        for part in &page.parts {
            match part {
                Part::Lost(gap) => {
                    assert!(gap.first > position && gap.first <= gap.last && gap.last <= read.through, "{gap:?}");
                    nothing_is_missing(position + 1, gap.first);
                    self.check_gap(read, gap);
                    position = gap.last;
                }
                Part::Messages { bytes, count, first, last } => {
                    assert!(*first > position && first <= last);
                    nothing_is_missing(position + 1, *first);
                    let mut rest = &bytes[..];
                    let mut found = 0;
                    for sequence in *first..=*last {
                        if self.is_asked_for(pattern_name, read.select, sequence) {
                            let delivery = &self.messages[as_index(sequence) - 1].delivery[..];
                            rest = rest.strip_prefix(delivery).expect("the next delivery");
                            found += 1;
                        }
                    }
                    assert_eq!((rest, found), (&b""[..], *count));
                    messages += found as usize;
                    position = *last;
                }
            }
        }
        nothing_is_missing(position + 1, page.complete_through + 1);
        assert!(page.complete_through >= position);
        let end = read.through.min(bounds.last);
        assert!(page.complete_through <= end.max(read.after).max(position));
        assert!(read.after >= end || page.complete_through > read.after, "no progress");
        assert_eq!(page.message_count(), messages as u64);
        messages
    }

    fn check_gap(&self, read: &Read, gap: &Gap) {
        if gap.reason == LossReason::Damage {
            assert!((gap.first..=gap.last).all(|sequence| self.damaged.contains(&sequence)), "{gap:?} is not damaged");
        } else {
            let expected = self.bounds().gap_after(read.after).and_then(|gap| gap.up_to(read.through));
            assert_eq!(Some(*gap), expected);
        }
    }
}

fn recovered(epochs: crate::stream::Epochs) -> crate::stream::Recovered {
    crate::stream::Recovered {
        epochs: Arc::new(epochs),
        bounds: Bounds { first: 1, last: 0, purged_through: 0 },
        last_time_us: 0,
        topics: Vec::new(),
        ids: Vec::new(),
    }
}

fn epoch(number: u64) -> Epoch {
    Epoch::new(&format!("e{number}")).unwrap()
}

fn time_of(sequence: u64) -> u64 {
    BEGIN_US + sequence * 10
}

fn as_index(number: u64) -> usize {
    usize::try_from(number).unwrap()
}

fn all_behind(after: u64) -> Read {
    Read { after, through: MAX_SEQUENCE, select: Select::All }
}
