//! Publications that wait: sent again after a lost connection, given up when their time is over.

use std::time::Duration;

use carillon_wire::{Id, broker_message::OkReply};
use tokio::time::Instant;

use super::{Outgoing, Pending, Session};
use crate::{
    command::{Deadline, Publish},
    error::{ConnectionLost, PublishError, Refusal},
    position::Position,
    publication::{Ack, Kept},
};

/// Deadlines are looked at this often at most, however many there are, because each look is at all that waits.
const DEADLINE_STEP: Duration = Duration::from_millis(10);

impl Session {
    /// Remembers when to look at deadlines next.
    pub(super) fn note_deadline(&mut self, publish: &Publish) {
        if let Some(Deadline { at, .. }) = publish.deadline {
            self.next_deadline = Some(self.next_deadline.map_or(at, |next| next.min(at)));
        }
    }

    /// When [`Session::on_time`] has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.next_deadline
    }

    /// Gives up what has waited too long.
    pub(crate) fn on_time(&mut self, now: Instant) {
        if self.next_deadline.is_none_or(|next| now < next) {
            return;
        }
        let is_over = |publish: &Publish| publish.deadline.is_some_and(|deadline| deadline.at <= now);
        let in_flight = self.pending.extract_if(|_, pending| matches!(pending, Pending::Publish(it) if is_over(it)));
        let mut over: Vec<(Publish, bool)> = in_flight
            .filter_map(|(_, pending)| match pending {
                Pending::Publish(publish) => Some((publish, true)),
                _ => None,
            })
            .collect();
        for outgoing in std::mem::take(&mut self.queue) {
            match outgoing {
                Outgoing::Publish(publish) if is_over(&publish) => {
                    let was_sent = publish.lost.is_some();
                    over.push((publish, was_sent));
                }
                other => self.queue.push_back(other),
            }
        }
        for (publish, was_sent) in over {
            let within = publish.deadline.map(|deadline| deadline.within).unwrap_or_default();
            publish.answer(Err(PublishError::TimedOut { within, was_sent }));
        }
        let waiting = self.queue.iter().filter_map(|outgoing| match outgoing {
            Outgoing::Publish(publish) => publish.deadline,
            _ => None,
        });
        let in_flight = self.pending.values().filter_map(|pending| match pending {
            Pending::Publish(publish) => publish.deadline,
            _ => None,
        });
        let next = waiting.chain(in_flight).map(|deadline| deadline.at).min();
        self.next_deadline = next.map(|next| next.max(now + DEADLINE_STEP));
    }

    /// The connection is gone before the replies to these publications came. Those that their streams know again are sent again
    /// first, in their order.
    pub(super) fn keep_or_fail(&mut self, mut in_flight: Vec<(Id, Publish)>, cause: &ConnectionLost) {
        in_flight.sort_unstable_by_key(|(id, _)| *id);
        for (_, mut publish) in in_flight.into_iter().rev() {
            if publish.message_id.is_some() {
                publish.lost = Some(Box::new(cause.clone()));
                self.queue.push_front(Outgoing::Publish(publish));
            } else {
                publish.answer(Err(PublishError::OutcomeUnknown(cause.clone())));
            }
        }
    }

    /// The broker accepted a publication.
    pub(super) fn published(&mut self, publish: Publish, ok: &OkReply<'_>) {
        let names = &mut self.table.names;
        let kept = match (ok.stream, ok.epoch, ok.sequence) {
            (Some(stream), Some(epoch), Some(sequence)) => Some(Kept {
                stream: names.get(stream),
                position: Position::told(names.get(epoch), sequence),
                is_duplicate: ok.is_duplicate,
            }),
            _ => None,
        };
        publish.answer(Ok(Ack { kept }));
    }
}

/// What a refusal means for who published.
pub(super) fn refused(publish: Publish, refusal: Refusal) {
    let error = match publish.lost.as_deref() {
        None => PublishError::Refused(refusal),
        Some(lost) => PublishError::RefusedAgain { refusal, lost: lost.clone() },
    };
    publish.answer(Err(error));
}
