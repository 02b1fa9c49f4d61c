//! A client that knows nothing but what it is sent, in the order in which it comes.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may")]

use std::collections::{BTreeMap, BTreeSet};

use carillon_wire::{Id, Pattern, Topic};

/// What a stream has kept, by sequence.
pub(crate) type Log = BTreeMap<u64, &'static str>;

/// The messages of a stream behind a position that a pattern matches.
pub(crate) fn behind(log: &Log, position: u64, pattern: &'static str) -> impl Iterator<Item = (u64, &'static str)> {
    let pattern = Pattern::new(pattern).unwrap();
    let rest = log.range(position + 1..).map(|(sequence, topic)| (*sequence, *topic));
    rest.filter(move |(_, topic)| pattern.matches(Topic::new(topic).unwrap()))
}

/// How a message of a stream is written: `STREAM SEQUENCE TOPIC PADDING`; of none, `p NUMBER TOPIC PADDING`.
pub(crate) fn write(stream: &str, number: u64, topic: &str, padding: usize) -> Vec<u8> {
    format!("{stream} {number} {topic} {}", ".".repeat(padding)).into_bytes()
}

#[derive(Debug, Default)]
pub(crate) struct Client {
    subscriptions: BTreeMap<Id, Subscription>,
    /// Missing for each subscription, as gaps tell.
    pub(crate) told: BTreeMap<Id, u64>,
}

#[derive(Debug)]
struct Subscription {
    pattern: &'static str,
    /// In each stream: it has everything up to here.
    positions: Vec<u64>,
    /// It takes nothing of these but what is for it alone.
    catching_up: BTreeSet<usize>,
}

impl Subscription {
    fn take(&mut self, stream: usize, sequence: u64, logs: &[Log]) {
        let next = behind(&logs[stream], self.positions[stream], self.pattern).next();
        assert_eq!(next.map(|it| it.0), Some(sequence), "the next of stream {stream} for {self:?}");
        self.positions[stream] = sequence;
    }
}

impl Client {
    /// From here on a subscription counts.
    pub(crate) fn subscribed(&mut self, id: Id, pattern: &'static str, positions: Vec<u64>) {
        let catching_up = BTreeSet::new();
        assert!(self.subscriptions.insert(id, Subscription { pattern, positions, catching_up }).is_none());
    }

    /// From here on a subscription takes only what is for it alone.
    pub(crate) fn marker(&mut self, id: Id, stream: usize) {
        assert!(self.subscriptions.get_mut(&id).unwrap().catching_up.insert(stream));
    }

    /// From here on a subscription takes what is for everybody.
    pub(crate) fn live(&mut self, id: Id, stream: usize) {
        assert!(self.subscriptions.get_mut(&id).unwrap().catching_up.remove(&stream));
    }

    pub(crate) fn ended(&mut self, id: Id) {
        self.subscriptions.remove(&id).expect("it is told once");
    }

    pub(crate) fn gap(&mut self, id: Id, count: u64) {
        assert!(self.subscriptions.contains_key(&id), "no gap behind the reply");
        *self.told.entry(id).or_default() += count;
    }

    /// Messages for one subscription alone.
    pub(crate) fn page(&mut self, id: Id, stream: usize, sequences: &[u64], logs: &[Log]) {
        let subscription = self.subscriptions.get_mut(&id).unwrap();
        assert!(subscription.catching_up.contains(&stream));
        for sequence in sequences {
            subscription.take(stream, *sequence, logs);
        }
    }

    /// A message for whoever wants it.
    pub(crate) fn message(&mut self, bytes: &[u8], logs: &[Log]) {
        let text = std::str::from_utf8(bytes).unwrap();
        let mut words = text.split(' ');
        let Ok(stream) = words.next().unwrap().parse::<usize>() else { return };
        let sequence = words.next().unwrap().parse().unwrap();
        let topic = Topic::new(words.next().unwrap()).unwrap();
        let mut is_wanted = false;
        for subscription in self.subscriptions.values_mut() {
            if Pattern::new(subscription.pattern).unwrap().matches(topic) && !subscription.catching_up.contains(&stream)
            {
                is_wanted = true;
                subscription.take(stream, sequence, logs);
            }
        }
        assert!(is_wanted, "{text} is for nobody");
    }

    /// Whoever is live has everything.
    pub(crate) fn assert_complete(&self, logs: &[Log]) {
        for (id, subscription) in &self.subscriptions {
            for (stream, log) in
                logs.iter().enumerate().filter(|(stream, _)| !subscription.catching_up.contains(stream))
            {
                let missing = behind(log, subscription.positions[stream], subscription.pattern).next();
                assert_eq!(missing, None, "of stream {stream} for subscription {id}");
            }
        }
    }
}
