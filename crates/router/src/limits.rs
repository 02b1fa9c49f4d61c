//! The bounds that a router keeps.

/// The most live subscriptions of one connection to one pattern. Each is work for every message that matches, and none
/// brings a message that the others do not.
pub const MAX_EQUAL_SUBSCRIPTIONS: usize = 16;

/// Bounds for each connection of a router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Subscriptions of one connection, those included whose reply to unsubscribe still waits. One more is refused.
    pub max_subscriptions: usize,
    /// `*` tokens in one pattern. More are refused: the cost of a match grows with them, see the [crate](crate) page.
    pub max_wildcards: usize,
    /// Bytes that may wait for one connection, with 16 bytes for each match counted in. A message that is larger by
    /// itself is treated as one that finds no room, so this is to be at least the largest delivery and 16 bytes. Asides
    /// count against the room of messages of streams alone.
    pub outbox_bytes: usize,
    /// Messages that may wait for one connection, those of streams included; at least 1. Replies, gaps and asides are
    /// not counted.
    pub outbox_messages: usize,
}
