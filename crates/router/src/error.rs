//! Why a request was refused. The texts are for the client's developer.

use carillon_wire::Id;

/// Why a subscription was refused. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The key names no connection of this router, or none any more.
    #[error("the connection has ended")]
    UnknownConnection,
    /// The connection was given up, because its outbox was full; it only waits to be disconnected.
    #[error("the connection is about to be closed: its outbox was full")]
    Overflowed,
    /// The connection has a subscription with this id.
    #[error("subscription {id} still lives; choose another id, or wait for the reply to its unsubscribe")]
    IdInUse {
        /// The id that was asked for.
        id: Id,
    },
    /// One more than [`Limits::max_subscriptions`](crate::Limits::max_subscriptions).
    #[error("this connection has {allowed} subscriptions, which is the most; unsubscribe from others first")]
    TooManySubscriptions {
        /// The bound.
        allowed: usize,
    },
    /// One more than [`MAX_EQUAL_SUBSCRIPTIONS`](crate::MAX_EQUAL_SUBSCRIPTIONS) of one pattern.
    #[error(
        "this connection has {allowed} subscriptions to this pattern, which is the most; one gets every message too"
    )]
    TooManyEqual {
        /// The bound.
        allowed: usize,
    },
    /// More `*` than [`Limits::max_wildcards`](crate::Limits::max_wildcards).
    #[error("the pattern has {found} `*`; at most {allowed} are allowed (`>` does not count)")]
    TooManyWildcards {
        /// In the pattern.
        found: usize,
        /// The bound.
        allowed: usize,
    },
    /// An overflow policy that this version does not have.
    #[error("this broker has no overflow policy {number}; use 0 (drop_oldest) or 1 (close)")]
    UnsupportedOverflow {
        /// What was asked for.
        number: u8,
    },
    /// The shard's table is at its own bound, 2^27 subscriptions.
    #[error("this shard of the broker has no room for another subscription; try again later")]
    TableFull,
}

/// Why nothing was unsubscribed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnsubscribeError {
    /// The key names no connection of this router, or none any more.
    #[error("the connection has ended")]
    UnknownConnection,
    /// The connection was given up, because its outbox was full; its subscriptions ended with that.
    #[error("the connection is about to be closed: its outbox was full")]
    Overflowed,
    /// No live subscription of the connection has this id.
    #[error("no live subscription of this connection has the id {id}")]
    UnknownSubscription {
        /// The id that was asked for.
        id: Id,
    },
}
