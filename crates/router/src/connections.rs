//! All connections of a shard, and what is counted over them.

use std::{ops::Deref, rc::Rc};

use crate::{
    arena::Arena, connection::Connection, encoded::Encoded, limits::Limits, losses::Losses, router::Published,
    streams::StreamSequence, subscribers::Subscriber, waiting::Waiting,
};

/// Names a connection of one router. A key whose connection has ended names none, even when its index is used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnectionKey {
    index: u32,
    generation: u32,
}

impl ConnectionKey {
    /// A small number that no other live connection of the router has, for tables beside it.
    pub const fn index(self) -> usize {
        self.index as usize
    }

    /// The key as a number, for a way through others who have no use for it.
    pub const fn to_bits(self) -> u64 {
        (self.generation as u64) << 32 | self.index as u64
    }

    /// The key whose [`Self::to_bits`] this is. Of any other number, a key that names no connection, or some.
    #[expect(clippy::cast_possible_truncation, reason = "each half is 32 bits")]
    pub const fn from_bits(bits: u64) -> Self {
        Self { index: bits as u32, generation: (bits >> 32) as u32 }
    }

    /// The connection's name in the table.
    pub(crate) const fn in_table(self) -> u32 {
        self.index
    }
}

/// What is there now, for gauges.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Live subscriptions.
    pub subscriptions: u64,
    /// Bytes that wait in all outboxes, as [`Limits::outbox_bytes`] counts them.
    pub outbox_bytes: u64,
    /// Messages that wait in all outboxes, a message once for each connection.
    pub outbox_messages: u64,
    /// Memory that all messages take which wait or are on their way out, each once, and their places in the outboxes; and
    /// that of the asides: of large bodies, what several have once, in blocks of 4 KiB.
    pub memory_bytes: u64,
}

/// With so much in an outbox, one write takes no more of it than another would: a TLS record is full.
const WORTH_A_WRITE_BYTES: usize = 16 << 10;
/// Such a part of what an outbox may hold is the most that it is filled to before it presses.
const PRESSING_PART: usize = 4;

/// What the shard has to learn of after a change.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) ready: Vec<ConnectionKey>,
    /// An outbox has come to where it is to be emptied soon.
    pub(crate) is_pressing: bool,
    press_at: Waiting,
    pub(crate) counts: Counts,
    pub(crate) losses: Losses,
}

impl Effects {
    /// Makes a change to what waits for a connection, and notes what follows from it.
    fn of<R>(
        &mut self,
        key: ConnectionKey,
        connection: &mut Connection,
        change: impl FnOnce(&mut Connection, &mut Losses) -> R,
    ) -> R {
        let before = connection.waiting();
        self.losses.connection = key;
        let result = change(connection, &mut self.losses);
        let after = connection.waiting();
        let counts = &mut self.counts;
        counts.outbox_bytes = counts.outbox_bytes + after.bytes as u64 - before.bytes as u64;
        counts.outbox_messages = counts.outbox_messages + after.messages as u64 - before.messages as u64;
        // Only who crosses the line: a reader that is slow, and stays beyond it, presses nobody.
        let is_beyond = |it: Waiting| it.bytes >= self.press_at.bytes || it.messages >= self.press_at.messages;
        self.is_pressing |= is_beyond(after) && !is_beyond(before);
        if before.is_empty() && !after.is_empty() {
            self.ready.push(key);
        }
        result
    }
}

/// The connections of a shard.
#[derive(Debug)]
pub(crate) struct Connections {
    pub(crate) limits: Limits,
    by_index: Arena<Connection>,
    last_generation: u32,
    /// Given up, but still in the table.
    overflowed: Vec<ConnectionKey>,
    pub(crate) effects: Effects,
}

impl Connections {
    pub(crate) fn new(limits: Limits) -> Self {
        let (by_index, overflowed) = (Arena::new(), Vec::new());
        let press_at = Waiting {
            bytes: WORTH_A_WRITE_BYTES.min(limits.outbox_bytes / PRESSING_PART),
            messages: limits.outbox_messages / PRESSING_PART,
            ..Waiting::default()
        };
        let effects = Effects { press_at, ..Effects::default() };
        Self { limits, by_index, last_generation: 0, overflowed, effects }
    }

    pub(crate) fn insert(&mut self) -> ConnectionKey {
        self.last_generation = self.last_generation.wrapping_add(1);
        let generation = self.last_generation;
        ConnectionKey { index: self.by_index.insert(Connection::new(generation)), generation }
    }

    pub(crate) fn get(&self, key: ConnectionKey) -> Option<&Connection> {
        self.by_index.get(key.index).filter(|connection| connection.generation == key.generation)
    }

    pub(crate) fn get_mut(&mut self, key: ConnectionKey) -> Option<&mut Connection> {
        self.by_index.get_mut(key.index).filter(|connection| connection.generation == key.generation)
    }

    pub(crate) fn remove(&mut self, key: ConnectionKey) -> Option<Connection> {
        self.get(key)?;
        let removed = self.by_index.remove(key.index)?;
        let waiting = removed.waiting();
        self.effects.counts.outbox_bytes -= waiting.bytes as u64;
        self.effects.counts.outbox_messages -= waiting.messages as u64;
        self.effects.losses.forget_fallen(|fallen| fallen.connection == key);
        Some(removed)
    }

    /// Makes a change to what waits for a connection, and notes what follows from it.
    pub(crate) fn change<R>(&mut self, key: ConnectionKey, change: impl FnOnce(&mut Connection) -> R) -> Option<R> {
        let connection = self.by_index.get_mut(key.index).filter(|it| it.generation == key.generation)?;
        Some(self.effects.of(key, connection, |connection, _| change(connection)))
    }

    /// Gives a message to one subscription.
    pub(crate) fn deliver(&mut self, subscriber: Subscriber, message: &Rc<Encoded>, published: &mut Published) {
        let Self { limits, by_index, overflowed, effects, .. } = self;
        let Some(connection) = by_index.get_mut(subscriber.connection) else {
            debug_assert!(false, "a connection leaves the table before it is removed");
            return;
        };
        // Others of its subscriptions may still match; they leave the table when all matches are done.
        if connection.is_overflowed {
            return;
        }
        let key = ConnectionKey { index: subscriber.connection, generation: connection.generation };
        published.connections += u32::from(!connection.has_seen(message));
        effects.of(key, connection, |connection, losses| connection.offer(message, subscriber, limits, losses));
        if connection.is_overflowed {
            published.overflowed += 1;
            effects.ready.push(key);
            overflowed.push(key);
        }
    }

    /// Gives a message of a stream to one subscription, if it is not held.
    pub(crate) fn deliver_in_stream(
        &mut self,
        subscriber: Subscriber,
        at: StreamSequence,
        message: &impl Deref<Target = Rc<Encoded>>,
        published: &mut Published,
    ) {
        let Self { limits, by_index, effects, .. } = self;
        let Some(connection) = by_index.get_mut(subscriber.connection) else {
            debug_assert!(false, "a connection leaves the table before it is removed");
            return;
        };
        if connection.is_held(subscriber.slot(), at.stream) {
            return;
        }
        let key = ConnectionKey { index: subscriber.connection, generation: connection.generation };
        published.connections += u32::from(!connection.has_seen(message));
        effects.of(key, connection, |connection, losses| {
            connection.offer_in_stream(message, at, subscriber.slot(), limits, losses);
        });
    }

    /// Drops what waits of a stream; who it was for falls behind.
    pub(crate) fn drop_stream(&mut self, stream: u32) {
        let Self { by_index, effects, .. } = self;
        for index in 0..by_index.end() {
            let Some(connection) = by_index.get_mut(index) else { continue };
            let key = ConnectionKey { index, generation: connection.generation };
            effects.of(key, connection, |connection, losses| connection.drop_stream(stream, losses));
        }
    }

    /// A subscription that is not held for the stream falls behind, as if this message were the first that is missing.
    pub(crate) fn fall_behind(&mut self, subscriber: Subscriber, missing: StreamSequence) {
        let Self { by_index, effects, .. } = self;
        let Some(connection) = by_index.get_mut(subscriber.connection) else { return };
        if connection.is_held(subscriber.slot(), missing.stream) {
            return;
        }
        let key = ConnectionKey { index: subscriber.connection, generation: connection.generation };
        effects.of(key, connection, |connection, losses| connection.fall_behind(subscriber.slot(), missing, losses));
    }

    /// Lets no connection keep more than so many bytes of memory for messages.
    pub(crate) fn shrink(&mut self, max_bytes: usize) {
        let Self { by_index, overflowed, effects, .. } = self;
        for index in 0..by_index.end() {
            let Some(connection) = by_index.get_mut(index) else { continue };
            if connection.is_overflowed || connection.waiting().memory_bytes() <= max_bytes {
                continue;
            }
            let key = ConnectionKey { index, generation: connection.generation };
            effects.of(key, connection, |connection, losses| connection.shrink(max_bytes, losses));
            if connection.is_overflowed {
                effects.ready.push(key);
                overflowed.push(key);
            }
        }
    }

    /// The next connection that was given up and is still in the table.
    pub(crate) fn pop_overflowed(&mut self) -> Option<ConnectionKey> {
        self.overflowed.pop()
    }

    /// Notes that a subscriber has taken another position of its list.
    pub(crate) fn moved(&mut self, subscriber: Subscriber, position: u32) {
        let connection = self.by_index.get_mut(subscriber.connection);
        let subscription = connection.and_then(|connection| connection.subscriptions.get_mut(subscriber.slot()));
        let place = subscription.and_then(|subscription| subscription.place.as_mut());
        debug_assert!(place.is_some(), "who is in the table has a place");
        if let Some(place) = place {
            place.position = position;
        }
    }
}
