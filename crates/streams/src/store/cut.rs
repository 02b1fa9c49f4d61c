//! What retention by age, bytes and count takes: first by segments, then by the chunks of the one at the front, then by
//! the messages of one chunk. So it is exact to the message, and little is read.

use super::index::{By, Index, Place};
use super::ledger::{minus, plus};
use super::log::Log;
use super::segment::Segment;
use super::shared::Snapshot;
use super::walk::for_each_record;
use crate::stream::{Cut, Extent, Retention, Totals};

impl Log {
    /// What retention by age, bytes and count takes from the front of a stream now, exact to the message. Nothing is done
    /// yet: hand [`Cut::first`] to [`retain`](Self::retain).
    pub fn cut(&self, stream: u32, retention: &Retention, now_us: u64) -> Option<Cut> {
        let snapshot = self.shared.snapshot(stream)?;
        let kept = snapshot.stream.totals;
        let has_any = |extent: &Extent| extent.totals.messages > 0;
        let segments = self.ledger.of(stream).map(|held| held.extent).filter(has_any);
        let cut = retention.cut(now_us, kept, segments);
        let first = cut.map_or(snapshot.stream.first_sequence, |cut| cut.first);
        let Some(front) = self.ledger.of(stream).find(|held| held.extent.last >= first && has_any(&held.extent)) else {
            return cut;
        };
        let front = Front { stream, segment: &front.segment, snapshot: &snapshot };
        let finer = retention.cut(now_us, left(kept, cut), front.chunks(first).filter(has_any));
        let cut = joined(cut, finer);
        let first = cut.map_or(first, |cut| cut.first);
        let left = left(kept, cut);
        // Where age takes nothing their times do not matter, and nothing is read.
        joined(
            cut,
            match retention.max_age_us {
                Some(_) => retention.cut(now_us, left, front.messages(first)),
                None => retention.cut(now_us, left, front.messages_without_times(first)),
            },
        )
    }
}

impl Log {
    /// When the first message that is kept of a stream was published, in microseconds since 1970, or earlier; `None`
    /// where none is kept. Reads a chunk of records.
    pub fn first_time_us(&self, stream: u32) -> Option<u64> {
        let snapshot = self.shared.snapshot(stream)?;
        let first = snapshot.stream.first_sequence;
        let has_any = |extent: &Extent| extent.last >= first && extent.totals.messages > 0;
        let held = self.ledger.of(stream).find(|held| has_any(&held.extent))?;
        let front = Front { stream, segment: &held.segment, snapshot: &snapshot };
        // A damaged one counts as the newest of its segment, which is too late.
        let in_segment = held.segment.summary(stream).map_or(0, |summary| summary.first_time_us);
        let is_known = |extent: &Extent| extent.newest_time_us < held.extent.newest_time_us;
        Some(front.messages(first).next().filter(is_known).map_or(in_segment, |extent| extent.newest_time_us))
    }
}

fn left(kept: Totals, cut: Option<Cut>) -> Totals {
    cut.map_or(kept, |cut| minus(kept, cut.removed))
}

fn joined(cut: Option<Cut>, finer: Option<Cut>) -> Option<Cut> {
    match (cut, finer) {
        (Some(cut), Some(finer)) => Some(Cut { first: finer.first, removed: plus(cut.removed, finer.removed) }),
        (cut, finer) => cut.or(finer),
    }
}

/// The segment where a stream begins.
struct Front<'a> {
    stream: u32,
    segment: &'a Segment,
    snapshot: &'a Snapshot,
}

impl<'a> Front<'a> {
    /// Its chunks from a sequence on. Their newest times may be later than they are, so that too little is taken rather than
    /// too much.
    fn chunks(&self, first: u64) -> impl Iterator<Item = Extent> + use<'a> {
        let Self { stream, segment, snapshot } = *self;
        let last_time_us = segment.summary(stream).map_or(u64::MAX, |summary| summary.last_time_us);
        let number = segment.peek(|index| index.chunk(stream, By::Sequence(first)));
        (number..).map_while(move |number| {
            let look = |index: &Index| Ok((index.places(stream, number)?, index.chunk_time(stream, number + 1)));
            let (places, next_time_us) = segment.look_up(look).ok()?;
            let kept = kept_places(segment, snapshot, places?, (first, u64::MAX));
            Some(Extent {
                last: kept.last().map_or(0, |place| place.sequence),
                newest_time_us: next_time_us.unwrap_or(last_time_us),
                totals: totals(&kept),
            })
        })
    }

    /// Its messages from a sequence on, chunk by chunk.
    fn kept_chunks(&self, first: u64) -> impl Iterator<Item = Vec<Place>> + use<'a> {
        let Self { stream, segment, snapshot } = *self;
        let chunks = segment.chunks_from(stream, first).map_while(Result::ok);
        chunks.map(move |places| kept_places(segment, snapshot, places, (first, u64::MAX)))
    }

    /// Its messages from a sequence on, as if all were published at once.
    fn messages_without_times(&self, first: u64) -> impl Iterator<Item = Extent> + use<'a> {
        self.kept_chunks(first).flatten().map(|place| message(place, 0))
    }

    /// Its messages from a sequence on.
    fn messages(&self, first: u64) -> impl Iterator<Item = Extent> + use<'a> {
        let Self { stream, segment, .. } = *self;
        let last_time_us = segment.summary(stream).map_or(u64::MAX, |summary| summary.last_time_us);
        self.kept_chunks(first).flat_map(move |kept| {
            let mut extents = Vec::with_capacity(kept.len());
            // One that cannot be read counts as young as it can be.
            let _ = for_each_record(segment, &kept, |place, read| {
                extents.push(message(place, read.map_or(last_time_us, |read| read.record.time_us)));
            });
            extents
        })
    }
}

fn message(place: Place, time_us: u64) -> Extent {
    Extent { last: place.sequence, newest_time_us: time_us, totals: Totals { messages: 1, bytes: place.len } }
}

/// What a segment has of a stream from a sequence up to before another, and is kept.
pub(super) fn kept_between(segment: &Segment, stream: u32, snapshot: &Snapshot, (first, end): (u64, u64)) -> Totals {
    let mut sum = Totals::default();
    for places in segment.chunks_from(stream, first).map_while(Result::ok) {
        if places.first().is_some_and(|place| place.sequence >= end) {
            break;
        }
        sum = plus(sum, totals(&kept_places(segment, snapshot, places, (first, end))));
    }
    sum
}

/// Those that stand in a range and were not replaced. Only where anything was are the records read for their topics.
fn kept_places(segment: &Segment, snapshot: &Snapshot, mut places: Vec<Place>, (first, end): (u64, u64)) -> Vec<Place> {
    places.retain(|place| (first..end).contains(&place.sequence));
    if !snapshot.has_replaced() {
        return places;
    }
    let mut kept = Vec::with_capacity(places.len());
    // One that cannot be read counts as kept.
    let _ = for_each_record(segment, &places, |place, read| {
        if !read.is_some_and(|read| snapshot.is_replaced(read.record.topic, place.sequence)) {
            kept.push(place);
        }
    });
    kept
}

fn totals(places: &[Place]) -> Totals {
    Totals { messages: places.len() as u64, bytes: places.iter().map(|place| place.len).sum() }
}
