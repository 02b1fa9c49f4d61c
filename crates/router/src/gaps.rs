//! What was dropped for one connection and has not been told yet.

use std::collections::VecDeque;

use crate::{outbox::release_if_empty, subscriptions::Subscription};

/// Messages of one subscription that are missing at one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gap {
    /// Where it stands: the first of the missing messages.
    pub(crate) first_seq: u64,
    pub(crate) slot: u32,
    pub(crate) count: u32,
}

/// Gaps that wait, in the order of their places. Each has a number, one more than the one before it (wrapping), so that
/// a subscription can name its newest without searching, whatever was taken meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Gaps {
    waiting: VecDeque<Gap>,
    /// Number of the first that waits.
    first_number: u32,
}

impl Gaps {
    /// Counts a missing message; nothing that was counted before may be newer. It goes to the subscription's newest
    /// gap, if that still waits and `continues(its first_seq)` says that nothing stands in between. Otherwise a new gap
    /// begins, and the result is true.
    pub(crate) fn add(
        &mut self,
        (slot, subscription): (u32, &mut Subscription),
        seq: u64,
        continues: impl FnOnce(u64) -> bool,
    ) -> bool {
        let newest = subscription.newest_gap.wrapping_sub(self.first_number);
        // The number may be left over from a gap that was taken long ago, so the slot is looked at too.
        if let Some(gap) = self.waiting.get_mut(newest as usize)
            && gap.slot == slot
            && gap.count < u32::MAX
            && continues(gap.first_seq)
        {
            gap.count += 1;
            return false;
        }
        // More than 2^32 cannot wait: the outbox is bounded.
        subscription.newest_gap = self.first_number.wrapping_add(u32::try_from(self.waiting.len()).unwrap_or(u32::MAX));
        self.waiting.push_back(Gap { first_seq: seq, slot, count: 1 });
        true
    }

    /// Where the next gap stands.
    pub(crate) fn first_seq(&self) -> Option<u64> {
        self.waiting.front().map(|gap| gap.first_seq)
    }

    pub(crate) fn pop(&mut self) -> Option<Gap> {
        let gap = self.waiting.pop_front()?;
        self.first_number = self.first_number.wrapping_add(1);
        release_if_empty(&mut self.waiting);
        Some(gap)
    }
}

#[cfg(test)]
mod tests {
    use carillon_wire::Id;

    use super::*;

    fn subscription() -> Subscription {
        Subscription { id: Id::from(1), place: None, newest_gap: 0 }
    }

    #[test]
    fn numbers_wrap() {
        let mut gaps = Gaps { first_number: u32::MAX - 2, ..Gaps::default() };
        let mut subscription = subscription();
        for seq in 0..10 {
            assert!(gaps.add((5, &mut subscription), seq * 2, |_| false));
            assert!(!gaps.add((5, &mut subscription), seq * 2 + 1, |_| true), "the newest is found again");
            if seq >= 3 {
                assert_eq!(gaps.pop(), Some(Gap { first_seq: (seq - 3) * 2, slot: 5, count: 2 }));
            }
        }
        assert_eq!(gaps.waiting.len(), 3);
    }

    #[test]
    fn newest_gap_is_found_after_older_ones_were_taken() {
        let mut gaps = Gaps { first_number: u32::MAX, ..Gaps::default() };
        let (mut first, mut second) = (subscription(), subscription());
        gaps.add((1, &mut first), 1, |_| true);
        gaps.add((2, &mut second), 2, |_| true);
        assert_eq!(gaps.pop(), Some(Gap { first_seq: 1, slot: 1, count: 1 }));
        assert!(!gaps.add((2, &mut second), 3, |_| true));
        assert!(gaps.add((1, &mut first), 4, |_| true), "what was taken does not grow any more");
        assert_eq!(gaps.pop(), Some(Gap { first_seq: 2, slot: 2, count: 2 }));
    }

    #[test]
    fn count_that_is_full_begins_another_gap() {
        let mut gaps = Gaps::default();
        let mut subscription = subscription();
        gaps.add((0, &mut subscription), 1, |_| true);
        gaps.waiting[0].count = u32::MAX;
        assert!(gaps.add((0, &mut subscription), 2, |_| true));
        assert_eq!(gaps.waiting.len(), 2);
    }
}
