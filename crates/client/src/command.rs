//! What the handles of a client ask of its driver.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use carillon_wire::{Overflow, PatternBuf, TopicBuf, headers::HeadersBuf, start::HistoryStart};
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc, oneshot},
    time::Instant,
};

use crate::{
    error::{ConnectionLost, HistoryError, PublishError, SubscribeError},
    history::HistoryPage,
    position::Position,
    publication::Ack,
    start::Start,
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
    History(Box<HistoryRequest>),
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
    /// By which its stream knows it again, so that it may be sent more than once.
    pub(crate) message_id: Option<Box<str>>,
    pub(crate) expected_sequence: Option<u64>,
    /// Where the outcome goes; none for "fire and forget".
    pub(crate) reply: Option<oneshot::Sender<Result<Ack, PublishError>>>,
    /// When who waits for the outcome gives up.
    pub(crate) deadline: Option<Deadline>,
    /// The connection that it was sent on and that was lost before the reply came.
    pub(crate) lost: Option<Box<ConnectionLost>>,
    /// Its place in the send queue; none in tests of what comes behind the queue.
    pub(crate) permit: Option<OwnedSemaphorePermit>,
}

/// The end of a span of time that the application gave.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    pub(crate) at: Instant,
    pub(crate) within: Duration,
}

impl Publish {
    pub(crate) fn new(topic: TopicBuf, payload: Bytes, headers: HeadersBuf) -> Self {
        Self {
            topic,
            payload,
            headers,
            message_id: None,
            expected_sequence: None,
            reply: None,
            deadline: None,
            lost: None,
            permit: None,
        }
    }

    /// Bytes that the broker's limit on payloads counts.
    pub(crate) fn content_bytes(&self) -> usize {
        self.payload.len() + self.headers.as_headers().as_msgpack().len()
    }

    /// At least as many bytes as the encoded message has.
    pub(crate) fn encoded_bytes(&self) -> usize {
        /// Array, op, id, and the heads of topic and payload.
        const FRAMING_BYTES: usize = 1 + 1 + 9 + 3 + 5;
        /// An integer of any size.
        const INTEGER_BYTES: usize = 9;
        /// The head of a message id, and nil for headers.
        const MESSAGE_ID_HEAD_BYTES: usize = 2 + 1;
        let id_bytes = self.message_id.as_ref().map_or(0, |id| id.len() + MESSAGE_ID_HEAD_BYTES);
        // It may stand behind a nil for each.
        let expected_bytes = self.expected_sequence.map_or(0, |_| INTEGER_BYTES + MESSAGE_ID_HEAD_BYTES);
        FRAMING_BYTES + self.topic.as_str().len() + self.content_bytes() + id_bytes + expected_bytes
    }

    /// Tells who waits what became of it.
    pub(crate) fn answer(self, outcome: Result<Ack, PublishError>) {
        if let Some(reply) = self.reply {
            let _ = reply.send(outcome);
        }
    }
}

/// A subscription to be made.
#[derive(Debug)]
pub(crate) struct Subscribe {
    pub(crate) key: SubscriptionKey,
    pub(crate) patterns: Vec<PatternBuf>,
    pub(crate) overflow: Overflow,
    /// Where it starts; with one there is one pattern.
    pub(crate) start: Option<Start>,
    pub(crate) sink: Sink,
    /// Accepted, and where it begins, where that is a position.
    pub(crate) reply: oneshot::Sender<Result<Option<Position>, SubscribeError>>,
}

/// A page of history to be read.
#[derive(Debug)]
pub(crate) struct HistoryRequest {
    pub(crate) pattern: PatternBuf,
    pub(crate) start: PageStart,
    pub(crate) max_messages: Option<u64>,
    pub(crate) through: Option<u64>,
    pub(crate) reply: oneshot::Sender<Result<HistoryPage, HistoryError>>,
}

/// Where a page of history starts.
#[derive(Debug, Clone)]
pub(crate) enum PageStart {
    At(Start),
    /// Among the last values, of which an earlier page had the first.
    LastByTopic {
        epoch: Arc<str>,
        as_of: u64,
        after: u64,
    },
}

impl PageStart {
    pub(crate) fn to_wire(&self) -> HistoryStart<'_> {
        match self {
            Self::At(start) => HistoryStart::At(start.to_wire()),
            Self::LastByTopic { epoch, as_of, after } => {
                HistoryStart::LastByTopic { epoch, as_of: *as_of, after: *after }
            }
        }
    }

    /// Whether a page belongs to another history of the stream than this start.
    pub(crate) fn is_not_of(&self, page: &HistoryPage, through: Option<u64>) -> bool {
        let at = &page.position;
        match self {
            // A stream that ends before what was seen of it, as after a restore, has not got that any more.
            Self::At(Start::Behind(asked)) => {
                let seen = through.map_or(asked.sequence(), |through| through.min(asked.sequence()));
                asked.epoch() != at.epoch() || at.sequence() < seen
            }
            Self::At(_) => false,
            Self::LastByTopic { epoch, as_of, .. } => **epoch != *at.epoch() || page.as_of != Some(*as_of),
        }
    }
}
