//! What waits for one connection of streams, and which of its subscriptions are held.

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
    rc::Rc,
};

use crate::{
    encoded::Encoded,
    losses::Losses,
    memory::Memory,
    outbox::release_if_empty,
    streams::{Aside, StreamSequence, TakenAside},
    subscriptions::Subscriptions,
    waiting::{ENTRY_BYTES, MATCH_BYTES, Waiting},
};

/// A connection has one from the first time that a stream concerns it; all others pay for it with one pointer.
#[derive(Debug, Default)]
pub(crate) struct StreamLane {
    messages: VecDeque<Entry>,
    /// Slots of the subscriptions that the messages are for, message by message.
    matches: VecDeque<u32>,
    asides: VecDeque<QueuedAside>,
    /// By slot and stream; ordered, so that a subscription's are found together when it ends.
    held: BTreeMap<(u32, u32), Held>,
}

#[derive(Debug)]
struct Entry {
    message: Rc<Encoded>,
    sequence: u64,
    stream: u32,
    /// How many of the matches are this message's; at least 1.
    matches: u32,
}

const _: () = assert!(size_of::<Entry>() == ENTRY_BYTES);

#[derive(Debug)]
struct QueuedAside {
    seq: u64,
    aside: TakenAside,
}

/// Why a subscription is held. One that has fallen behind has nothing that waits, so it cannot fall again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    OnRequest,
    FallenBehind,
}

/// What an aside counts for.
fn aside_bytes(aside: &Aside) -> usize {
    aside.size_bytes() + MATCH_BYTES
}

impl StreamLane {
    /// Messages that wait.
    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(crate) fn first_message(&self) -> Option<&Encoded> {
        self.messages.front().map(|entry| &*entry.message)
    }

    pub(crate) fn first_aside(&self) -> Option<(u64, &Aside)> {
        self.asides.front().map(|queued| (queued.seq, &queued.aside.aside))
    }

    pub(crate) fn first_waiting(&self, stream: u32) -> Option<u64> {
        self.messages.iter().find(|entry| entry.stream == stream).map(|entry| entry.sequence)
    }

    pub(crate) fn push(&mut self, message: Rc<Encoded>, at: StreamSequence, slot: u32, waiting: &mut Waiting) {
        waiting.bytes += message.bytes().len() + MATCH_BYTES;
        waiting.messages += 1;
        self.messages.push_back(Entry { message, sequence: at.sequence, stream: at.stream, matches: 1 });
        self.matches.push_back(slot);
    }

    /// The newest message, which waits, is for one more subscription.
    pub(crate) fn match_newest(&mut self, slot: u32, waiting: &mut Waiting) {
        if let Some(newest) = self.messages.back_mut() {
            newest.matches += 1;
            self.matches.push_back(slot);
            waiting.bytes += MATCH_BYTES;
        }
    }

    pub(crate) fn pop(&mut self, waiting: &mut Waiting) -> Option<Rc<Encoded>> {
        let Entry { message, matches, .. } = self.messages.pop_front()?;
        self.matches.drain(..matches as usize);
        release_if_empty(&mut self.messages);
        release_if_empty(&mut self.matches);
        waiting.bytes -= message.bytes().len() + matches as usize * MATCH_BYTES;
        waiting.messages -= 1;
        Some(message)
    }

    /// Drops the messages of the streams that are named. Nothing is lost: who they were for falls behind.
    pub(crate) fn drop_messages(
        &mut self,
        is_dropped: impl Fn(u32) -> bool,
        subscriptions: &Subscriptions,
        waiting: &mut Waiting,
        losses: &mut Losses,
    ) {
        let mut slots = mem::take(&mut self.matches).into_iter();
        for entry in mem::take(&mut self.messages) {
            let matches = slots.by_ref().take(entry.matches as usize);
            if !is_dropped(entry.stream) {
                self.matches.extend(matches);
                self.messages.push_back(entry);
                continue;
            }
            waiting.bytes -= entry.message.bytes().len() + entry.matches as usize * MATCH_BYTES;
            waiting.messages -= 1;
            for slot in matches {
                let at = StreamSequence { stream: entry.stream, sequence: entry.sequence };
                self.fall_behind(slot, at, subscriptions, losses);
            }
        }
    }

    /// A subscription does not get this message, nor any behind it. One that has ended meanwhile ends a little sooner.
    pub(crate) fn fall_behind(
        &mut self,
        slot: u32,
        missing: StreamSequence,
        subscriptions: &Subscriptions,
        losses: &mut Losses,
    ) {
        let Some(subscription) = subscriptions.get_live(slot) else { return };
        if self.held.insert((slot, missing.stream), Held::FallenBehind) == Some(Held::FallenBehind) {
            return;
        }
        losses.push_fallen(subscription.id, missing.stream, missing.sequence.saturating_sub(1));
    }

    /// Holds a subscription that waits for nothing that must be told.
    pub(crate) fn hold(&mut self, slot: u32, stream: u32) {
        self.held.entry((slot, stream)).or_insert(Held::OnRequest);
    }

    pub(crate) fn release(&mut self, slot: u32, stream: u32) {
        self.held.remove(&(slot, stream));
    }

    /// Releases a subscription that has ended from all streams.
    pub(crate) fn release_all(&mut self, slot: u32) {
        while let Some((held, _)) = self.held.range((slot, 0)..=(slot, u32::MAX)).next() {
            let held = *held;
            self.held.remove(&held);
        }
    }

    pub(crate) fn is_held(&self, slot: u32, stream: u32) -> bool {
        !self.held.is_empty() && self.held.contains_key(&(slot, stream))
    }

    pub(crate) fn push_aside(&mut self, seq: u64, aside: Aside, memory: &Memory, waiting: &mut Waiting) {
        let bytes = aside_bytes(&aside);
        waiting.bytes += bytes;
        waiting.asides += 1;
        waiting.aside_bytes += bytes;
        let counted = memory.count_aside(&aside.head, &aside.body);
        self.asides.push_back(QueuedAside { seq, aside: TakenAside { aside, _counted: counted } });
    }

    pub(crate) fn pop_aside(&mut self, waiting: &mut Waiting) -> Option<TakenAside> {
        let QueuedAside { aside, .. } = self.asides.pop_front()?;
        if self.asides.is_empty() {
            // They are few and their entries large, so that nothing is gained by keeping the room.
            self.asides = VecDeque::new();
        }
        let bytes = aside_bytes(&aside.aside);
        waiting.bytes -= bytes;
        waiting.asides -= 1;
        waiting.aside_bytes -= bytes;
        Some(aside)
    }
}
