//! The client's side of the protocol, without its socket: what waits to be said, what was asked and not yet answered, and who
//! gets what the broker says.
//!
//! ```text
//!               connected                disconnected
//!  ┌─────────┐  (resubscribes first)  ┌──────────┐  (sent requests fail, or stay where they may be repeated; what was not sent stays)
//!  │ Waiting ├───────────────────────▶│ Speaking ├──────▶ Waiting
//!  └────┬────┘                        └─────┬────┘
//!       └───────────────┬───────────────────┘
//!                       ▼ end: everything that still waits is told why
//! ```
//!
//! The driver reads frames into it, takes batches out of it, and tells it when connections come and go, and what time it is. It
//! has no clock and never waits. `table` holds the subscriptions, and `routing` says who among them gets what; `covered` is about
//! what the broker sends for one of them alone.

mod again;
mod covered;
mod ending;
mod names;
mod outgoing;
mod renewal;
mod routing;
#[cfg(test)]
mod routing_model;
mod table;
#[cfg(test)]
mod tests;
mod track;

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use carillon_wire::{
    BrokerMessage, CloseCode, DecodeError, ErrorCode, Id,
    broker_message::{Closing, Delivery, ErrorReply, OkReply, Welcome},
    decode,
};
use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    time::Instant,
};

use self::{
    covered::Covered, outgoing::Outgoing, renewal::Renewal, routing::Given, table::Table, track::TooManyStreams,
};
use crate::{
    command::{Command, HistoryRequest, Publish, SubscriptionKey},
    error::{ConnectionLost, HistoryError, RefreshError, Refusal},
    event::Reconnected,
    message::Message,
    observer::{Notice, Observer},
    token::{Token, TokenProvider},
};

/// While the application waits for a reply, a queue may grow to this many times its bound before reading stops, because the reply
/// may stand behind the messages that fill it. A loop that publishes with acknowledgement for each message that it takes would
/// wait for itself otherwise.
const FULL_WHILE_REPLIES_ARE_DUE: usize = 4;

/// What the welcome told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Payload and headers of one publication, in bytes.
    pub(crate) max_payload_bytes: u64,
    /// One WebSocket message, in bytes.
    pub(crate) max_message_bytes: u64,
    /// Time between heartbeats; zero when there are none.
    pub(crate) heartbeat: Duration,
}

impl Default for Limits {
    /// What holds where a welcome tells nothing.
    fn default() -> Self {
        Self { max_payload_bytes: 1 << 20, max_message_bytes: (1 << 20) + (4 << 10), heartbeat: Duration::ZERO }
    }
}

impl From<&Welcome<'_>> for Limits {
    fn from(welcome: &Welcome<'_>) -> Self {
        let told = |limit: u64, default: u64| if limit == 0 { default } else { limit };
        let default = Self::default();
        Self {
            max_payload_bytes: told(welcome.max_payload_bytes, default.max_payload_bytes),
            max_message_bytes: told(welcome.max_message_bytes, default.max_message_bytes),
            heartbeat: Duration::from_millis(welcome.heartbeat_ms),
        }
    }
}

/// A request that was sent and not yet answered.
#[derive(Debug)]
enum Pending {
    /// Its permit bounds what is sent and not yet acknowledged. Without a message id its content is gone.
    Publish(Publish),
    Subscribe {
        key: SubscriptionKey,
        index: usize,
    },
    /// A subscription that was accepted without a place is taken back.
    TakeBack {
        key: SubscriptionKey,
        index: usize,
    },
    History(Box<HistoryRequest>),
    Flush(oneshot::Sender<Result<(), ConnectionLost>>),
    Refresh(Token),
}

/// See the module's page.
#[derive(Debug)]
pub(crate) struct Session {
    is_connected: bool,
    limits: Limits,
    table: Table,
    /// For whom the next deliveries are, where that is one alone.
    covered: Option<Covered>,
    /// The bound of a page of history, in bytes.
    max_page_bytes: usize,
    /// What waits to be sent, in the order in which it was asked for.
    queue: VecDeque<Outgoing>,
    pending: HashMap<Id, Pending>,
    /// Not after the first deadline of a publication that waits.
    next_deadline: Option<Instant>,
    /// The broker's last heartbeat, while it is not answered.
    heartbeat: Option<Id>,
    /// What the broker said about the close that comes.
    closing: Option<(CloseCode, String, Option<Duration>)>,
    /// The places in the send queue of what is being written.
    writing: Vec<OwnedSemaphorePermit>,
    last_id: u64,
    /// Where new credentials come from when the old ones run out; none where the application has to see to it.
    provider: Option<Arc<TokenProvider>>,
    renewal: Renewal,
    observer: Arc<Observer>,
}

impl Session {
    pub(crate) fn new(observer: Arc<Observer>, provider: Option<Arc<TokenProvider>>, max_page_bytes: usize) -> Self {
        Self {
            is_connected: false,
            limits: Limits::default(),
            table: Table::default(),
            covered: None,
            max_page_bytes,
            queue: VecDeque::new(),
            pending: HashMap::new(),
            next_deadline: None,
            heartbeat: None,
            closing: None,
            writing: Vec::new(),
            last_id: 0,
            provider,
            renewal: Renewal::No,
            observer,
        }
    }

    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    /// Takes what a handle asks for. Closing is the driver's.
    pub(crate) fn on_command(&mut self, command: Command) -> Option<oneshot::Sender<Result<(), ConnectionLost>>> {
        match command {
            Command::Publish(publish) => {
                self.note_deadline(&publish);
                self.queue.push_back(Outgoing::Publish(publish));
            }
            Command::Subscribe(subscribe) => {
                let (key, patterns) = (subscribe.key, subscribe.patterns.len());
                self.table.insert(subscribe);
                // Without a connection there is nothing to ask: the next one starts with all that the table holds.
                if self.is_connected {
                    self.queue.extend((0..patterns).map(|index| Outgoing::Subscribe { key, index }));
                }
            }
            Command::Unsubscribe(key) => {
                let ids = self.table.remove(key);
                self.queue.extend(ids.into_iter().map(Outgoing::Unsubscribe));
            }
            Command::History(request) => self.queue.push_back(Outgoing::History(request)),
            Command::Flush(reply) => self.queue.push_back(Outgoing::Flush(reply)),
            Command::Close(reply) => return Some(reply),
        }
        None
    }

    /// A connection was made; everything is subscribed to again, before anything else is said.
    pub(crate) fn on_connected(&mut self, reconnected: Option<&Reconnected>) {
        self.is_connected = true;
        if let Some(reconnected) = reconnected {
            self.table.reconnected(reconnected);
        }
        let again: Vec<_> = self.table.all().map(|(key, index)| Outgoing::Subscribe { key, index }).collect();
        for outgoing in again.into_iter().rev() {
            self.queue.push_front(outgoing);
        }
    }

    /// Takes a WebSocket message. An error ends the connection; what stood before it holds.
    pub(crate) fn on_frame(&mut self, frame: &Bytes) -> Result<(), ConnectionLost> {
        for message in decode::broker_messages(frame) {
            match message {
                Ok(message) => self.on_message(frame, message)?,
                // The protocol grows by messages that older clients pass over.
                Err(DecodeError::Refused(refused)) if refused.code == ErrorCode::UnknownOp => {
                    tracing::debug!(op = refused.op, "passed over a message that this version does not know");
                }
                // To pass over a delivery with wrong fields would lose it in silence.
                Err(error) => {
                    return Err(ConnectionLost::Protocol { code: CloseCode::BadMessage, reason: error.to_string() });
                }
            }
        }
        Ok(())
    }

    fn on_message(&mut self, frame: &Bytes, message: BrokerMessage<'_>) -> Result<(), ConnectionLost> {
        match message {
            BrokerMessage::Delivery(delivery) => self.on_delivery(frame, &delivery)?,
            BrokerMessage::Ok(ok) => self.on_ok(&ok).map_err(broken)?,
            BrokerMessage::Error(error) => self.on_error(&error),
            BrokerMessage::Marker(marker) => self.on_marker(&marker)?,
            BrokerMessage::Live(at) => self.table.live(&at).map_err(broken)?,
            BrokerMessage::Position(at) => self.table.complete(&at),
            BrokerMessage::EpochChanged(change) => self.table.epoch_changed(&change).map_err(broken)?,
            BrokerMessage::Page(page) => self.on_page(&page)?,
            BrokerMessage::Gap(gap) => {
                if !self.on_gap_of_page(&gap) && !self.table.gap(&gap) {
                    tracing::debug!(subscription = gap.subscription.get(), "a gap of a subscription that is gone");
                }
            }
            // Only the last one counts, so a peer that asks without reading cannot make answers pile up.
            BrokerMessage::Heartbeat(number) => self.heartbeat = Some(number),
            BrokerMessage::Welcome(welcome) => self.limits = Limits::from(&welcome),
            BrokerMessage::Closing(Closing { code, reason, retry_after_ms }) => {
                self.closing = Some((code, reason.to_owned(), retry_after_ms.map(Duration::from_millis)));
            }
            BrokerMessage::Notice(notice) => self.on_notice(&notice),
            BrokerMessage::Ended(ended) => {
                // One that is not known crossed the request to end it.
                let ids = self.table.ended(ended.subscription, Refusal::from(&ended)).unwrap_or_default();
                self.queue.extend(ids.into_iter().map(Outgoing::Unsubscribe));
            }
            other => tracing::debug!(?other, "passed over a message that this client does not use"),
        }
        Ok(())
    }

    fn on_delivery(&mut self, frame: &Bytes, delivery: &Delivery<'_>) -> Result<(), ConnectionLost> {
        let message = || Message {
            topic: delivery.topic.into(),
            payload: part_of(frame, delivery.payload),
            headers: part_of(frame, delivery.headers.as_msgpack()),
            time_us: delivery.time_us,
            place: None,
        };
        if self.on_covered(delivery, message)? {
            return Ok(());
        }
        for _ in 0..self.table.deliver(delivery, message) {
            self.observer.count_passed_over();
        }
        Ok(())
    }

    fn count_given(&self, given: Given) {
        if given == Given::PassedOver {
            self.observer.count_passed_over();
        }
    }

    fn on_ok(&mut self, ok: &OkReply<'_>) -> Result<(), TooManyStreams> {
        // A reply to nobody is one to an unsubscribe request, which nobody waits for.
        match self.pending.remove(&ok.id) {
            Some(Pending::Publish(publish)) => self.published(publish, ok),
            Some(Pending::Subscribe { key, index }) => {
                if self.table.is_owed_a_place(key) {
                    if !tells_place(ok) {
                        // Either its end follows, which tells why, or the broker knows no starts and would let it begin now.
                        self.queue.push_back(Outgoing::TakeBack { subscription: ok.id, key, index });
                        return Ok(());
                    }
                    self.table.began(key, ok)?;
                }
                self.table.accepted(key, index);
            }
            Some(Pending::TakeBack { key, index }) => self.taken_back(key, index),
            Some(Pending::Flush(reply)) => drop(reply.send(Ok(()))),
            Some(Pending::Refresh(token)) => self.refreshed(token),
            // Its reply is a page.
            Some(Pending::History(request)) => drop(self.pending.insert(ok.id, Pending::History(request))),
            None => {}
        }
        Ok(())
    }

    /// A broker that does not know of starts would have let a subscription begin now, which loses in silence.
    fn taken_back(&mut self, key: SubscriptionKey, index: usize) {
        let words = "the broker does not tell where the subscription starts; it knows no streams";
        let ids = self.table.refused(key, index, Refusal::new(ErrorCode::Unsupported, words.to_owned()));
        self.queue.extend(ids.into_iter().map(Outgoing::Unsubscribe));
    }

    fn on_error(&mut self, error: &ErrorReply<'_>) {
        let refusal = Refusal::from(error);
        let Some(id) = error.id else {
            self.observer.tell(&Notice::PublicationRefused(refusal));
            return;
        };
        match self.pending.remove(&id) {
            Some(Pending::Publish(publish)) => again::refused(publish, refusal),
            Some(Pending::History(request)) => drop(request.reply.send(Err(HistoryError::Refused(refusal)))),
            Some(Pending::Subscribe { key, index }) => {
                let ids = self.table.refused(key, index, refusal);
                self.queue.extend(ids.into_iter().map(Outgoing::Unsubscribe));
            }
            Some(Pending::TakeBack { key, index }) => self.taken_back(key, index),
            // Even a refusal says that the broker has seen what came before.
            Some(Pending::Flush(reply)) => drop(reply.send(Ok(()))),
            Some(Pending::Refresh(_)) => self.refresh_failed(RefreshError::Refused(refusal)),
            None => tracing::debug!(id = id.get(), %refusal, "a request that nobody waits for was refused"),
        }
    }

    /// Whether nothing more may be read for now, because the application does not take what came.
    pub(crate) fn is_backlogged(&mut self) -> bool {
        let times = if self.pending.is_empty() { 1 } else { FULL_WHILE_REPLIES_ARE_DUE };
        self.table.is_full(times)
    }

    /// Whether all was taken to be sent, and all that was asked is answered.
    pub(crate) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.pending.is_empty()
    }
}

fn broken(error: TooManyStreams) -> ConnectionLost {
    ConnectionLost::Protocol { code: CloseCode::BadMessage, reason: error.to_string() }
}

fn tells_place(ok: &OkReply<'_>) -> bool {
    ok.stream.is_some() && ok.sequence.is_some() && ok.epoch.is_some()
}

/// The part as a share of the frame that it stands in.
fn part_of(frame: &Bytes, part: &[u8]) -> Bytes {
    if part.is_empty() { Bytes::new() } else { frame.slice_ref(part) }
}
