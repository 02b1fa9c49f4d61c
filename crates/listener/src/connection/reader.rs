//! The reading half of a connection: what the client sent becomes messages, as far as their effects have room.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use carillon_wire::decode;
use tokio::io::AsyncBufRead;

use crate::{
    session::{Ending, Replies, Session, Turn},
    settings::Limits,
    websocket::{Decoder, Event},
};

/// Publications for other shards and for streams that are gathered before they are handed over.
const BATCH_BYTES: usize = 64 << 10;

/// What a few hundred small frames count for against a turn's bytes.
const MANY_FRAMES_COST_BYTES: usize = 16 << 10;

/// What is known of a client's bytes.
pub(crate) struct Reader {
    decoder: Decoder,
    /// What the client had sent behind its HTTP request.
    early: Bytes,
    /// The rest of a WebSocket message whose effects found no room, and where it goes on.
    held: Vec<u8>,
    held_from: usize,
    /// Bytes that came without completing anything, since they were asked for last.
    upload_bytes: u64,
}

/// What came of a step.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// So many bytes were taken.
    Read(usize),
    /// The client answered with, or asked for, a close with this code.
    Closed(Option<u16>),
    /// The stream ended without a close.
    Disconnected,
}

impl Reader {
    pub(crate) fn new(max_message_bytes: usize, early: &[u8]) -> Self {
        Self {
            decoder: Decoder::new(max_message_bytes),
            early: own(early),
            held: Vec::new(),
            held_from: 0,
            upload_bytes: 0,
        }
    }

    /// Whether a message waits for its effects to have room again.
    pub(crate) fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// Memory that is held for what the client has sent and is not done yet, in bytes.
    pub(crate) fn buffered_bytes(&self) -> usize {
        self.decoder.buffered_bytes() + self.held.capacity() + self.early.len()
    }

    /// Bytes that came without completing a message since the last call.
    pub(crate) fn take_upload_bytes(&mut self) -> u64 {
        std::mem::take(&mut self.upload_bytes)
    }

    /// Goes on with the message that waits; tells how many of its bytes were done.
    pub(crate) fn resume(&mut self, session: &mut Session, turn: &mut Turn<'_>) -> Result<usize, Ending> {
        let held = std::mem::take(&mut self.held);
        let waiting = held.get(self.held_from..).unwrap_or_default();
        let done_before = held.len() - waiting.len();
        let rest = process(waiting, session, turn)?;
        let done = held.len() - rest - done_before;
        if rest > 0 {
            self.held_from = held.len() - rest;
            self.held = held;
        } else {
            self.held_from = 0;
        }
        Ok(done)
    }

    /// Reads and does what one piece of input asks. Cancel-safe: what was not done is still there.
    pub(crate) fn poll_step<S: AsyncBufRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
        scratch: &mut Vec<u8>,
        mut act: impl FnMut(Event<'_>) -> Result<usize, Ending>,
    ) -> Poll<Result<Step, Ending>> {
        let is_early = !self.early.is_empty();
        let chunk = if is_early {
            self.early.as_ref()
        } else {
            match std::task::ready!(Pin::new(&mut *stream).poll_fill_buf(cx)) {
                Ok([]) => return Poll::Ready(Ok(Step::Disconnected)),
                Ok(chunk) => chunk,
                Err(error) => return Poll::Ready(Ok(Self::ended(&error))),
            }
        };
        let mut input = chunk;
        let decoded = self.decoder.decode(&mut input, scratch);
        let taken = chunk.len() - input.len();
        let outcome = match decoded {
            Ok(None) => {
                self.upload_bytes += taken as u64;
                // Where something is left, it was very many small frames, which cost more than their bytes.
                let cost = if input.is_empty() { taken } else { taken.max(MANY_FRAMES_COST_BYTES) };
                Ok((Step::Read(cost), 0))
            }
            Ok(Some(Event::Close(code))) => Ok((Step::Closed(code), 0)),
            Ok(Some(event)) => act(event).map(|rest| (Step::Read(taken), rest)),
            Err(error) => Err(error.into()),
        };
        if is_early {
            self.early = own(self.early.get(taken..).unwrap_or_default());
        } else {
            Pin::new(stream).consume(taken);
        }
        let (step, rest) = outcome?;
        if rest > 0 {
            self.held = scratch.get(scratch.len() - rest..).unwrap_or_default().to_vec();
            self.held_from = 0;
        }
        Poll::Ready(Ok(step))
    }

    fn ended(error: &io::Error) -> Step {
        tracing::trace!(%error, "the stream ended");
        Step::Disconnected
    }
}

/// Whether the client must read before more of what it asks is done.
pub(crate) fn is_full(replies: &Replies, limits: &Limits) -> bool {
    replies.is_full(limits.reply_bytes)
}

/// The bytes without what they were cut from: a few, and mostly none, must not keep an HTTP buffer for a connection's life.
fn own(bytes: &[u8]) -> Bytes {
    if bytes.is_empty() { Bytes::new() } else { Bytes::copy_from_slice(bytes) }
}

/// Does what a WebSocket message asks; tells how many of its bytes are left, because their effects have no room, or the
/// turn is over.
pub(crate) fn process(bytes: &[u8], session: &mut Session, turn: &mut Turn<'_>) -> Result<usize, Ending> {
    let mut messages = decode::client_messages(bytes);
    while let Some(message) = messages.next() {
        session.on_message(message, turn)?;
        let has_room = !is_full(turn.replies, &turn.settings.limits) && turn.hub.outgoing_bytes() < BATCH_BYTES;
        if (!has_room || turn.hub.is_turn_over()) && !messages.rest().is_empty() {
            break;
        }
    }
    Ok(messages.rest().len())
}
