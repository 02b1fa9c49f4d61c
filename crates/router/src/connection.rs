//! One connection: its subscriptions and its outbox.

use std::rc::Rc;

use carillon_wire::{GapReason, Id};

use crate::{
    connections::Dropped,
    encoded::Encoded,
    limits::Limits,
    outbox::{Full, Outbox, Taken, Waiting},
    subscribers::Subscriber,
    subscriptions::Subscriptions,
};

/// Something that a connection has to be sent. It belongs to the caller now and cannot be dropped any more.
#[derive(Debug)]
pub enum Outgoing {
    /// A message that matched at least one subscription.
    Message(Rc<Encoded>),
    /// Messages of one subscription are missing here.
    Gap {
        /// Whose.
        subscription: Id,
        /// Why.
        reason: GapReason,
        /// How many; at least 1.
        count: u64,
    },
    /// The reply to an unsubscribe, which ends the subscription.
    Reply(Rc<Encoded>),
}

/// A connection as the router sees it.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) generation: u32,
    /// The outbox was full for a message that must not be dropped. Nothing is done any more but to disconnect.
    pub(crate) is_overflowed: bool,
    outbox: Outbox,
    pub(crate) subscriptions: Subscriptions,
}

impl Connection {
    pub(crate) fn new(generation: u32) -> Self {
        let (outbox, subscriptions) = (Outbox::default(), Subscriptions::default());
        Self { generation, is_overflowed: false, outbox, subscriptions }
    }

    pub(crate) const fn waiting(&self) -> Waiting {
        self.outbox.waiting()
    }

    pub(crate) const fn has_seen(&self, message: &Encoded) -> bool {
        self.outbox.has_seen(message)
    }

    /// Takes a message for one subscription. When that has no room and must not be dropped, the connection is given up.
    pub(crate) fn offer(
        &mut self,
        message: &Rc<Encoded>,
        subscriber: Subscriber,
        limits: &Limits,
        dropped: &mut Dropped,
    ) {
        // A message that was offered before, for another subscription, and dropped is counted already.
        let (before, is_counted) = (*dropped, self.outbox.has_seen(message));
        let waiting = self.outbox.waiting();
        if let Err(Full) = self.outbox.offer(message, subscriber, &mut self.subscriptions, limits, dropped) {
            self.give_up(before, waiting.messages as u64 + u64::from(!is_counted), dropped);
        }
    }

    /// Keeps at most so many bytes of memory for messages. When more must not be dropped, the connection is given up.
    pub(crate) fn shrink(&mut self, max_bytes: usize, dropped: &mut Dropped) {
        let (before, waiting) = (*dropped, self.outbox.waiting());
        if let Err(Full) = self.outbox.shrink(max_bytes, &mut self.subscriptions, dropped) {
            self.give_up(before, waiting.messages as u64, dropped);
        }
    }

    fn give_up(&mut self, before: Dropped, messages: u64, dropped: &mut Dropped) {
        // What was dropped in vain is lost for the same reason as the rest.
        *dropped = before;
        dropped.slow_consumer += messages;
        self.outbox = Outbox::default();
        self.is_overflowed = true;
    }

    pub(crate) fn push_reply(&mut self, message: Rc<Encoded>, slot: u32) {
        self.outbox.push_reply(message, slot);
    }

    pub(crate) fn next_bytes(&self) -> Option<usize> {
        self.outbox.next_bytes()
    }

    pub(crate) fn next(&mut self) -> Option<Outgoing> {
        Some(match self.outbox.next()? {
            Taken::Message(message) => Outgoing::Message(message),
            Taken::Reply { message, ends } => {
                self.subscriptions.release(ends);
                Outgoing::Reply(message)
            }
            Taken::Gap(gap) => {
                let subscription = self.subscriptions.get_mut(gap.slot)?.id;
                Outgoing::Gap { subscription, reason: GapReason::Overflow, count: gap.count.into() }
            }
        })
    }
}
