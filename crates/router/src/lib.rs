//! Who gets a message: the subscription table of one shard, matching, and the outboxes in which messages wait for their
//! connections.
//!
//! A [`Router`] belongs to one thread. It does no I/O, reads no clock, starts no thread, and knows neither how a
//! message looks on the wire nor who may say what: it takes topics, patterns and finished bytes, and gives back what
//! each connection has to be sent. It never waits and never calls back. Of streams it knows a number and a sequence with
//! each message: who has missed what is told, and reading it again is somebody else's work.
//!
//! # What it promises
//! - A connection gets **one copy** of a message, however many of its subscriptions match. The bytes are encoded once,
//!   and only when somebody gets them.
//! - What does not match costs nothing. A publication without wildcard subscriptions is one hash lookup. With them,
//!   each token is looked up once and at most Σ C(17, k + 1) nodes for k = 0 to `w` are visited, where `w` is
//!   [`Limits::max_wildcards`]: 153 for 1, 9,401 for 4. The number of subscriptions does not occur in it. (At depth `d`
//!   a visited node is the topic's prefix with at most `w` tokens replaced by `*`; the sum over 17 depths gives the
//!   bound.)
//! - An outbox is **bounded** in bytes and messages. At the bound, the oldest messages that only `drop_oldest`
//!   subscriptions wait for are dropped, and a gap stands in their place, with the exact count for each subscription.
//!   A message that a `close` subscription waits for is never dropped: where it has no room, the connection is given
//!   up.
//! - A message of a **stream** is never lost here. Where one has no room, all of them that wait for the connection are
//!   dropped at once, and each subscription that one was for [falls behind](Fallen): it is told once, with the position
//!   up to which it was handed everything, and gets nothing of that stream until it is [released](Router::release). So
//!   what it was handed, what is read for it behind that position, and what comes after the release leave no hole,
//!   repeat nothing and keep the order. Messages of no stream take the room of those of streams before another is
//!   dropped, and messages of streams never that of any other; no connection is given up for one.
//! - An [aside](Aside), for one subscription alone, leaves in its turn and is never dropped.
//! - Behind the reply to unsubscribe comes nothing that was for that subscription alone, and no gap of it. Messages of
//!   streams that still waited before it may be dropped; then the subscription has ended a little sooner.
//! - Nothing grows under churn: a topic, trie node or token is freed with the last subscription that needs it.
//!
//! # Bounds
//! Bytes that wait are counted as the memory that they stand for: a message's own bytes, and 16 bytes for each
//! subscription that it matched (once, where it must not be dropped) or for which a gap waits. So neither a thousand
//! patterns that all match nor a thousand gaps go around the bound. Four things are counted but never refused, and may
//! overshoot it: further matches of a message that has its room already, gaps of messages that never had any, replies to
//! unsubscribe, and asides. Of the first three there is at most one for a subscription, and a subscription counts
//! against [`Limits::max_subscriptions`] until its reply has left. How many asides wait is for their owner to bound, by
//! [`Router::waiting`]: while they do, messages of streams have so much less room, and all others as much as ever.
//!
//! A subscription that is held takes some 10 to 20 bytes for each stream, which nothing bounds but the number of streams
//! that it meets. Whether it is held is looked up for each match, where the connection has one that is.
//!
//! # Where to start
//! [`Router`], and there [`Router::publish`] and [`Router::next`]; of streams [`Router::publish_in_stream`] and
//! [`Router::take_fallen`]. Inside: `table` finds subscribers (`exact` by one lookup, `trie` by wildcards), `outbox`
//! decides what waits and what is dropped (`stream_lane` holds what waits of streams), `connections` joins the two.
//!
//! # What later versions add, and where
//! Conflation (`latest`) is one more policy beside [`Overflow`](carillon_wire::Overflow)'s two, so one more lane of the
//! outbox. A queue group is one more kind of subscriber in a list.

mod arena;
mod connection;
mod connections;
mod encoded;
mod error;
mod exact;
mod gaps;
mod hash_index;
mod limits;
mod losses;
mod memory;
mod outbox;
mod router;
mod stream_lane;
mod streams;
mod subscribers;
mod subscriptions;
mod table;
mod tokens;
mod trie;
mod waiting;

pub use connection::Outgoing;
pub use connections::{ConnectionKey, Counts};
pub use encoded::Encoded;
pub use error::{SubscribeError, UnsubscribeError};
pub use limits::{Limits, MAX_EQUAL_SUBSCRIPTIONS};
pub use losses::Dropped;
pub use outbox::MAX_GAP_BYTES;
pub use router::{Published, Router};
pub use streams::{Aside, Fallen, StreamSequence, TakenAside};
pub use waiting::Waiting;
