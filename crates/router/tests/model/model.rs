//! The router and its model, and what must be true of both after each step.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may")]

use std::collections::BTreeSet;

use carillon_router::{ConnectionKey, Counts, Limits, Published, Router, SubscribeError, UnsubscribeError, Waiting};
use carillon_wire::{Id, Overflow, Pattern, Topic};
use proptest::sample::Index;

use crate::{
    connection::{Connection, Expected, Kind},
    support::{MAX_SUBSCRIPTIONS, Subscription, choose, matching},
};

const MAX_WILDCARDS: usize = 2;

pub(crate) struct Pair {
    router: Router,
    limits: Limits,
    connections: Vec<Connection>,
    stale: Vec<ConnectionKey>,
    published: u32,
    /// Lost by connections that went on, and by those that were given up.
    dropped: (u64, u64),
}

impl Pair {
    pub(crate) fn new(outbox_bytes: usize, outbox_messages: usize) -> Self {
        let limits = Limits {
            max_subscriptions: MAX_SUBSCRIPTIONS,
            max_wildcards: MAX_WILDCARDS,
            outbox_bytes,
            outbox_messages,
        };
        let (connections, stale) = (Vec::new(), Vec::new());
        Self { router: Router::new(limits.clone()), limits, connections, stale, published: 0, dropped: (0, 0) }
    }

    pub(crate) fn connect(&mut self) {
        let key = self.router.connect();
        assert!(self.connections.iter().all(|other| other.key.index() != key.index()));
        assert!(!self.stale.contains(&key));
        self.connections.push(Connection::new(key));
    }

    pub(crate) fn disconnect(&mut self, at: Index) {
        if self.connections.is_empty() {
            return;
        }
        let removed = self.connections.swap_remove(at.index(self.connections.len()));
        let waiting = removed.expected.iter().filter(|it| it.waits_as_message()).count();
        assert_eq!(self.router.disconnect(removed.key), waiting as u64);
        self.stale.push(removed.key);
    }

    pub(crate) fn subscribe(&mut self, at: Index, id: Id, pattern: &'static str, overflow: Overflow) {
        let Some(connection) = choose(&mut self.connections, at) else { return };
        let name = Pattern::new(pattern).unwrap();
        let expected = if connection.is_overflowed {
            Err(SubscribeError::Overflowed)
        } else if name.wildcards() > MAX_WILDCARDS {
            Err(SubscribeError::TooManyWildcards { found: name.wildcards(), allowed: MAX_WILDCARDS })
        } else if connection.subscriptions.contains_key(&id) {
            Err(SubscribeError::IdInUse { id })
        } else if connection.subscriptions.len() == MAX_SUBSCRIPTIONS {
            Err(SubscribeError::TooManySubscriptions { allowed: MAX_SUBSCRIPTIONS })
        } else {
            connection.subscriptions.insert(id, Subscription { pattern, overflow, is_live: true });
            Ok(())
        };
        assert_eq!(self.router.subscribe(connection.key, id, name, overflow), expected);
    }

    pub(crate) fn unsubscribe(&mut self, at: Index, id: Id) {
        let Some(connection) = choose(&mut self.connections, at) else { return };
        let bytes = format!("reply to {id}").into_bytes();
        let was_empty = self.router.waiting(connection.key).unwrap().is_empty();
        let result = self.router.unsubscribe(connection.key, id, bytes.clone().into());
        if connection.is_overflowed {
            assert_eq!(result, Err(UnsubscribeError::Overflowed));
        } else if let Some(subscription) = connection.subscriptions.get_mut(&id).filter(|it| it.is_live) {
            assert_eq!(result, Ok(()));
            subscription.is_live = false;
            connection.expected.push_back(Expected { bytes, kind: Kind::Reply(id) });
            let mut ready = Vec::new();
            self.router.take_ready(&mut ready);
            assert_eq!(ready, if was_empty { vec![connection.key] } else { vec![] });
        } else {
            assert_eq!(result, Err(UnsubscribeError::UnknownSubscription { id }));
        }
    }

    pub(crate) fn publish(&mut self, topic: &str, padding: usize) {
        let topic = Topic::new(topic).unwrap();
        self.published += 1;
        let mut bytes = self.published.to_be_bytes().to_vec();
        bytes.resize(bytes.len() + padding, b'.');
        let before: Vec<Waiting> = self.connections.iter().map(|it| self.router.waiting(it.key).unwrap()).collect();
        let is_matched = self.connections.iter().any(|it| !matching(&it.subscriptions, topic).is_empty());
        assert_eq!(self.router.would_match(topic), is_matched);
        let mut is_encoded = false;
        let published = self.router.publish(topic, self.published.into(), || {
            is_encoded = true;
            bytes.clone().into()
        });
        assert_eq!(is_encoded, is_matched);
        let mut ready = Vec::new();
        self.router.take_ready(&mut ready);
        let mut expected = Published { nodes_visited: published.nodes_visited, ..Published::default() };
        for (connection, before) in self.connections.iter_mut().zip(before) {
            let ids = matching(&connection.subscriptions, topic);
            if ids.is_empty() {
                assert!(!ready.contains(&connection.key));
                continue;
            }
            expected.connections += 1;
            expected.subscriptions += u32::try_from(ids.len()).unwrap();
            let after = self.router.waiting(connection.key).unwrap();
            let lost = if self.router.is_overflowed(connection.key) {
                expected.overflowed += 1;
                let lost = before.messages as u64 + 1;
                self.dropped.1 += lost;
                connection.overflow(&bytes, &ids, &self.limits);
                lost
            } else {
                let lost = (before.messages + 1 - after.messages) as u64;
                connection.queue(&bytes, ids, (before, after), &self.limits);
                self.dropped.0 += lost;
                lost
            };
            expected.dropped += lost;
            let has_begun = before.is_empty() && !after.is_empty();
            assert_eq!(ready.contains(&connection.key), has_begun || connection.is_overflowed);
        }
        assert_eq!(published, expected);
    }

    pub(crate) fn drain(&mut self, at: Index, times: usize) {
        let Some(connection) = choose(&mut self.connections, at) else { return };
        connection.take_run(&mut self.router, times / 2);
        for _ in 0..times {
            connection.next(&mut self.router);
        }
    }

    pub(crate) fn shrink(&mut self, max_bytes: usize) {
        let before: Vec<Waiting> = self.connections.iter().map(|it| self.router.waiting(it.key).unwrap()).collect();
        self.router.shrink_outboxes(max_bytes);
        let mut ready = Vec::new();
        self.router.take_ready(&mut ready);
        for (connection, before) in self.connections.iter_mut().zip(before) {
            let after = self.router.waiting(connection.key).unwrap();
            let was_overflowed = connection.is_overflowed;
            if self.router.is_overflowed(connection.key) && !was_overflowed {
                self.dropped.1 += before.messages as u64;
                connection.overflow_by_shrinking(max_bytes);
            } else {
                let lost = before.messages - after.messages;
                self.dropped.0 += lost as u64;
                connection.shrink(lost, (before, after), max_bytes);
            }
            assert_eq!(ready.contains(&connection.key), connection.is_overflowed && !was_overflowed);
        }
    }

    pub(crate) fn use_stale_key(&mut self, at: Index) {
        if self.stale.is_empty() {
            return;
        }
        let key = self.stale[at.index(self.stale.len())];
        let (id, pattern) = (Id::from(1), Pattern::new("a").unwrap());
        let subscribed = self.router.subscribe(key, id, pattern, Overflow::DropOldest);
        assert_eq!(subscribed, Err(SubscribeError::UnknownConnection));
        assert_eq!(self.router.unsubscribe(key, id, [].into()), Err(UnsubscribeError::UnknownConnection));
        assert!(self.router.next(key).is_none() && self.router.next_bytes(key).is_none());
        assert_eq!(self.router.waiting(key), None);
        assert!(!self.router.is_overflowed(key));
        assert_eq!(self.router.disconnect(key), 0);
    }

    pub(crate) fn assert_counts(&self) {
        let counts = self.router.counts();
        let waiting = self.connections.iter().map(|it| self.router.waiting(it.key).unwrap());
        let (bytes, messages) = waiting.fold((0, 0), |sum, it| (sum.0 + it.bytes, sum.1 + it.messages));
        assert_eq!((counts.outbox_bytes, counts.outbox_messages), (bytes as u64, messages as u64));
        let live = self.connections.iter().flat_map(|it| it.subscriptions.values()).filter(|it| it.is_live).count();
        assert_eq!(counts.subscriptions, live as u64);
        // Each message takes its bytes once, whoever waits for it.
        let shared: BTreeSet<&[u8]> = self.connections.iter().flat_map(Connection::waiting_bytes).collect();
        let least = shared.iter().map(|bytes| bytes.len()).sum::<usize>();
        assert!(counts.memory_bytes >= least as u64, "{counts:?}, but {least} bytes wait");
        let replies = self.connections.iter().flat_map(Connection::waiting_bytes).count() - messages;
        let most = least + (shared.len() + replies) * 200 + messages * 24;
        assert!(counts.memory_bytes <= most as u64, "{counts:?}, but only {most} bytes can be needed");
    }

    /// Everything leaves, then everybody.
    pub(crate) fn end(mut self) {
        for (number, connection) in self.connections.iter_mut().enumerate() {
            if number % 2 == 0 {
                connection.take_run(&mut self.router, usize::MAX);
            }
            while connection.next(&mut self.router) {}
            assert!(connection.expected.is_empty(), "{:?}", connection.expected);
        }
        let dropped = self.router.take_dropped();
        assert_eq!(dropped.messages(), self.dropped.0 + self.dropped.1);
        // Some are dropped for one subscription before another closes the connection for the same message.
        assert!(dropped.drop_oldest >= self.dropped.0);
        for connection in self.connections {
            assert_eq!(self.router.disconnect(connection.key), 0);
        }
        assert_eq!(self.router.counts(), Counts::default());
    }
}
