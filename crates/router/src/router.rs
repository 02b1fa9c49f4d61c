//! The router: subscriptions and publications in, what each connection has to be sent out.

mod in_streams;

use std::{cell::LazyCell, rc::Rc};

use carillon_wire::{Id, Overflow, Pattern, PatternBuf, Topic};

use crate::{
    connection::{Connection, Outgoing},
    connections::{ConnectionKey, Connections, Counts},
    encoded::Encoded,
    error::{SubscribeError, UnsubscribeError},
    limits::{Limits, MAX_EQUAL_SUBSCRIPTIONS},
    losses::Dropped,
    memory::Memory,
    subscribers::{MAX_SLOTS, Policy, Subscriber},
    table::{Place, Table},
    waiting::{ENTRY_BYTES, Waiting},
};

/// The most subscriptions of one router. With it, every number of a topic, node or token fits into 32 bits.
const MAX_TABLE_SUBSCRIPTIONS: u64 = 1 << 27;

/// Who gets it: the subscriptions and outboxes of one shard. See the [crate] page for what it promises.
///
/// ```
/// use carillon_router::{Limits, Outgoing, Router};
/// use carillon_wire::{Id, Overflow, Pattern, PatternBuf, Topic};
///
/// let limits = Limits { max_subscriptions: 10, max_wildcards: 4, outbox_bytes: 1 << 20, outbox_messages: 100 };
/// let mut router = Router::new(limits);
/// let reader = router.connect();
/// router.subscribe(reader, Id::from(1), Pattern::new("orders.>")?, Overflow::DropOldest)?;
///
/// let published = router.publish(Topic::new("orders.eu")?, 0, || b"encoded".as_slice().into());
/// assert_eq!(published.connections, 1);
///
/// let mut ready = Vec::new();
/// router.take_ready(&mut ready);
/// assert_eq!(ready, [reader]);
/// let Some(Outgoing::Message(message)) = router.next(reader) else { panic!("it waits") };
/// assert_eq!(message.bytes(), b"encoded");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Router {
    table: Table,
    connections: Connections,
    last_seq: u64,
    memory: Memory,
}

/// What a publication led to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Published {
    /// Connections with at least one subscription that matches, those included that lost this message or were given up.
    pub connections: u32,
    /// Subscriptions that match.
    pub subscriptions: u32,
    /// Connections that were given up, because this message had no room and must not be dropped.
    pub overflowed: u32,
    /// Messages that were dropped to make room or had none, once for each connection; those of connections that were
    /// given up included.
    pub dropped: u64,
    /// Nodes of the wildcard trie that were visited: the cost of matching.
    pub nodes_visited: u32,
}

impl Router {
    /// A router without connections.
    pub fn new(limits: Limits) -> Self {
        Self { table: Table::default(), connections: Connections::new(limits), last_seq: 0, memory: Memory::default() }
    }

    /// Adds a connection without subscriptions.
    pub fn connect(&mut self) -> ConnectionKey {
        self.connections.insert()
    }

    /// Removes a connection with its subscriptions. Tells how many messages still waited for it, which are lost; those
    /// of streams are not, and not counted. They are not part of [`Router::take_dropped`]. Without such a connection
    /// nothing is done.
    pub fn disconnect(&mut self, key: ConnectionKey) -> u64 {
        self.leave_table(key);
        self.connections.remove(key).map_or(0, |connection| connection.plain_messages())
    }

    /// Subscribes a connection to a pattern, under an id that names the subscription from now on. Messages that are
    /// published later reach it.
    pub fn subscribe(
        &mut self,
        key: ConnectionKey,
        id: Id,
        pattern: Pattern<'_>,
        overflow: Overflow,
    ) -> Result<(), SubscribeError> {
        let limits = &self.connections.limits;
        let (max_wildcards, max_subscriptions) = (limits.max_wildcards, limits.max_subscriptions.min(MAX_SLOTS));
        let counts = self.connections.effects.counts;
        let connection = self.connections.get_mut(key).ok_or(SubscribeError::UnknownConnection)?;
        if connection.is_overflowed {
            return Err(SubscribeError::Overflowed);
        }
        let policy = Policy::new(overflow).ok_or(SubscribeError::UnsupportedOverflow { number: overflow.number() })?;
        let wildcards = pattern.wildcards();
        if wildcards > max_wildcards {
            return Err(SubscribeError::TooManyWildcards { found: wildcards, allowed: max_wildcards });
        }
        if connection.subscriptions.find(id).is_some() {
            return Err(SubscribeError::IdInUse { id });
        }
        if connection.subscriptions.len() >= max_subscriptions {
            return Err(SubscribeError::TooManySubscriptions { allowed: max_subscriptions });
        }
        if counts.subscriptions >= MAX_TABLE_SUBSCRIPTIONS {
            return Err(SubscribeError::TableFull);
        }
        let slot = connection.subscriptions.insert(id);
        let place = self.table.insert(pattern, Subscriber::new(key.in_table(), slot, policy));
        if let Some(subscription) = connection.subscriptions.get_mut(slot) {
            subscription.place = Some(place);
        }
        if self.equal_subscriptions(key, place) > MAX_EQUAL_SUBSCRIPTIONS {
            // The last of its list, so that no other takes its place.
            self.table.remove(place);
            if let Some(connection) = self.connections.get_mut(key) {
                connection.subscriptions.release(slot);
            }
            return Err(SubscribeError::TooManyEqual { allowed: MAX_EQUAL_SUBSCRIPTIONS });
        }
        self.connections.effects.counts.subscriptions += 1;
        Ok(())
    }

    /// How many live subscriptions of a connection are to the pattern of a place: counted where there are fewer to look at.
    fn equal_subscriptions(&self, key: ConnectionKey, place: Place) -> usize {
        let subscribers = self.table.list(place);
        let Some(connection) = self.connections.get(key) else { return 0 };
        if subscribers.len() <= connection.subscriptions.len() {
            subscribers.iter().filter(|it| it.connection == key.in_table()).count()
        } else {
            connection.subscriptions.live().filter(|(_, it)| it.is_beside(place)).count()
        }
    }

    /// The live subscriptions of a connection, with their patterns, in no order. For a configuration that has changed; it
    /// is not made for the way of a message.
    pub fn subscriptions(&self, key: ConnectionKey) -> impl Iterator<Item = (Id, PatternBuf)> {
        let live = self.connections.get(key).into_iter().flat_map(|connection| connection.subscriptions.live());
        live.filter_map(|(id, place)| Some((id, PatternBuf::new(&self.table.pattern(place)?).ok()?)))
    }

    /// The pattern of a live subscription.
    pub fn pattern(&self, key: ConnectionKey, id: Id) -> Option<PatternBuf> {
        let subscriptions = &self.connections.get(key)?.subscriptions;
        let place = subscriptions.place(subscriptions.find(id)?)?;
        PatternBuf::new(&self.table.pattern(place)?).ok()
    }

    /// Ends a subscription: what is published from now on does not reach it. The encoded reply waits in the outbox
    /// behind its last message and its last gap. It is never refused nor dropped, and the id stays in use until the
    /// reply is taken.
    pub fn unsubscribe(&mut self, key: ConnectionKey, id: Id, reply: Box<[u8]>) -> Result<(), UnsubscribeError> {
        let connection = self.connections.get(key).ok_or(UnsubscribeError::UnknownConnection)?;
        if connection.is_overflowed {
            return Err(UnsubscribeError::Overflowed);
        }
        let unknown = UnsubscribeError::UnknownSubscription { id };
        let slot = connection.subscriptions.find(id).ok_or(unknown)?;
        if !self.leave_place(key, slot) {
            return Err(unknown);
        }
        self.last_seq += 1;
        let reply = Rc::new(Encoded::reply(self.last_seq, reply, &self.memory));
        self.connections.change(key, |connection| connection.push_reply(reply, slot));
        self.connections.effects.losses.forget_fallen(|fallen| fallen.connection == key && fallen.subscription == id);
        Ok(())
    }

    /// Gives a message to all connections with a subscription that matches, one copy each. `encode` makes the bytes
    /// that are sent; it is called once, and only when somebody gets them. `accepted_nanos` is passed on with the
    /// message and means nothing to the router.
    pub fn publish(&mut self, topic: Topic<'_>, accepted_nanos: u64, encode: impl FnOnce() -> Box<[u8]>) -> Published {
        self.last_seq += 1;
        let seq = self.last_seq;
        let memory = &self.memory;
        let message = LazyCell::new(|| Rc::new(Encoded::delivery(seq, accepted_nanos, encode(), memory)));
        let mut published = Published::default();
        let before = self.connections.effects.losses.dropped;
        published.nodes_visited = self.table.for_each_match(topic, |subscribers| {
            for subscriber in subscribers {
                published.subscriptions += 1;
                self.connections.deliver(*subscriber, &message, &mut published);
            }
        });
        let after = self.connections.effects.losses.dropped;
        published.dropped = after.messages() - before.messages();
        self.leave_overflowed();
        published
    }

    /// Lets no connection keep more than so many bytes of memory, as if it shared its messages with nobody: what waits
    /// of streams is dropped, and its subscriptions fall behind; then the overflow policies decide, as if the outbox were
    /// full. For a broker that is short of memory. Gaps, replies to unsubscribe and asides stay.
    pub fn shrink_outboxes(&mut self, max_bytes: usize) {
        self.connections.shrink(max_bytes);
        self.leave_overflowed();
    }

    /// Takes the connections that were given up out of the table.
    fn leave_overflowed(&mut self) {
        while let Some(key) = self.connections.pop_overflowed() {
            self.leave_table(key);
            self.connections.effects.losses.forget_fallen(|fallen| fallen.connection == key);
        }
    }

    /// Whether a publication to this topic would reach anybody.
    pub fn would_match(&self, topic: Topic<'_>) -> bool {
        let mut is_matched = false;
        self.table.for_each_match(topic, |_| is_matched = true);
        is_matched
    }

    /// Size of what [`Router::next`] gives next, in bytes on the wire (of a gap,
    /// [`MAX_GAP_BYTES`](crate::MAX_GAP_BYTES)).
    /// `None` where nothing waits.
    pub fn next_bytes(&self, key: ConnectionKey) -> Option<usize> {
        self.connections.get(key)?.next_bytes()
    }

    /// Takes the next thing that a connection has to be sent. `None` where nothing waits: the connection is in
    /// [`Router::take_ready`] when something does again.
    pub fn next(&mut self, key: ConnectionKey) -> Option<Outgoing> {
        self.connections.change(key, Connection::next)?
    }

    /// Takes messages of no stream as long as `take` does, which is shown each; only where nothing else may have to leave
    /// before one of them. It is a faster [`Router::next`] for what is most frequent, and leaves the rest to that.
    pub fn take_run(&mut self, key: ConnectionKey, take: impl FnMut(&Encoded) -> bool) {
        let _ = self.connections.change(key, |connection| connection.take_run(take));
    }

    /// How much waits for a connection.
    pub fn waiting(&self, key: ConnectionKey) -> Option<Waiting> {
        self.connections.get(key).map(Connection::waiting)
    }

    /// Whether a connection was given up, because a message had no room that must not be dropped. Its outbox is empty
    /// and it has no subscriptions any more; it is to be closed and disconnected.
    pub fn is_overflowed(&self, key: ConnectionKey) -> bool {
        self.connections.get(key).is_some_and(|connection| connection.is_overflowed)
    }

    /// Appends the connections whose outbox has got its first entry, or that were given up, since the last call.
    /// A connection can occur more than once, or have been emptied or disconnected meanwhile.
    pub fn take_ready(&mut self, ready: &mut Vec<ConnectionKey>) {
        ready.append(&mut self.connections.effects.ready);
    }

    /// Whether an outbox has come, since the last call, to where waiting longer brings nothing: one write takes 16 KiB, or
    /// it is filled to a quarter of what it may hold. One that stays beyond that is told of once.
    pub fn take_pressing(&mut self) -> bool {
        std::mem::take(&mut self.connections.effects.is_pressing)
    }

    /// What is there now.
    pub fn counts(&self) -> Counts {
        let counts = self.connections.effects.counts;
        let memory_bytes = self.memory.bytes() + counts.outbox_messages * ENTRY_BYTES as u64;
        Counts { memory_bytes, ..counts }
    }

    /// Takes what was lost since the last call.
    pub fn take_dropped(&mut self) -> Dropped {
        std::mem::take(&mut self.connections.effects.losses.dropped)
    }

    /// Takes all subscriptions of a connection out of the table.
    fn leave_table(&mut self, key: ConnectionKey) {
        let end = self.connections.get(key).map_or(0, |connection| connection.subscriptions.end());
        for slot in 0..end {
            self.leave_place(key, slot);
        }
    }

    /// Takes a subscription out of the table, and tells whether it was there.
    fn leave_place(&mut self, key: ConnectionKey, slot: u32) -> bool {
        let connection = self.connections.get_mut(key);
        let subscription = connection.and_then(|connection| connection.subscriptions.get_mut(slot));
        let Some(place) = subscription.and_then(|subscription| subscription.place.take()) else { return false };
        if let Some(moved) = self.table.remove(place) {
            self.connections.moved(moved, place.position);
        }
        self.connections.effects.counts.subscriptions -= 1;
        true
    }
}
