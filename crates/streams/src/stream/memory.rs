//! A stream that is kept in memory: its state and its messages together.

use std::sync::Arc;

use carillon_wire::Pattern;

use super::{
    Decision, Definition, Durability, Epoch, EpochReason, Kept, Page, PageLimits, Place, Publication, Read, Ring,
    Stream, Totals, Verdict,
};

/// A stream of durability `memory`. What it accepts is committed at once; retention is applied with each publication,
/// and whenever [`expire`](Self::expire) is called.
///
/// It never holds more than its retention allows: bytes are always bounded ([`Definition::check`]).
#[derive(Debug)]
pub struct MemoryStream<M> {
    stream: Stream,
    ring: Ring<M>,
}

impl<M: Clone> MemoryStream<M> {
    /// An empty one.
    pub fn new(stream: Stream) -> Self {
        debug_assert_eq!(stream.definition().durability, Durability::Memory);
        Self { stream, ring: Ring::default() }
    }

    /// Decides about a publication, and keeps it. `message` makes what is kept, once its place is known.
    pub fn publish(
        &mut self,
        now_us: u64,
        publication: &Publication<'_>,
        message: impl FnOnce(&Place) -> M,
    ) -> Decision {
        let mut decision = self.stream.publish(now_us, publication);
        if let Verdict::Append(place) = &decision.verdict {
            let kept = Kept {
                sequence: place.sequence,
                time_us: place.time_us,
                topic: place.topic.clone(),
                bytes: publication.bytes,
                message: message(place),
            };
            self.ring.push(kept, &self.stream.definition().retention);
            self.stream.commit(place.sequence);
            self.expire(now_us);
            decision.answer_after = 0;
        }
        decision
    }

    /// Takes away what retention does not allow any more. Call it now and then, so that age works without publications,
    /// and after [`redefine`](Self::redefine).
    pub fn expire(&mut self, now_us: u64) {
        let now_us = now_us.max(self.stream.last_time_us());
        if let Some(cut) = self.ring.cut(now_us, &self.stream.definition().retention) {
            self.ring.remove_before(cut.first);
            self.stream.remove_before(cut.first);
        }
    }

    /// An operator takes everything before this sequence.
    pub fn purge_before(&mut self, first: u64) {
        self.stream.purge_before(first);
        self.ring.remove_before(self.stream.bounds().first);
    }

    /// Takes a new definition that [`check_change`](super::check_change) has let through.
    pub fn redefine(&mut self, definition: Arc<Definition>, now_us: u64) {
        self.stream.redefine(definition);
        self.ring.replace_all(&self.stream.definition().retention);
        self.expire(now_us);
    }

    /// One page of what a pattern matches.
    pub fn page(&self, read: &Read, pattern: Pattern<'_>, limits: &PageLimits) -> Page<M> {
        let bounds = self.stream.bounds();
        let (items, complete_through) = self.ring.page(read, pattern, limits, bounds);
        Page { epochs: self.stream.epochs().clone(), bounds, items, complete_through }
    }

    /// Its state.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// A new epoch, whose numbers mean the same as before up to the last message.
    pub fn renew_epoch(&mut self, epoch: Epoch, reason: EpochReason) {
        self.stream.renew_epoch(epoch, reason);
    }

    /// Where the stream's time is ahead of the clock because that was ahead once, it goes on with the clock.
    pub fn set_time_back(&mut self, now_us: u64) {
        self.stream.set_time_back(now_us);
    }

    /// Its messages, for what finds a position: by time, or the newest.
    pub fn ring(&self) -> &Ring<M> {
        &self.ring
    }

    /// What is kept.
    pub fn totals(&self) -> Totals {
        self.ring.totals()
    }
}
