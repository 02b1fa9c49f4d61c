//! What a shard knows of the streams: what its connections publish into them, what is committed, and who reads.
//!
//! Nothing here does I/O. Publications and reads are gathered for the keeper's threads and handed over at the end of a
//! turn; what those threads answer comes through the shard's queue.
//!
//! ```text
//!  publish ──▶ Submissions ──▶ keeper ──▶ Committed ──▶ deliver ──▶ router: who is live
//!                                             └──▶ tail ──┐
//!  subscribe with a start, fall behind ──▶ Reader ────────┴──▶ read_on ──▶ router: asides for who is behind
//!                                             └──▶ keeper ──▶ page ──┘
//! ```
//!
//! A subscription that is not live on a stream is **held** in the router and has a [`Reader`] here: one of both never
//! without the other. Its way leads to the shard's own place in the stream, [`Known::delivered`]; there it is released,
//! between two messages, so that it misses none and gets none twice.

mod answers;
mod delivery;
mod hub;
mod queues;
mod readers;
mod reading;
mod starting;
mod tail;
mod tell;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use carillon_metrics::StreamMetrics;
use carillon_router::{ConnectionKey, Router};
use carillon_streams::{
    keeper::{Keeper, Options, ReadFailed, ReadRequest, SubmissionHead, Submissions},
    stream::{Batch, Bounds, Cursor, Durability, Epochs, PageLimits, Position, Routes, StreamName},
};
use carillon_wire::{
    Id, PatternBuf, Topic,
    broker_message::{Delivery, InStream},
    client_message::Publish,
};
use foldhash::quality::RandomState;

pub(crate) use self::{delivery::Progress, queues::Queues, reading::Told, starting::NotStarted};
use self::{readers::Readers, tail::Tail, tell::Place};
use crate::clock::Moment;

/// What the shards keep of what was committed last, all streams together.
const TAIL_BYTES: usize = 8 << 20;
/// Messages of the tail that are looked at in one step: some 50 us.
const LOOKED_AT_IN_TAIL: usize = 2048;

/// The streams, as one shard sees them.
pub(crate) struct Streams {
    shard: usize,
    routes: Arc<Routes>,
    known: Vec<Known>,
    tail: Tail,
    /// Connections with something to read or to be told.
    readers: HashMap<ConnectionKey, Readers, RandomState>,
    /// What the connection whose turn it is has published, by durability.
    submissions: [Option<Submissions>; 2],
    /// What is to be read.
    reads: Vec<ReadRequest>,
    /// Numbers the reads.
    last_read: u64,
    /// Connections that may have something to read on, though nothing has come into their outbox.
    woken: Vec<ConnectionKey>,
    /// Connections of which a read has failed. They are woken a little later.
    to_retry: Vec<ConnectionKey>,
    /// Why the last one has.
    last_failure: Option<ReadFailed>,
    /// Of pages out of the tail; they are as large as the keeper's.
    tail_limits: PageLimits,
}

/// Who reads history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HistoryReader {
    Subscription(Id),
    Request(Id),
}

/// One stream, as far as this shard was told.
struct Known {
    name: StreamName,
    durability: Durability,
    epochs: Arc<Epochs>,
    bounds: Bounds,
    /// Everything up to here has gone to those who are live.
    delivered: u64,
    /// Connections with a reader that knows more of the stream than this shard.
    ahead: HashSet<ConnectionKey, RandomState>,
    metrics: Arc<StreamMetrics>,
}

impl Known {
    /// As a cursor takes it: everything up to here was told.
    fn newest(&self) -> Batch {
        let (epochs, last) = (Arc::clone(&self.epochs), self.delivered);
        Batch { epochs, bounds: self.bounds, first: last.saturating_add(1), last }
    }
}

impl Streams {
    pub(crate) fn new(shard: usize, keeper: &Keeper, metrics: &[Arc<StreamMetrics>]) -> Self {
        let routes = Arc::clone(keeper.routes());
        let newest = keeper.newest();
        let Options { page_bytes, page_messages, .. } = *keeper.options();
        let tail_limits =
            PageLimits { messages: page_messages, bytes: page_bytes as u64, looked_at: LOOKED_AT_IN_TAIL };
        let known: Vec<_> = routes
            .definitions()
            .iter()
            .zip(newest)
            .zip(metrics)
            .map(|((definition, newest), metrics)| Known {
                name: definition.name.clone(),
                durability: definition.durability,
                epochs: newest.epochs,
                bounds: newest.bounds,
                delivered: newest.last,
                ahead: HashSet::default(),
                metrics: Arc::clone(metrics),
            })
            .collect();
        Self {
            shard,
            routes,
            tail: Tail::new(known.len()),
            known,
            readers: HashMap::default(),
            submissions: [None, None],
            reads: Vec::new(),
            last_read: 0,
            woken: Vec::new(),
            to_retry: Vec::new(),
            last_failure: None,
            tail_limits,
        }
    }

    /// The stream that keeps a topic.
    pub(crate) fn of_topic(&self, topic: Topic<'_>) -> Option<u32> {
        self.routes.stream_of(topic).and_then(|stream| u32::try_from(stream).ok())
    }

    pub(crate) fn name(&self, stream: u32) -> &str {
        self.known.get(stream as usize).map_or("", |known| known.name.as_str())
    }

    /// Takes a publication for the keeper, which answers it.
    pub(crate) fn submit(&mut self, key: ConnectionKey, stream: u32, publish: &Publish<'_>, moment: Moment) {
        let Some(known) = self.known.get(stream as usize) else { return };
        let Some(slot) = self.submissions.get_mut(place_of(known.durability)) else { return };
        let submissions = slot.get_or_insert_with(|| {
            let mut submissions = Submissions::new(u32::try_from(self.shard).unwrap_or(u32::MAX), key.to_bits());
            submissions.accepted_nanos = moment.nanos;
            submissions
        });
        let head = SubmissionHead {
            stream,
            request: publish.id.map(Id::get),
            topic: publish.topic.as_str(),
            message_id: publish.message_id,
            expected_last: publish.expected_sequence,
        };
        // Time and sequence are the keeper's to write.
        let delivery = Delivery {
            topic: publish.topic,
            payload: publish.payload,
            time_us: moment.unix_us,
            headers: publish.headers,
            in_stream: Some(InStream { stream: known.name.as_str(), sequence: 0 }),
        };
        submissions.push(head, |out| delivery.encode_in_stream(out));
    }

    /// How much waits to be taken.
    pub(crate) fn submitted_bytes(&self) -> usize {
        self.submissions.iter().flatten().map(Submissions::size_bytes).sum()
    }

    /// Takes what the connection whose turn it is has published.
    pub(crate) fn take_submissions(&mut self) -> impl Iterator<Item = (Durability, Submissions)> {
        let [disk, memory] = std::mem::take(&mut self.submissions);
        let disk = disk.map(|submissions| (Durability::Disk, submissions));
        disk.into_iter().chain(memory.map(|submissions| (Durability::Memory, submissions)))
    }

    /// Takes what is to be read, for the keeper.
    pub(crate) fn take_reads(&mut self) -> std::vec::Drain<'_, ReadRequest> {
        self.reads.drain(..)
    }

    /// Connections that are to be polled are appended.
    pub(crate) fn take_woken(&mut self, ready: &mut Vec<ConnectionKey>) {
        ready.append(&mut self.woken);
    }

    /// What is done each second: failed reads are tried again, and it is shown how far the furthest reader of each stream is
    /// behind.
    pub(crate) fn tick(&mut self) {
        if let Some(failure) = self.last_failure.take() {
            let readers = self.to_retry.len();
            tracing::warn!(readers, %failure, "streams could not be read; those who read them wait, and try again");
        }
        self.woken.append(&mut self.to_retry);
        let mut lags = vec![0; self.known.len()];
        for reader in self.readers.values().flat_map(|readers| &readers.behind) {
            let (Some(known), Some(lag)) =
                (self.known.get(reader.stream as usize), lags.get_mut(reader.stream as usize))
            else {
                continue;
            };
            let position = reader.cursor().map_or(known.delivered, |cursor| cursor.position().sequence);
            *lag = known.delivered.saturating_sub(position).max(*lag);
        }
        for (known, lag) in self.known.iter().zip(lags) {
            known.metrics.lag(self.shard).set_unsigned(lag);
        }
    }

    /// Whether a connection has a subscription that is behind.
    pub(crate) fn reads_on(&self, key: ConnectionKey) -> bool {
        self.readers.get(&key).is_some_and(|readers| !readers.behind.is_empty())
    }

    pub(crate) fn disconnect(&mut self, key: ConnectionKey) {
        self.readers.remove(&key);
    }

    /// A subscription has ended. Whether its start was still being looked for, so that its reply has not left.
    pub(crate) fn forget(&mut self, key: ConnectionKey, subscription: Id) -> bool {
        let Some(readers) = self.readers.get_mut(&key) else { return false };
        let was_starting = readers.forget(subscription);
        self.forget_if_idle(key);
        was_starting
    }

    /// Of a connection: the subscriptions whose starts and pages are history still, and the requests for it under way, with
    /// what they read.
    pub(crate) fn history_readers(&self, key: ConnectionKey) -> Vec<(HistoryReader, PatternBuf)> {
        let Some(readers) = self.readers.get(&key) else { return Vec::new() };
        let reads_history = |id: &Id| readers.resumable.get(id).is_some_and(|resumable| resumable.reads_history);
        let behind = readers.behind.iter().filter(|reader| reads_history(&reader.subscription));
        let subscriptions =
            behind.map(|reader| (HistoryReader::Subscription(reader.subscription), reader.pattern.clone()));
        let requests = readers.histories.iter().map(|it| (HistoryReader::Request(it.request), it.pattern.clone()));
        subscriptions.chain(requests).collect()
    }

    /// A request for history is not answered with a page any more.
    pub(crate) fn forget_history(&mut self, key: ConnectionKey, request: Id) {
        if let Some(readers) = self.readers.get_mut(&key) {
            readers.histories.retain(|history| history.request != request);
        }
        self.forget_if_idle(key);
    }

    /// With a heartbeat, those who can resume are told where. What is appended is to leave before anything that waits for
    /// the connection: it is complete as far as what has left already. While a page waits, nothing is told.
    pub(crate) fn tell_positions(&mut self, router: &Router, key: ConnectionKey, out: &mut Vec<u8>) {
        let Some(Readers { behind, resumable, .. }) = self.readers.get_mut(&key) else { return };
        if router.waiting(key).is_none_or(|waiting| waiting.asides > 0) {
            return;
        }
        let mut catching_up: HashMap<Id, _> =
            behind.iter().map(|reader| (reader.subscription, reader.cursor().map(Cursor::position))).collect();
        for (subscription, resumable) in resumable {
            let Some(known) = self.known.get(resumable.stream as usize) else { continue };
            let position = match catching_up.remove(subscription) {
                Some(Some(position)) => position,
                Some(None) => continue,
                None => {
                    let at = known.position();
                    let waiting = router.first_waiting(key, resumable.stream).map(|first| first.saturating_sub(1));
                    Position { sequence: waiting.unwrap_or(at.sequence), ..at }
                }
            };
            if position.sequence != resumable.told {
                resumable.told = position.sequence;
                Place { key, subscription: *subscription, stream: known.name.as_str() }.put_position(&position, out);
            }
        }
    }
}

fn place_of(durability: Durability) -> usize {
    match durability {
        Durability::Disk => 0,
        Durability::Memory => 1,
    }
}
