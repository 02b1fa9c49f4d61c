//! When something is due on a connection, and what is done then.
//!
//! A connection has one timer. Deadlines are judged only after what lies in the socket was read, so that a client is
//! never cut off for an answer that the broker itself was late to read.

use std::{
    future::Future,
    task::{Context, Poll},
};

use carillon_metrics::{CloseReason, DropReason};
use carillon_wire::{BrokerMessage, CloseCode, NoticeKind, broker_message::Notice};
use tokio::time::{Duration, Instant};

use super::task::{Connection, State, Stop};
use crate::session::{Ending, heartbeat::Due, membership::TermDue};

/// The shortest time between two looks, so that a deadline that cannot be met now does not turn into a busy loop.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);
/// A client in the middle of a long message cannot answer a heartbeat inside it. It need not while at least so many
/// bytes came since the last one.
const UPLOAD_BYTES: u64 = 1 << 10;

impl Connection {
    /// Does what is due, and sets the timer for what is due next. `stop` tells why reading stopped before.
    pub(super) fn poll_deadlines(&mut self, cx: &mut Context<'_>, stop: Stop) {
        while let Poll::Ready(()) = self.timer.as_mut().poll(cx) {
            let now = Instant::now();
            match &self.state {
                State::Open => self.judge(now, stop),
                State::Closing(closing) if closing.until <= now => self.end(closing.reason, closing.dropped),
                State::Closing(_) => {}
                State::Ended { .. } => return,
            }
            let next = self.next_deadline().max(now + SHORTEST_WAIT);
            self.timer.as_mut().reset(next);
        }
    }

    /// Sets the timer to an earlier moment, where what was just done brought a deadline nearer. A later one is found when
    /// the timer fires.
    pub(super) fn set_timer(&mut self) {
        let due = self.next_deadline();
        if due < self.timer.deadline() {
            self.timer.as_mut().reset(due);
        }
    }

    fn next_deadline(&self) -> Instant {
        match &self.state {
            State::Open => {
                let said = if let Some(due) = self.session.membership_due() {
                    due.min(self.session.heartbeat.due())
                } else if self.session.is_connected() {
                    self.session.heartbeat.due()
                } else {
                    self.connect_due
                };
                match self.writer.blocked_since() {
                    Some(since) => said.min(since + self.shard.settings.deadlines.write),
                    None => said,
                }
            }
            State::Closing(closing) => closing.until,
            State::Ended { .. } => self.timer.deadline(),
        }
    }

    fn judge(&mut self, now: Instant, stop: Stop) {
        let deadlines = &self.shard.settings.deadlines;
        if self.writer.blocked_since().is_some_and(|since| since + deadlines.write <= now) {
            tracing::debug!(connection = self.session.name(), "the socket took no byte for {:?}", deadlines.write);
            self.end(CloseReason::WriteTimeout, DropReason::Disconnected);
        } else if self.session.is_connected() {
            self.judge_term(now);
            self.judge_heartbeat(now, stop);
        } else if self.connect_due <= now {
            // What was sent in time may still lie unread, but not for ever: a flood of frames is no connect message.
            if stop != Stop::Idle && now < self.connect_due + deadlines.connect {
                return;
            }
            self.begin_close(&Ending::new(CloseCode::ConnectTimeout, "no connect message came in time"));
        }
    }

    fn judge_term(&mut self, now: Instant) {
        match self.session.membership().and_then(|membership| membership.on_due(now)) {
            None => {}
            Some(TermDue::Notice(left)) => {
                let message = "the credentials run out; refresh them, or the connection ends with them";
                let in_ms = u64::try_from(left.as_millis()).ok();
                BrokerMessage::Notice(Notice { kind: NoticeKind::CredentialsExpire, message, in_ms })
                    .encode(&mut self.writer.replies.now);
            }
            Some(TermDue::Ended) => {
                self.begin_close(&Ending::new(CloseCode::Unauthenticated, "the credentials have run out"));
            }
        }
    }

    fn judge_heartbeat(&mut self, now: Instant, stop: Stop) {
        let heartbeat = &mut self.session.heartbeat;
        if heartbeat.due() > now {
            return;
        }
        if stop != Stop::Idle || self.reader.take_upload_bytes() >= UPLOAD_BYTES {
            heartbeat.excuse();
        }
        match heartbeat.on_due(now) {
            Due::Ask(number) => {
                let is_blocked = self.writer.blocked_since().is_some();
                let replies = &mut self.writer.replies.now;
                let is_read = replies.is_empty() && !is_blocked;
                BrokerMessage::Heartbeat(number).encode(replies);
                self.shard.metrics.heartbeats_sent.inc();
                // A client that does not even read its replies is told where it can resume with a later heartbeat.
                if is_read {
                    self.shard.hub.borrow_mut().tell_positions(self.key, replies);
                }
            }
            Due::TimedOut => {
                let reason = "the last heartbeat was not answered before the next was due";
                self.begin_close(&Ending::new(CloseCode::HeartbeatTimeout, reason));
            }
        }
    }
}
