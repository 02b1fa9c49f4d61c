//! What a connection does at the beginning of its turn: it takes its mail, and heeds what holds for all of its shard.

use std::rc::Rc;

use carillon_metrics::{CloseReason, DropReason};
use carillon_wire::CloseCode;
use rand::Rng;
use tokio::time::Duration;

use super::{
    reader::Reader,
    task::{Connection, State},
};
use crate::session::{Ending, Replies, Turn};

/// When to come back after the broker was short of memory; each client gets its own time out of the range.
const OVERLOADED: std::ops::Range<Duration> = Duration::from_secs(5)..Duration::from_secs(10);

impl Connection {
    pub(super) fn begin_turn(&mut self) {
        self.read_mail();
        self.begin_drain();
        self.look_again();
        self.give_way();
    }

    /// Takes what the keeper of the streams has answered.
    fn read_mail(&mut self) {
        let Some(mail) = self.shard.take_mail(self.key) else { return };
        let replies = &mut self.writer.replies;
        replies.now.extend_from_slice(&mail.messages);
        replies.awaited = replies.awaited.saturating_sub(mail.answered);
        if let Some(membership) = self.session.membership() {
            for _ in 0..mail.ended_subscriptions {
                membership.accounts.leave_subscription();
            }
        }
    }

    fn begin_drain(&mut self) {
        if matches!(self.state, State::Open)
            && let Some(retry_after) = self.shard.draining()
        {
            let mut ending = Ending::new(CloseCode::Draining, "the broker is being stopped; come back later");
            ending.retry_after = Some(retry_after);
            self.begin_close(&ending);
        }
    }

    /// Asks again whether the client may stay, and with what permissions, when the rules were replaced.
    fn look_again(&mut self) {
        let times = self.shard.rules_replaced();
        if self.rules_seen == times {
            return;
        }
        self.rules_seen = times;
        let shard = Rc::clone(&self.shard);
        let moment = shard.clock.read();
        let Some(membership) = self.session.membership() else { return };
        match membership.look_again(&shard.gate, moment) {
            Ok(()) => {
                let mut hub = shard.hub.borrow_mut();
                let (settings, metrics, gate) = (&shard.settings, &shard.metrics, &shard.gate);
                let replies = &mut self.writer.replies;
                let ledger = &shard.ledger;
                Turn { hub: &mut hub, settings, metrics, replies, gate, ledger, moment }
                    .end_forbidden_subscriptions(self.key, membership);
            }
            Err(refused) => self.begin_close(&Ending::new(CloseCode::Unauthenticated, refused.to_string())),
        }
    }

    /// What it holds beside its outbox, in bytes.
    pub(super) fn buffered_bytes(&self) -> usize {
        self.reader.buffered_bytes() + self.writer.replies.size_bytes() + self.unsent_bytes()
    }

    /// What the socket did not take of the last write, in bytes, before and behind TLS.
    fn unsent_bytes(&self) -> usize {
        self.writer.unsent_bytes() + self.stream.unsent_bytes()
    }

    /// Lets go of what it holds where the broker holds too much, and this connection more than it may keep.
    fn give_way(&mut self) {
        let may_keep_bytes = self.shard.may_keep_bytes();
        if self.unsent_bytes() > may_keep_bytes {
            tracing::debug!(
                connection = self.session.name(),
                "memory is short, and the socket does not take what waits"
            );
            // Nothing can be said in the middle of a frame.
            self.end(CloseReason::Overloaded, DropReason::Disconnected);
        } else if self.buffered_bytes() + self.page_bytes() > may_keep_bytes && matches!(self.state, State::Open) {
            self.reader = Reader::new(self.shard.settings.limits.max_message_bytes, &[]);
            self.writer.replies = Replies::default();
            let reason = "the broker is short of memory, and holds more for you than your share; read replies, and come \
                          back later";
            let mut ending = Ending::new(CloseCode::Overloaded, reason);
            ending.retry_after = Some(rand::rng().random_range(OVERLOADED));
            self.begin_close(&ending);
        }
    }

    /// What waits for it of streams' history, in bytes.
    fn page_bytes(&self) -> usize {
        self.shard.hub.borrow().page_bytes(self.key)
    }
}
