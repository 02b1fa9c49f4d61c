//! The keeper on a disk that fails on purpose, and with its threads on a real one.

mod admin;
mod damage;
mod definitions;
mod inbox;
mod maintenance;
mod model;
mod threads;

use std::num::NonZeroU64;
use std::sync::{Arc, Mutex};

use carillon_wire::broker_message::{Delivery, InStream};
use carillon_wire::{BrokerMessage, Headers, PatternBuf, Topic, decode};

use super::committer::Committer;
use super::open::open_on;
use super::reading::CountedDisk;
use super::shared::Shared;
use super::*;
use crate::store::Disk;
use crate::store::faulty::FaultyDisk;
use crate::stream::{Bounds, DedupWindow, Item, PageLimits, Read, Retention, Select};

const HOUR_US: u64 = 3_600_000_000;
const ALL: PageLimits = PageLimits { messages: usize::MAX, bytes: u64::MAX, looked_at: usize::MAX };

fn name(name: &str) -> StreamName {
    StreamName::new(name).unwrap()
}

/// A stream that keeps `NAME.>` and remembers every id for an hour.
fn definition(of: &str, durability: Durability) -> Definition {
    let max_bytes = (durability == Durability::Memory).then_some(NonZeroU64::MAX);
    Definition {
        name: name(of),
        patterns: vec![PatternBuf::new(&format!("{of}.>")).unwrap()],
        durability,
        retention: Retention { max_bytes, ..Retention::default() },
        dedup: DedupWindow { time_us: HOUR_US, ids: 100_000 },
        max_topics: 1_000,
    }
}

fn small_options() -> Options {
    Options { segment_bytes: 2_000, reserve_bytes: 0, ..Options::default() }
}

/// What a message says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Said {
    topic: String,
    payload: Vec<u8>,
    time_us: u64,
    stream: String,
    sequence: u64,
}

fn said(delivery: &[u8]) -> Said {
    let mut messages = decode::broker_messages(delivery);
    let Some(Ok(BrokerMessage::Delivery(delivery))) = messages.next() else { panic!("{delivery:x?}") };
    assert!(messages.next().is_none());
    let InStream { stream, sequence } = delivery.in_stream.unwrap();
    Said {
        topic: delivery.topic.as_str().to_owned(),
        payload: delivery.payload.to_vec(),
        time_us: delivery.time_us,
        stream: stream.to_owned(),
        sequence,
    }
}

/// Adds a publication into a stream that [`definition`] made.
fn push(submissions: &mut Submissions, head: SubmissionHead<'_>, payload: &[u8]) {
    let stream = head.topic.split('.').next().unwrap();
    let delivery = Delivery {
        topic: Topic::new(head.topic).unwrap(),
        payload,
        time_us: 0,
        headers: Headers::EMPTY,
        in_stream: Some(InStream { stream, sequence: 0 }),
    };
    submissions.push(head, |out| delivery.encode_in_stream(out));
}

fn head(stream: u32, topic: &str) -> SubmissionHead<'_> {
    SubmissionHead { stream, request: None, topic, message_id: None, expected_last: None }
}

/// Shards that only keep what they are told.
#[derive(Debug)]
struct Recorder {
    told: Vec<Mutex<Vec<Committed>>>,
}

impl Recorder {
    fn new(shards: usize) -> Arc<Self> {
        Arc::new(Self { told: (0..shards).map(|_| Mutex::default()).collect() })
    }

    fn take(&self, shard: usize) -> Vec<Committed> {
        std::mem::take(&mut self.told[shard].lock().unwrap())
    }

    /// Of one shard, all answers in order.
    fn answers(&self, shard: usize) -> Vec<Answer> {
        self.take(shard).into_iter().flat_map(|it| it.answers).flat_map(|it| it.answers).collect()
    }
}

impl Shards for Recorder {
    fn count(&self) -> usize {
        self.told.len()
    }

    fn tell(&self, shard: usize, event: Event) {
        let Event::Committed(committed) = event else { panic!("nothing was to be read") };
        self.told[shard].lock().unwrap().push(committed);
    }
}

/// A keeper without threads.
struct Bench {
    shared: Arc<Shared>,
    disk: Option<Committer>,
    memory: Committer,
    report: Vec<Finding>,
}

fn bench(
    disk: &FaultyDisk,
    definitions: &[Definition],
    shards: &Arc<Recorder>,
    now_us: u64,
) -> Result<Bench, OpenError> {
    let counts = Arc::<ReadCounts>::default();
    let disk: Option<Arc<dyn Disk>> = Some(Arc::new(CountedDisk::new(disk.clone(), Arc::clone(&counts))));
    let opened = open_on(disk, definitions.to_vec(), small_options(), Arc::new(()), counts, now_us)?;
    let report = opened.report().to_vec();
    let (shared, disk, memory) = opened.committers(&(Arc::clone(shards) as Arc<dyn Shards>));
    Ok(Bench { shared, disk, memory, report })
}

impl Bench {
    fn disk(&mut self) -> &mut Committer {
        self.disk.as_mut().unwrap()
    }

    fn committer(&mut self, durability: Durability) -> &mut Committer {
        match durability {
            Durability::Disk => self.disk(),
            Durability::Memory => &mut self.memory,
        }
    }

    /// One publication, on its own.
    fn publish(&mut self, now_us: u64, head: SubmissionHead<'_>, payload: &[u8]) {
        let durability = self.shared.streams[head.stream as usize].durability;
        let mut submissions = Submissions::new(0, 0);
        push(&mut submissions, head, payload);
        self.committer(durability).step(now_us, vec![submissions]);
    }

    /// What can be read of a stream.
    fn content(&self, stream: u32) -> Vec<Said> {
        let kept = self.shared.stream(stream).unwrap();
        let state = kept.read();
        match &*state {
            shared::State::Memory(memory) => {
                let read = Read { after: 0, through: u64::MAX, select: Select::All };
                let page = memory.page(&read, PatternBuf::new(">").unwrap().as_pattern(), &ALL);
                let message = |item: Item<bytes::Bytes>| match item {
                    Item::Message { message, .. } => Some(said(&message)),
                    Item::Lost(_) => None,
                };
                page.items.into_iter().filter_map(message).collect()
            }
            shared::State::Disk(_) => {
                let page = self.shared.reader().unwrap().read(kept.number(), 1, u64::MAX, &ALL);
                assert_eq!(page.damaged(), []);
                page.messages().map(|message| said(message.delivery)).collect()
            }
        }
    }

    fn bounds(&self, stream: u32) -> Bounds {
        self.shared.stream(stream).unwrap().read().stream().bounds()
    }

    fn epoch(&self, stream: u32) -> Epoch {
        self.shared.stream(stream).unwrap().read().stream().epochs().current().clone()
    }
}
