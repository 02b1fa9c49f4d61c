//! The task of one WebSocket connection. It polls both directions, waits on nothing else, and holds no lock.

use std::{
    cell::RefCell,
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use carillon_metrics::{CloseReason, DropReason, Label, Phase};
use carillon_router::ConnectionKey;
use carillon_wire::{BrokerMessage, CloseCode, broker_message::Closing as ClosingMessage};
use tokio::{
    io::{AsyncBufRead, AsyncWrite},
    time::{Duration, Instant, Sleep, sleep_until, timeout},
};

use super::{
    Stream,
    reader::{Reader, Step, is_full, process},
    writer::{Outlet, Writer},
};
use crate::{
    arrival::Arrival,
    clock::Moment,
    hub::Work,
    session::{Ending, Session, Turn, heartbeat::Heartbeat},
    shard::{HandOver, PhaseGuard, Seat, Shard},
    websocket::{Event, Kind},
};

/// Input that is taken in one turn, before the shard's other connections get theirs.
const INPUT_BYTES_FOR_EACH_TURN: usize = 64 << 10;
/// Input of all connections that have much of it, before those have their turn for whom something has just come.
const INPUT_BYTES_FOR_EACH_ROUND: usize = 256 << 10;
const LEAST_INPUT_BYTES_FOR_A_TURN: usize = 4 << 10;
/// For the client to answer a close that was written, before its socket is closed on it.
const LINGER: Duration = Duration::from_secs(2);
/// For what a connection published before its end to find room at the other shards, so that clients who connect,
/// publish and go again and again cannot fill the memory with it.
const HAND_OVER_DEADLINE: Duration = Duration::from_secs(2);

/// A connection that is a WebSocket.
pub(crate) struct Connection {
    pub(super) stream: Box<Stream>,
    pub(super) reader: Reader,
    pub(super) writer: Writer,
    pub(super) session: Session,
    pub(super) shard: Rc<Shard>,
    pub(super) key: ConnectionKey,
    pub(super) timer: Pin<Box<Sleep>>,
    pub(super) connect_due: Instant,
    /// How often the rules had been replaced when the client was last looked at.
    pub(super) rules_seen: u64,
    /// Publications on their way into the queues of other shards that were full.
    handing_over: Option<HandOver>,
    /// The last turn was over before all was done that lay in the socket.
    is_busy: bool,
    pub(super) state: State,
    _seat: Seat,
    _phase: PhaseGuard,
}

pub(super) enum State {
    Open,
    Closing(Closing),
    Ended { reason: CloseReason, dropped: DropReason },
}

/// The close frame is on its way out, or, once it `is_flushed`, the client's answer is waited for; `until` then.
pub(super) struct Closing {
    pub(super) until: Instant,
    pub(super) reason: CloseReason,
    pub(super) dropped: DropReason,
    is_flushed: bool,
}

/// Why reading stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// The client has said nothing more.
    Idle,
    /// The turn has done its share; there may be more.
    TurnIsOver,
    /// The client has to read replies first.
    RepliesFull,
    /// The queue of another shard is full.
    QueueFull,
}

impl Connection {
    pub(super) fn new(stream: Stream, early: &[u8], arrival: Arrival, shard: Rc<Shard>, seat: Seat) -> Self {
        let now = Instant::now();
        let settings = &shard.settings;
        let key = shard.hub.borrow_mut().connect();
        let heartbeat = Heartbeat::new(settings.deadlines.heartbeat, now);
        let connect_due = now + settings.deadlines.connect;
        let name = shard.connection_name();
        tracing::debug!(connection = name, address = %arrival.address, peer = %arrival.peer, "open");
        Self {
            stream: Box::new(stream),
            reader: Reader::new(settings.limits.max_message_bytes, early),
            writer: Writer::default(),
            session: Session::new(key, name, arrival, heartbeat),
            key,
            timer: Box::pin(sleep_until(connect_due)),
            connect_due,
            rules_seen: shard.rules_replaced(),
            handing_over: None,
            is_busy: false,
            state: State::Open,
            _seat: seat,
            _phase: shard.phase(Phase::WebSocket),
            shard,
        }
    }

    /// Reads until the client has nothing more, what it causes finds no room, or the turn is over.
    fn poll_input(&mut self, cx: &mut Context<'_>, left: &mut usize) -> Stop {
        let mut moment = None;
        while matches!(self.state, State::Open) {
            if self.poll_hand_over(cx).is_pending() {
                self.session.heartbeat.excuse();
                return Stop::QueueFull;
            }
            if is_full(&self.writer.replies, &self.shard.settings.limits) {
                self.session.heartbeat.excuse();
                return Stop::RepliesFull;
            }
            if *left == 0 || self.shard.hub.borrow().is_turn_over() {
                return Stop::TurnIsOver;
            }
            let step = if self.reader.holds() {
                let moment = *moment.get_or_insert_with(|| self.shard.clock.read());
                self.resume(moment).map(Step::Read)
            } else {
                match self.poll_step(cx, &mut moment) {
                    Poll::Ready(step) => step,
                    Poll::Pending => return Stop::Idle,
                }
            };
            match step {
                Ok(Step::Read(bytes)) => *left = left.saturating_sub(bytes),
                Ok(Step::Closed(code)) => self.on_client_close(code),
                Ok(Step::Disconnected) => self.end(CloseReason::Disconnected, DropReason::Disconnected),
                Err(ending) => self.begin_close(&ending),
            }
        }
        Stop::Idle
    }

    fn resume(&mut self, moment: Moment) -> Result<usize, Ending> {
        let shard = Rc::clone(&self.shard);
        let mut hub = shard.hub.borrow_mut();
        let mut turn = Turn {
            hub: &mut hub,
            settings: &shard.settings,
            metrics: &shard.metrics,
            replies: &mut self.writer.replies,
            gate: &shard.gate,
            ledger: &shard.ledger,
            moment,
        };
        self.reader.resume(&mut self.session, &mut turn)
    }

    fn poll_step(&mut self, cx: &mut Context<'_>, moment: &mut Option<Moment>) -> Poll<Result<Step, Ending>> {
        let shard = Rc::clone(&self.shard);
        let Self { reader, session, writer, stream, .. } = self;
        let mut scratch = shard.read_scratch.borrow_mut();
        reader.poll_step(cx, stream.as_mut(), &mut scratch, |event| match event {
            Event::Message(Kind::Binary, bytes) => {
                shard.metrics.websocket_messages_received.inc();
                let mut hub = shard.hub.borrow_mut();
                let moment = *moment.get_or_insert_with(|| shard.clock.read());
                let replies = &mut writer.replies;
                let (settings, metrics, gate) = (&shard.settings, &shard.metrics, &shard.gate);
                let ledger = &shard.ledger;
                let mut turn = Turn { hub: &mut hub, settings, metrics, replies, gate, ledger, moment };
                process(bytes, session, &mut turn)
            }
            Event::Message(Kind::Text, _) => Err(Ending::new(
                CloseCode::TextMessage,
                "text messages are not accepted; send MessagePack in binary ones",
            )),
            Event::Ping(payload) => {
                shard.hub.borrow_mut().spend(Work::ControlFrame);
                writer.pong(payload);
                Ok(0)
            }
            Event::Pong => {
                shard.hub.borrow_mut().spend(Work::ControlFrame);
                Ok(0)
            }
            Event::Close(_) => Ok(0),
        })
    }

    /// Gives what this connection published to the other shards, and to the keeper of the streams. Publications that no
    /// stream keeps count as accepted once that is done.
    fn poll_hand_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(handing_over) = &mut self.handing_over {
                ready!(handing_over.as_mut().poll(cx));
                self.handing_over = None;
            }
            let outgoing = self.shard.hub.borrow_mut().take_outgoing();
            match outgoing {
                Some(outgoing) => self.handing_over = self.shard.hand_over(outgoing),
                None => break,
            }
        }
        let replies = &mut self.writer.replies;
        replies.now.append(&mut replies.when_queued);
        Poll::Ready(())
    }

    /// What the connection published before its end still reaches the other shards.
    fn leave_hand_over(&mut self, cx: &mut Context<'_>) {
        if self.poll_hand_over(cx).is_pending()
            && let Some(handing_over) = self.handing_over.take()
        {
            let metrics = std::sync::Arc::clone(&self.shard.metrics);
            tokio::task::spawn_local(async move {
                if timeout(HAND_OVER_DEADLINE, handing_over).await.is_err() {
                    metrics.hand_overs_abandoned.inc();
                }
            });
        }
    }

    fn poll_output(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if matches!(self.state, State::Open) && self.shard.hub.borrow().is_overflowed(self.key) {
            self.begin_close(&Ending::new(
                CloseCode::SlowConsumer,
                "the outbox is full, and a subscription asked for a close rather than a loss; read faster or subscribe to less",
            ));
        }
        if matches!(self.state, State::Ended { .. }) {
            return Poll::Ready(());
        }
        let shard = Rc::clone(&self.shard);
        let written = {
            let mut hub = shard.hub.borrow_mut();
            let mut staging = shard.staging.borrow_mut();
            let mut outlet = Outlet {
                key: self.key,
                hub: &mut hub,
                staging: &mut staging,
                metrics: &shard.metrics,
                clock: &shard.clock,
                max_message_bytes: shard.settings.limits.max_message_bytes,
                may_close: self.handing_over.is_none() && self.writer.replies.awaited == 0,
            };
            self.writer.poll_write(cx, self.stream.as_mut(), &mut outlet, Stream::sent_bytes)
        };
        match written {
            Poll::Ready(Ok(())) => {
                if let State::Closing(closing) = &mut self.state
                    && self.writer.is_closed()
                    && !closing.is_flushed
                {
                    closing.is_flushed = true;
                    closing.until = Instant::now() + LINGER;
                }
                Poll::Ready(())
            }
            Poll::Ready(Err(error)) => {
                tracing::trace!(connection = self.session.name(), %error, "the socket takes nothing any more");
                self.end(CloseReason::Disconnected, DropReason::Disconnected);
                Poll::Ready(())
            }
            Poll::Pending => {
                self.session.heartbeat.excuse();
                Poll::Pending
            }
        }
    }

    fn on_client_close(&mut self, code: Option<u16>) {
        self.writer.echo_close(code);
        let reason = match code.map(CloseCode::from_number) {
            None | Some(CloseCode::Normal) => CloseReason::Normal,
            Some(CloseCode::GoingAway) => CloseReason::GoingAway,
            Some(_) => CloseReason::ClientError,
        };
        self.close_within(self.shard.settings.deadlines.write, reason, DropReason::Disconnected);
    }

    pub(super) fn begin_close(&mut self, ending: &Ending) {
        if !matches!(self.state, State::Open) {
            return;
        }
        tracing::debug!(connection = self.session.name(), code = %ending.code, reason = %ending.reason, "closing");
        if ending.code.number() >= 4000 {
            let retry_after_ms = ending.retry_after.map(|delay| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
            BrokerMessage::Closing(ClosingMessage { code: ending.code, reason: &ending.reason, retry_after_ms })
                .encode(&mut self.writer.replies.now);
        }
        self.writer.close(ending);
        let deadlines = &self.shard.settings.deadlines;
        let time = if ending.flushes_outbox() { deadlines.drain } else { deadlines.write };
        self.close_within(time, ending.close_reason(), ending.drop_reason());
    }

    /// The close frame is on its way; `time` is for it to be written.
    fn close_within(&mut self, time: Duration, reason: CloseReason, dropped: DropReason) {
        let until = Instant::now() + time;
        self.state = State::Closing(Closing { until, reason, dropped, is_flushed: false });
    }

    /// Nothing more is read or written. A connection that was closing ends for the reason it was closed for.
    pub(super) fn end(&mut self, reason: CloseReason, dropped: DropReason) {
        let (reason, dropped) = match &self.state {
            State::Open => (reason, dropped),
            State::Closing(closing) => (closing.reason, closing.dropped),
            State::Ended { .. } => return,
        };
        self.state = State::Ended { reason, dropped };
    }

    /// The close frame has left: tells the stream's end, and waits for the client's, so that TCP resets nothing that
    /// the client has not read yet.
    fn poll_goodbye(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if Pin::new(self.stream.as_mut()).poll_shutdown(cx).is_pending() {
            return Poll::Pending;
        }
        loop {
            match ready!(Pin::new(self.stream.as_mut()).poll_fill_buf(cx)) {
                Ok([]) | Err(_) => return Poll::Ready(()),
                Ok(discarded) => {
                    let bytes = discarded.len();
                    Pin::new(self.stream.as_mut()).consume(bytes);
                }
            }
        }
    }

    /// Writes what waits for the connection out of its turn, as most of them get nothing but deliveries for long: a turn
    /// looks at the socket's input, at deadlines and at what else there is, which costs as much as the write. Whether
    /// that was all; else the connection is to have its turn.
    pub(crate) fn write_out(&mut self, cx: &mut Context<'_>) -> bool {
        let is_open = |this: &Self| matches!(this.state, State::Open);
        if !is_open(self) || self.writer.blocked_since().is_some() {
            return false;
        }
        self.poll_output(cx).is_ready() && is_open(self) && !self.shard.hub.borrow().reads_on(self.key)
    }

    /// The task has ended.
    fn leave(&mut self) {
        self.set_busy(false);
        let (reason, dropped) = match self.state {
            State::Closing(Closing { reason, dropped, .. }) | State::Ended { reason, dropped } => (reason, dropped),
            // The shard stops with the connection still open.
            State::Open => (CloseReason::Draining, DropReason::Draining),
        };
        let shard = &self.shard;
        shard.metrics.connections_closed.of(reason).inc();
        shard.metrics.messages_dropped.of(dropped).add(self.writer.unsent_deliveries());
        shard.unregister(self.key);
        shard.hub.borrow_mut().disconnect(self.key, dropped);
        shard.end_turn();
        tracing::debug!(connection = self.session.name(), reason = reason.name(), "closed");
    }

    /// Counts it among the shard's busy connections, or not.
    fn set_busy(&mut self, is_busy: bool) {
        let busy = &self.shard.busy;
        busy.set(busy.get() + usize::from(is_busy) - usize::from(self.is_busy));
        self.is_busy = is_busy;
    }
}

/// The task of a connection, which shares it with the shard: see [`Connection::write_out`].
pub(super) struct Task(Rc<RefCell<Connection>>);

impl Task {
    pub(super) fn new(connection: Connection) -> Self {
        Self(Rc::new(RefCell::new(connection)))
    }
}

impl Future for Task {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self.0.borrow_mut();
        this.shard.register(this.key, cx.waker(), &self.0);
        let busy = this.shard.busy.get();
        this.shard.hub.borrow_mut().begin_turn(busy);
        this.begin_turn();
        let share = INPUT_BYTES_FOR_EACH_ROUND / busy.max(1);
        let mut left = share.clamp(LEAST_INPUT_BYTES_FOR_A_TURN, INPUT_BYTES_FOR_EACH_TURN);
        let mut has_more;
        loop {
            let stop = this.poll_input(cx, &mut left);
            this.set_busy(stop == Stop::TurnIsOver);
            if matches!(this.state, State::Closing(_)) {
                let _ = this.poll_hand_over(cx);
            }
            this.poll_deadlines(cx, stop);
            let is_written = this.poll_output(cx).is_ready();
            // There is room again, and something of the turn is left.
            if stop != Stop::RepliesFull || !is_written || is_full(&this.writer.replies, &this.shard.settings.limits) {
                has_more = stop == Stop::TurnIsOver;
                break;
            }
        }
        has_more |= matches!(this.state, State::Open) && this.shard.hub.borrow_mut().read_on(this.key);
        this.stream.park();
        this.shard.note_buffered(this.key, this.buffered_bytes());
        this.shard.end_turn();
        if has_more {
            this.shard.go_on_behind_others(cx);
        }
        if let State::Closing(Closing { is_flushed: true, reason, dropped, .. }) = this.state
            && this.poll_goodbye(cx).is_ready()
        {
            this.end(reason, dropped);
        }
        this.set_timer();
        match this.state {
            State::Ended { .. } => {
                this.leave_hand_over(cx);
                Poll::Ready(())
            }
            _ => Poll::Pending,
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.borrow_mut().leave();
    }
}
