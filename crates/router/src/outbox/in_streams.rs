//! The outbox's side of streams: what waits of them gives way to everything else, and is read again later.

use std::rc::Rc;

use super::{Fate, Outbox, fits};
use crate::{
    encoded::Encoded,
    limits::Limits,
    losses::Losses,
    memory::Memory,
    streams::{Aside, StreamSequence},
    subscriptions::Subscriptions,
    waiting::{MATCH_BYTES, Waiting},
};

impl Outbox {
    /// Takes a message of a stream for one subscription, which is not held, once for each that it matches. Where it has
    /// no room, it and all that waits of streams is left to be read later: who it was for falls behind.
    pub(crate) fn offer_in_stream(
        &mut self,
        message: &Rc<Encoded>,
        at: StreamSequence,
        slot: u32,
        subscriptions: &Subscriptions,
        limits: &Limits,
        losses: &mut Losses,
    ) {
        let lane = self.streams.get_or_insert_default();
        if self.newest_seq == message.seq() {
            if matches!(self.newest, Fate::InStream) {
                lane.match_newest(slot, &mut self.waiting);
                return;
            }
        } else {
            self.newest_seq = message.seq();
            if fits(self.waiting, message.bytes().len() + MATCH_BYTES, limits) {
                lane.push(Rc::clone(message), at, slot, &mut self.waiting);
                self.newest = Fate::InStream;
                return;
            }
            self.newest = Fate::Dropped;
            self.clear_streams(subscriptions, losses);
        }
        let before = losses.fallen();
        self.fall_behind(slot, at, subscriptions, losses);
        losses.dropped.fallen_behind += (losses.fallen() - before) as u64;
    }

    pub(crate) fn first_waiting(&self, stream: u32) -> Option<u64> {
        self.streams.as_ref()?.first_waiting(stream)
    }

    /// Drops all messages of streams for want of room.
    pub(super) fn clear_streams(&mut self, subscriptions: &Subscriptions, losses: &mut Losses) {
        if let Some(lane) = &mut self.streams {
            let before = losses.fallen();
            lane.drop_messages(|_| true, subscriptions, &mut self.waiting, losses);
            losses.dropped.fallen_behind += (losses.fallen() - before) as u64;
        }
    }

    /// Drops the messages of one stream, which is not for want of room.
    pub(crate) fn drop_stream(&mut self, stream: u32, subscriptions: &Subscriptions, losses: &mut Losses) {
        if let Some(lane) = &mut self.streams {
            lane.drop_messages(|it| it == stream, subscriptions, &mut self.waiting, losses);
        }
    }

    /// A subscription does not get this message of a stream, nor any behind it.
    pub(crate) fn fall_behind(
        &mut self,
        slot: u32,
        missing: StreamSequence,
        subscriptions: &Subscriptions,
        losses: &mut Losses,
    ) {
        self.streams.get_or_insert_default().fall_behind(slot, missing, subscriptions, losses);
    }

    pub(crate) fn hold(&mut self, slot: u32, stream: u32) {
        self.streams.get_or_insert_default().hold(slot, stream);
    }

    pub(crate) fn release(&mut self, slot: u32, stream: u32) {
        if let Some(lane) = &mut self.streams {
            lane.release(slot, stream);
        }
    }

    /// Releases a subscription from all streams.
    pub(crate) fn release_all(&mut self, slot: u32) {
        if let Some(lane) = &mut self.streams {
            lane.release_all(slot);
        }
    }

    pub(crate) fn is_held(&self, slot: u32, stream: u32) -> bool {
        self.streams.as_ref().is_some_and(|lane| lane.is_held(slot, stream))
    }

    /// Takes an aside. It is never refused nor dropped.
    pub(crate) fn push_aside(&mut self, seq: u64, aside: Aside, memory: &Memory) {
        self.streams.get_or_insert_default().push_aside(seq, aside, memory, &mut self.waiting);
    }

    /// Messages of streams that wait.
    pub(crate) fn stream_messages(&self) -> usize {
        self.streams.as_ref().map_or(0, |lane| lane.len())
    }

    /// What waits that a message of no stream has to share its room with. Asides are not part of it: what is read of a
    /// stream's history costs nobody a message.
    pub(super) fn waiting_beside_asides(&self) -> Waiting {
        let Waiting { bytes, aside_bytes, .. } = self.waiting;
        Waiting { bytes: bytes - aside_bytes, asides: 0, aside_bytes: 0, ..self.waiting }
    }
}
