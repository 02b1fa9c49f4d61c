//! The task of one WebSocket connection. It polls both directions, waits on nothing else, and holds no lock.

use std::{
    future::Future,
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use carillon_metrics::{CloseReason, DropReason, HandshakeFailure, Phase};
use carillon_router::ConnectionKey;
use carillon_wire::{BrokerMessage, CloseCode, broker_message::Closing};
use tokio::{
    io::AsyncWrite,
    time::{Duration, Instant, Sleep, sleep_until, timeout},
};

use super::{
    Stream,
    reader::{Reader, Step, is_full, process},
    writer::{Outlet, Writer},
};
use crate::{
    clock::Moment,
    session::{
        Ending, Session, Turn,
        heartbeat::{Due, Heartbeat},
    },
    shard::{PhaseGuard, Seat, Shard},
    websocket::{Event, Kind},
};

/// Input that is taken before the other direction, and the other connections, get their turn.
const INPUT_BYTES_FOR_EACH_TURN: usize = 64 << 10;
/// For the client to answer a close that was written, before its socket is closed on it.
const LINGER: Duration = Duration::from_secs(2);
/// For what a connection published before its end to find room at the other shards, so that clients who connect,
/// publish and go again and again cannot fill the memory with it.
const HAND_OVER_DEADLINE: Duration = Duration::from_secs(2);

/// A connection that is a WebSocket.
pub(super) struct Connection {
    stream: Box<Stream>,
    reader: Reader,
    writer: Writer,
    session: Session,
    shard: Rc<Shard>,
    key: ConnectionKey,
    timer: Pin<Box<Sleep>>,
    connect_due: Instant,
    /// Publications on their way into the queues of other shards that were full.
    handing_over: Option<Pin<Box<dyn Future<Output = ()>>>>,
    state: State,
    _seat: Seat,
    _phase: PhaseGuard,
}

enum State {
    Open,
    /// The close frame is on its way out, or, once it `is_flushed`, the client's answer is waited for; until then.
    Closing {
        until: Instant,
        reason: CloseReason,
        dropped: DropReason,
        is_flushed: bool,
    },
    Ended {
        reason: CloseReason,
        dropped: DropReason,
    },
}

impl Connection {
    pub(super) fn new(stream: Stream, early: Bytes, peer: SocketAddr, shard: Rc<Shard>, seat: Seat) -> Self {
        let now = Instant::now();
        let settings = &shard.settings;
        let key = shard.hub.borrow_mut().connect();
        let heartbeat = Heartbeat::new(settings.deadlines.heartbeat, now);
        let connect_due = now + settings.deadlines.connect;
        let name = shard.connection_name();
        tracing::debug!(connection = name, %peer, "open");
        Self {
            stream: Box::new(stream),
            reader: Reader::new(settings.limits.max_message_bytes, early),
            writer: Writer::default(),
            session: Session::new(key, name, heartbeat),
            key,
            timer: Box::pin(sleep_until(connect_due.min(now + settings.deadlines.heartbeat))),
            connect_due,
            handing_over: None,
            state: State::Open,
            _seat: seat,
            _phase: shard.phase(Phase::WebSocket),
            shard,
        }
    }

    /// Reads until the client has nothing more, or what it causes finds no room. `Ready` asks for another turn.
    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut left = INPUT_BYTES_FOR_EACH_TURN;
        let mut moment = None;
        while matches!(self.state, State::Open) {
            if self.poll_hand_over(cx).is_pending() {
                self.session.heartbeat.excuse();
                return Poll::Pending;
            }
            if self.is_full() {
                self.session.heartbeat.excuse();
                return Poll::Pending;
            }
            if left == 0 {
                return Poll::Ready(());
            }
            let taken = if self.reader.holds() {
                let moment = *moment.get_or_insert_with(|| self.shard.clock.read());
                self.resume(moment).map(|()| Step::Read(1))
            } else {
                ready!(self.poll_step(cx, &mut moment))
            };
            match taken {
                Ok(Step::Read(bytes)) => left = left.saturating_sub(bytes),
                Ok(Step::Closed(code)) => self.on_client_close(code),
                Ok(Step::Disconnected) => self.end(CloseReason::Disconnected, DropReason::Disconnected),
                Err(ending) => self.begin_close(&ending),
            }
        }
        Poll::Pending
    }

    fn resume(&mut self, moment: Moment) -> Result<(), Ending> {
        let shard = Rc::clone(&self.shard);
        let mut hub = shard.hub.borrow_mut();
        let mut turn = Turn {
            hub: &mut hub,
            settings: &shard.settings,
            metrics: &shard.metrics,
            replies: &mut self.writer.replies,
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
                let mut turn =
                    Turn { hub: &mut hub, settings: &shard.settings, metrics: &shard.metrics, replies, moment };
                process(bytes, session, &mut turn)
            }
            Event::Message(Kind::Text, _) => Err(Ending::new(
                CloseCode::TextMessage,
                "text messages are not accepted; send MessagePack in binary ones",
            )),
            Event::Ping(payload) => {
                writer.pong(payload);
                Ok(0)
            }
            Event::Pong | Event::Close(_) => Ok(0),
        })
    }

    fn is_full(&mut self) -> bool {
        is_full(&self.writer.replies, &self.shard.settings.limits)
    }

    /// Gives what this connection published to the other shards. Publications count as accepted once that is done.
    fn poll_hand_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(handing_over) = &mut self.handing_over {
                ready!(handing_over.as_mut().poll(cx));
                self.handing_over = None;
            }
            let batch = self.shard.hub.borrow_mut().take_batch();
            match batch {
                Some(batch) => self.handing_over = self.shard.hand_over(batch),
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
            tokio::task::spawn_local(timeout(HAND_OVER_DEADLINE, handing_over));
        }
    }

    fn poll_output(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if matches!(self.state, State::Open) && self.shard.hub.borrow().is_overflowed(self.key) {
            self.begin_close(&Ending::new(
                CloseCode::SlowConsumer,
                "the outbox is full, and a subscription asked for a close rather than a loss; read faster or subscribe to less",
            ));
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
            };
            self.writer.poll_write(cx, self.stream.as_mut(), &mut outlet, |stream| stream.get_ref().0.sent_bytes())
        };
        match written {
            Poll::Ready(Ok(())) => {
                if let State::Closing { until, is_flushed, .. } = &mut self.state
                    && !*is_flushed
                {
                    *is_flushed = true;
                    *until = Instant::now() + LINGER;
                    let until = *until;
                    self.wake_at(until);
                }
                Poll::Ready(())
            }
            Poll::Ready(Err(error)) => {
                tracing::trace!(%error, "the socket takes nothing any more");
                self.end(CloseReason::Disconnected, DropReason::Disconnected);
                Poll::Ready(())
            }
            Poll::Pending => {
                self.session.heartbeat.excuse();
                if let Some(blocked) = self.writer.blocked() {
                    self.wake_at(blocked.since + self.shard.settings.deadlines.write);
                }
                Poll::Pending
            }
        }
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) {
        while self.timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            let next = match self.state {
                State::Open => self.on_time(now),
                State::Closing { until, reason, dropped, .. } => {
                    if until <= now {
                        self.end(reason, dropped);
                    }
                    until
                }
                State::Ended { .. } => return,
            };
            self.timer.as_mut().reset(next.max(now + Duration::from_millis(1)));
        }
    }

    /// Does what is due, and tells when the next thing is.
    fn on_time(&mut self, now: Instant) -> Instant {
        let deadlines = &self.shard.settings.deadlines;
        let mut next = now + deadlines.heartbeat;
        if let Some(blocked) = self.writer.blocked() {
            let sent_bytes = self.stream.get_ref().0.sent_bytes();
            if sent_bytes != blocked.sent_bytes {
                self.writer.progressed(now, sent_bytes);
                next = next.min(now + deadlines.write);
            } else if blocked.since + deadlines.write <= now {
                tracing::debug!("a socket took no byte for {:?}", deadlines.write);
                self.end(CloseReason::WriteTimeout, DropReason::Disconnected);
                return next;
            } else {
                next = next.min(blocked.since + deadlines.write);
            }
        }
        if !self.session.is_connected() {
            if self.connect_due > now {
                return next.min(self.connect_due);
            }
            self.shard.metrics.handshake_failures.of(HandshakeFailure::ConnectTimeout).inc();
            self.begin_close(&Ending::new(CloseCode::ConnectTimeout, "no connect message came in time"));
            return now;
        }
        let heartbeat = &mut self.session.heartbeat;
        if heartbeat.due() <= now {
            match heartbeat.on_due(now) {
                Due::Ask(number) => {
                    BrokerMessage::Heartbeat(number).encode(&mut self.writer.replies.now);
                    self.shard.metrics.heartbeats_sent.inc();
                }
                Due::TimedOut => {
                    let reason = "the last heartbeat was not answered before the next was due";
                    self.begin_close(&Ending::new(CloseCode::HeartbeatTimeout, reason));
                    return now;
                }
            }
        }
        next.min(self.session.heartbeat.due())
    }

    fn wake_at(&mut self, when: Instant) {
        if when < self.timer.deadline() {
            self.timer.as_mut().reset(when);
        }
    }

    fn on_client_close(&mut self, code: Option<u16>) {
        self.writer.echo_close(code);
        let reason =
            if code == Some(CloseCode::GoingAway.number()) { CloseReason::GoingAway } else { CloseReason::Normal };
        self.close_within(self.shard.settings.deadlines.write, reason, DropReason::Disconnected);
    }

    fn begin_close(&mut self, ending: &Ending) {
        if !matches!(self.state, State::Open) {
            return;
        }
        tracing::debug!(code = %ending.code, reason = %ending.reason, "closing a connection");
        if ending.code.number() >= 4000 {
            let retry_after_ms = ending.retry_after.map(|delay| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
            BrokerMessage::Closing(Closing { code: ending.code, reason: &ending.reason, retry_after_ms })
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
        self.state = State::Closing { until, reason, dropped, is_flushed: false };
        self.wake_at(until);
    }

    fn end(&mut self, reason: CloseReason, dropped: DropReason) {
        self.state = State::Ended { reason, dropped };
    }

    /// The close frame has left: tells the stream's end, and waits for the client's, so that TCP resets nothing that
    /// the client has not read yet.
    fn poll_goodbye(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if Pin::new(self.stream.as_mut()).poll_shutdown(cx).is_pending() {
            return Poll::Pending;
        }
        loop {
            let stream = Pin::new(self.stream.as_mut());
            match ready!(tokio::io::AsyncBufRead::poll_fill_buf(stream, cx)) {
                Ok([]) | Err(_) => return Poll::Ready(()),
                Ok(discarded) => {
                    let bytes = discarded.len();
                    tokio::io::AsyncBufRead::consume(Pin::new(self.stream.as_mut()), bytes);
                }
            }
        }
    }
}

impl Future for Connection {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        this.shard.register(this.key, cx.waker());
        this.poll_timer(cx);
        if matches!(this.state, State::Open)
            && let Some(retry_after) = this.shard.draining()
        {
            let mut ending = Ending::new(CloseCode::Draining, "the broker is being stopped; come back later");
            ending.retry_after = Some(retry_after);
            this.begin_close(&ending);
        }
        loop {
            let wants_more = this.poll_input(cx).is_ready();
            if matches!(this.state, State::Closing { .. }) {
                let _ = this.poll_hand_over(cx);
            }
            let was_full = this.is_full();
            let is_written = this.poll_output(cx).is_ready();
            if wants_more {
                // The others first.
                cx.waker().wake_by_ref();
                break;
            }
            if !(is_written && was_full && matches!(this.state, State::Open)) {
                break;
            }
        }
        this.shard.end_turn();
        if let State::Closing { is_flushed: true, reason, dropped, .. } = this.state
            && this.poll_goodbye(cx).is_ready()
        {
            this.end(reason, dropped);
        }
        match this.state {
            State::Ended { .. } => {
                this.leave_hand_over(cx);
                Poll::Ready(())
            }
            _ => Poll::Pending,
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let (reason, dropped) = match self.state {
            State::Closing { reason, dropped, .. } | State::Ended { reason, dropped } => (reason, dropped),
            // The shard stops with the connection still open.
            State::Open => (CloseReason::Draining, DropReason::Draining),
        };
        self.shard.metrics.connections_closed.of(reason).inc();
        self.shard.unregister(self.key);
        self.shard.hub.borrow_mut().disconnect(self.key, dropped);
        self.shard.end_turn();
        tracing::debug!(reason = carillon_metrics::Label::name(reason), "closed");
    }
}
