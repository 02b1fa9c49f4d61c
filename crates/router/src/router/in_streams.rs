//! What the router does for streams.

use std::{cell::LazyCell, rc::Rc};

use carillon_wire::{Id, Pattern, Topic};

use super::{Published, Router};
use crate::{
    connections::ConnectionKey,
    encoded::Encoded,
    streams::{Aside, Fallen, StreamSequence},
};

impl Router {
    /// Gives a message that a stream has kept to all connections with a subscription that matches and is not held for
    /// this stream, one copy each; like [`Router::publish`] but for what happens where it has no room. Then nothing is
    /// lost and nobody closed, whatever the overflow policy says: who it was for falls behind, with all for whom
    /// messages of streams wait on that connection ([`Router::take_fallen`]).
    ///
    /// In what is returned, `subscriptions` counts those that are held as well, and `connections` those that have fallen
    /// behind by this message, but none whose matching subscriptions are all held.
    pub fn publish_in_stream(
        &mut self,
        topic: Topic<'_>,
        at: StreamSequence,
        accepted_nanos: u64,
        encode: impl FnOnce() -> Box<[u8]>,
    ) -> Published {
        self.last_seq += 1;
        let seq = self.last_seq;
        let memory = &self.memory;
        let message = LazyCell::new(|| Rc::new(Encoded::delivery(seq, accepted_nanos, encode(), memory)));
        let mut published = Published::default();
        published.nodes_visited = self.table.for_each_match(topic, |subscribers| {
            for subscriber in subscribers {
                published.subscriptions += 1;
                self.connections.deliver_in_stream(*subscriber, at, &message, &mut published);
            }
        });
        published
    }

    /// Holds a subscription for a stream: it gets nothing of what is published there from now on, until
    /// [`Router::release`]. What waits for it already still leaves, or falls behind like anything else. The result is
    /// false, and nothing was done, where no such subscription lives.
    pub fn hold(&mut self, key: ConnectionKey, id: Id, stream: u32) -> bool {
        self.connections.get_mut(key).is_some_and(|connection| connection.hold(id, stream))
    }

    /// Gives a subscription what is published in a stream from now on, whether it was held or had fallen behind.
    /// Without such a subscription nothing is done.
    pub fn release(&mut self, key: ConnectionKey, id: Id, stream: u32) {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.release(id, stream);
        }
    }

    /// Queues something for one subscription alone. It leaves in order with everything else of the connection, and is
    /// never dropped; how much of it there is at once is the caller's part, who sees it in [`Router::waiting`]. The
    /// result is false, and nothing was done, where the connection has ended or was given up.
    pub fn push_aside(&mut self, key: ConnectionKey, aside: Aside) -> bool {
        if self.connections.get(key).is_none_or(|connection| connection.is_overflowed) {
            return false;
        }
        self.last_seq += 1;
        let (seq, memory) = (self.last_seq, &self.memory);
        self.connections.change(key, |connection| connection.push_aside(seq, aside, memory)).is_some()
    }

    /// The sequence of the oldest message of a stream that waits for a connection and may still be dropped. Up to the one
    /// before, the connection's subscriptions that are not held have been handed everything.
    pub fn first_waiting(&self, key: ConnectionKey, stream: u32) -> Option<u64> {
        self.connections.get(key)?.first_waiting(stream)
    }

    /// Appends the subscriptions that have fallen behind since the last call, and are held now. To be asked right after
    /// [`Router::publish`], [`Router::publish_in_stream`], [`Router::shrink_outboxes`] and [`Router::hold_stream`], so
    /// that the client is told before anything else is queued. A subscription that has ended meanwhile is left out.
    pub fn take_fallen(&mut self, fallen: &mut Vec<Fallen>) {
        self.connections.effects.losses.take_fallen(fallen);
    }

    /// Whether [`Router::take_fallen`] has something to give.
    pub const fn has_fallen(&self) -> bool {
        self.connections.effects.losses.fallen() > 0
    }

    /// Holds every subscription of the shard for a stream, as if all had fallen behind: those that something of it waits
    /// for, behind what they were handed last, and of all others those whose pattern `meets` it and that are not held
    /// for it yet, at the position `told`. For a stream that goes on under another epoch; it looks at every pattern
    /// once and is not made for the way of a message.
    pub fn hold_stream(&mut self, stream: u32, told: u64, meets: impl Fn(Pattern<'_>) -> bool) {
        self.connections.drop_stream(stream);
        let missing = StreamSequence { stream, sequence: told.saturating_add(1) };
        let Self { table, connections, .. } = self;
        table.for_each_pattern(|pattern, subscribers| {
            if Pattern::new(pattern).is_ok_and(&meets) {
                for subscriber in subscribers {
                    connections.fall_behind(*subscriber, missing);
                }
            }
        });
    }
}
