//! The writing half of a connection: gathers what waits into one write, and keeps what the socket did not take.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use carillon_metrics::ShardMetrics;
use carillon_router::{Aside, ConnectionKey, Encoded, Outgoing, TakenAside};
use carillon_wire::{BrokerMessage, broker_message::Gap};
use fastwebsockets::OpCode;
use tokio::{io::AsyncWrite, time::Instant};

use crate::{
    clock::Clock,
    hub::Hub,
    session::{Ending, Replies},
    websocket::frame::{head, write_close, write_head},
};

/// What one WebSocket message gathers: what fits into one TLS record (RFC 8446, section 5.1). A larger message goes by
/// itself, and is not copied.
const GATHERED_BYTES: usize = 16 << 10;
/// What one write gathers, as WebSocket messages one behind the other: the kernel takes little longer for four records
/// than for one.
const WRITTEN_BYTES: usize = 4 * GATHERED_BYTES;
/// The longest head of a gathered message. It gets its room before its length is known.
const HEAD_ROOM_BYTES: usize = 4;
/// Pongs that may wait. A client that sends pings faster than it reads gets the answer to the last ones only, as
/// RFC 6455, section 5.5.3 allows.
const MAX_PONGS_BYTES: usize = 1 << 10;

/// Where a shard's connections gather what they write, one after another.
#[derive(Default)]
pub(crate) struct Staging {
    bytes: Vec<u8>,
    /// A large message, or a page, behind the bytes.
    body: Option<Body>,
    deliveries: Deliveries,
}

/// What the socket did not take yet.
#[derive(Default)]
struct Unsent {
    bytes: Vec<u8>,
    body: Option<Body>,
    /// How much of bytes and body together was sent.
    position: usize,
    deliveries: Deliveries,
}

/// Bytes that are shared with other connections.
enum Body {
    Message(Rc<Encoded>),
    /// Of a stream's history.
    Page(TakenAside),
}

impl Body {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Message(message) => message.bytes(),
            Self::Page(page) => &page.aside.body,
        }
    }
}

/// Deliveries in what is written at once, for the counts.
#[derive(Debug, Default)]
struct Deliveries {
    /// When live ones were accepted, and how many then: those of one turn have the same time.
    accepted_nanos: Vec<(u64, u32)>,
    live: u64,
    /// How many of those are of streams, and would be read again.
    in_streams: u64,
    /// How many come out of a stream's history.
    history: u64,
    bytes: usize,
}

impl Deliveries {
    /// Forgets them, and keeps the memory for the next ones.
    fn clear(&mut self) {
        let mut accepted_nanos = std::mem::take(&mut self.accepted_nanos);
        accepted_nanos.clear();
        *self = Self { accepted_nanos, ..Self::default() };
    }

    fn count(&self) -> u64 {
        self.live + self.history
    }

    /// How many are lost where they do not arrive.
    fn irretrievable(&self) -> u64 {
        self.live.saturating_sub(self.in_streams)
    }
}

/// What a connection has to say apart from its outbox.
#[derive(Default)]
pub(crate) struct Writer {
    pub(crate) replies: Replies,
    control_frames: Vec<u8>,
    unsent: Unsent,
    needs_flush: bool,
    /// Since when the socket takes nothing, and how much it had taken then.
    blocked: Option<Blocked>,
    /// The close frame that goes behind everything else.
    closing: Option<Closing>,
    /// The close frame is on its way: nothing is sent behind it.
    is_closed: bool,
}

#[derive(Debug, Clone, Copy)]
struct Blocked {
    since: Instant,
    sent_bytes: u64,
}

struct Closing {
    frame: Vec<u8>,
    flushes_outbox: bool,
}

/// What a writer needs of its shard.
pub(crate) struct Outlet<'o> {
    pub(crate) key: ConnectionKey,
    pub(crate) hub: &'o mut Hub,
    pub(crate) staging: &'o mut Staging,
    pub(crate) metrics: &'o ShardMetrics,
    pub(crate) clock: &'o Clock,
    /// The most that one WebSocket message may have, as the welcome told.
    pub(crate) max_message_bytes: usize,
    /// Whether nothing is on its way any more that the client is still to be told of before the close.
    pub(crate) may_close: bool,
}

impl Writer {
    pub(crate) fn pong(&mut self, payload: &[u8]) {
        if self.control_frames.len() >= MAX_PONGS_BYTES {
            self.control_frames.clear();
        }
        write_head(&mut self.control_frames, OpCode::Pong, payload.len());
        self.control_frames.extend_from_slice(payload);
    }

    /// Answers the client's close; nothing is sent behind it.
    pub(crate) fn echo_close(&mut self, code: Option<u16>) {
        let mut frame = Vec::new();
        match code {
            Some(code) => write_close(&mut frame, code, ""),
            None => write_head(&mut frame, OpCode::Close, 0),
        }
        self.closing.get_or_insert(Closing { frame, flushes_outbox: false });
    }

    /// Closes: nothing is sent behind the close frame, and before it only what the ending allows.
    pub(crate) fn close(&mut self, ending: &Ending) {
        let mut frame = Vec::new();
        write_close(&mut frame, ending.code.number(), &ending.reason);
        self.closing.get_or_insert(Closing { frame, flushes_outbox: ending.flushes_outbox() });
    }

    /// Since when the socket takes no byte, if it does not.
    pub(crate) fn blocked_since(&self) -> Option<Instant> {
        self.blocked.map(|blocked| blocked.since)
    }

    /// Whether the close frame was handed to the socket, or is about to be.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// What the socket did not take of the last write, in bytes; large messages and pages, which are shared and count in the
    /// router, left out.
    pub(crate) fn unsent_bytes(&self) -> usize {
        self.unsent.bytes.len()
    }

    /// Deliveries that the socket has not taken whole, and that no stream keeps.
    pub(crate) fn unsent_deliveries(&self) -> u64 {
        self.unsent.deliveries.irretrievable()
    }

    /// Writes until nothing waits any more (`Ready`), or the socket takes no more (`Pending`).
    pub(crate) fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
        outlet: &mut Outlet<'_>,
        sent_bytes: impl Fn(&S) -> u64,
    ) -> Poll<io::Result<()>> {
        let polled = self.poll_write_all(cx, stream, outlet);
        match &polled {
            Poll::Pending => {
                let sent_bytes = sent_bytes(stream);
                if self.blocked.is_none_or(|blocked| blocked.sent_bytes != sent_bytes) {
                    self.blocked = Some(Blocked { since: Instant::now(), sent_bytes });
                }
            }
            Poll::Ready(_) => self.blocked = None,
        }
        polled
    }

    fn poll_write_all<S: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
        outlet: &mut Outlet<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            while !self.unsent.is_empty() {
                std::task::ready!(self.unsent.poll_write(cx, stream))?;
                self.needs_flush = true;
                if self.unsent.is_empty() {
                    outlet.count(&std::mem::take(&mut self.unsent.deliveries));
                }
            }
            self.stage(outlet);
            if outlet.staging.is_empty() {
                break;
            }
            let (taken, failure) = match outlet.staging.poll_write(cx, stream) {
                Poll::Ready(Ok(taken)) => (taken, None),
                Poll::Ready(Err(error)) => (0, Some(error)),
                Poll::Pending => (0, None),
            };
            self.needs_flush = true;
            if !self.unsent.keep(outlet.staging, taken) {
                outlet.count(&outlet.staging.deliveries);
            }
            if let Some(error) = failure {
                return Poll::Ready(Err(error));
            }
        }
        if self.needs_flush {
            std::task::ready!(Pin::new(stream).poll_flush(cx))?;
            self.needs_flush = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Gathers control frames, replies and messages, in this order.
    fn stage(&mut self, outlet: &mut Outlet<'_>) {
        outlet.staging.clear();
        if self.is_closed {
            return;
        }
        outlet.staging.bytes.append(&mut self.control_frames);
        if !self.replies.now.is_empty() {
            write_head(&mut outlet.staging.bytes, OpCode::Binary, self.replies.now.len());
            outlet.staging.bytes.extend_from_slice(&self.replies.now);
            self.replies.now = Vec::new();
            outlet.metrics.websocket_messages_sent.inc();
        }
        if self.closing.as_ref().is_none_or(|closing| closing.flushes_outbox) {
            while outlet.stage_messages() && outlet.staging.bytes.len() + GATHERED_BYTES <= WRITTEN_BYTES {}
        }
        if outlet.staging.is_empty()
            && outlet.may_close
            && let Some(closing) = &mut self.closing
        {
            outlet.staging.bytes.append(&mut closing.frame);
            self.is_closed = true;
        }
    }
}

impl Outlet<'_> {
    /// Gathers messages from the outbox into one WebSocket message. Whether another may stand behind it.
    fn stage_messages(&mut self) -> bool {
        let Some(first_bytes) = self.hub.next_bytes(self.key) else { return false };
        self.metrics.websocket_messages_sent.inc();
        let gathered_bytes = GATHERED_BYTES.min(self.max_message_bytes);
        if first_bytes > gathered_bytes {
            match self.hub.next(self.key) {
                Some(Outgoing::Message(message) | Outgoing::Reply(message)) => {
                    write_head(&mut self.staging.bytes, OpCode::Binary, message.bytes().len());
                    self.staging.note(&message);
                    self.staging.body = Some(Body::Message(message));
                }
                Some(Outgoing::InStream(message)) => {
                    write_head(&mut self.staging.bytes, OpCode::Binary, message.bytes().len());
                    self.staging.note_in_stream(&message);
                    self.staging.body = Some(Body::Message(message));
                }
                Some(Outgoing::Aside(taken)) => {
                    write_head(&mut self.staging.bytes, OpCode::Binary, taken.aside.size_bytes());
                    self.staging.bytes.extend_from_slice(&taken.aside.head);
                    self.staging.note_aside(&taken.aside);
                    self.staging.body = Some(Body::Page(taken));
                }
                Some(Outgoing::Gap { .. }) | None => {}
            }
            return false;
        }
        let head_at = self.staging.bytes.len();
        self.staging.bytes.resize(head_at + HEAD_ROOM_BYTES, 0);
        let start = self.staging.bytes.len();
        self.hub.take_run(self.key, |message| {
            let fits = self.staging.bytes.len() - start + message.bytes().len() <= gathered_bytes;
            if fits {
                self.staging.bytes.extend_from_slice(message.bytes());
                self.staging.note(message);
            }
            fits
        });
        while let Some(next_bytes) = self.hub.next_bytes(self.key)
            && self.staging.bytes.len() - start + next_bytes <= gathered_bytes
        {
            match self.hub.next(self.key) {
                Some(Outgoing::Message(message) | Outgoing::Reply(message)) => {
                    self.staging.bytes.extend_from_slice(message.bytes());
                    self.staging.note(&message);
                }
                Some(Outgoing::InStream(message)) => {
                    self.staging.bytes.extend_from_slice(message.bytes());
                    self.staging.note_in_stream(&message);
                }
                Some(Outgoing::Gap { subscription, reason, count }) => {
                    BrokerMessage::Gap(Gap { subscription, reason, count, range: None })
                        .encode(&mut self.staging.bytes);
                    self.metrics.gaps_sent.inc();
                }
                Some(Outgoing::Aside(TakenAside { aside, .. })) => {
                    self.staging.bytes.extend_from_slice(&aside.head);
                    self.staging.bytes.extend_from_slice(&aside.body);
                    self.staging.note_aside(&aside);
                }
                None => break,
            }
        }
        self.staging.put_head(head_at, start);
        true
    }

    /// Counts deliveries that the socket has taken.
    fn count(&self, deliveries: &Deliveries) {
        if deliveries.count() == 0 {
            return;
        }
        self.metrics.messages_delivered.add(deliveries.count());
        self.metrics.delivery_bytes.add(deliveries.bytes as u64);
        if deliveries.accepted_nanos.is_empty() {
            return;
        }
        let now = self.clock.nanos();
        for (accepted_nanos, times) in &deliveries.accepted_nanos {
            let nanos = now.saturating_sub(*accepted_nanos);
            self.metrics.publish_to_write.observe_nanos_times(nanos, (*times).into());
        }
    }
}

impl Staging {
    fn clear(&mut self) {
        self.bytes.clear();
        self.body = None;
        self.deliveries.clear();
    }

    /// Notes a delivery for the counts; replies are none.
    fn note(&mut self, message: &Encoded) {
        if let Some(accepted_nanos) = message.accepted_nanos() {
            match self.deliveries.accepted_nanos.last_mut() {
                Some((same, times)) if *same == accepted_nanos => *times += 1,
                _ => self.deliveries.accepted_nanos.push((accepted_nanos, 1)),
            }
            self.deliveries.live += 1;
            self.deliveries.bytes += message.bytes().len();
        }
    }

    fn note_in_stream(&mut self, message: &Encoded) {
        self.note(message);
        self.deliveries.in_streams += 1;
    }

    fn note_aside(&mut self, aside: &Aside) {
        self.deliveries.history += u64::from(aside.messages);
        self.deliveries.bytes += aside.body.len();
    }

    fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.body.is_none()
    }

    /// Writes the head of the message from `start` to the end into the room at `head_at`, and closes what is left of
    /// the room.
    fn put_head(&mut self, head_at: usize, start: usize) {
        let payload_bytes = self.bytes.len() - start;
        self.bytes.splice(head_at..start, head(OpCode::Binary, payload_bytes));
    }

    fn poll_write<S: AsyncWrite + Unpin>(&self, cx: &mut Context<'_>, stream: &mut S) -> Poll<io::Result<usize>> {
        let body = self.body.as_ref().map(Body::bytes).unwrap_or_default();
        poll_write_both(cx, stream, &self.bytes, body)
    }
}

impl Unsent {
    fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.body.is_none()
    }

    /// Keeps what of the staging the socket did not take, if anything. Large messages are shared, not copied.
    fn keep(&mut self, staging: &mut Staging, taken: usize) -> bool {
        let body = staging.body.take();
        let length = staging.bytes.len() + body.as_ref().map_or(0, |body| body.bytes().len());
        let is_needed = taken < length;
        if is_needed {
            let rest = staging.bytes.get(taken..).unwrap_or_default();
            self.position = taken.saturating_sub(staging.bytes.len());
            self.bytes = rest.to_vec();
            self.body = body;
            self.deliveries = std::mem::take(&mut staging.deliveries);
        }
        is_needed
    }

    fn poll_write<S: AsyncWrite + Unpin>(&mut self, cx: &mut Context<'_>, stream: &mut S) -> Poll<io::Result<()>> {
        let body = self.body.as_ref().map(Body::bytes).unwrap_or_default();
        let length = self.bytes.len() + body.len();
        let bytes = self.bytes.get(self.position..).unwrap_or_default();
        let body = body.get(self.position.saturating_sub(self.bytes.len())..).unwrap_or_default();
        let taken = std::task::ready!(poll_write_both(cx, stream, bytes, body))?;
        self.position += taken;
        if self.position >= length {
            self.bytes = Vec::new();
            self.body = None;
            self.position = 0;
        }
        Poll::Ready(Ok(()))
    }
}

fn poll_write_both<S: AsyncWrite + Unpin>(
    cx: &mut Context<'_>,
    stream: &mut S,
    bytes: &[u8],
    body: &[u8],
) -> Poll<io::Result<usize>> {
    let taken = if body.is_empty() {
        Pin::new(stream).poll_write(cx, bytes)
    } else {
        Pin::new(stream).poll_write_vectored(cx, &[IoSlice::new(bytes), IoSlice::new(body)])
    };
    match taken {
        Poll::Ready(Ok(0)) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
        other => other,
    }
}
