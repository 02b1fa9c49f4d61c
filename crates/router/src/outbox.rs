//! What waits for one connection: the order in which it leaves, and what is dropped when it is too much.
//!
//! ```text
//!              ┌─ kept:      messages for at least one `close` subscription, replies to unsubscribe ──┐
//! publish ────▶│                                                                                      │
//!              └─ droppable: messages for `drop_oldest` subscriptions only ──▶ dropped ──▶ gaps ──────┤
//! publish in ──── messages of streams ──▶ all dropped at once ──▶ subscriptions that fall behind      ├─▶ by seq
//! a stream                                                                                            │
//! push aside ──── asides ─────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Each lane is in the order of the shard's sequence numbers, and draining takes the lowest of the fronts. Dropping
//! takes the oldest droppable message, so all that were dropped and not yet told are older than those that wait there:
//! gaps are made in order. What waits of streams is dropped before them. So only a kept message can stand between two
//! losses of the same subscription; or an aside, which says nothing about messages of no stream and splits no gap.

mod in_streams;

use std::{collections::VecDeque, rc::Rc};

use crate::{
    encoded::Encoded,
    gaps::{Gap, Gaps},
    limits::Limits,
    losses::Losses,
    stream_lane::StreamLane,
    streams::TakenAside,
    subscribers::{Policy, Subscriber},
    subscriptions::Subscriptions,
    waiting::{MATCH_BYTES, Waiting},
};

/// The most bytes of a gap on the wire: array head, op, subscription, reason, count.
pub const MAX_GAP_BYTES: usize = 1 + 1 + 9 + 2 + 9;

/// An empty queue keeps the memory of so many entries, and no more: so many deliveries gather while a busy shard lets a
/// pass over the outboxes wait.
const KEPT_CAPACITY: usize = 64;

/// What waits for one connection.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    kept: VecDeque<Kept>,
    droppable: VecDeque<Droppable>,
    /// Slots of the subscriptions that the droppable messages are for, message by message.
    matches: VecDeque<u32>,
    gaps: Gaps,
    streams: Option<Box<StreamLane>>,
    waiting: Waiting,
    /// The last message that was offered, so that each is taken once.
    newest_seq: u64,
    newest: Fate,
}

#[derive(Debug)]
struct Kept {
    message: Rc<Encoded>,
    /// The subscription whose last message this is: it is the reply to unsubscribe.
    ends: Option<u32>,
    /// Of the last message up to here that is no reply. A gap does not reach across a message. It may reach across
    /// another subscription's reply, or each reply could split the gaps of all subscriptions.
    last_message_seq: u64,
}

#[derive(Debug)]
struct Droppable {
    message: Rc<Encoded>,
    /// How many of the matches are this message's; at least 1.
    matches: u32,
}

/// What became of the newest message.
#[derive(Debug, Clone, Copy, Default)]
enum Fate {
    #[default]
    Kept,
    Droppable,
    InStream,
    Dropped,
}

/// Something that leaves.
#[derive(Debug)]
pub(crate) enum Taken {
    Message(Rc<Encoded>),
    Reply { message: Rc<Encoded>, ends: u32 },
    Gap(Gap),
    InStream(Rc<Encoded>),
    Aside(TakenAside),
}

/// Where the next thing to leave stands.
#[derive(Debug, Clone, Copy)]
enum Lane {
    Gaps,
    Kept,
    Droppable,
    Streams,
    Asides,
}

/// A message that must not be dropped has no room.
#[derive(Debug)]
pub(crate) struct Full;

impl Outbox {
    pub(crate) const fn waiting(&self) -> Waiting {
        self.waiting
    }

    /// Whether this message was offered before, for another subscription.
    pub(crate) const fn has_seen(&self, message: &Encoded) -> bool {
        self.newest_seq == message.seq()
    }

    /// Takes a message for one subscription, once for each that it matches, before the next message. What is dropped
    /// for it is added to `losses`.
    pub(crate) fn offer(
        &mut self,
        message: &Rc<Encoded>,
        subscriber: Subscriber,
        subscriptions: &mut Subscriptions,
        limits: &Limits,
        losses: &mut Losses,
    ) -> Result<(), Full> {
        let (slot, policy) = (subscriber.slot(), subscriber.policy());
        if !self.has_seen(message) {
            self.newest_seq = message.seq();
            let bytes = message.bytes().len() + MATCH_BYTES;
            self.newest = match (self.make_room(bytes, subscriptions, limits, losses), policy) {
                (true, Policy::Close) => self.keep(Rc::clone(message), None),
                (true, Policy::DropOldest) => self.push_droppable(Rc::clone(message), slot),
                (false, Policy::Close) => return Err(Full),
                (false, Policy::DropOldest) => {
                    losses.dropped.drop_oldest += 1;
                    self.miss(slot, message.seq(), subscriptions, losses);
                    Fate::Dropped
                }
            };
            return Ok(());
        }
        match (self.newest, policy) {
            (Fate::Kept | Fate::InStream, _) => {}
            (Fate::Droppable, Policy::DropOldest) => self.match_newest(slot),
            (Fate::Droppable, Policy::Close) => self.promote_newest(),
            (Fate::Dropped, Policy::DropOldest) => self.miss(slot, message.seq(), subscriptions, losses),
            (Fate::Dropped, Policy::Close) => return Err(Full),
        }
        Ok(())
    }

    /// Takes the reply that ends a subscription. It is never refused.
    pub(crate) fn push_reply(&mut self, message: Rc<Encoded>, slot: u32) {
        self.keep(message, Some(slot));
    }

    /// Size of what leaves next, in bytes on the wire; of a gap the most that it can have.
    pub(crate) fn next_bytes(&self) -> Option<usize> {
        match self.lane()? {
            Lane::Gaps => Some(MAX_GAP_BYTES),
            Lane::Kept => self.kept.front().map(|kept| kept.message.bytes().len()),
            Lane::Droppable => self.droppable.front().map(|droppable| droppable.message.bytes().len()),
            Lane::Streams => self.streams.as_ref()?.first_message().map(|message| message.bytes().len()),
            Lane::Asides => self.streams.as_ref()?.first_aside().map(|(_, aside)| aside.size_bytes()),
        }
    }

    /// Takes what leaves next.
    pub(crate) fn next(&mut self) -> Option<Taken> {
        match self.lane()? {
            Lane::Gaps => {
                self.waiting.bytes -= MATCH_BYTES;
                self.gaps.pop().map(Taken::Gap)
            }
            Lane::Kept => {
                let Kept { message, ends, .. } = self.kept.pop_front()?;
                release_if_empty(&mut self.kept);
                self.waiting.bytes -= message.bytes().len() + MATCH_BYTES;
                if let Some(ends) = ends {
                    return Some(Taken::Reply { message, ends });
                }
                self.waiting.messages -= 1;
                Some(Taken::Message(message))
            }
            Lane::Droppable => {
                let Droppable { message, matches } = self.pop_droppable()?;
                self.matches.drain(..matches as usize);
                release_if_empty(&mut self.droppable);
                release_if_empty(&mut self.matches);
                Some(Taken::Message(message))
            }
            Lane::Streams => self.streams.as_mut()?.pop(&mut self.waiting).map(Taken::InStream),
            Lane::Asides => self.streams.as_mut()?.pop_aside(&mut self.waiting).map(Taken::Aside),
        }
    }

    /// Takes messages as long as `take` does, which is shown each; only where nothing else may come before one of them. What
    /// it leaves, [`Outbox::next`] gives. For most connections that is everything, at a third of the cost.
    pub(crate) fn take_run(&mut self, mut take: impl FnMut(&Encoded) -> bool) {
        if self.gaps.first_seq().is_some() || self.streams.is_some() {
            return;
        }
        let (mut messages, mut bytes, mut matches) = (0, 0, 0);
        if self.kept.is_empty() {
            while let Some(droppable) = self.droppable.pop_front_if(|next| take(&next.message)) {
                messages += 1;
                bytes += droppable.message.bytes().len();
                matches += droppable.matches as usize;
            }
            self.matches.drain(..matches.min(self.matches.len()));
            release_if_empty(&mut self.droppable);
            release_if_empty(&mut self.matches);
        } else if self.droppable.is_empty() {
            while let Some(kept) = self.kept.pop_front_if(|next| next.ends.is_none() && take(&next.message)) {
                messages += 1;
                bytes += kept.message.bytes().len();
            }
            matches = messages;
            release_if_empty(&mut self.kept);
        }
        self.waiting.messages -= messages;
        self.waiting.bytes -= bytes + matches * MATCH_BYTES;
    }

    fn lane(&self) -> Option<Lane> {
        let gap = self.gaps.first_seq().map(|seq| (seq, Lane::Gaps));
        let kept = self.kept.front().map(|kept| (kept.message.seq(), Lane::Kept));
        let droppable = self.droppable.front().map(|droppable| (droppable.message.seq(), Lane::Droppable));
        let mut next = [gap, kept, droppable].into_iter().flatten().min_by_key(|(seq, _)| *seq);
        if let Some(streams) = &self.streams {
            let message = streams.first_message().map(|message| (message.seq(), Lane::Streams));
            let aside = streams.first_aside().map(|(seq, _)| (seq, Lane::Asides));
            next = [next, message, aside].into_iter().flatten().min_by_key(|(seq, _)| *seq);
        }
        next.map(|(_, lane)| lane)
    }

    /// Makes room for a message of no stream, and tells whether it has it: drops all that waits of streams, and then
    /// the oldest droppable messages until so many bytes more fit.
    fn make_room(
        &mut self,
        bytes: usize,
        subscriptions: &mut Subscriptions,
        limits: &Limits,
        losses: &mut Losses,
    ) -> bool {
        if fits(self.waiting, bytes, limits) {
            return true;
        }
        self.clear_streams(subscriptions, losses);
        while !fits(self.waiting_beside_asides(), bytes, limits) {
            if !self.drop_oldest(subscriptions, losses) {
                return false;
            }
        }
        true
    }

    /// Drops all that waits of streams, and then the oldest droppable messages, until what waits takes at most so many
    /// bytes of memory. Messages that must not be dropped and are more by themselves have no room; gaps, replies and
    /// asides always do.
    pub(crate) fn shrink(
        &mut self,
        max_bytes: usize,
        subscriptions: &mut Subscriptions,
        losses: &mut Losses,
    ) -> Result<(), Full> {
        if self.waiting.memory_bytes() > max_bytes {
            self.clear_streams(subscriptions, losses);
        }
        while self.waiting_beside_asides().memory_bytes() > max_bytes {
            if !self.drop_oldest(subscriptions, losses) {
                let keeps_message = self.kept.iter().any(|kept| kept.ends.is_none());
                return if keeps_message { Err(Full) } else { Ok(()) };
            }
        }
        release_if_empty(&mut self.droppable);
        release_if_empty(&mut self.matches);
        Ok(())
    }

    /// Drops the oldest droppable message, if there is one.
    fn drop_oldest(&mut self, subscriptions: &mut Subscriptions, losses: &mut Losses) -> bool {
        let Some(oldest) = self.pop_droppable() else { return false };
        losses.dropped.drop_oldest += 1;
        for _ in 0..oldest.matches {
            if let Some(slot) = self.matches.pop_front() {
                self.miss(slot, oldest.message.seq(), subscriptions, losses);
            }
        }
        true
    }

    /// Counts a message that is missing for a subscription.
    fn miss(&mut self, slot: u32, seq: u64, subscriptions: &mut Subscriptions, losses: &mut Losses) {
        let Some(subscription) = subscriptions.get_mut(slot) else {
            debug_assert!(false, "a slot is not released before its last match has left");
            return;
        };
        let kept = &self.kept;
        let continues = |first_seq| {
            let before = kept.partition_point(|kept| kept.message.seq() < seq);
            let last_before = before.checked_sub(1).and_then(|last| kept.get(last));
            last_before.is_none_or(|kept| kept.last_message_seq < first_seq)
        };
        if self.gaps.add((slot, subscription), seq, continues) {
            losses.dropped.gaps += 1;
            self.waiting.bytes += MATCH_BYTES;
        }
    }

    fn keep(&mut self, message: Rc<Encoded>, ends: Option<u32>) -> Fate {
        self.waiting.bytes += message.bytes().len() + MATCH_BYTES;
        self.waiting.messages += usize::from(ends.is_none());
        let last_message_seq = match ends {
            None => message.seq(),
            Some(_) => self.kept.back().map_or(0, |kept| kept.last_message_seq),
        };
        self.kept.push_back(Kept { message, ends, last_message_seq });
        Fate::Kept
    }

    fn push_droppable(&mut self, message: Rc<Encoded>, slot: u32) -> Fate {
        self.waiting.bytes += message.bytes().len() + MATCH_BYTES;
        self.waiting.messages += 1;
        self.droppable.push_back(Droppable { message, matches: 1 });
        self.matches.push_back(slot);
        Fate::Droppable
    }

    /// The newest message, which waits and is droppable, is for one more subscription.
    fn match_newest(&mut self, slot: u32) {
        if let Some(newest) = self.droppable.back_mut() {
            newest.matches += 1;
            self.matches.push_back(slot);
            self.waiting.bytes += MATCH_BYTES;
        }
    }

    /// The newest message, which waits and is droppable, must not be dropped after all.
    fn promote_newest(&mut self) {
        let Some(Droppable { message, matches }) = self.droppable.pop_back() else { return };
        let matches = matches as usize;
        self.matches.truncate(self.matches.len().saturating_sub(matches));
        self.waiting.bytes -= message.bytes().len() + matches * MATCH_BYTES;
        self.waiting.messages -= 1;
        self.newest = self.keep(message, None);
    }

    /// Takes the oldest droppable message; its matches are still to be taken.
    fn pop_droppable(&mut self) -> Option<Droppable> {
        let oldest = self.droppable.pop_front()?;
        self.waiting.bytes -= oldest.message.bytes().len() + oldest.matches as usize * MATCH_BYTES;
        self.waiting.messages -= 1;
        Some(oldest)
    }
}

/// Whether a message of so many bytes has room beside what waits.
const fn fits(waiting: Waiting, bytes: usize, limits: &Limits) -> bool {
    waiting.bytes + bytes <= limits.outbox_bytes && waiting.messages < limits.outbox_messages
}

/// An idle connection holds no memory for what it once was sent.
pub(crate) fn release_if_empty<T>(queue: &mut VecDeque<T>) {
    if queue.is_empty() && queue.capacity() > KEPT_CAPACITY {
        *queue = VecDeque::new();
    }
}
