//! The shard: it publishes, reads on for those who have fallen behind, and knows what the router must say.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may")]

use std::collections::BTreeSet;

use carillon_router::{ConnectionKey, Counts, Fallen, Limits, Published, Router, StreamSequence, Waiting};
use carillon_wire::{Id, Overflow, Pattern, Topic};
use proptest::sample::Index;

use crate::{
    TOPICS,
    client::{Log, behind, write},
    connection::{Connection, Falls, Meaning, Queued, What},
    support::{MAX_SUBSCRIPTIONS, Subscription, choose, fits, matching, must_keep},
};

pub(crate) struct Shard {
    router: Router,
    limits: Limits,
    logs: Vec<Log>,
    connections: Vec<Connection>,
    published: u64,
    /// Fallen behind for want of room; of connections that were given up as well, or not counted here.
    fallen: u64,
    is_anyone_overflowed: bool,
}

impl Shard {
    pub(crate) fn new(outbox_bytes: usize, outbox_messages: usize) -> Self {
        let limits = Limits { max_subscriptions: MAX_SUBSCRIPTIONS, max_wildcards: 2, outbox_bytes, outbox_messages };
        Self {
            router: Router::new(limits.clone()),
            limits,
            logs: vec![Log::new(); TOPICS.len()],
            connections: Vec::new(),
            published: 0,
            fallen: 0,
            is_anyone_overflowed: false,
        }
    }

    pub(crate) fn connect(&mut self) {
        let key = self.router.connect();
        assert_eq!(ConnectionKey::from_bits(key.to_bits()), key);
        self.connections.push(Connection::new(key));
    }

    pub(crate) fn disconnect(&mut self, at: Index) {
        if self.connections.is_empty() {
            return;
        }
        let removed = self.connections.swap_remove(at.index(self.connections.len()));
        let plain = removed.queue.iter().filter(|it| it.is_plain()).count();
        assert_eq!(self.router.disconnect(removed.key), plain as u64, "what a stream has is not lost");
        assert!(!self.router.hold(removed.key, Id::from(0), 0));
        assert!(!self.router.push_aside(removed.key, carillon_router::Aside::default()));
    }

    /// The newest sequence of each stream.
    fn newest(&self) -> Vec<u64> {
        self.logs.iter().map(|log| log.last_key_value().map_or(0, |(sequence, _)| *sequence)).collect()
    }

    pub(crate) fn subscribe(&mut self, at: Index, id: Id, pattern: &'static str, overflow: Overflow) {
        let positions = self.newest();
        let Some(connection) = choose(&mut self.connections, at) else { return };
        let name = Pattern::new(pattern).unwrap();
        if self.router.subscribe(connection.key, id, name, overflow).is_ok() {
            connection.subscriptions.insert(id, Subscription { pattern, overflow, is_live: true });
            connection.push_aside(&mut self.router, Vec::new(), Meaning::Subscribed(id, pattern, positions));
        }
    }

    pub(crate) fn subscribe_from(&mut self, at: Index, id: Id, pattern: &'static str, from: Index) {
        let mut positions = self.newest();
        let Some(connection) = choose(&mut self.connections, at) else { return };
        let name = Pattern::new(pattern).unwrap();
        if self.router.subscribe(connection.key, id, name, Overflow::DropOldest).is_err() {
            return;
        }
        connection.subscriptions.insert(id, Subscription { pattern, overflow: Overflow::DropOldest, is_live: true });
        let stream = from.index(positions.len());
        let position = from.index(usize::try_from(positions[stream]).unwrap() + 1) as u64;
        positions[stream] = position;
        assert!(self.router.hold(connection.key, id, u32::try_from(stream).unwrap()));
        connection.held.insert((id, stream), position);
        connection.push_aside(&mut self.router, Vec::new(), Meaning::Subscribed(id, pattern, positions));
        connection.push_aside(&mut self.router, Vec::new(), Meaning::Marker(id, stream));
    }

    pub(crate) fn unsubscribe(&mut self, at: Index, id: Id) {
        let Some(connection) = choose(&mut self.connections, at) else { return };
        let bytes = format!("reply to {id}").into_bytes();
        if self.router.unsubscribe(connection.key, id, bytes.clone().into()).is_ok() {
            connection.subscriptions.get_mut(&id).unwrap().is_live = false;
            connection.held.retain(|(held, _), _| *held != id);
            connection.queue.push_back(Queued { bytes, what: What::Reply(id) });
            assert!(!self.router.hold(connection.key, id, 0), "it lives no more");
        }
    }

    pub(crate) fn publish(&mut self, topic: &'static str, padding: usize) {
        self.published += 1;
        let bytes = write("p", self.published, topic, padding);
        let topic = Topic::new(topic).unwrap();
        let before = self.waiting();
        let published = self.router.publish(topic, 0, || bytes.clone().into());
        let mut expected = Published { nodes_visited: published.nodes_visited, ..Published::default() };
        let mut falls = Vec::new();
        for (connection, before) in self.connections.iter_mut().zip(before) {
            let ids = matching(&connection.subscriptions, topic);
            falls.push(Falls::new());
            if ids.is_empty() {
                continue;
            }
            expected.connections += 1;
            expected.subscriptions += u32::try_from(ids.len()).unwrap();
            let is_kept = must_keep(&connection.subscriptions, &ids);
            let mut has_room = fits(before, &bytes, &self.limits);
            if !has_room {
                let gap_bytes = before.bytes - connection.waiting().bytes;
                let fell = connection.drop_streams(|_| true);
                let rest = connection.waiting();
                let rest = Waiting { bytes: rest.bytes + gap_bytes - connection.aside_bytes(), ..rest };
                has_room = fits(rest, &bytes, &self.limits);
                if self.router.is_overflowed(connection.key) {
                    assert!(is_kept && !has_room, "{rest:?}");
                    expected.overflowed += 1;
                    expected.dropped += rest.messages as u64 + 1;
                    self.is_anyone_overflowed = true;
                    connection.give_up();
                    continue;
                }
                self.fallen += fell.len() as u64;
                *falls.last_mut().unwrap() = fell;
            }
            connection.queue.push_back(Queued { bytes: bytes.clone(), what: What::Plain { ids, is_kept } });
            let after = self.router.waiting(connection.key).unwrap();
            let lost = connection.waiting().messages - after.messages;
            assert_eq!(lost == 0, has_room, "what has room beside streams drops nothing");
            connection.drop_plain(lost);
            expected.dropped += lost as u64;
        }
        assert_eq!(published, expected);
        self.settle(&falls);
    }

    pub(crate) fn publish_in_stream(&mut self, stream: usize, topic: Index, padding: usize) {
        let name = TOPICS[stream][topic.index(TOPICS[stream].len())];
        // Where something is damaged, numbers are missing.
        let sequence = self.newest()[stream] + 1 + u64::from(padding.is_multiple_of(7));
        self.logs[stream].insert(sequence, name);
        let bytes = write(&stream.to_string(), sequence, name, padding);
        let topic = Topic::new(name).unwrap();
        let before = self.waiting();
        let at = StreamSequence { stream: u32::try_from(stream).unwrap(), sequence };
        let mut is_encoded = false;
        let published = self.router.publish_in_stream(topic, at, sequence, || {
            is_encoded = true;
            bytes.clone().into()
        });
        let mut expected = Published { nodes_visited: published.nodes_visited, ..Published::default() };
        let mut falls = Vec::new();
        for (connection, before) in self.connections.iter_mut().zip(before) {
            let mut ids = matching(&connection.subscriptions, topic);
            expected.subscriptions += u32::try_from(ids.len()).unwrap();
            ids.retain(|id| !connection.held.contains_key(&(*id, stream)));
            falls.push(Falls::new());
            if ids.is_empty() {
                continue;
            }
            expected.connections += 1;
            if fits(before, &bytes, &self.limits) {
                let what = What::InStream { stream, sequence, ids };
                connection.queue.push_back(Queued { bytes: bytes.clone(), what });
                continue;
            }
            let mut fell = connection.drop_streams(|_| true);
            for id in ids {
                fell.entry((id, stream)).or_insert(sequence - 1);
            }
            self.fallen += fell.len() as u64;
            *falls.last_mut().unwrap() = fell;
        }
        assert_eq!(published, expected);
        assert_eq!(is_encoded, published.connections > 0);
        self.settle(&falls);
    }

    pub(crate) fn hold_stream(&mut self, stream: usize) {
        let told = self.newest()[stream];
        let meets =
            |pattern: Pattern<'_>| TOPICS[stream].iter().any(|topic| pattern.matches(Topic::new(topic).unwrap()));
        self.router.hold_stream(u32::try_from(stream).unwrap(), told, meets);
        let falls: Vec<Falls> = self
            .connections
            .iter_mut()
            .map(|connection| {
                let mut falls = connection.drop_streams(|it| it == stream);
                for (id, it) in connection.subscriptions.iter().filter(|(_, it)| it.is_live) {
                    if meets(Pattern::new(it.pattern).unwrap()) && !connection.held.contains_key(&(*id, stream)) {
                        falls.entry((*id, stream)).or_insert(told);
                    }
                }
                falls
            })
            .collect();
        self.settle(&falls);
    }

    pub(crate) fn shrink(&mut self, max_bytes: usize) {
        let before = self.waiting();
        self.router.shrink_outboxes(max_bytes);
        let mut falls = Vec::new();
        for (connection, before) in self.connections.iter_mut().zip(before) {
            falls.push(Falls::new());
            if before.memory_bytes() <= max_bytes {
                continue;
            }
            let fell = connection.drop_streams(|_| true);
            if self.router.is_overflowed(connection.key) && !connection.is_overflowed {
                assert!(connection.queue.iter().any(Queued::is_kept), "nothing was there that must be kept");
                self.is_anyone_overflowed = true;
                connection.give_up();
                continue;
            }
            self.fallen += fell.len() as u64;
            *falls.last_mut().unwrap() = fell;
            let after = self.router.waiting(connection.key).unwrap();
            connection.drop_plain(connection.waiting().messages - after.messages);
            let beside = Waiting { bytes: after.bytes - connection.aside_bytes(), asides: 0, ..after };
            assert!(beside.memory_bytes() <= max_bytes || after.messages == 0, "{after:?} for {max_bytes}");
        }
        self.settle(&falls);
    }

    /// The router reports what was to be reported; those who have fallen behind are told at once.
    fn settle(&mut self, falls: &[Falls]) {
        let mut fallen: Vec<Fallen> = Vec::new();
        assert_eq!(self.router.has_fallen(), falls.iter().any(|it| !it.is_empty()));
        self.router.take_fallen(&mut fallen);
        assert!(!self.router.has_fallen());
        assert_eq!(fallen.len(), falls.iter().map(Falls::len).sum::<usize>());
        for (connection, falls) in self.connections.iter_mut().zip(falls) {
            let of_this = fallen.iter().filter(|it| it.connection == connection.key);
            let mut reported: Vec<_> = of_this.map(|it| (it.subscription, it.stream as usize, it.position)).collect();
            reported.sort_unstable();
            connection.fell(&mut self.router, &reported, falls);
        }
    }

    pub(crate) fn read_on(&mut self, at: Index, which: Index, most: usize) {
        if self.connections.is_empty() {
            return;
        }
        let number = at.index(self.connections.len());
        let held: Vec<_> = self.connections[number].held.keys().copied().collect();
        if !held.is_empty() {
            let (id, stream) = held[which.index(held.len())];
            self.read_for(number, id, stream, most);
        }
    }

    /// Gives a subscription what it has not got yet of a stream, and makes it live where that is all.
    fn read_for(&mut self, number: usize, id: Id, stream: usize, most: usize) {
        let connection = &mut self.connections[number];
        let position = connection.held[&(id, stream)];
        let pattern = connection.subscriptions[&id].pattern;
        let read: Vec<_> = behind(&self.logs[stream], position, pattern).take(most).collect();
        let is_end = read.len() < most;
        let sequences: Vec<u64> = read.iter().map(|(sequence, _)| *sequence).collect();
        let position = sequences.last().copied().unwrap_or(position);
        let messages = read.iter().map(|(sequence, topic)| write(&stream.to_string(), *sequence, topic, 0));
        let bytes = messages.collect::<Vec<_>>().concat();
        connection.push_aside(&mut self.router, bytes, Meaning::Page(id, stream, sequences));
        connection.held.insert((id, stream), position);
        if is_end {
            connection.push_aside(&mut self.router, b"live".to_vec(), Meaning::Live(id, stream));
            self.router.release(connection.key, id, u32::try_from(stream).unwrap());
            connection.held.remove(&(id, stream));
        }
    }

    pub(crate) fn answer(&mut self, at: Index, size: usize) {
        let Some(connection) = choose(&mut self.connections, at) else { return };
        if !connection.is_overflowed {
            connection.push_aside(&mut self.router, vec![b'h'; size], Meaning::Answer);
        }
    }

    pub(crate) fn drain(&mut self, at: Index, times: usize) {
        let Some(connection) = choose(&mut self.connections, at) else { return };
        for _ in 0..times {
            connection.next(&mut self.router, &self.logs);
        }
    }

    fn waiting(&self) -> Vec<Waiting> {
        self.connections.iter().map(|it| self.router.waiting(it.key).unwrap()).collect()
    }

    pub(crate) fn assert_counts(&self) {
        let counts = self.router.counts();
        let waiting = self.waiting();
        for (connection, waiting) in self.connections.iter().zip(&waiting) {
            connection.assert_waiting(*waiting);
        }
        let bytes: usize = waiting.iter().map(|it| it.bytes).sum();
        let messages: usize = waiting.iter().map(|it| it.messages).sum();
        assert_eq!((counts.outbox_bytes, counts.outbox_messages), (bytes as u64, messages as u64));
        let queued = || self.connections.iter().flat_map(|it| &it.queue);
        let shared: BTreeSet<&[u8]> =
            queued().filter(|it| !matches!(it.what, What::Aside(_))).map(|it| it.bytes.as_slice()).collect();
        let aside_bytes: usize = queued().filter(|it| matches!(it.what, What::Aside(_))).map(|it| it.bytes.len()).sum();
        let least = shared.iter().map(|bytes| bytes.len()).sum::<usize>() + aside_bytes;
        assert!(counts.memory_bytes >= least as u64, "{counts:?}, but {least} bytes wait");
        let most = least + queued().count() * 200;
        assert!(counts.memory_bytes <= most as u64, "{counts:?}, but only {most} bytes can be needed");
    }

    /// Everybody is read on for and takes everything, then leaves.
    pub(crate) fn end(mut self) {
        for number in 0..self.connections.len() {
            let held: Vec<_> = self.connections[number].held.keys().copied().collect();
            for (id, stream) in held {
                self.read_for(number, id, stream, usize::MAX);
            }
            let connection = &mut self.connections[number];
            while connection.next(&mut self.router, &self.logs) {}
            assert_eq!(self.router.waiting(connection.key), Some(Waiting::default()));
        }
        let dropped = self.router.take_dropped();
        assert!(dropped.fallen_behind >= self.fallen);
        assert!(dropped.fallen_behind == self.fallen || self.is_anyone_overflowed);
        for connection in self.connections {
            assert_eq!(self.router.disconnect(connection.key), 0);
        }
        assert_eq!(self.router.counts(), Counts::default());
    }
}
