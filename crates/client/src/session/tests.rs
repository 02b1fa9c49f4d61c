//! The session against a simple model, through all orders of requests, replies, deliveries and lost connections.

use std::collections::BTreeMap;

use carillon_wire::{
    ClientMessage, Overflow, Pattern, PatternBuf, Topic, TopicBuf, broker_message::Ended, headers::HeadersBuf,
};
use proptest::{collection::vec, prelude::*, sample::select};
use tokio::sync::{Notify, mpsc};

use super::*;
use crate::{
    command::{Publish, Subscribe},
    event::{Ended as EndedEvent, Event},
    subscription::Subscription,
};

const PATTERNS: [&str; 6] = ["a", "a.b", "a.*", "*.b", ">", "$s.>"];
const TOPICS: [&str; 5] = ["a", "a.b", "a.c", "b.b", "$s.t"];

#[derive(Debug, Clone)]
enum Step {
    Subscribe(Vec<&'static str>),
    Drop(usize),
    /// The broker answers its oldest request, and refuses it if so.
    Answer {
        refuses: bool,
    },
    Deliver(&'static str),
    /// The broker ends one of the live subscriptions.
    End(usize),
    Reconnect,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => vec(select(&PATTERNS), 1..3).prop_map(Step::Subscribe),
        1 => (0_usize..8).prop_map(Step::Drop),
        6 => prop::bool::weighted(0.1).prop_map(|refuses| Step::Answer { refuses }),
        6 => select(&TOPICS).prop_map(Step::Deliver),
        1 => (0_usize..8).prop_map(Step::End),
        1 => Just(Step::Reconnect),
    ]
}

/// What the model knows of a subscription.
struct Modelled {
    handle: Subscription,
    patterns: Vec<(&'static str, bool)>,
    /// The application holds it: every pattern was accepted once.
    is_held: bool,
    owes_reconnected: bool,
    expected: Vec<String>,
}

/// A session, the broker that it talks to, and what should come of it.
struct World {
    session: Session,
    commands: mpsc::UnboundedReceiver<Command>,
    sender: crate::command::Commands,
    /// Requests that the broker has not answered: the id, and the pattern if it is a subscription.
    asked: VecDeque<(Id, Option<String>)>,
    /// The broker's own view: live subscriptions by id; the key says whose they are.
    live: BTreeMap<Id, (SubscriptionKey, String)>,
    subscriptions: BTreeMap<SubscriptionKey, Modelled>,
    /// Which subscription a request is for, in the order in which the session must ask.
    last_key: SubscriptionKey,
    delivered: u32,
}

impl World {
    fn new() -> Self {
        let (sender, commands) = mpsc::unbounded_channel();
        let mut session = Session::new(Arc::default(), None, usize::MAX);
        session.on_connected(None);
        Self {
            session,
            commands,
            sender,
            asked: VecDeque::new(),
            live: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
            last_key: 0,
            delivered: 0,
        }
    }

    /// Lets the broker read what the session has to say.
    fn exchange(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            self.session.on_command(command);
        }
        loop {
            let mut batch = Vec::new();
            self.session.take_batch(&mut batch);
            if batch.is_empty() {
                return;
            }
            for message in decode::client_messages(&batch) {
                match message.unwrap() {
                    ClientMessage::Subscribe(m) => self.asked.push_back((m.id, Some(m.pattern.to_string()))),
                    ClientMessage::Unsubscribe(m) => {
                        self.live.remove(&m.subscription);
                        // As a broker that refuses what it is asked to end does not know it either.
                        self.asked.retain(|(id, _)| *id != m.subscription);
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    fn say(&mut self, message: &BrokerMessage<'_>) {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        self.session.on_frame(&bytes.into()).unwrap();
    }

    fn subscribe(&mut self, mut patterns: Vec<&'static str>) {
        patterns.dedup();
        self.last_key += 1;
        let (handle, sink) =
            Subscription::new(self.last_key, self.sender.clone(), None, usize::MAX, Arc::new(Notify::new()));
        self.session.on_command(Command::Subscribe(Subscribe {
            key: self.last_key,
            patterns: patterns.iter().map(|pattern| PatternBuf::new(pattern).unwrap()).collect(),
            overflow: Overflow::DropOldest,
            start: None,
            sink,
            reply: oneshot::channel().0,
        }));
        let modelled = Modelled {
            handle,
            patterns: patterns.into_iter().map(|pattern| (pattern, false)).collect(),
            is_held: false,
            owes_reconnected: false,
            expected: Vec::new(),
        };
        self.subscriptions.insert(self.last_key, modelled);
    }

    fn answer(&mut self, refuses: bool) {
        let Some((id, Some(pattern))) = self.asked.pop_front() else { return };
        // Requests leave in order, so the first subscription that lacks this pattern's answer is the one that asked.
        let (key, position) = self
            .subscriptions
            .iter()
            .find_map(|(key, modelled)| {
                Some((*key, modelled.patterns.iter().position(|(p, accepted)| !accepted && *p == pattern)?))
            })
            .unwrap();
        if refuses {
            let error = ErrorReply {
                id: Some(id),
                code: ErrorCode::Forbidden,
                message: "",
                retry_after_ms: None,
                last_sequence: None,
            };
            self.say(&BrokerMessage::Error(error));
            let mut modelled = self.subscriptions.remove(&key).unwrap();
            if modelled.is_held {
                modelled.expected.push("ended".to_owned());
            }
            check(&mut modelled);
        } else {
            self.live.insert(id, (key, pattern));
            self.say(&BrokerMessage::ok(id));
            let modelled = self.subscriptions.get_mut(&key).unwrap();
            modelled.patterns[position].1 = true;
            modelled.is_held |= modelled.patterns.iter().all(|(_, accepted)| *accepted);
            if std::mem::take(&mut modelled.owes_reconnected) {
                modelled.expected.push("reconnected".to_owned());
            }
        }
    }

    fn end(&mut self, nth: usize) {
        let Some(id) = self.live.keys().nth(nth).copied() else { return };
        let Some((key, ended)) = self.live.remove(&id) else { return };
        self.say(&BrokerMessage::Ended(Ended { subscription: id, code: ErrorCode::Forbidden, message: "" }));
        let mut modelled = self.subscriptions.remove(&key).unwrap();
        for expected in modelled.expected.drain(..) {
            assert_eq!(taken(&mut modelled.handle), Some(expected));
        }
        if modelled.is_held {
            let event = modelled.handle.try_next();
            let by_broker =
                |pattern: &String, refusal: &Refusal| *pattern == ended && refusal.code == ErrorCode::Forbidden;
            assert!(
                matches!(&event, Some(Event::Ended(EndedEvent::ByBroker { pattern, refusal })) if by_broker(pattern, refusal)),
                "{event:?}"
            );
        }
        assert_eq!(taken(&mut modelled.handle), None);
    }

    fn deliver(&mut self, topic: &str) {
        let topic = Topic::new(topic).unwrap();
        if !self.live.values().any(|(_, pattern)| Pattern::new(pattern).unwrap().matches(topic)) {
            return;
        }
        self.delivered += 1;
        let payload = self.delivered.to_string();
        self.say(&BrokerMessage::Delivery(Delivery {
            topic,
            payload: payload.as_bytes(),
            time_us: 0,
            headers: carillon_wire::Headers::EMPTY,
            in_stream: None,
        }));
        for modelled in self.subscriptions.values_mut() {
            let matches = |(p, accepted): &(&str, bool)| *accepted && Pattern::new(p).unwrap().matches(topic);
            if modelled.patterns.iter().any(matches) {
                modelled.expected.push(payload.clone());
            }
        }
    }

    fn reconnect(&mut self) {
        let cause = ConnectionLost::Broken { reason: String::new() };
        self.session.on_disconnected(&cause);
        self.asked.clear();
        self.live.clear();
        for modelled in self.subscriptions.values_mut() {
            modelled.patterns.iter_mut().for_each(|(_, accepted)| *accepted = false);
            modelled.owes_reconnected = modelled.is_held;
        }
        self.session.on_connected(Some(&Reconnected { cause, downtime: Duration::ZERO }));
    }
}

/// The next event, as the model names it.
fn taken(handle: &mut Subscription) -> Option<String> {
    Some(match handle.try_next()? {
        Event::Message(message) => String::from_utf8(message.payload().to_vec()).unwrap(),
        Event::Reconnected(_) => "reconnected".to_owned(),
        Event::Ended(_) => "ended".to_owned(),
        other => panic!("{other:?}"),
    })
}

fn check(modelled: &mut Modelled) {
    for expected in modelled.expected.drain(..) {
        assert_eq!(taken(&mut modelled.handle), Some(expected));
    }
    assert_eq!(taken(&mut modelled.handle), None);
}

proptest! {
    #[test]
    fn every_subscription_gets_exactly_what_it_should(steps in vec(step(), 1..60)) {
        let mut world = World::new();
        for step in steps {
            match step {
                Step::Subscribe(patterns) => world.subscribe(patterns),
                Step::Drop(nth) => {
                    if let Some(key) = world.subscriptions.keys().nth(nth).copied() {
                        world.subscriptions.remove(&key);
                    }
                }
                Step::Answer { refuses } => world.answer(refuses),
                Step::Deliver(topic) => world.deliver(topic),
                Step::End(nth) => world.end(nth),
                Step::Reconnect => world.reconnect(),
            }
            world.exchange();
        }
        world.subscriptions.values_mut().for_each(check);
        // Nothing is left at the broker that nobody holds.
        let accepted = world.subscriptions.values().flat_map(|m| &m.patterns).filter(|(_, accepted)| *accepted).count();
        prop_assert_eq!(world.live.len(), accepted);
        prop_assert_eq!(world.session.table.indexed(), accepted);
    }

    #[test]
    fn batches_hold_everything_in_order_within_the_limit(
        sizes in vec(0_usize..3000, 1..50),
        max_message_bytes in 3100_u64..10_000,
    ) {
        let mut session = Session::new(Arc::default(), None, usize::MAX);
        session.on_connected(None);
        session.limits.max_message_bytes = max_message_bytes;
        for (number, size) in sizes.iter().enumerate() {
            let topic = TopicBuf::new(&format!("t.{number}")).unwrap();
            session.on_command(Command::Publish(Publish::new(topic, vec![0; *size].into(), HeadersBuf::default())));
        }
        let mut seen = 0;
        loop {
            let mut batch = Vec::new();
            session.take_batch(&mut batch);
            if batch.is_empty() {
                break;
            }
            prop_assert!(batch.len() as u64 <= max_message_bytes);
            for message in decode::client_messages(&batch) {
                let Ok(ClientMessage::Publish(publish)) = message else { panic!("{message:?}") };
                prop_assert_eq!(publish.topic.as_str(), format!("t.{seen}"));
                prop_assert_eq!(publish.payload.len(), sizes[seen]);
                seen += 1;
            }
        }
        prop_assert_eq!(seen, sizes.len());
    }

    #[test]
    fn whatever_a_broker_sends_does_not_panic(bytes in vec(any::<u8>(), 0..200)) {
        let mut session = Session::new(Arc::default(), None, usize::MAX);
        session.on_connected(None);
        let _ = session.on_frame(&bytes.into());
    }
}

#[test]
fn encoded_size_is_never_underestimated() {
    for (topic, payload) in [("a".to_owned(), 0), ("t".repeat(255), 70_000), ("b".to_owned(), 300)] {
        for message_id in [None, Some("m".repeat(128))] {
            for (headers, expected_sequence) in [(Vec::new(), None), (vec![("k", "v")], Some(Id::MAX.get()))] {
                let topic = TopicBuf::new(&topic).unwrap();
                let headers = HeadersBuf::from_iter(headers);
                let mut publish = Publish::new(topic, vec![0; payload].into(), headers);
                publish.message_id = message_id.clone().map(String::into_boxed_str);
                publish.expected_sequence = expected_sequence;
                let message = carillon_wire::client_message::Publish {
                    id: Some(Id::MAX),
                    topic: publish.topic.as_topic(),
                    payload: &publish.payload,
                    headers: publish.headers.as_headers(),
                    message_id: publish.message_id.as_deref(),
                    expected_sequence,
                };
                let mut encoded = Vec::new();
                ClientMessage::Publish(message).encode(&mut encoded);
                assert!(encoded.len() <= publish.encoded_bytes());
            }
        }
    }
}
