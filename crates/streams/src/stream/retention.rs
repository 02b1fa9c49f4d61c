//! When messages are taken away.

use std::num::{NonZeroU32, NonZeroU64};

/// Bounds on what a stream keeps. What is beyond any of them is taken away, oldest first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retention {
    /// The oldest that a message gets, in microseconds.
    pub max_age_us: Option<NonZeroU64>,
    /// The most bytes of all messages.
    pub max_bytes: Option<NonZeroU64>,
    /// The most messages.
    pub max_messages: Option<NonZeroU64>,
    /// The most messages of one topic. What newer ones of its topic replaced is no gap.
    pub max_messages_per_topic: Option<NonZeroU32>,
}

/// Messages and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// How many.
    pub messages: u64,
    /// Theirs together.
    pub bytes: u64,
}

/// Neighbouring messages of a stream that are looked at as one: a segment's, a block's, or a single message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// The sequence of its last message.
    pub last: u64,
    /// When its newest message was published: microseconds since 1970.
    pub newest_time_us: u64,
    /// What is in it.
    pub totals: Totals,
}

/// What retention takes from the front of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// The stream's first sequence from now on.
    pub first: u64,
    /// What was before it.
    pub removed: Totals,
}

impl Retention {
    /// What has to go from the front now: each extent of which every message is beyond a bound.
    ///
    /// `kept` is what the whole stream has, `extents` its parts in order, read only as far as something goes. To be
    /// exact to the message without reading them all, ask with large extents first, then with the single messages of
    /// the extent at the new front and `kept` less what was removed.
    pub fn cut(&self, now_us: u64, kept: Totals, extents: impl IntoIterator<Item = Extent>) -> Option<Cut> {
        let mut cut: Option<Cut> = None;
        for extent in extents {
            let removed = cut.map_or(Totals::default(), |cut| cut.removed);
            let left = Totals {
                messages: kept.messages.saturating_sub(removed.messages),
                bytes: kept.bytes.saturating_sub(removed.bytes),
            };
            if !self.must_go(now_us, left, extent) {
                break;
            }
            let removed = Totals {
                messages: removed.messages.saturating_add(extent.totals.messages),
                bytes: removed.bytes.saturating_add(extent.totals.bytes),
            };
            cut = Some(Cut { first: extent.last.saturating_add(1), removed });
        }
        cut
    }

    fn must_go(&self, now_us: u64, left: Totals, extent: Extent) -> bool {
        let Totals { messages, bytes } = extent.totals;
        let too_old = self.max_age_us.is_some_and(|age| now_us.saturating_sub(extent.newest_time_us) >= age.get());
        let too_many = self.max_messages.is_some_and(|max| left.messages.saturating_sub(messages) >= max.get());
        // The newest message of several must go as well, whatever its size, if what is behind them is too much already.
        let behind = if messages > 1 { left.bytes.saturating_sub(bytes) } else { left.bytes };
        let too_large = self.max_bytes.is_some_and(|max| behind > max.get());
        too_old || too_many || too_large
    }

    /// How many of a topic's oldest messages newer ones of it have replaced.
    pub fn replaced(&self, messages_of_topic: usize) -> usize {
        self.max_messages_per_topic.map_or(0, |max| messages_of_topic.saturating_sub(max.get() as usize))
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[derive(Debug, Clone, Copy)]
    struct Message {
        sequence: u64,
        time_us: u64,
        bytes: u64,
    }

    fn messages() -> impl Strategy<Value = Vec<Message>> {
        vec((1..3_u64, 0..5_u64, 0..50_u64), 0..60).prop_map(|steps| {
            let mut at = Message { sequence: 0, time_us: 100, bytes: 0 };
            let next = |(step, later, bytes): (u64, u64, u64)| {
                at = Message { sequence: at.sequence + step, time_us: at.time_us + later, bytes };
                at
            };
            steps.into_iter().map(next).collect()
        })
    }

    fn extent(messages: &[Message]) -> Extent {
        let last = messages.last().unwrap();
        Extent { last: last.sequence, newest_time_us: last.time_us, totals: totals(messages) }
    }

    fn totals(messages: &[Message]) -> Totals {
        Totals { messages: messages.len() as u64, bytes: messages.iter().map(|it| it.bytes).sum() }
    }

    fn is_within(retention: Retention, now_us: u64, kept: &[Message]) -> bool {
        let Totals { messages, bytes } = totals(kept);
        retention.max_messages.is_none_or(|max| messages <= max.get())
            && retention.max_bytes.is_none_or(|max| bytes <= max.get())
            && retention.max_age_us.is_none_or(|max| kept.iter().all(|it| now_us - it.time_us < max.get()))
    }

    proptest! {
        /// The longest tail that is within the bounds is kept, and whatever the extents, they give the same when the
        /// one at the front is then looked at message by message.
        #[test]
        fn the_longest_tail_within_the_bounds_is_kept(
            messages in messages(),
            size in 1..9_usize,
            (age, bytes, count) in (0..60_u64, 0..900_u64, 0..40_u64),
        ) {
            let retention = Retention {
                max_age_us: NonZeroU64::new(age),
                max_bytes: NonZeroU64::new(bytes),
                max_messages: NonZeroU64::new(count),
                max_messages_per_topic: None,
            };
            let now_us = messages.last().map_or(0, |it| it.time_us) + 5;
            let gone = (0..=messages.len()).find(|n| is_within(retention, now_us, &messages[*n..])).unwrap();

            let coarse = retention.cut(now_us, totals(&messages), messages.chunks(size).map(extent));
            let before = coarse.map_or(Totals::default(), |cut| cut.removed);
            let start = usize::try_from(before.messages).unwrap();
            prop_assert!(start <= gone, "a large extent took what is within the bounds");
            let kept = totals(&messages[start..]);
            let front = messages[start..].chunks(1).take(size).map(extent);
            let fine = retention.cut(now_us, kept, front);
            let removed = before.messages + fine.map_or(0, |cut| cut.removed.messages);
            prop_assert_eq!(removed, gone as u64);
            if let Some(cut) = fine.or(coarse) {
                prop_assert_eq!(cut.first, messages[gone - 1].sequence + 1);
            }
        }
    }
}
