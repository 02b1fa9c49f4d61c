//! A shard's hub, a real keeper, and the connections between which they stand.

use std::{
    collections::{BTreeMap, VecDeque},
    num::NonZeroU64,
    sync::{Arc, Mutex},
};

use carillon_metrics::{DropReason, ShardMetrics, StreamMetrics};
use carillon_router::{ConnectionKey, Outgoing, TakenAside};
use carillon_streams::{
    keeper::{Event, Keeper, Options, Shards},
    stream::{DedupWindow, Definition, Durability, Retention, StreamName},
};
use carillon_wire::{
    Headers, Id, Overflow, PatternBuf, Start, Topic, TopicBuf,
    client_message::{Publish, Subscribe, Unsubscribe},
};

use super::client::{Connection, Subscription, Truth, Way};
use crate::{
    clock::Moment,
    hub::Hub,
    settings::Limits,
    streams::{Progress, Streams},
};

const LIMITS: Limits = Limits {
    max_payload_bytes: 1_000,
    max_message_bytes: 4_096,
    max_subscriptions: 8,
    max_wildcards: 2,
    outbox_bytes: 1_500,
    outbox_messages: 8,
    reply_bytes: 4_096,
    shard_queue_bytes: 1 << 20,
    max_http_head_bytes: 1 << 10,
    quota_entries: 3,
};
pub(super) const STREAMS: [&str; 2] = ["a", "b"];
pub(super) const CONNECTIONS: usize = 3;

/// What the keeper tells, until the shard takes it.
#[derive(Default)]
struct Queue(Mutex<VecDeque<Event>>);

impl Shards for Queue {
    fn count(&self) -> usize {
        1
    }

    fn tell(&self, _shard: usize, event: Event) {
        self.0.lock().unwrap().push_back(event);
    }
}

pub(super) struct World {
    pub(super) hub: Hub,
    pub(super) keeper: Keeper,
    queue: Arc<Queue>,
    pub(super) connections: [Connection; CONNECTIONS],
    pub(super) truth: Truth,
    /// What was committed and not delivered yet, as the shard has taken it.
    under_way: Option<Progress>,
    /// Connections whose task is to be polled.
    woken: Vec<ConnectionKey>,
    submitted: usize,
    answered: usize,
    now_us: u64,
}

fn definition(name: &str) -> Definition {
    Definition {
        name: StreamName::new(name).unwrap(),
        patterns: vec![PatternBuf::new(&format!("{name}.>")).unwrap()],
        durability: Durability::Memory,
        retention: Retention { max_bytes: NonZeroU64::new(1 << 20), ..Retention::default() },
        dedup: DedupWindow { time_us: 0, ids: 0 },
        max_topics: 10,
    }
}

impl World {
    pub(super) fn new() -> Self {
        let options = Options { page_messages: 3, page_bytes: 300, ..Options::default() };
        let opened = Keeper::open(STREAMS.map(definition).to_vec(), options, Arc::new(())).unwrap();
        let queue = Arc::new(Queue::default());
        let keeper = opened.start(Arc::clone(&queue) as Arc<dyn Shards>).unwrap();
        let metrics: Vec<_> = STREAMS.iter().map(|_| Arc::new(StreamMetrics::new(1))).collect();
        let streams = Streams::new(0, &keeper, &metrics);
        let hub = Hub::new(&LIMITS, Arc::new(ShardMetrics::default()), false, Some(streams));
        let mut world = Self {
            hub,
            keeper,
            queue,
            connections: Default::default(),
            truth: Truth::default(),
            under_way: None,
            woken: Vec::new(),
            submitted: 0,
            answered: 0,
            now_us: 1_700_000_000_000_000,
        };
        world.connections = std::array::from_fn(|_| Connection::of(world.hub.connect()));
        world
    }

    fn moment(&mut self) -> Moment {
        self.now_us += 1;
        Moment { nanos: self.now_us, unix_us: self.now_us }
    }

    pub(super) fn publish(&mut self, stream: usize, topic: u8) {
        let moment = self.moment();
        let name = STREAMS.get(stream).map_or_else(|| format!("none.{topic}"), |name| format!("{name}.{topic}"));
        let topic = Topic::new(&name).unwrap();
        let (message_id, expected_sequence) = (None, None);
        let publish = Publish {
            id: Some(Id::from(1_u32)),
            topic,
            payload: &[b'x'; 100],
            headers: Headers::EMPTY,
            message_id,
            expected_sequence,
        };
        self.hub.begin_turn(1);
        match self.hub.stream_of(topic) {
            None => self.hub.publish(&publish, moment),
            Some(index) => {
                self.hub.submit(self.connections[0].key.unwrap(), index, &publish, moment);
                self.submitted += 1;
            }
        }
        self.after();
    }

    /// What a shard does at the end of each turn.
    pub(super) fn after(&mut self) {
        if let Some(outgoing) = self.hub.take_outgoing() {
            for (durability, submissions) in outgoing.submissions {
                self.keeper.try_submit(durability, submissions).expect("there is room");
            }
        }
        for read in self.hub.take_reads() {
            self.keeper.read(read);
        }
        self.hub.take_ready(&mut self.woken);
        self.hub.take_woken(&mut self.woken);
    }

    /// Delivers a part of what is under way, or takes the next event. Whether there was anything.
    pub(super) fn event(&mut self) -> bool {
        self.hub.begin_turn(64);
        if let Some(mut progress) = self.under_way.take() {
            if self.hub.deliver_group(&mut progress) {
                self.under_way = Some(progress);
            }
            self.after();
            return true;
        }
        let next = self.queue.0.lock().unwrap().pop_front();
        match next {
            None => return false,
            Some(Event::Committed(committed)) => {
                for batch in committed.group.batches() {
                    let name = STREAMS[batch.stream as usize].to_owned();
                    let epoch = batch.batch.epochs.current().as_str().to_owned();
                    let kept = self.truth.kept.entry((name, epoch)).or_default();
                    for message in batch.messages() {
                        kept.insert(message.sequence, TopicBuf::new(message.topic).unwrap());
                    }
                }
                self.answered += committed.answers.iter().map(|it| it.answers.len()).sum::<usize>();
                self.hub.begin_group(&committed.group);
                self.under_way = Some(Progress::of(committed.group));
            }
            Some(Event::Read(reply)) => {
                if let Some(told) = self.hub.on_reply(reply) {
                    assert!(!told.ends_subscription);
                    let at = self.connections.iter().position(|it| it.key == Some(told.key));
                    if let Some(at) = at {
                        self.hear(at, &told.message);
                    }
                }
            }
        }
        self.after();
        true
    }

    /// The connection's task is polled, and its socket takes everything. Whether it is to be polled again.
    fn poll(&mut self, at: usize) -> bool {
        while self.write(at) {}
        self.hub.begin_turn(1);
        let has_more = self.hub.read_on(self.connections[at].key.unwrap());
        self.after();
        has_more
    }

    /// Takes events until all that was submitted is answered and delivered.
    pub(super) fn take_events(&mut self) {
        while self.event() || self.submitted > self.answered {
            std::thread::yield_now();
        }
    }

    /// One poll of a connection, and the answers to what it asked for; tells for which patterns.
    pub(super) fn poll_and_answer(&mut self, at: usize) -> Vec<String> {
        while self.write(at) {}
        self.hub.begin_turn(1);
        self.hub.read_on(self.connections[at].key.unwrap());
        let reads: Vec<_> = self.hub.take_reads().collect();
        let asked = reads.iter().map(|read| read.pattern.as_str().to_owned()).collect();
        for read in reads {
            self.keeper.read(read);
        }
        while !self.is_quiet() {
            self.event();
            self.woken.clear();
        }
        asked
    }

    /// Everything that is under way comes to its end, without anybody being polled who was not woken.
    pub(super) fn settle(&mut self) {
        // Sockets take again what they did not take before.
        let mut to_poll: Vec<_> = (0..CONNECTIONS).collect();
        loop {
            while self.event() {}
            for key in std::mem::take(&mut self.woken) {
                to_poll.extend(self.connections.iter().position(|connection| connection.key == Some(key)));
            }
            match to_poll.pop() {
                Some(at) => {
                    if self.poll(at) {
                        to_poll.push(at);
                    }
                }
                None if self.submitted == self.answered && self.is_quiet() => return,
                None => std::thread::yield_now(),
            }
        }
    }

    fn is_quiet(&self) -> bool {
        let streams = self.hub.streams.as_ref().unwrap();
        let is_read = streams.readers.values().all(|it| it.reading.is_none() && it.histories.is_empty());
        is_read && self.under_way.is_none() && self.woken.is_empty() && self.queue.0.lock().unwrap().is_empty()
    }

    pub(super) fn subscribe(&mut self, at: usize, pattern: &str, start: u8) {
        let key = self.connections[at].key.unwrap();
        self.connections[at].last_id += 1;
        let id = Id::from(self.connections[at].last_id);
        let stream = pattern.split('.').next().unwrap().to_owned();
        let known = self.truth.kept.keys().filter(|(name, _)| *name == stream).map(|(_, epoch)| epoch.clone()).min();
        let epoch = known.unwrap_or_else(|| "unknown".to_owned());
        let start = match start {
            0 => None,
            1 => Some(Start::Now),
            2 => Some(Start::Beginning),
            3 => Some(Start::Newest(2)),
            4 => Some(Start::LastByTopic),
            5 => Some(Start::Behind { epoch: &epoch, sequence: 2 }),
            _ => Some(Start::Time(self.now_us - 10)),
        };
        let pattern = PatternBuf::new(pattern).unwrap();
        let subscribe = Subscribe { id, pattern: pattern.as_pattern(), overflow: Overflow::DropOldest, start };
        let mut subscription =
            Subscription { pattern: pattern.clone(), is_resumable: start.is_some(), ways: BTreeMap::new() };
        match start {
            None => {
                if self.hub.subscribe(key, &subscribe).is_ok() {
                    self.connections[at].subscriptions.insert(id, subscription);
                }
            }
            Some(start) => {
                let stream = pattern.as_pattern().tokens().next().unwrap().to_owned();
                let leaves_out = start == Start::LastByTopic;
                subscription.ways.insert(stream, Way { is_catching_up: true, leaves_out, ..Way::default() });
                self.connections[at].subscriptions.insert(id, subscription);
                match self.hub.subscribe_from(key, &subscribe, &start) {
                    Ok(told) => {
                        if let Some(told) = told {
                            self.hear(at, &told.message);
                        }
                    }
                    Err(_) => drop(self.connections[at].subscriptions.remove(&id)),
                }
            }
        }
        self.after();
    }

    pub(super) fn unsubscribe(&mut self, at: usize, which: usize) {
        let connection = &mut self.connections[at];
        let mut ids: Vec<_> = connection.subscriptions.keys().copied().collect();
        ids.sort_unstable();
        let Some(id) = ids.get(which).copied() else { return };
        connection.last_id += 1;
        let unsubscribe = Unsubscribe { id: Id::from(connection.last_id), subscription: id };
        let key = connection.key.unwrap();
        // What still waits for it comes before the reply; this client does not look at it any more.
        while self.write(at) {}
        if self.hub.unsubscribe(key, &unsubscribe).is_ok() {
            self.connections[at].subscriptions.remove(&id);
        }
        while self.write(at) {}
    }

    pub(super) fn reconnect(&mut self, at: usize) {
        let key = self.connections[at].key.unwrap();
        self.hub.disconnect(key, DropReason::Disconnected);
        self.connections[at] = Connection::of(self.hub.connect());
    }

    /// The socket takes one thing.
    pub(super) fn write(&mut self, at: usize) -> bool {
        let Some(next) = self.hub.next(self.connections[at].key.unwrap()) else { return false };
        match next {
            Outgoing::Message(message) | Outgoing::InStream(message) | Outgoing::Reply(message) => {
                self.hear(at, message.bytes());
            }
            Outgoing::Aside(TakenAside { aside, .. }) => {
                let whole = [&aside.head, aside.body.as_ref()].concat();
                self.hear(at, &whole);
            }
            Outgoing::Gap { .. } => {}
        }
        true
    }

    pub(super) fn heartbeat(&mut self, at: usize) {
        let mut told = Vec::new();
        self.hub.tell_positions(self.connections[at].key.unwrap(), &mut told);
        if !told.is_empty() {
            self.hear(at, &told);
        }
    }

    fn hear(&mut self, at: usize, bytes: &[u8]) {
        self.connections[at].hear(bytes, &self.truth);
    }
}
