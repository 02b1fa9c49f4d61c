//! Brokers with streams, and readers that check what the specification promises them.

use std::{collections::HashMap, num::NonZeroU64, path::Path, sync::Arc};

use carillon_listener::{OpenedStreams, Settings};
use carillon_metrics::StreamMetrics;
use carillon_streams::{
    keeper::{Keeper, Options},
    stream::{DedupWindow, Definition, Durability, Retention, StreamName},
};
use carillon_wire::{
    ClientMessage, Headers, Id, Overflow, Pattern, PatternBuf, Start, Topic,
    client_message::{History, Publish, Subscribe},
    start::HistoryStart,
};

use super::{Broker, Client, Said, anonymous_may_do_everything, self_signed, write_files};

/// A stream that keeps everything below its name.
pub fn definition(name: &str, durability: Durability) -> Definition {
    Definition {
        name: StreamName::new(name).unwrap(),
        patterns: vec![PatternBuf::new(&format!("{name}.>")).unwrap()],
        durability,
        retention: Retention { max_bytes: NonZeroU64::new(1 << 30), ..Retention::default() },
        dedup: DedupWindow { time_us: 120_000_000, ids: 100_000 },
        max_topics: 100_000,
    }
}

impl Broker {
    /// A broker that keeps streams, those on disk in this directory.
    pub fn start_keeping(settings: Settings, shards: usize, definitions: Vec<Definition>, directory: &Path) -> Self {
        let options = Options { directory: Some(directory.to_owned()), ..Options::default() };
        let metrics = definitions.iter().map(|_| Arc::new(StreamMetrics::new(shards))).collect();
        let opened = Keeper::open(definitions, options, Arc::new(())).unwrap();
        let (certificate, key) = self_signed();
        let files = write_files(&certificate, &key);
        let tls = super::Tls::from_files(&files.certificate, &files.key).unwrap();
        let streams = Some(OpenedStreams { opened, metrics });
        Self::start_all(settings, shards, anonymous_may_do_everything(), (tls, files), streams)
    }

    pub fn keeper(&self) -> &Keeper {
        self.listener.as_ref().unwrap().keeper().unwrap()
    }
}

impl Client {
    pub fn ask_publish(&mut self, topic: &str, payload: &[u8], message_id: Option<&str>, expected: Option<u64>) -> u64 {
        let id = self.id();
        let topic = Topic::new(topic).unwrap();
        let headers = Headers::EMPTY;
        self.send(&ClientMessage::Publish(Publish {
            id: Some(id),
            topic,
            payload,
            headers,
            message_id,
            expected_sequence: expected,
        }));
        id.get()
    }

    /// Publishes into a stream; tells sequence, epoch, and whether it was there already.
    pub fn keep(&mut self, topic: &str, payload: &[u8]) -> (u64, String, bool) {
        let asked = self.ask_publish(topic, payload, None, None);
        match self.next() {
            Said::OkAt { id, sequence, epoch, is_duplicate, resumed: 0 } if id == asked => {
                (sequence, epoch, is_duplicate)
            }
            other => panic!("{other:?} in answer to a publication into a stream"),
        }
    }

    pub fn ask_subscribe_from(&mut self, pattern: &str, start: Start<'_>) -> u64 {
        let id = self.id();
        let pattern = Pattern::new(pattern).unwrap();
        let (overflow, start) = (Overflow::DropOldest, Some(start));
        self.send(&ClientMessage::Subscribe(Subscribe { id, pattern, overflow, start }));
        id.get()
    }

    pub fn ask_history(
        &mut self,
        pattern: &str,
        start: HistoryStart<'_>,
        max_messages: Option<u64>,
        through: Option<u64>,
    ) -> u64 {
        let id = self.id();
        let pattern = Pattern::new(pattern).unwrap();
        self.send(&ClientMessage::History(History { id, pattern, start, max_messages, through }));
        id.get()
    }
}

/// What one subscription has got, by the rules of the specification.
#[derive(Debug)]
pub struct Got {
    pub pattern: PatternBuf,
    /// Sequence and payload.
    pub messages: Vec<(u64, Vec<u8>)>,
    /// First, last and reason of what is lost.
    pub lost: Vec<(u64, u64, u8)>,
    /// Epoch, reason and first sequence.
    pub epochs: Vec<(String, u8, u64)>,
    pub is_catching_up: bool,
    /// Up to where it is complete, as it was told or got.
    pub complete_through: u64,
    pub epoch: String,
    pub resumed: u8,
}

/// A client whose subscriptions are all on one stream.
pub struct Reader {
    pub client: Client,
    pub got: HashMap<u64, Got>,
    /// Whose the next deliveries are, and how many.
    marked: Option<(u64, u64)>,
}

impl Reader {
    pub fn new(broker: &Broker) -> Self {
        Self { client: broker.client(), got: HashMap::new(), marked: None }
    }

    /// Subscribes and waits for the reply.
    pub fn subscribe(&mut self, pattern: &str, start: Start<'_>) -> u64 {
        let id = self.client.ask_subscribe_from(pattern, start);
        self.expect(pattern, id);
        while self.got.get(&id).is_none_or(|got| got.epoch.is_empty()) {
            self.step();
        }
        id
    }

    /// Notes a subscription whose reply is still to come.
    pub fn expect(&mut self, pattern: &str, id: u64) {
        let got = Got {
            pattern: PatternBuf::new(pattern).unwrap(),
            messages: Vec::new(),
            lost: Vec::new(),
            epochs: Vec::new(),
            is_catching_up: true,
            complete_through: 0,
            epoch: String::new(),
            resumed: 0,
        };
        assert!(self.got.insert(id, got).is_none());
    }

    /// Takes the next thing that the broker says.
    pub fn step(&mut self) {
        let said = self.client.next();
        self.take(said);
    }

    pub fn read_until(&mut self, mut is_done: impl FnMut(&HashMap<u64, Got>) -> bool) {
        while !is_done(&self.got) {
            self.step();
        }
    }

    /// Reads until a subscription has everything up to a sequence.
    pub fn read_through(&mut self, subscription: u64, sequence: u64) {
        self.read_until(|got| got[&subscription].complete_through >= sequence);
    }

    fn of(&mut self, subscription: u64) -> &mut Got {
        self.got.get_mut(&subscription).expect("one of this client's subscriptions")
    }

    fn take(&mut self, said: Said) {
        match said {
            Said::OkAt { id, sequence, epoch, resumed, .. } => {
                let got = self.of(id);
                (got.complete_through, got.epoch, got.resumed) = (sequence, epoch, resumed);
            }
            Said::Marker { subscription, count } => {
                assert_eq!(self.marked, None, "a marker within what another covers");
                self.of(subscription).is_catching_up = true;
                self.marked = (count > 0).then_some((subscription, count));
            }
            Said::Kept { topic, payload, sequence, .. } => self.take_message(&topic, sequence, &payload),
            Said::Live { subscription, epoch, sequence } => {
                assert_eq!(self.marked, None, "live within what a marker covers");
                let got = self.of(subscription);
                assert!(got.is_catching_up, "live twice");
                assert!(sequence >= got.complete_through && epoch == got.epoch);
                (got.is_catching_up, got.complete_through) = (false, sequence);
            }
            Said::Position { subscription, epoch, sequence } => {
                let got = self.of(subscription);
                assert!(sequence >= got.complete_through && epoch == got.epoch);
                got.complete_through = sequence;
            }
            Said::Lost { subscription, reason, first, last } => {
                let got = self.of(subscription);
                assert!(
                    first <= last && last >= got.complete_through,
                    "{first}-{last} behind {}",
                    got.complete_through
                );
                got.lost.push((first, last, reason));
                got.complete_through = last;
            }
            Said::Epoch { subscription, epoch, reason, from } => {
                let got = self.of(subscription);
                got.epochs.push((epoch.clone(), reason, from));
                (got.epoch, got.complete_through) = (epoch, from - 1);
                got.is_catching_up = true;
            }
            Said::Heartbeat(_) => {}
            other => panic!("unexpected {other:?}"),
        }
    }

    fn take_message(&mut self, topic: &str, sequence: u64, payload: &[u8]) {
        let marked = self.marked.take();
        if let Some((_, count)) = marked {
            self.marked = (count > 1).then_some((marked.unwrap().0, count - 1));
        }
        let topic = Topic::new(topic).unwrap();
        let mut takers = 0;
        for (id, got) in &mut self.got {
            let is_its = match marked {
                Some((subscription, _)) => subscription == *id,
                None => !got.is_catching_up && got.pattern.as_pattern().matches(topic),
            };
            if is_its {
                assert!(got.pattern.as_pattern().matches(topic), "{topic} for {:?}", got.pattern);
                assert!(sequence > got.complete_through, "{sequence} behind {}, {got:?}", got.complete_through);
                got.complete_through = sequence;
                got.messages.push((sequence, payload.to_vec()));
                takers += 1;
            }
        }
        assert!(takers > 0, "a delivery for nobody");
    }
}

/// The id of a request as the wire has it.
pub fn id(number: u64) -> Id {
    Id::new(number).unwrap()
}
