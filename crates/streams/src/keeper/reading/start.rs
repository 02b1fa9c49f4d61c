//! Where a subscription, or a history, begins.

use carillon_wire::Pattern;

use super::super::read::ReadFailed;
use super::super::shared::{KeptStream, State};
use super::{MAX_TRIES, Reading, View};
use crate::store;
use crate::stream::{Epoch, EpochChange, EpochReason, Origin, Plan, Resumed, Ring, Start, Stream};

impl Reading {
    /// Where a start is in the stream as it is now.
    pub(super) fn origin(&self, kept: &KeptStream, start: &Start, pattern: Pattern<'_>) -> Result<Origin, ReadFailed> {
        for _ in 0..MAX_TRIES {
            let (plan, view) = {
                let state = kept.read();
                let plan = start.plan(state.stream());
                if let State::Memory(memory) = &*state {
                    return Ok(found_in_memory(plan, memory.ring(), pattern));
                }
                (plan, View::of(kept, &state))
            };
            if let Plan::Ready(origin) = plan {
                return Ok(origin);
            }
            let reader = self.shared.reader().ok_or(ReadFailed::NoStore)?;
            let origin = found_on_disk(plan, &reader, view.number, pattern);
            if view.is_still(kept) {
                return Ok(origin);
            }
        }
        Err(ReadFailed::Changing)
    }
}

fn found_in_memory(plan: Plan, ring: &Ring<bytes::Bytes>, pattern: Pattern<'_>) -> Origin {
    match plan {
        Plan::Ready(origin) => origin,
        Plan::FindTime { time_us, origin } => {
            let position = ring.position_at_time(time_us, origin.position);
            origin.at(position)
        }
        Plan::FindNewest { n, origin } => {
            let position = ring.position_before_newest(n, pattern, origin.position);
            origin.at(position)
        }
    }
}

fn found_on_disk(plan: Plan, reader: &store::Reader, number: u32, pattern: Pattern<'_>) -> Origin {
    match plan {
        Plan::Ready(origin) => origin,
        Plan::FindTime { time_us, origin } => {
            let position = reader.sequence_at(number, time_us).saturating_sub(1);
            origin.at(position)
        }
        Plan::FindNewest { n, origin } => {
            let position = reader.position_before_newest(number, pattern, n, origin.position);
            origin.at(position)
        }
    }
}

/// Where last values go on that were read in part. Where they cannot, because their sequences mean nothing any more,
/// they begin anew.
pub(super) fn history_origin(stream: &Stream, epoch: &Epoch, as_of: u64, after: u64) -> Origin {
    let (epochs, bounds) = (stream.epochs(), stream.bounds());
    let at = |position, as_of, resumed| Origin {
        epochs: epochs.clone(),
        position,
        last: bounds.last,
        last_by_topic_as_of: as_of,
        resumed,
    };
    let change = |reason, position: u64| {
        let from = position.saturating_add(1);
        Resumed::OtherEpoch(EpochChange { epoch: epochs.current().clone(), reason, from })
    };
    let before_first = bounds.first.saturating_sub(1);
    let translated = epochs.translate(epoch, as_of).zip(epochs.translate(epoch, after));
    match translated {
        Some((as_of, after)) if epoch != epochs.current() => {
            at(after, as_of.min(bounds.last), change(epochs.reason(), after))
        }
        Some((as_of, after)) if as_of <= bounds.last => at(after, as_of, Resumed::Continued),
        Some(_) => at(before_first, bounds.last, change(EpochReason::PositionAhead, before_first)),
        None => at(before_first, bounds.last, change(epochs.reason(), before_first)),
    }
}
