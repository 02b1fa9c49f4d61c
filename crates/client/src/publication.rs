//! A message to be published.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use carillon_wire::{TopicBuf, headers::HeadersBuf};
use tokio::sync::oneshot;

use crate::{
    client::Client,
    command::{Command, Publish},
    error::PublishError,
};

/// What a publication counts in the send queue beside its bytes, so that empty ones cannot grow it without bound.
const OVERHEAD_BYTES: usize = 64;

/// What the broker told with its acceptance. For topics that no stream keeps, that is nothing more than the acceptance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ack {}

/// A message to be published, made by [`Client::publication`]. Nothing happens before [`send`](Self::send),
/// [`enqueue`](Self::enqueue) or [`acknowledged`](Self::acknowledged).
#[derive(Debug)]
#[must_use = "a publication does nothing until it is sent"]
pub struct Publication<'c> {
    client: &'c Client,
    topic: String,
    payload: Bytes,
    headers: Vec<(String, String)>,
}

impl<'c> Publication<'c> {
    pub(crate) fn new(client: &'c Client, topic: &str, payload: Bytes) -> Self {
        Self { client, topic: topic.to_owned(), payload, headers: Vec::new() }
    }

    /// Adds a header. Of those with the same key the last one counts.
    pub fn header(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((key.into(), value.into()));
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
        let headers = HeadersBuf::from_iter(self.headers);
        let mut publish = Publish { topic, payload: self.payload, headers, reply, permit: None };
        self.client.check_size(&publish)?;
        publish.permit = Some(self.client.reserve(publish.encoded_bytes() + OVERHEAD_BYTES).await?);
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
