//! What a subscription gives to the application.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use carillon_wire::{GapReason, Headers, PatternBuf, TopicBuf};

use crate::error::{ConnectionLost, Refusal};

/// The next thing that happened on a subscription, in the order in which it happened.
///
/// All but [`Message`](Event::Message) say that messages are missing. They are values, not log lines, because only the
/// application knows what it must do then: fetch the state anew, or go on.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// A message was published to a topic that matches.
    Message(Message),
    /// The broker dropped messages of this subscription, because this client did not take them fast enough.
    Gap(Gap),
    /// The connection was lost, and the subscription lives again on a new one. What was published in between to topics that no
    /// stream keeps is lost, and nobody can tell how many messages that were.
    Reconnected(Reconnected),
    /// Nothing more will come: always the last event, unless the application itself ended the subscription.
    Ended(Ended),
}

/// A message, as it was published. Clones share its bytes.
#[derive(Debug, Clone)]
pub struct Message {
    pub(crate) topic: TopicBuf,
    pub(crate) payload: Bytes,
    /// Headers in their MessagePack form, checked while decoding.
    pub(crate) headers: Bytes,
    pub(crate) time_us: u64,
}

impl Message {
    /// Where it was published.
    pub fn topic(&self) -> &str {
        self.topic.as_str()
    }

    /// The payload, opaque bytes.
    ///
    /// It is a part of the WebSocket message that it came in, which may hold many others and stays in memory as long as one
    /// part is in use. Copy what is to be kept for long.
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// What the publisher said about the payload.
    pub fn headers(&self) -> Headers<'_> {
        Headers::from_msgpack(&self.headers).unwrap_or_default()
    }

    /// When the broker accepted it, in microseconds since 1970 began (UTC).
    pub fn time_us(&self) -> u64 {
        self.time_us
    }

    /// When the broker accepted it, by the broker's clock.
    pub fn time(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_micros(self.time_us)
    }

    /// Bytes that it takes in a queue, roughly.
    pub(crate) fn size_bytes(&self) -> usize {
        self.topic.as_str().len() + self.payload.len() + self.headers.len()
    }
}

/// Messages that the broker dropped, at the place where they would have been.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gap {
    /// Which of the subscription's patterns they matched.
    pub pattern: PatternBuf,
    /// Why they are missing.
    pub reason: GapReason,
    /// How many there were.
    pub count: u64,
}

/// The connection was lost and made again.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Reconnected {
    /// Why the connection was lost.
    pub cause: ConnectionLost,
    /// From the moment when the loss was noticed to the new connection.
    pub downtime: Duration,
}

/// Why nothing more comes.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Ended {
    /// The connection is gone, and the client does not come back.
    #[error(transparent)]
    ConnectionLost(ConnectionLost),
    /// The broker ended the subscription while it was live, most often because this client may not have it any more. The
    /// client does not ask for it again by itself.
    #[error("the broker ended the subscription to {pattern:?}: {refusal}")]
    ByBroker {
        /// Which pattern. The other patterns of the subscription have ended with it.
        pattern: String,
        /// Why.
        refusal: Refusal,
    },
    /// After a reconnect the broker refused a pattern that it had accepted before.
    #[error("after reconnecting, the broker refused the subscription to {pattern:?}: {refusal}")]
    Refused {
        /// Which pattern.
        pattern: String,
        /// Why.
        refusal: Refusal,
    },
}
