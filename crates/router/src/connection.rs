//! One connection: its subscriptions and its outbox.

use std::rc::Rc;

use carillon_wire::{GapReason, Id};

use crate::{
    encoded::Encoded,
    limits::Limits,
    losses::Losses,
    memory::Memory,
    outbox::{Full, Outbox, Taken},
    streams::{Aside, StreamSequence, TakenAside},
    subscribers::Subscriber,
    subscriptions::Subscriptions,
    waiting::Waiting,
};

/// Something that a connection has to be sent. It belongs to the caller now and cannot be dropped any more.
#[derive(Debug)]
pub enum Outgoing {
    /// A message that matched at least one subscription.
    Message(Rc<Encoded>),
    /// A message that a stream keeps and that matched at least one subscription: where it does not arrive, it is read again.
    InStream(Rc<Encoded>),
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
    /// Something of a stream for one subscription alone.
    Aside(TakenAside),
}

/// What was dropped by policy, before something was that may turn out to be in vain.
struct DroppedBefore {
    drop_oldest: u64,
    gaps: u64,
}

impl DroppedBefore {
    const fn of(losses: &Losses) -> Self {
        Self { drop_oldest: losses.dropped.drop_oldest, gaps: losses.dropped.gaps }
    }
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
        losses: &mut Losses,
    ) {
        // A message that was offered before, for another subscription, and dropped is counted already.
        let (before, is_counted) = (DroppedBefore::of(losses), self.outbox.has_seen(message));
        if let Err(Full) = self.outbox.offer(message, subscriber, &mut self.subscriptions, limits, losses) {
            self.give_up(&before, u64::from(!is_counted), losses);
        }
    }

    /// Takes a message of a stream for one subscription, which is not held.
    pub(crate) fn offer_in_stream(
        &mut self,
        message: &Rc<Encoded>,
        at: StreamSequence,
        slot: u32,
        limits: &Limits,
        losses: &mut Losses,
    ) {
        self.outbox.offer_in_stream(message, at, slot, &self.subscriptions, limits, losses);
    }

    pub(crate) fn is_held(&self, slot: u32, stream: u32) -> bool {
        self.outbox.is_held(slot, stream)
    }

    /// Holds a subscription for a stream, if it lives; whether it does.
    pub(crate) fn hold(&mut self, id: Id, stream: u32) -> bool {
        let slot = self.subscriptions.find_live(id);
        if let Some(slot) = slot {
            self.outbox.hold(slot, stream);
        }
        slot.is_some()
    }

    pub(crate) fn release(&mut self, id: Id, stream: u32) {
        if let Some(slot) = self.subscriptions.find_live(id) {
            self.outbox.release(slot, stream);
        }
    }

    pub(crate) fn first_waiting(&self, stream: u32) -> Option<u64> {
        self.outbox.first_waiting(stream)
    }

    pub(crate) fn drop_stream(&mut self, stream: u32, losses: &mut Losses) {
        self.outbox.drop_stream(stream, &self.subscriptions, losses);
    }

    pub(crate) fn fall_behind(&mut self, slot: u32, missing: StreamSequence, losses: &mut Losses) {
        self.outbox.fall_behind(slot, missing, &self.subscriptions, losses);
    }

    pub(crate) fn push_aside(&mut self, seq: u64, aside: Aside, memory: &Memory) {
        self.outbox.push_aside(seq, aside, memory);
    }

    /// Messages that wait and that nobody has but this outbox: those of streams are kept there.
    pub(crate) fn plain_messages(&self) -> u64 {
        (self.outbox.waiting().messages - self.outbox.stream_messages()) as u64
    }

    /// Keeps at most so many bytes of memory for messages. When more must not be dropped, the connection is given up.
    pub(crate) fn shrink(&mut self, max_bytes: usize, losses: &mut Losses) {
        let before = DroppedBefore::of(losses);
        if let Err(Full) = self.outbox.shrink(max_bytes, &mut self.subscriptions, losses) {
            self.give_up(&before, 0, losses);
        }
    }

    /// Loses what waits, what was dropped in vain since `before`, and so many messages that were about to wait.
    fn give_up(&mut self, before: &DroppedBefore, about_to_wait: u64, losses: &mut Losses) {
        // What was dropped in vain is lost for the same reason as the rest.
        let dropped = &mut losses.dropped;
        let dropped_in_vain = dropped.drop_oldest - before.drop_oldest;
        (dropped.drop_oldest, dropped.gaps) = (before.drop_oldest, before.gaps);
        dropped.slow_consumer += dropped_in_vain + self.plain_messages() + about_to_wait;
        self.outbox = Outbox::default();
        self.is_overflowed = true;
    }

    pub(crate) fn push_reply(&mut self, message: Rc<Encoded>, slot: u32) {
        self.outbox.release_all(slot);
        self.outbox.push_reply(message, slot);
    }

    pub(crate) fn next_bytes(&self) -> Option<usize> {
        self.outbox.next_bytes()
    }

    pub(crate) fn take_run(&mut self, take: impl FnMut(&Encoded) -> bool) {
        self.outbox.take_run(take);
    }

    pub(crate) fn next(&mut self) -> Option<Outgoing> {
        Some(match self.outbox.next()? {
            Taken::Message(message) => Outgoing::Message(message),
            Taken::InStream(message) => Outgoing::InStream(message),
            Taken::Aside(aside) => Outgoing::Aside(aside),
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
