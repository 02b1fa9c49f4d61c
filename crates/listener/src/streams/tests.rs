//! A shard's hub and a real keeper of memory streams, in any order of events, against what was kept.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    num::NonZeroU64,
    sync::{Arc, Mutex},
};

use carillon_metrics::{ShardMetrics, StreamMetrics};
use carillon_router::{ConnectionKey, Outgoing};
use carillon_streams::{
    keeper::{Event, Keeper, Options, Purge, Shards},
    stream::{DedupWindow, Definition, Durability, Retention, StreamName},
};
use carillon_wire::{
    BrokerMessage, EpochReason, Headers, Id, Overflow, PatternBuf, Start, Topic, TopicBuf,
    client_message::{Publish, Subscribe, Unsubscribe},
    decode,
};
use proptest::prelude::*;

use super::{PageBounds, Progress, Streams};
use crate::{clock::Moment, hub::Hub, settings::Limits};

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
const STREAMS: [&str; 2] = ["a", "b"];
const CONNECTIONS: usize = 3;

#[derive(Debug, Clone)]
enum Step {
    /// Into a stream, or below no stream's name.
    Publish {
        stream: usize,
        topic: u8,
        times: u8,
    },
    /// The next event for the shard, if one has come.
    Event,
    Subscribe {
        connection: usize,
        pattern: usize,
        start: u8,
    },
    Unsubscribe {
        connection: usize,
        which: usize,
    },
    /// The connection's socket takes so many things.
    Write {
        connection: usize,
        things: u8,
    },
    ReadOn {
        connection: usize,
    },
    Shrink,
    Purge {
        stream: usize,
    },
    Renew {
        stream: usize,
    },
    Remove {
        stream: usize,
    },
    Heartbeat {
        connection: usize,
    },
    Reconnect {
        connection: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let (stream, connection) = (0..STREAMS.len(), 0..CONNECTIONS);
    prop_oneof![
        12 => (0..STREAMS.len() + 1, 0..3_u8, 1..6_u8).prop_map(|(stream, topic, times)| Step::Publish { stream, topic, times }),
        14 => Just(Step::Event),
        6 => (connection.clone(), 0..PATTERNS.len(), 0..7_u8).prop_map(|(connection, pattern, start)| Step::Subscribe { connection, pattern, start }),
        2 => (connection.clone(), 0..8_usize).prop_map(|(connection, which)| Step::Unsubscribe { connection, which }),
        10 => (connection.clone(), 1..12_u8).prop_map(|(connection, things)| Step::Write { connection, things }),
        8 => connection.clone().prop_map(|connection| Step::ReadOn { connection }),
        1 => Just(Step::Shrink),
        1 => stream.clone().prop_map(|stream| Step::Purge { stream }),
        1 => stream.clone().prop_map(|stream| Step::Renew { stream }),
        1 => stream.prop_map(|stream| Step::Remove { stream }),
        2 => connection.clone().prop_map(|connection| Step::Heartbeat { connection }),
        1 => connection.prop_map(|connection| Step::Reconnect { connection }),
    ]
}

const PATTERNS: [&str; 6] = ["a.>", "a.1", "b.*", "b.2", ">", "*.1"];

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

/// A subscription as its client sees it, by the specification.
#[derive(Debug)]
struct Client {
    pattern: PatternBuf,
    /// Whether it said where it starts, so that it is told its position.
    is_resumable: bool,
    /// By stream.
    ways: BTreeMap<String, Way>,
}

#[derive(Debug, Default)]
struct Way {
    is_catching_up: bool,
    /// It began with last values, which leave others out.
    leaves_out: bool,
    /// Everything up to here it has, or it was told that it is lost.
    complete_through: Option<u64>,
    epoch: Option<String>,
}

#[derive(Default)]
struct Connection {
    key: Option<ConnectionKey>,
    subscriptions: HashMap<Id, Client>,
    marked: Option<(Id, u64)>,
    last_id: u32,
}

struct World {
    hub: Hub,
    keeper: Keeper,
    queue: Arc<Queue>,
    connections: [Connection; CONNECTIONS],
    /// By stream and epoch: what was kept, by sequence.
    kept: HashMap<(String, String), BTreeMap<u64, TopicBuf>>,
    /// Streams that were removed at least once.
    removed: HashSet<String>,
    /// What was committed and not delivered yet, as the shard has taken it.
    under_way: Option<Progress>,
    submitted: usize,
    answered: usize,
    asked: usize,
    replied: usize,
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
    fn new() -> Self {
        let options = Options { page_messages: 3, ..Options::default() };
        let opened = Keeper::open(STREAMS.map(definition).to_vec(), options, Arc::new(())).unwrap();
        let queue = Arc::new(Queue::default());
        let keeper = opened.start(Arc::clone(&queue) as Arc<dyn Shards>).unwrap();
        let metrics: Vec<_> = STREAMS.iter().map(|_| Arc::new(StreamMetrics::new(1))).collect();
        let streams = Streams::new(0, &keeper, &metrics, PageBounds { bytes: 300, messages: 3 });
        let hub = Hub::new(&LIMITS, Arc::new(ShardMetrics::default()), false, Some(streams));
        let mut world = Self {
            hub,
            keeper,
            queue,
            connections: Default::default(),
            kept: HashMap::new(),
            removed: HashSet::new(),
            under_way: None,
            submitted: 0,
            answered: 0,
            asked: 0,
            replied: 0,
            now_us: 1_700_000_000_000_000,
        };
        for connection in &mut world.connections {
            connection.key = Some(world.hub.connect());
        }
        world
    }

    fn moment(&mut self) -> Moment {
        self.now_us += 1;
        Moment { nanos: self.now_us, unix_us: self.now_us }
    }

    fn publish(&mut self, stream: usize, topic: u8) {
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
    fn after(&mut self) {
        if let Some(outgoing) = self.hub.take_outgoing() {
            for (durability, submissions) in outgoing.submissions {
                self.keeper.try_submit(durability, submissions).expect("there is room");
            }
        }
        for read in self.hub.take_reads() {
            self.keeper.read(read);
            self.asked += 1;
        }
        self.hub.take_ready(&mut Vec::new());
    }

    /// Delivers a part of what is under way, or takes the next event. Whether there was anything.
    fn event(&mut self) -> bool {
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
                    let kept = self.kept.entry((name, epoch)).or_default();
                    for message in batch.messages() {
                        kept.insert(message.sequence, TopicBuf::new(message.topic).unwrap());
                    }
                }
                self.answered += committed.answers.iter().map(|it| it.answers.len()).sum::<usize>();
                self.hub.begin_group(&committed.group);
                self.under_way = Some(Progress::of(committed.group));
            }
            Some(Event::Read(reply)) => {
                self.replied += 1;
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

    /// Everything that is under way comes to its end.
    fn settle(&mut self) {
        let mut quiet = 0;
        while quiet < 3 {
            let mut did = false;
            while self.event() {
                did = true;
            }
            for at in 0..CONNECTIONS {
                while self.write(at) {
                    did = true;
                }
                self.hub.begin_turn(1);
                self.hub.read_on(self.connections[at].key.unwrap());
                self.after();
            }
            if self.submitted > self.answered || self.asked > self.replied {
                std::thread::yield_now();
                quiet = 0;
            } else if did {
                quiet = 0;
            } else {
                quiet += 1;
            }
        }
    }

    fn subscribe(&mut self, at: usize, pattern: &str, start: u8) {
        let key = self.connections[at].key.unwrap();
        self.connections[at].last_id += 1;
        let id = Id::from(self.connections[at].last_id);
        let stream = pattern.split('.').next().unwrap().to_owned();
        let known = self.kept.keys().filter(|(name, _)| *name == stream).map(|(_, epoch)| epoch.clone()).min();
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
        let mut client = Client { pattern: pattern.clone(), is_resumable: start.is_some(), ways: BTreeMap::new() };
        match start {
            None => {
                if self.hub.subscribe(key, &subscribe).is_ok() {
                    self.connections[at].subscriptions.insert(id, client);
                }
            }
            Some(start) => {
                let stream = pattern.as_pattern().tokens().next().unwrap().to_owned();
                let leaves_out = start == Start::LastByTopic;
                client.ways.insert(stream, Way { is_catching_up: true, leaves_out, ..Way::default() });
                self.connections[at].subscriptions.insert(id, client);
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

    fn unsubscribe(&mut self, at: usize, which: usize) {
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

    fn reconnect(&mut self, at: usize) {
        let key = self.connections[at].key.unwrap();
        self.hub.disconnect(key, carillon_metrics::DropReason::Disconnected);
        self.connections[at] = Connection { key: Some(self.hub.connect()), ..Connection::default() };
    }

    /// The socket takes one thing.
    fn write(&mut self, at: usize) -> bool {
        let Some(next) = self.hub.next(self.connections[at].key.unwrap()) else { return false };
        match next {
            Outgoing::Message(message) | Outgoing::Reply(message) => self.hear(at, message.bytes()),
            Outgoing::Aside(aside) => {
                let whole = [&aside.head, aside.body.as_ref()].concat();
                self.hear(at, &whole);
            }
            Outgoing::Gap { .. } => {}
        }
        true
    }

    fn hear(&mut self, at: usize, bytes: &[u8]) {
        for message in decode::broker_messages(bytes) {
            self.hear_one(at, message.unwrap());
        }
    }

    fn hear_one(&mut self, at: usize, message: BrokerMessage<'_>) {
        let Self { connections, kept, removed, .. } = self;
        let connection = &mut connections[at];
        let mut way = |subscription: Id, stream: &str, act: &mut dyn FnMut(&Client, &mut Way)| {
            if let Some(client) = connection.subscriptions.get_mut(&subscription) {
                let mut way = client.ways.remove(stream).unwrap_or_default();
                act(client, &mut way);
                client.ways.insert(stream.to_owned(), way);
            }
        };
        match message {
            BrokerMessage::Ok(ok) => {
                if let (Some(stream), Some(sequence), Some(epoch)) = (ok.stream, ok.sequence, ok.epoch) {
                    way(ok.id, stream, &mut |_, way| {
                        way.complete_through = Some(sequence);
                        way.epoch = Some(epoch.to_owned());
                    });
                }
            }
            BrokerMessage::Marker(marker) => {
                assert_eq!(connection.marked, None);
                way(marker.subscription, marker.stream, &mut |_, way| way.is_catching_up = true);
                connection.marked = (marker.count > 0).then_some((marker.subscription, marker.count));
            }
            BrokerMessage::Live(live) => way(live.subscription, live.stream, &mut |client, way| {
                assert!(way.is_catching_up, "live twice: {client:?}");
                check_skipped(kept, client, live.stream, way, live.sequence, Some(live.epoch));
                (way.is_catching_up, way.leaves_out) = (false, false);
            }),
            BrokerMessage::Position(told) => way(told.subscription, told.stream, &mut |client, way| {
                check_skipped(kept, client, told.stream, way, told.sequence, Some(told.epoch));
            }),
            BrokerMessage::EpochChanged(change) => way(change.subscription, change.stream, &mut |client, way| {
                if change.reason == EpochReason::Renewed && !removed.contains(change.stream) {
                    // The numbers mean the same, so nothing is left out.
                    check_skipped(kept, client, change.stream, way, change.from - 1, None);
                }
                way.is_catching_up = true;
                way.epoch = Some(change.epoch.to_owned());
                way.complete_through = Some(change.from - 1);
            }),
            BrokerMessage::Gap(gap) => {
                let range = gap.range.expect("a gap of a stream");
                way(gap.subscription, range.stream, &mut |_, way| {
                    if let Some(complete) = way.complete_through {
                        assert!(range.last >= complete, "{range:?} behind {complete}");
                    }
                    way.complete_through = Some(range.last);
                });
            }
            BrokerMessage::Delivery(delivery) => {
                let Some(place) = delivery.in_stream else { return };
                let marked = connection.marked;
                if let Some((id, count)) = marked {
                    connection.marked = (count > 1).then_some((id, count - 1));
                }
                for (id, client) in &mut connection.subscriptions {
                    let known = client.ways.remove(place.stream);
                    let is_known = known.is_some();
                    let mut way = known.unwrap_or_default();
                    let is_its = match marked {
                        Some((subscription, _)) => subscription == *id,
                        None => !way.is_catching_up && client.pattern.as_pattern().matches(delivery.topic),
                    };
                    if is_its {
                        assert!(client.pattern.as_pattern().matches(delivery.topic));
                        if let Some(complete) = way.complete_through {
                            assert!(
                                place.sequence > complete,
                                "{} again or too late: {client:?} {way:?}",
                                place.sequence
                            );
                        }
                        check_skipped(kept, client, place.stream, &mut way, place.sequence - 1, None);
                        way.complete_through = Some(place.sequence);
                    }
                    if is_its || is_known {
                        client.ways.insert(place.stream.to_owned(), way);
                    }
                }
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Up to `through`, nothing that matches is behind what the way has.
fn check_skipped(
    kept: &HashMap<(String, String), BTreeMap<u64, TopicBuf>>,
    client: &Client,
    stream: &str,
    way: &mut Way,
    through: u64,
    epoch: Option<&str>,
) {
    if let (Some(known), Some(told)) = (&way.epoch, epoch) {
        assert_eq!(known, told, "{client:?}");
    }
    if let Some(epoch) = epoch {
        way.epoch = Some(epoch.to_owned());
    }
    if let (Some(complete), Some(epoch)) = (way.complete_through, &way.epoch)
        && let Some(kept) = kept.get(&(stream.to_owned(), epoch.clone()))
        && complete < through
    {
        let missed =
            kept.range(complete + 1..=through).find(|(_, topic)| client.pattern.as_pattern().matches(topic.as_topic()));
        assert!(missed.is_none() || way.leaves_out, "{missed:?} is missing: {client:?} {way:?}");
    }
    if way.complete_through.is_some_and(|complete| complete < through)
        || way.complete_through.is_none() && epoch.is_some()
    {
        way.complete_through = Some(through);
    }
}

impl World {
    fn act(&mut self, step: &Step) {
        match *step {
            Step::Publish { stream, topic, times } => (0..times).for_each(|_| self.publish(stream, topic)),
            Step::Event => {
                self.event();
            }
            Step::Subscribe { connection, pattern, start } => self.subscribe(connection, PATTERNS[pattern], start),
            Step::Unsubscribe { connection, which } => self.unsubscribe(connection, which),
            Step::Write { connection, things } => {
                for _ in 0..things {
                    self.write(connection);
                }
            }
            Step::ReadOn { connection } => {
                self.hub.begin_turn(1);
                self.hub.read_on(self.connections[connection].key.unwrap());
                self.after();
            }
            Step::Shrink => {
                self.hub.shrink_outboxes(400);
                self.after();
            }
            Step::Purge { stream } => {
                self.keeper.purge(&StreamName::new(STREAMS[stream]).unwrap(), Purge::All).unwrap();
            }
            Step::Renew { stream } => {
                self.keeper.renew_epoch(&StreamName::new(STREAMS[stream]).unwrap()).unwrap();
            }
            Step::Remove { stream } => {
                self.removed.insert(STREAMS[stream].to_owned());
                self.keeper.remove(&StreamName::new(STREAMS[stream]).unwrap()).unwrap();
            }
            Step::Heartbeat { connection } => {
                self.hub.tell_positions(self.connections[connection].key.unwrap());
                self.after();
            }
            Step::Reconnect { connection } => self.reconnect(connection),
        }
    }

    /// In the end everybody is live, and has come to the stream's end.
    fn check_end(&mut self) {
        self.settle();
        for at in 0..CONNECTIONS {
            self.act(&Step::Heartbeat { connection: at });
        }
        self.settle();
        let newest: HashMap<_, _> = STREAMS.iter().zip(self.keeper.newest()).collect();
        for client in self.connections.iter().flat_map(|connection| connection.subscriptions.values()) {
            for (stream, way) in &client.ways {
                assert!(!way.is_catching_up, "it never becomes live: {client:?}");
                if client.is_resumable {
                    let newest = &newest[&stream.as_str()];
                    assert_eq!(way.complete_through, Some(newest.last), "{client:?}");
                    assert_eq!(way.epoch.as_deref(), Some(newest.epochs.current().as_str()), "{client:?}");
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    /// Whatever comes in between, a subscription gets every message of a stream that it matches once and in order, or
    /// hears that it is lost, and becomes live again by itself.
    #[test]
    fn nothing_is_missing_or_repeated(steps in proptest::collection::vec(step(), 1..120)) {
        let mut world = World::new();
        for step in &steps {
            world.act(step);
        }
        world.check_end();
        world.keeper.stop();
    }
}
