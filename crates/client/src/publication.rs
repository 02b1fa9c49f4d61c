//! A message to be published.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use carillon_wire::{MAX_MESSAGE_ID_BYTES, TopicBuf, headers::HeadersBuf};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};

use crate::{
    client::Client,
    command::{Command, Deadline, Publish},
    error::PublishError,
    position::Position,
};

/// What a publication counts in the send queue beside its bytes, so that empty ones cannot grow it without bound.
const OVERHEAD_BYTES: usize = 64;

/// What the broker told with its acceptance.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ack {
    /// Where the message is kept; none for a topic that no stream keeps.
    pub kept: Option<Kept>,
}

/// A message that its stream has committed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Kept {
    /// The stream's name.
    pub stream: Arc<str>,
    /// The message's place in it.
    pub position: Position,
    /// The stream had taken a publication with this message id before; the position is that one's, and this one was not kept
    /// again.
    pub is_duplicate: bool,
}

/// A message to be published, made by [`Client::publication`]. Nothing happens before [`send`](Self::send),
/// [`enqueue`](Self::enqueue) or [`acknowledged`](Self::acknowledged).
#[derive(Debug)]
#[must_use = "a publication does nothing until it is sent"]
pub struct Publication<'c> {
    client: &'c Client,
    topic: String,
    payload: Bytes,
    headers: Vec<(String, String)>,
    message_id: Option<String>,
    expected_sequence: Option<u64>,
    within: Option<Duration>,
}

impl<'c> Publication<'c> {
    pub(crate) fn new(client: &'c Client, topic: &str, payload: Bytes) -> Self {
        Self {
            client,
            topic: topic.to_owned(),
            payload,
            headers: Vec::new(),
            message_id: None,
            expected_sequence: None,
            within: None,
        }
    }

    /// Adds a header. Of those with the same key the last one counts.
    pub fn header(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((key.into(), value.into()));
        self
    }

    /// Names it, so that its stream keeps it once, however often it is published within the stream's window for duplicates. 1 to
    /// 128 bytes, chosen anew for each message. The topic must be one that a stream keeps.
    ///
    /// A publication with a name that awaits its acknowledgement is sent again by the client itself when the connection was lost
    /// before the reply came, until it is answered, the time that [`within`](Self::within) gives is over, or the client ends.
    pub fn message_id(mut self, id: impl Into<String>) -> Self {
        self.message_id = Some(id.into());
        self
    }

    /// Publishes only if the newest message that is kept of this topic has this sequence; with 0, only if there is none. Else it
    /// is refused, and [`Refusal::last_sequence`](crate::Refusal::last_sequence) tells what is so. The topic must be one that a
    /// stream keeps.
    pub fn expected_sequence(mut self, sequence: u64) -> Self {
        self.expected_sequence = Some(sequence);
        self
    }

    /// Gives up with [`PublishError::TimedOut`] when the acknowledgement has not come after this time, from the call of
    /// [`enqueue`](Self::enqueue) or [`acknowledged`](Self::acknowledged) on; it is looked at every 10 ms. With
    /// [`send`](Self::send) it bounds the wait for room in the send queue.
    pub fn within(mut self, time: Duration) -> Self {
        self.within = Some(time);
        self
    }

    /// Sends it without asking for an acknowledgement; see [`Client::publish`].
    pub async fn send(self) -> Result<(), PublishError> {
        self.submit(None).await
    }

    /// Puts it into the send queue, in order with other calls, and gives the future of its acknowledgement, so that many can be
    /// under way at once.
    ///
    /// # Cancel safety
    /// When the future of this call is dropped, nothing is sent.
    pub async fn enqueue(self) -> Result<PendingAck, PublishError> {
        let (reply, outcome) = oneshot::channel();
        let client = self.client.clone();
        self.submit(Some(reply)).await?;
        Ok(PendingAck { outcome, client })
    }

    /// Sends it and waits until the broker has accepted it; see [`Client::publish_acknowledged`].
    pub async fn acknowledged(self) -> Result<Ack, PublishError> {
        self.enqueue().await?.await
    }

    async fn submit(self, reply: Option<oneshot::Sender<Result<Ack, PublishError>>>) -> Result<(), PublishError> {
        let topic = TopicBuf::new(&self.topic)
            .map_err(|source| PublishError::InvalidTopic { topic: self.topic.clone(), source })?;
        if let Some(id) = self.message_id.as_deref().filter(|id| !(1..=MAX_MESSAGE_ID_BYTES).contains(&id.len())) {
            return Err(PublishError::InvalidMessageId { bytes: id.len() });
        }
        // What ends beyond all times has no deadline.
        let deadline =
            self.within.and_then(|within| Some(Deadline { at: Instant::now().checked_add(within)?, within }));
        let mut publish = Publish::new(topic, self.payload, HeadersBuf::from_iter(self.headers));
        publish.message_id = self.message_id.map(String::into_boxed_str);
        publish.expected_sequence = self.expected_sequence;
        publish.deadline = deadline.filter(|_| reply.is_some());
        publish.reply = reply;
        self.client.check_size(&publish)?;
        let room = self.client.reserve(publish.encoded_bytes() + OVERHEAD_BYTES);
        publish.permit = Some(match deadline {
            None => room.await?,
            Some(Deadline { at, within }) => {
                timeout_at(at, room).await.map_err(|_| PublishError::TimedOut { within, was_sent: false })??
            }
        });
        self.client.command(Command::Publish(publish)).map_err(PublishError::Ended)
    }
}

/// The acknowledgement of a publication that is in the send queue. Dropping it takes nothing back.
#[derive(Debug)]
#[must_use = "the publication may be refused"]
pub struct PendingAck {
    outcome: oneshot::Receiver<Result<Ack, PublishError>>,
    client: Client,
}

impl Future for PendingAck {
    type Output = Result<Ack, PublishError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.outcome).poll(context).map(|outcome| match outcome {
            Ok(outcome) => outcome,
            // The client's task is gone with its runtime, so nobody knows how far the publication came.
            Err(_) => Err(PublishError::OutcomeUnknown(self.client.end_cause())),
        })
    }
}
