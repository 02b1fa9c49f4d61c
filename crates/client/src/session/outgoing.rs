//! What leaves: requests get their ids and their bytes at the moment when they are put into a WebSocket message, so that what
//! was never sent can be sent on another connection.

use bytes::Bytes;
use carillon_wire::{
    ClientMessage, Id,
    client_message::{
        History as WireHistory, Publish as WirePublish, Refresh, Subscribe as WireSubscribe, Unsubscribe,
    },
    headers::HeadersBuf,
};
use tokio::sync::oneshot;

use super::{Pending, Session, table::Request};
use crate::{
    command::{HistoryRequest, Publish, SubscriptionKey},
    error::{ConnectionLost, PublishError, Refusal},
    observer::Notice,
    token::Token,
};

/// A batch is not made larger than this, even if the broker would take it: more gains nothing and delays heartbeats.
const MAX_BATCH_BYTES: usize = 128 * 1024;
/// At least as many bytes as any request but a publication has.
const REQUEST_BYTES: usize = 96 + carillon_wire::topic::MAX_BYTES + carillon_wire::MAX_EPOCH_BYTES;

/// One thing that waits to be said.
#[derive(Debug)]
pub(super) enum Outgoing {
    Publish(Publish),
    Subscribe {
        key: SubscriptionKey,
        index: usize,
    },
    Unsubscribe(Id),
    /// Unsubscribes what was accepted without a place, and tells its application when that is done.
    TakeBack {
        subscription: Id,
        key: SubscriptionKey,
        index: usize,
    },
    History(Box<HistoryRequest>),
    Flush(oneshot::Sender<Result<(), ConnectionLost>>),
    Refresh(Token),
}

impl Outgoing {
    fn encoded_bytes(&self) -> usize {
        match self {
            Self::Publish(publish) => publish.encoded_bytes(),
            Self::Refresh(token) => REQUEST_BYTES + token.0.len(),
            Self::Subscribe { .. }
            | Self::Unsubscribe(_)
            | Self::TakeBack { .. }
            | Self::History(_)
            | Self::Flush(_) => REQUEST_BYTES,
        }
    }
}

impl Session {
    /// Fills an empty buffer with what may leave now, as one WebSocket message. Nothing leaves when it stays empty.
    pub(crate) fn take_batch(&mut self, out: &mut Vec<u8>) {
        // A broker that closes reads no more requests; on the next connection they are not lost.
        if !self.is_connected || self.closing.is_some() {
            return;
        }
        if let Some(number) = self.heartbeat.take() {
            ClientMessage::HeartbeatReply(number).encode(out);
        }
        let bound = usize::try_from(self.limits.max_message_bytes).unwrap_or(usize::MAX).min(MAX_BATCH_BYTES);
        while let Some(next) = self.queue.front() {
            if !out.is_empty() && out.len() + next.encoded_bytes() > bound {
                break;
            }
            match self.queue.pop_front() {
                Some(Outgoing::Publish(publish)) => self.encode_publish(publish, out),
                Some(Outgoing::Subscribe { key, index }) => self.encode_subscribe(key, index, out),
                Some(Outgoing::Unsubscribe(subscription)) => {
                    self.encode_unsubscribe(subscription, out);
                }
                Some(Outgoing::TakeBack { subscription, key, index }) => {
                    let id = self.encode_unsubscribe(subscription, out);
                    self.pending.insert(id, Pending::TakeBack { key, index });
                }
                Some(Outgoing::History(request)) => self.encode_history(request, out),
                Some(Outgoing::Flush(reply)) => {
                    let id = self.new_id();
                    ClientMessage::Ping(id).encode(out);
                    self.pending.insert(id, Pending::Flush(reply));
                }
                Some(Outgoing::Refresh(token)) => {
                    let id = self.new_id();
                    ClientMessage::Refresh(Refresh { id, token: &token.0 }).encode(out);
                    self.pending.insert(id, Pending::Refresh(token));
                }
                None => break,
            }
        }
    }

    /// The batch is in the operating system's hands.
    pub(crate) fn on_batch_written(&mut self) {
        self.writing.clear();
    }

    fn encode_publish(&mut self, mut publish: Publish, out: &mut Vec<u8>) {
        // The limits may be tighter than they were when the message was put into the queue.
        if let Err(error) = self.check_size(&publish) {
            self.refuse_locally(publish, error);
            return;
        }
        let id = publish.reply.is_some().then(|| self.new_id());
        let message = WirePublish {
            id,
            topic: publish.topic.as_topic(),
            payload: &publish.payload,
            headers: publish.headers.as_headers(),
            message_id: publish.message_id.as_deref(),
            expected_sequence: publish.expected_sequence,
        };
        ClientMessage::Publish(message).encode(out);
        if publish.lost.is_some() {
            self.observer.count_sent_again();
        }
        match id {
            Some(id) => {
                // What is never sent again need not be held.
                if publish.message_id.is_none() {
                    publish.payload = Bytes::new();
                    publish.headers = HeadersBuf::default();
                }
                self.pending.insert(id, Pending::Publish(publish));
            }
            None => self.writing.extend(publish.permit),
        }
    }

    fn encode_subscribe(&mut self, key: SubscriptionKey, index: usize, out: &mut Vec<u8>) {
        let id = self.new_id();
        if let Some(Request { pattern, overflow, start }) = self.table.sent(key, index, id) {
            let message = WireSubscribe { id, pattern: pattern.as_pattern(), overflow, start };
            ClientMessage::Subscribe(message).encode(out);
            self.pending.insert(id, Pending::Subscribe { key, index });
        }
    }

    fn encode_unsubscribe(&mut self, subscription: Id, out: &mut Vec<u8>) -> Id {
        let id = self.new_id();
        ClientMessage::Unsubscribe(Unsubscribe { id, subscription }).encode(out);
        id
    }

    fn encode_history(&mut self, request: Box<HistoryRequest>, out: &mut Vec<u8>) {
        // Who asked may have given up while it waited.
        if request.reply.is_closed() {
            return;
        }
        let id = self.new_id();
        let message = WireHistory {
            id,
            pattern: request.pattern.as_pattern(),
            start: request.start.to_wire(),
            max_messages: request.max_messages,
            through: request.through,
        };
        ClientMessage::History(message).encode(out);
        self.pending.insert(id, Pending::History(request));
    }

    fn check_size(&self, publish: &Publish) -> Result<(), PublishError> {
        let content = publish.content_bytes() as u64;
        let (payload, message) = (self.limits.max_payload_bytes, self.limits.max_message_bytes);
        if content > payload {
            return Err(PublishError::TooLarge { bytes: content, max_bytes: payload });
        }
        let framing = (publish.encoded_bytes() as u64).saturating_sub(content);
        if content + framing > message {
            return Err(PublishError::TooLarge { bytes: content, max_bytes: message.saturating_sub(framing) });
        }
        Ok(())
    }

    fn refuse_locally(&self, publish: Publish, error: PublishError) {
        if publish.reply.is_none() {
            let refusal = Refusal::new(carillon_wire::ErrorCode::PayloadTooLarge, error.to_string());
            self.observer.tell(&Notice::PublicationRefused(refusal));
            return;
        }
        // What was sent before may have been accepted then.
        let before = publish.lost.as_deref().cloned().map(PublishError::OutcomeUnknown);
        publish.answer(Err(before.unwrap_or(error)));
    }

    /// Ids are never used twice by one client.
    fn new_id(&mut self) -> Id {
        self.last_id += 1;
        Id::new(self.last_id).unwrap_or_else(|| {
            self.last_id = 1;
            Id::from(1_u32)
        })
    }
}
