//! What the handles of a client ask of its driver.

use bytes::Bytes;
use carillon_wire::{Overflow, PatternBuf, TopicBuf, headers::HeadersBuf};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use crate::{
    error::{ConnectionLost, PublishError, SubscribeError},
    publication::Ack,
    subscription::Sink,
};

/// Names a [`Subscription`](crate::Subscription) within its client, over all connections.
pub(crate) type SubscriptionKey = u64;

/// The way to the driver. It has no bound of its own: publications bring a permit of the send queue's budget, and of the others
/// a caller has one under way at most.
pub(crate) type Commands = mpsc::UnboundedSender<Command>;

/// One thing to do.
#[derive(Debug)]
pub(crate) enum Command {
    Publish(Publish),
    Subscribe(Subscribe),
    Unsubscribe(SubscriptionKey),
    /// Answer once the broker has seen everything that was asked before.
    Flush(oneshot::Sender<Result<(), ConnectionLost>>),
    /// Flush, say goodbye, end.
    Close(oneshot::Sender<Result<(), ConnectionLost>>),
}

/// A message on its way.
#[derive(Debug)]
pub(crate) struct Publish {
    pub(crate) topic: TopicBuf,
    pub(crate) payload: Bytes,
    pub(crate) headers: HeadersBuf,
    /// Where the outcome goes; none for "fire and forget".
    pub(crate) reply: Option<oneshot::Sender<Result<Ack, PublishError>>>,
    /// Its place in the send queue; none in tests of what comes behind the queue.
    pub(crate) permit: Option<OwnedSemaphorePermit>,
}

impl Publish {
    /// Bytes that the broker's limit on payloads counts.
    pub(crate) fn content_bytes(&self) -> usize {
        self.payload.len() + self.headers.as_headers().as_msgpack().len()
    }

    /// At least as many bytes as the encoded message has.
    pub(crate) fn encoded_bytes(&self) -> usize {
        /// Array, op, id, and the heads of topic and payload.
        const FRAMING_BYTES: usize = 1 + 1 + 9 + 3 + 5;
        FRAMING_BYTES + self.topic.as_str().len() + self.content_bytes()
    }
}

/// A subscription to be made.
#[derive(Debug)]
pub(crate) struct Subscribe {
    pub(crate) key: SubscriptionKey,
    pub(crate) patterns: Vec<PatternBuf>,
    pub(crate) overflow: Overflow,
    pub(crate) sink: Sink,
    pub(crate) reply: oneshot::Sender<Result<(), SubscribeError>>,
}
