//! Random operations, crashes, failures and reopenings against a simple model.

use std::collections::BTreeMap;
use std::io;

use proptest::prelude::*;

use super::super::faulty::{Fault, FaultyDisk};
use super::super::{AppendError, Damage, Log, Recovered};
use super::queries::Known;
use super::{Message, SMALL, bytes, last_of_topic, message, messages, open, read, read_topic};

const STREAMS: u32 = 3;
const TOPICS: [&str; 4] = ["a", "a.b", "c", "long.topic.of.many.tokens"];

#[derive(Debug, Clone)]
enum Op {
    Append { stream: u32, topic: usize, bytes: usize, has_id: bool },
    Commit,
    Retain { stream: u32, keep: u64 },
    Remove { stream: u32 },
    MakeRoom,
    ReplaceBeyond { stream: u32, topics: Vec<usize>, max: u32 },
    ReplaceAllBeyond { stream: u32, max: u32 },
    Cut { stream: u32, age: u64, bytes: u64, count: u64 },
    Compact,
    Fail { after: u64, full: bool },
    Reopen,
    Close,
    Crash { seed: u64 },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        40 => (0..STREAMS, 0..TOPICS.len(), prop_oneof![4 => 0_usize..100, 1 => 0_usize..1500], any::<bool>())
            .prop_map(|(stream, topic, bytes, has_id)| Op::Append { stream, topic, bytes, has_id }),
        15 => Just(Op::Commit),
        4 => (0..STREAMS, 0_u64..30).prop_map(|(stream, keep)| Op::Retain { stream, keep }),
        1 => (0..STREAMS).prop_map(|stream| Op::Remove { stream }),
        3 => Just(Op::MakeRoom),
        5 => (0..STREAMS, prop::collection::vec(0..TOPICS.len(), 0..4), 1_u32..5)
            .prop_map(|(stream, topics, max)| Op::ReplaceBeyond { stream, topics, max }),
        2 => (0..STREAMS, 1_u32..5).prop_map(|(stream, max)| Op::ReplaceAllBeyond { stream, max }),
        6 => (0..STREAMS, 0_u64..200, 0_u64..3000, 0_u64..20)
            .prop_map(|(stream, age, bytes, count)| Op::Cut { stream, age, bytes, count }),
        3 => Just(Op::Compact),
        2 => (0_u64..12, any::<bool>()).prop_map(|(after, full)| Op::Fail { after, full }),
        2 => Just(Op::Reopen),
        1 => Just(Op::Close),
        3 => any::<u64>().prop_map(|seed| Op::Crash { seed }),
    ]
}

#[derive(Debug, Clone, Default)]
struct Stream {
    /// Its number changes when it is removed.
    number: u32,
    committed: BTreeMap<u64, Message>,
    first: u64,
    /// What it may be, after retention failed.
    maybe_first: Vec<u64>,
    /// After a removal failed.
    maybe_removed: bool,
    last: u64,
    replaced: BTreeMap<String, u64>,
}

impl Stream {
    fn readable(&self) -> Vec<Message> {
        let replaced =
            |message: &Message| self.replaced.get(&message.topic).is_some_and(|first| message.sequence < *first);
        self.committed
            .range(self.first..)
            .map(|(_, message)| message.clone())
            .filter(|message| !replaced(message))
            .collect()
    }
}

struct World {
    disk: FaultyDisk,
    log: Option<Log>,
    streams: Vec<Stream>,
    /// Appended after the last commit that succeeded, with the stream's place.
    pending: Vec<(usize, Message)>,
    next_number: u32,
    /// The bytes of each record, by number and sequence.
    bytes: BTreeMap<(u32, u64), u64>,
    checks: u64,
    /// Compaction may have taken what was replaced once, though nothing says so after a restart.
    compacted: bool,
}

impl World {
    fn new() -> Self {
        let disk = FaultyDisk::new();
        let (log, _) = open(&disk, SMALL).unwrap();
        let streams = (0..STREAMS).map(|number| Stream { number, first: 1, ..Stream::default() }).collect();
        Self {
            disk,
            log: Some(log),
            streams,
            pending: Vec::new(),
            next_number: STREAMS,
            bytes: BTreeMap::new(),
            checks: 0,
            compacted: false,
        }
    }

    fn log(&mut self) -> &mut Log {
        self.log.as_mut().unwrap()
    }

    fn append(&mut self, place: usize, topic: usize, bytes: usize, has_id: bool) {
        let stream = &self.streams[place];
        let appended = self.pending.iter().filter(|(of, _)| *of == place).count() as u64;
        let message = message(stream.number, stream.last + appended + 1, TOPICS[topic], bytes);
        let number = stream.number;
        let id = if has_id { message.delivery.clone() } else { Vec::new() };
        let record = super::Record {
            stream: number,
            sequence: message.sequence,
            time_us: message.time_us,
            topic: &message.topic,
            message_id: &id,
            delivery: &message.delivery,
        };
        let bytes = super::super::record::len(&record) as u64;
        self.bytes.insert((number, message.sequence), bytes);
        let has_failed = self.log().failed().is_some();
        match self.log().append(&record) {
            Ok(()) => {
                assert!(!has_failed);
                self.pending.push((place, message));
            }
            Err(AppendError::Failed(_)) => {}
            Err(other) => panic!("{other}"),
        }
    }

    fn commit(&mut self) {
        if self.log().commit().is_ok() {
            self.committed(usize::MAX);
        }
    }

    /// The first of what was appended are on disk, the others are gone.
    fn committed(&mut self, count: usize) {
        for (place, message) in self.pending.drain(..).take(count) {
            let stream = &mut self.streams[place];
            stream.last = message.sequence;
            stream.committed.insert(message.sequence, message);
        }
    }

    fn retain(&mut self, place: usize, keep: u64) {
        let stream = &self.streams[place];
        let first = (stream.last + 1).saturating_sub(keep).clamp(stream.first, stream.last + 1);
        let number = stream.number;
        let retained = self.log().retain(&[(number, first)]);
        let stream = &mut self.streams[place];
        match retained {
            Ok(_) => stream.first = first,
            Err(_) => stream.maybe_first.push(first),
        }
    }

    fn remove(&mut self, place: usize) {
        self.commit();
        let number = self.streams[place].number;
        if !self.pending.is_empty() {
            return;
        }
        if self.log().remove(number).is_ok() {
            let reader = self.log().reader();
            assert!(read(&reader, number).is_empty());
            self.removed(place);
        } else {
            self.streams[place].maybe_removed = true;
        }
    }

    fn removed(&mut self, place: usize) {
        self.streams[place] = Stream { number: self.next_number, first: 1, ..Stream::default() };
        self.next_number += 1;
    }

    /// Some of them, or all.
    fn replace_beyond(&mut self, place: usize, topics: Option<&[usize]>, max: u32) {
        let stream = &mut self.streams[place];
        let number = stream.number;
        let readable = stream.readable();
        let all: Vec<usize> = (0..TOPICS.len()).collect();
        for topic in topics.unwrap_or(&all).iter().map(|topic| TOPICS[*topic]) {
            let of_topic: Vec<u64> =
                readable.iter().filter(|message| message.topic == topic).map(|message| message.sequence).collect();
            if let Some(replaced) = of_topic.len().checked_sub(max as usize).filter(|count| *count > 0) {
                stream.replaced.insert(topic.to_owned(), of_topic[replaced]);
            }
        }
        let max = std::num::NonZeroU32::new(max).unwrap();
        match topics {
            Some(topics) => self.log().replace_beyond(number, max, topics.iter().map(|topic| TOPICS[*topic])),
            None => self.log().replace_all_beyond(number, max),
        }
    }

    fn check_cut(&mut self, place: usize, bounds: (u64, u64, u64)) {
        let Stream { number, last, .. } = self.streams[place];
        let readable = self.streams[place].readable();
        let bytes: Vec<u64> = readable.iter().map(|message| self.bytes[&(number, message.sequence)]).collect();
        Known { number, readable: &readable, last }.check_cut(self.log(), &bytes, bounds);
    }

    fn compact(&mut self) {
        self.compacted = true;
        // Steps of any length; it may fail like everything else.
        let ends = (0..10_000).any(|_| !matches!(self.log().compact(u64::MAX, 300), Ok(true)));
        assert!(ends, "compaction never ends");
    }

    fn reopen(&mut self) {
        self.log = None;
        self.disk.heal();
        let (mut log, recovered) = open(&self.disk, SMALL).unwrap();
        // A segment's first write whose first sector never came cannot be told from damage.
        let may_be_torn = |damage: &Damage| match damage {
            Damage::Segment { .. } => true,
            Damage::Bytes { range, .. } => range.start == 0,
            _ => false,
        };
        assert!(recovered.damage.iter().all(may_be_torn), "{:?}", recovered.damage);
        if !recovered.damage.is_empty() {
            log.accept_damage().unwrap();
        }
        assert!(recovered.absent_streams_are_empty || !recovered.damage.is_empty());
        self.log = Some(log);
        self.recognise(&recovered);
    }

    /// Takes over what recovery may decide: how much of what was pending survived.
    fn recognise(&mut self, recovered: &Recovered) {
        let found = |stream: &Stream| recovered.streams.get(&stream.number);
        for place in 0..self.streams.len() {
            let stream = &mut self.streams[place];
            if std::mem::take(&mut stream.maybe_removed) && found(stream).is_none() {
                self.removed(place);
            }
        }
        let survived: u64 = self
            .streams
            .iter()
            .map(|stream| found(stream).map_or(0, |found| found.last_sequence).checked_sub(stream.last).unwrap())
            .sum();
        self.committed(usize::try_from(survived).unwrap());
        let compacted = self.compacted;
        for stream in &mut self.streams {
            stream.replaced.clear();
            let Some(found) = found(stream) else {
                assert_eq!(stream.last, 0);
                continue;
            };
            assert_eq!(found.last_sequence, stream.last);
            if std::mem::take(&mut stream.maybe_first).contains(&found.first_sequence) {
                stream.first = found.first_sequence;
            }
            assert_eq!(found.first_sequence, stream.first);
            assert!(found.end_is_certain || !recovered.damage.is_empty());
            if compacted {
                continue;
            }
            let readable = stream.readable();
            assert_eq!(found.count, readable.len() as u64);
            let mut topics = BTreeMap::<&str, (u64, u64)>::new();
            for message in &readable {
                let topic = topics.entry(&message.topic).or_default();
                *topic = (message.sequence, topic.1 + 1);
            }
            let tails = found.topics.iter().map(|(topic, tail)| (&**topic, (tail.last_sequence, tail.count)));
            assert_eq!(tails.collect::<BTreeMap<_, _>>(), topics);
        }
        if compacted {
            self.forget_what_compaction_took();
        }
    }

    fn forget_what_compaction_took(&mut self) {
        let reader = self.log().reader();
        for stream in &mut self.streams {
            let page = read(&reader, stream.number);
            assert!(page.damaged().is_empty());
            let there = messages(&page);
            let readable = stream.readable();
            let last_of_each =
                TOPICS.iter().filter_map(|topic| readable.iter().rfind(|message| message.topic == *topic));
            for message in last_of_each {
                assert!(there.contains(message), "the last of a topic is never replaced");
            }
            assert!(there.iter().all(|message| readable.contains(message)));
            stream.committed = there.into_iter().map(|message| (message.sequence, message)).collect();
        }
    }

    fn crash(&mut self, seed: u64) {
        self.log = None;
        let mut state = seed;
        self.disk.crash(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 33
        });
        self.reopen();
    }

    fn check(&mut self) {
        let reader = self.log().reader();
        self.checks += 1;
        for stream in &self.streams {
            let readable = stream.readable();
            Known { number: stream.number, readable: &readable, last: stream.last }.check(&reader, self.checks);
            for max_bytes in [0, 300, u64::MAX] {
                let (mut from, mut read) = (1, Vec::new());
                loop {
                    let page = reader.read(stream.number, from, u64::MAX, &bytes(max_bytes));
                    assert_eq!(page.damaged(), []);
                    read.extend(messages(&page));
                    if page.next_sequence() > stream.last {
                        break;
                    }
                    assert!(page.next_sequence() > from);
                    from = page.next_sequence();
                }
                assert_eq!(read, readable);
            }
            for topic in TOPICS {
                let of_topic: Vec<_> = readable.iter().filter(|message| message.topic == topic).cloned().collect();
                assert_eq!(messages(&read_topic(&reader, stream.number, topic)), of_topic);
                let last = last_of_topic(&reader, stream.number, topic);
                assert_eq!(messages(&last).last(), of_topic.last());
                assert!(last.len() <= 1 && last.damaged().is_empty());
            }
            if let (Some(middle), 0) = (readable.get(readable.len() / 2), stream.replaced.len()) {
                assert_eq!(reader.sequence_at(stream.number, middle.time_us), Ok(middle.sequence));
                assert_eq!(reader.sequence_at(stream.number, middle.time_us + 9_999_999), Ok(stream.last + 1));
            }
        }
    }

    fn run(&mut self, op: &Op) {
        match *op {
            Op::Append { stream, topic, bytes, has_id } => self.append(stream as usize, topic, bytes, has_id),
            Op::Commit => self.commit(),
            Op::Retain { stream, keep } => self.retain(stream as usize, keep),
            Op::Remove { stream } => self.remove(stream as usize),
            // It may fail like everything else.
            Op::MakeRoom => drop(self.log().make_room()),
            Op::ReplaceBeyond { stream, ref topics, max } => self.replace_beyond(stream as usize, Some(topics), max),
            Op::ReplaceAllBeyond { stream, max } => self.replace_beyond(stream as usize, None, max),
            Op::Cut { stream, age, bytes, count } => self.check_cut(stream as usize, (age, bytes, count)),
            Op::Compact => self.compact(),
            Op::Fail { after, full: true } => {
                self.disk.fail(Fault::Full(self.disk.used_bytes() + usize::try_from(after).unwrap() * 100));
            }
            Op::Fail { after, full: false } => self.disk.fail(Fault::Call(after, io::ErrorKind::Other)),
            Op::Reopen => self.reopen(),
            Op::Close => {
                if self.log.take().unwrap().close().is_ok() {
                    self.committed(usize::MAX);
                }
                self.reopen();
            }
            Op::Crash { seed } => self.crash(seed),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: crate::long_runs::cases(100), max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn nothing_committed_is_lost_and_nothing_unknown_appears(ops in proptest::collection::vec(op(), 1..200)) {
        let mut world = World::new();
        for op in &ops {
            world.run(op);
            if !matches!(op, Op::Append { .. } | Op::Fail { .. }) {
                world.check();
            }
        }
        world.crash(1);
        world.check();
    }
}
