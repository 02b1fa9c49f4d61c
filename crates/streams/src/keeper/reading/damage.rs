//! Damage that readers came upon, so that each of it is told once.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use crate::stream::{Gap, LossReason};

/// The most ranges of one stream that are remembered. Of a disk that is broken beyond that more is not told.
const MAX_RANGES: usize = 4096;

/// The ranges that were found damaged, by the streams' numbers in the store: first and last, apart from each other.
#[derive(Debug, Default)]
pub(super) struct KnownDamage {
    ranges: Mutex<HashMap<u32, BTreeMap<u64, u64>>>,
}

impl KnownDamage {
    /// Notes that a range is damaged; those parts of it that were not known.
    pub(super) fn note(&self, number: u32, gap: Gap) -> Vec<Gap> {
        let mut ranges = self.ranges.lock().unwrap_or_else(PoisonError::into_inner);
        let known = ranges.entry(number).or_default();
        if known.len() >= MAX_RANGES {
            return Vec::new();
        }
        let (mut first, mut last) = (gap.first, gap.last);
        let mut new = Vec::new();
        let mut next = gap.first;
        // Those that touch it become one with it.
        let touching: Vec<_> = known
            .range(..=gap.last.saturating_add(1))
            .rev()
            .take_while(|(_, end)| end.saturating_add(1) >= gap.first)
            .map(|(begin, end)| (*begin, *end))
            .collect();
        for (begin, end) in touching.into_iter().rev() {
            new.extend((next < begin).then(|| Gap { first: next, last: begin.saturating_sub(1), ..gap }));
            next = next.max(end.saturating_add(1));
            (first, last) = (first.min(begin), last.max(end));
            known.remove(&begin);
        }
        new.extend((next <= gap.last).then_some(Gap { first: next, ..gap }));
        known.insert(first, last);
        new.retain(|gap| gap.reason == LossReason::Damage && gap.first <= gap.last);
        new
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::{collection::vec, prelude::*};

    use super::*;

    proptest! {
        #[test]
        fn every_sequence_is_told_once(ranges in vec((1..40_u64, 0..6_u64), 0..30)) {
            let known = KnownDamage::default();
            let mut told = BTreeSet::new();
            let mut noted = BTreeSet::new();
            for (first, more) in ranges {
                noted.extend(first..=first + more);
                for new in known.note(1, Gap { first, last: first + more, reason: LossReason::Damage }) {
                    for sequence in new.first..=new.last {
                        prop_assert!(told.insert(sequence), "{} was told before", sequence);
                    }
                }
                prop_assert_eq!(&told, &noted);
            }
        }
    }
}
