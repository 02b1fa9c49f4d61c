//! The routing of deliveries against a broker that is a simple model: subscriptions with and without a start, which fall behind,
//! catch up, lose connections in the middle of everything, and in the end have every message once or know that it is lost.

mod seen;

use std::collections::BTreeMap;

use carillon_wire::{
    ClientMessage, EpochReason, GapReason, Overflow, Pattern, PatternBuf, Resumed, Topic,
    broker_message::{Delivery, EpochChanged, Gap, GapRange, InStream, Marker, OkReply, Position as Told},
};
use proptest::{collection::vec, prelude::*, sample::select};
use tokio::sync::{Notify, mpsc};

use self::seen::{Seen, check_with_start, check_without_start};
use super::*;
use crate::{command::Subscribe, position::Position, start::Start, subscription::Subscription};

const STREAM: &str = "orders";
const KEPT: [&str; 2] = ["s.a", "s.b"];
const PLAIN: &str = "p.a";

#[derive(Debug, Clone, Copy)]
enum Step {
    Subscribe {
        patterns: &'static [&'static str],
        start: Option<u8>,
    },
    Answer,
    Publish(&'static str),
    /// The message finds no room for those that it is for.
    PublishWithoutRoom(&'static str),
    FallBehind(usize),
    Read {
        nth: usize,
        most: usize,
    },
    TellPositions,
    Purge(u64),
    Recreate,
    /// So many of the broker's messages arrive, as one WebSocket message.
    Arrive(usize),
    /// What did not arrive is lost.
    Reconnect,
}

fn step() -> impl Strategy<Value = Step> {
    const WITH_START: [&[&str]; 3] = [&["s.a"], &["s.*"], &["s.>"]];
    const WITHOUT: [&[&str]; 4] = [&[">"], &["s.a"], &["s.*", "*.a"], &["s.a", "s.>", "p.*"]];
    prop_oneof![
        2 => (select(&WITH_START[..]), 0_u8..5)
            .prop_map(|(patterns, start)| Step::Subscribe { patterns, start: Some(start) }),
        2 => select(&WITHOUT[..]).prop_map(|patterns| Step::Subscribe { patterns, start: None }),
        5 => Just(Step::Answer),
        8 => select(&[KEPT[0], KEPT[1], PLAIN][..]).prop_map(Step::Publish),
        2 => select(&KEPT[..]).prop_map(Step::PublishWithoutRoom),
        2 => (0_usize..6).prop_map(Step::FallBehind),
        8 => (0_usize..6, 0_usize..4).prop_map(|(nth, most)| Step::Read { nth, most }),
        1 => Just(Step::TellPositions),
        1 => (1_u64..8).prop_map(Step::Purge),
        1 => Just(Step::Recreate),
        8 => (1_usize..8).prop_map(Step::Arrive),
        1 => Just(Step::Reconnect),
    ]
}

/// A message that was published: its number is its payload.
#[derive(Debug, Clone, Copy)]
struct Published {
    number: usize,
    topic: &'static str,
    /// None for one that no stream keeps.
    sequence: Option<u64>,
    epoch: u64,
}

impl Published {
    fn matches(&self, pattern: &str) -> bool {
        Pattern::new(pattern).unwrap().matches(Topic::new(self.topic).unwrap())
    }
}

/// A subscription at the broker.
struct Reader {
    pattern: String,
    has_start: bool,
    /// Where it reads; none while it is live.
    behind: Option<u64>,
    last_by_topic_as_of: u64,
    /// The number of the first message that was published after it was accepted.
    since: usize,
}

/// A subscription of the application.
struct Modelled {
    handle: Subscription,
    patterns: &'static [&'static str],
    has_start: bool,
    /// What it is to have at least: the epoch, behind which sequence, and which before that.
    owed: (u64, u64, Vec<u64>),
}

struct World {
    session: Session,
    sender: crate::command::Commands,
    commands: mpsc::UnboundedReceiver<Command>,
    asked: VecDeque<(Id, String, Option<StartAsked>)>,
    readers: BTreeMap<Id, Reader>,
    /// What the broker has said and what has not arrived.
    said: VecDeque<Vec<u8>>,
    subscriptions: BTreeMap<SubscriptionKey, Modelled>,
    /// Which subscription an id of this connection is for.
    owners: BTreeMap<Id, SubscriptionKey>,
    published: Vec<Published>,
    epoch: u64,
    first: u64,
    last: u64,
}

/// As `carillon_wire::Start`, without its lifetime.
#[derive(Debug, Clone)]
enum StartAsked {
    Now,
    LastByTopic,
    Newest(u64),
    Behind(String, u64),
    Beginning,
}

fn epoch_name(epoch: u64) -> String {
    format!("epoch-{epoch}")
}

impl World {
    fn new() -> Self {
        let (sender, commands) = mpsc::unbounded_channel();
        let mut session = Session::new(Arc::default(), None, usize::MAX);
        session.on_connected(None);
        Self {
            session,
            sender,
            commands,
            asked: VecDeque::new(),
            readers: BTreeMap::new(),
            said: VecDeque::new(),
            subscriptions: BTreeMap::new(),
            owners: BTreeMap::new(),
            published: Vec::new(),
            epoch: 1,
            first: 1,
            last: 0,
        }
    }

    fn say(&mut self, message: &BrokerMessage<'_>) {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        self.said.push_back(bytes);
    }

    fn arrive(&mut self, count: usize) {
        let frame: Vec<u8> = self.said.drain(..count.min(self.said.len())).flatten().collect();
        if !frame.is_empty() {
            self.session.on_frame(&frame.into()).unwrap();
        }
    }

    /// Lets the broker read what the session has to say. Requests leave in the order of subscriptions and patterns.
    fn exchange(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            self.session.on_command(command);
        }
        let mut batch = Vec::new();
        self.session.take_batch(&mut batch);
        if batch.is_empty() {
            return;
        }
        for message in decode::client_messages(&batch) {
            let Ok(ClientMessage::Subscribe(subscribe)) = message else { panic!("{message:?}") };
            let start = subscribe.start.map(|start| match start {
                carillon_wire::Start::Now => StartAsked::Now,
                carillon_wire::Start::LastByTopic => StartAsked::LastByTopic,
                carillon_wire::Start::Newest(n) => StartAsked::Newest(n),
                carillon_wire::Start::Behind { epoch, sequence } => StartAsked::Behind(epoch.to_owned(), sequence),
                carillon_wire::Start::Beginning => StartAsked::Beginning,
                carillon_wire::Start::Time(_) => panic!("not asked for here"),
            });
            self.owners.insert(subscribe.id, self.session.table.ids[&subscribe.id].0);
            self.asked.push_back((subscribe.id, subscribe.pattern.to_string(), start));
        }
        self.exchange();
    }

    fn subscribe(&mut self, patterns: &'static [&'static str], start: Option<u8>) {
        let start = start.map(|kind| match kind {
            0 => Start::Now,
            1 => Start::LastByTopic,
            2 => Start::Newest(2),
            3 => Start::Behind(Position::new(epoch_name(1), 2).unwrap()),
            _ => Start::Beginning,
        });
        let key = self.subscriptions.len() as u64;
        let (handle, sink) =
            Subscription::new(key, self.sender.clone(), start.as_ref(), usize::MAX, Arc::new(Notify::new()));
        let owed = (1, 2, Vec::new());
        self.subscriptions.insert(key, Modelled { handle, patterns, has_start: start.is_some(), owed });
        self.session.on_command(Command::Subscribe(Subscribe {
            key,
            patterns: patterns.iter().map(|pattern| PatternBuf::new(pattern).unwrap()).collect(),
            overflow: Overflow::DropOldest,
            start,
            sink,
            reply: oneshot::channel().0,
        }));
    }

    /// The kept messages of this epoch that match, in order.
    fn kept(&self, pattern: &str) -> Vec<(u64, Published)> {
        let here = self.published.iter().filter(|it| it.epoch == self.epoch && it.matches(pattern));
        here.filter_map(|it| Some((it.sequence.filter(|sequence| *sequence >= self.first)?, *it))).collect()
    }

    fn answer(&mut self) {
        let Some((id, pattern, start)) = self.asked.pop_front() else { return };
        let since = self.published.len();
        let mut reader = Reader {
            pattern: pattern.clone(),
            has_start: start.is_some(),
            behind: None,
            last_by_topic_as_of: 0,
            since,
        };
        let Some(start) = start else {
            self.say(&BrokerMessage::ok(id));
            self.readers.insert(id, reader);
            return;
        };
        let kept = self.kept(&pattern);
        let before_first = self.first - 1;
        let mut first_values = Vec::new();
        let (at, resumed) = match start {
            StartAsked::Now => (self.last, None),
            StartAsked::Beginning => (before_first, None),
            StartAsked::Newest(n) => (
                kept.iter()
                    .rev()
                    .nth(usize::try_from(n).unwrap() - 1)
                    .map_or(before_first, |(sequence, _)| sequence - 1),
                None,
            ),
            StartAsked::LastByTopic => {
                reader.last_by_topic_as_of = self.last;
                first_values = last_values(&kept, self.last);
                (before_first, None)
            }
            StartAsked::Behind(epoch, _) if epoch != epoch_name(self.epoch) => {
                (before_first, Some(Resumed::OtherEpoch))
            }
            StartAsked::Behind(_, sequence) if sequence > self.last => (self.last, Some(Resumed::OtherEpoch)),
            StartAsked::Behind(_, sequence) if sequence < before_first => {
                self.say_ok(id, before_first, Some(Resumed::AfterGap));
                self.say_gap(id, sequence + 1, before_first);
                reader.behind = Some(before_first);
                self.readers.insert(id, reader);
                return;
            }
            StartAsked::Behind(_, sequence) => (sequence, Some(Resumed::Continued)),
        };
        if resumed.is_none() {
            let modelled = self.subscriptions.get_mut(&self.owners[&id]).unwrap();
            let behind = if first_values.is_empty() { at } else { self.last };
            modelled.owed = (self.epoch, behind, first_values);
        }
        self.say_ok(id, at, resumed);
        if resumed == Some(Resumed::OtherEpoch) {
            self.say_epoch(id, at + 1);
        }
        reader.behind = Some(at);
        self.readers.insert(id, reader);
    }

    fn say_ok(&mut self, id: Id, sequence: u64, resumed: Option<Resumed>) {
        let epoch = epoch_name(self.epoch);
        let (stream, epoch) = (Some(STREAM), Some(epoch.as_str()));
        let ok = OkReply { id, stream, sequence: Some(sequence), epoch, is_duplicate: false, resumed };
        self.say(&BrokerMessage::Ok(ok));
    }

    fn say_gap(&mut self, subscription: Id, first: u64, last: u64) {
        let range = Some(GapRange { first, last, stream: STREAM });
        let gap = Gap { subscription, reason: GapReason::Purge, count: last - first + 1, range };
        self.say(&BrokerMessage::Gap(gap));
    }

    fn say_epoch(&mut self, subscription: Id, from: u64) {
        let (epoch, reason) = (epoch_name(self.epoch), EpochReason::Created);
        let change = EpochChanged { subscription, stream: STREAM, epoch: &epoch, reason, from };
        self.say(&BrokerMessage::EpochChanged(change));
    }

    fn say_marker(&mut self, subscription: Id, count: usize) {
        self.say(&BrokerMessage::Marker(Marker { subscription, stream: STREAM, count: count as u64 }));
    }

    fn say_delivery(&mut self, published: &Published) {
        let payload = published.number.to_string();
        self.say(&BrokerMessage::Delivery(Delivery {
            topic: Topic::new(published.topic).unwrap(),
            payload: payload.as_bytes(),
            time_us: 0,
            headers: carillon_wire::Headers::EMPTY,
            in_stream: published.sequence.map(|sequence| InStream { stream: STREAM, sequence }),
        }));
    }

    fn publish(&mut self, topic: &'static str, has_room: bool) {
        let sequence = KEPT.contains(&topic).then_some(self.last + 1);
        self.last = sequence.unwrap_or(self.last);
        let published = Published { number: self.published.len(), topic, sequence, epoch: self.epoch };
        self.published.push(published);
        let of_stream = sequence.is_some();
        let live = |reader: &Reader| published.matches(&reader.pattern) && !(of_stream && reader.behind.is_some());
        let matched: Vec<Id> = self.readers.iter().filter(|(_, reader)| live(reader)).map(|(id, _)| *id).collect();
        if matched.is_empty() {
            return;
        }
        if has_room {
            self.say_delivery(&published);
            return;
        }
        for id in matched {
            self.readers.get_mut(&id).unwrap().behind = Some(self.last - 1);
            self.say_marker(id, 0);
        }
    }

    fn fall_behind(&mut self, nth: usize) {
        let last = self.last;
        let mut live = self.readers.iter_mut().filter(|(_, reader)| reader.behind.is_none());
        let Some((id, reader)) = live.nth(nth) else { return };
        reader.behind = Some(last);
        let id = *id;
        self.say_marker(id, 0);
    }

    /// A reader's next page, or that it is live.
    fn read(&mut self, nth: usize, most: usize) {
        let mut behind = self.readers.iter().filter_map(|(id, reader)| Some((*id, reader.behind?, reader)));
        let Some((id, mut at, reader)) = behind.nth(nth) else { return };
        let (pattern, as_of, has_start) = (reader.pattern.clone(), reader.last_by_topic_as_of, reader.has_start);
        if at < self.first - 1 {
            self.say_gap(id, at + 1, self.first - 1);
            at = self.first - 1;
        }
        let kept = self.kept(&pattern);
        let first_values = last_values(&kept, as_of);
        let is_wanted = |sequence: &u64| *sequence > at && (*sequence > as_of || first_values.contains(sequence));
        let wanted: Vec<_> = kept.iter().filter(|(sequence, _)| is_wanted(sequence)).take(most).collect();
        if !wanted.is_empty() {
            self.say_marker(id, wanted.len());
        }
        for (_, published) in &wanted {
            self.say_delivery(published);
        }
        at = if wanted.len() < most { self.last } else { wanted.last().map_or(at, |(sequence, _)| *sequence) };
        let is_live = at == self.last;
        self.readers.get_mut(&id).unwrap().behind = (!is_live).then_some(at);
        if is_live {
            let epoch = epoch_name(self.epoch);
            let told = Told { subscription: id, stream: STREAM, epoch: &epoch, sequence: at };
            self.say(&BrokerMessage::Live(told));
            if has_start {
                self.say(&BrokerMessage::Position(told));
            }
        }
    }

    fn tell_positions(&mut self) {
        let epoch = epoch_name(self.epoch);
        let of: Vec<_> = self.readers.iter().filter(|(_, it)| it.has_start).map(|(id, it)| (*id, it.behind)).collect();
        for (subscription, behind) in of {
            let sequence = behind.unwrap_or(self.last);
            self.say(&BrokerMessage::Position(Told { subscription, stream: STREAM, epoch: &epoch, sequence }));
        }
    }

    fn recreate(&mut self) {
        (self.epoch, self.first, self.last) = (self.epoch + 1, 1, 0);
        for id in self.readers.keys().copied().collect::<Vec<_>>() {
            self.say_epoch(id, 1);
            self.say_marker(id, 0);
            let reader = self.readers.get_mut(&id).unwrap();
            (reader.behind, reader.last_by_topic_as_of) = (Some(0), 0);
        }
    }

    fn reconnect(&mut self) {
        let cause = ConnectionLost::Broken { reason: String::new() };
        self.session.on_disconnected(&cause);
        self.asked.clear();
        self.readers.clear();
        self.said.clear();
        self.owners.clear();
        self.session.on_connected(Some(&Reconnected { cause, downtime: Duration::ZERO }));
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Subscribe { patterns, start } => self.subscribe(patterns, start),
            Step::Answer => self.answer(),
            Step::Publish(topic) => self.publish(topic, true),
            Step::PublishWithoutRoom(topic) => self.publish(topic, false),
            Step::FallBehind(nth) => self.fall_behind(nth),
            Step::Read { nth, most } => self.read(nth, most),
            Step::TellPositions => self.tell_positions(),
            Step::Purge(sequence) => self.first = self.first.max(sequence.min(self.last) + 1),
            Step::Recreate => self.recreate(),
            Step::Arrive(count) => self.arrive(count),
            Step::Reconnect => self.reconnect(),
        }
        self.exchange();
    }

    /// Everybody is answered, live, and told how far they are.
    fn settle(&mut self) {
        while !self.asked.is_empty() {
            self.answer();
        }
        while self.readers.values().any(|reader| reader.behind.is_some()) {
            self.read(0, 3);
        }
        self.tell_positions();
        self.arrive(usize::MAX);
    }
}

/// Of each topic the last, as they were at this sequence.
fn last_values(kept: &[(u64, Published)], as_of: u64) -> Vec<u64> {
    let before = kept.iter().filter(|(sequence, _)| *sequence <= as_of);
    let last: BTreeMap<_, _> = before.map(|(sequence, published)| (published.topic, *sequence)).collect();
    last.into_values().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn every_message_comes_once_or_its_loss_is_told(steps in vec(step(), 1..120)) {
        let mut world = World::new();
        for step in steps {
            world.take(step);
        }
        world.settle();
        let mut subscriptions = std::mem::take(&mut world.subscriptions);
        for (key, modelled) in &mut subscriptions {
            let seen = Seen::by(modelled);
            if modelled.has_start {
                check_with_start(&world, modelled, &seen);
            } else {
                check_without_start(&world, *key, &seen);
            }
        }
        prop_assert_eq!(world.session.observer.counters().messages_passed_over, 0);
    }
}
