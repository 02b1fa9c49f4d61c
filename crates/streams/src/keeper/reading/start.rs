//! Where a subscription, or a history, begins.

use std::time::Instant;

use carillon_wire::Pattern;

use super::super::read::ReadFailed;
use super::super::shared::{KeptStream, State};
use super::unreadable::Attempt;
use super::{MAX_TRIES, Reading, View};
use crate::store;
use crate::stream::{Durability, Epoch, EpochChange, EpochReason, NewestSearch, Origin, Plan, Resumed, Start, Stream};

/// How many messages in memory are looked at before publications get their turn.
const SEARCHED_AT_ONCE: usize = if cfg!(test) { 7 } else { 4096 };

/// In the place of a sequence, for all places where starts of a stream are looked for: none has this one.
const UNREAD_START: u64 = 0;

impl Reading {
    /// Where a start is in the stream as it is now; the newest messages and the last values up to `through`.
    pub(super) fn origin(
        &self,
        kept: &KeptStream,
        start: &Start,
        pattern: Pattern<'_>,
        through: u64,
        now: Instant,
    ) -> Result<Origin, ReadFailed> {
        for _ in 0..MAX_TRIES {
            let (plan, view) = {
                let state = kept.read();
                (up_to(through, start.plan(state.stream())), View::of(kept, &state))
            };
            let found = match plan {
                Plan::Ready(origin) => return Ok(origin),
                plan if kept.durability == Durability::Memory => found_in_memory(plan, kept, pattern),
                plan => self.start_on_disk(&plan, view.number, pattern, now)?,
            };
            if view.is_still(kept) {
                return Ok(found);
            }
        }
        Err(ReadFailed::Changing)
    }

    fn start_on_disk(
        &self,
        plan: &Plan,
        number: u32,
        pattern: Pattern<'_>,
        now: Instant,
    ) -> Result<Origin, ReadFailed> {
        let reader = self.shared.reader().ok_or(ReadFailed::NoStore)?;
        if let Ok(origin) = found_on_disk(plan, &reader, number, pattern) {
            return Ok(origin);
        }
        let place = (number, UNREAD_START);
        self.unreadable.failed(place, now);
        if self.unreadable.attempt(place, now) != Attempt::GiveUp {
            return Err(ReadFailed::Unreadable);
        }
        found_on_disk(plan, &reader.past_unreadable(), number, pattern).map_err(|_| ReadFailed::Unreadable)
    }
}

/// The plan of somebody who wants nothing behind a sequence: what is newest or last is decided there.
fn up_to(through: u64, plan: Plan) -> Plan {
    match plan {
        Plan::FindNewest { n, origin } => {
            let position = origin.position.min(through);
            Plan::FindNewest { n, origin: Origin { position, ..origin } }
        }
        Plan::Ready(origin) => {
            let last_by_topic_as_of = origin.last_by_topic_as_of.min(through);
            Plan::Ready(Origin { last_by_topic_as_of, ..origin })
        }
        plan @ Plan::FindTime { .. } => plan,
    }
}

/// Looks for it in steps, so that publications do not wait for the whole of a large stream.
fn found_in_memory(plan: Plan, kept: &KeptStream, pattern: Pattern<'_>) -> Origin {
    match plan {
        Plan::Ready(origin) => origin,
        Plan::FindTime { time_us, origin } => {
            let position = match &*kept.read() {
                State::Memory(memory) => memory.ring().position_at_time(time_us, origin.position),
                State::Disk(_) => origin.position,
            };
            origin.at(position)
        }
        Plan::FindNewest { n, origin } => {
            let mut search = NewestSearch::new(n, origin.position);
            while let State::Memory(memory) = &*kept.read() {
                if memory.ring().search_newest(&mut search, pattern, SEARCHED_AT_ONCE) {
                    break;
                }
            }
            origin.at(search.position())
        }
    }
}

fn found_on_disk(
    plan: &Plan,
    reader: &store::Reader,
    number: u32,
    pattern: Pattern<'_>,
) -> Result<Origin, store::Unreadable> {
    Ok(match plan.clone() {
        Plan::Ready(origin) => origin,
        Plan::FindTime { time_us, origin } => {
            let position = reader.sequence_at(number, time_us)?.saturating_sub(1);
            origin.at(position)
        }
        Plan::FindNewest { n, origin } => {
            let position = reader.position_before_newest(number, pattern, n, origin.position)?;
            origin.at(position)
        }
    })
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
    if epoch != epochs.current() {
        // What was the newest of its topic need not be so in another epoch, so all of them come again.
        return at(before_first, bounds.last, change(epochs.reason(), before_first));
    }
    if as_of > bounds.last {
        return at(before_first, bounds.last, change(EpochReason::PositionAhead, before_first));
    }
    at(after, as_of, Resumed::Continued)
}
