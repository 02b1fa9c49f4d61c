//! What each stream has in each segment, kept as commits, retention, replacement and compaction go.

use std::collections::VecDeque;
use std::sync::Arc;

use foldhash::quality::RandomState;
use hashbrown::HashMap;

use super::header::SegmentId;
use super::segment::Segment;
use crate::stream::{Extent, Totals};

/// What is kept in each segment, in bytes.
pub(super) type KeptBytes = HashMap<SegmentId, u64, RandomState>;

/// Bounded by the number of segments times the streams in each.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Oldest first.
    streams: HashMap<u32, VecDeque<Held>, RandomState>,
}

/// A stream's part of a segment.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) segment: Arc<Segment>,
    /// Its totals are of what is kept: not before the stream's first sequence and not replaced.
    pub(super) extent: Extent,
}

impl Ledger {
    /// Of a stream, oldest first.
    pub(super) fn of(&self, stream: u32) -> impl DoubleEndedIterator<Item = &Held> {
        self.streams.get(&stream).into_iter().flatten()
    }

    pub(super) fn totals(&self, stream: u32) -> Totals {
        self.of(stream).fold(Totals::default(), |sum, held| plus(sum, held.extent.totals))
    }

    /// Notes what stands behind all that was noted of the stream.
    pub(super) fn add(&mut self, stream: u32, segment: &Arc<Segment>, added: Extent) {
        let held = self.streams.entry(stream).or_default();
        match held.back_mut().filter(|last| last.segment.id() == segment.id()) {
            Some(Held { extent, .. }) => *extent = Extent { totals: plus(extent.totals, added.totals), ..added },
            None => held.push_back(Held { segment: Arc::clone(segment), extent: added }),
        }
    }

    /// Notes that everything before a sequence was taken. `front` tells what of a segment stood before it and was kept.
    pub(super) fn take_before(&mut self, stream: u32, first_sequence: u64, front: impl FnOnce(&Segment) -> Totals) {
        let Some(held) = self.streams.get_mut(&stream) else { return };
        while held.pop_front_if(|oldest| oldest.extent.last < first_sequence).is_some() {}
        match held.front_mut() {
            Some(oldest) => oldest.extent.totals = minus(oldest.extent.totals, front(&oldest.segment)),
            None => drop(self.streams.remove(&stream)),
        }
    }

    /// Notes that messages in a segment were replaced.
    pub(super) fn take(&mut self, stream: u32, segment: SegmentId, replaced: Totals) {
        let held = self.streams.get_mut(&stream).into_iter().flatten();
        for held in held.filter(|held| held.segment.id() == segment) {
            held.extent.totals = minus(held.extent.totals, replaced);
        }
    }

    /// What is kept of all streams in each segment, in bytes of their records.
    pub(super) fn kept_bytes(&self) -> KeptBytes {
        let mut kept = KeptBytes::default();
        for held in self.streams.values().flatten() {
            let bytes: &mut u64 = kept.entry(held.segment.id()).or_default();
            *bytes = bytes.saturating_add(held.extent.totals.bytes);
        }
        kept
    }

    pub(super) fn remove(&mut self, stream: u32) {
        self.streams.remove(&stream);
    }

    /// Notes that a segment stands in the place of neighbours.
    pub(super) fn compacted(&mut self, inputs: &[Arc<Segment>], output: &Arc<Segment>) {
        let is_input = |held: &Held| inputs.iter().any(|input| input.id() == held.segment.id());
        for (stream, held) in &mut self.streams {
            let Some(place) = held.iter().position(is_input) else { continue };
            let mut joined = Held {
                segment: Arc::clone(output),
                extent: Extent { last: 0, newest_time_us: 0, totals: Totals::default() },
            };
            for input in held.iter().filter(|held| is_input(held)) {
                joined.extent = Extent { totals: plus(joined.extent.totals, input.extent.totals), ..input.extent };
            }
            held.retain(|held| !is_input(held));
            if output.summary(*stream).is_some_and(|summary| summary.count > 0) {
                held.insert(place, joined);
            }
        }
    }
}

pub(super) fn plus(one: Totals, other: Totals) -> Totals {
    Totals { messages: one.messages.saturating_add(other.messages), bytes: one.bytes.saturating_add(other.bytes) }
}

pub(super) fn minus(one: Totals, other: Totals) -> Totals {
    Totals { messages: one.messages.saturating_sub(other.messages), bytes: one.bytes.saturating_sub(other.bytes) }
}
