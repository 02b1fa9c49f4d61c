//! Whether what came is what was published: each message once, in order, none missing.

use std::ops::Range;

use crate::stamp;

/// What the checks of one subscriber, or of many together, found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Checked {
    /// Messages that came, each counted once.
    pub(crate) delivered: u64,
    pub(crate) repeated: u64,
    /// Messages that came behind one with a higher number.
    pub(crate) reordered: u64,
    /// Payloads that are none of this run's.
    pub(crate) foreign: u64,
    /// What the broker said that it dropped.
    pub(crate) told_lost: u64,
}

impl Checked {
    pub(crate) fn add(&mut self, other: Self) {
        self.delivered += other.delivered;
        self.repeated += other.repeated;
        self.reordered += other.reordered;
        self.foreign += other.foreign;
        self.told_lost += other.told_lost;
    }

    /// What was found since an earlier look.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            delivered: self.delivered - earlier.delivered,
            repeated: self.repeated - earlier.repeated,
            reordered: self.reordered - earlier.reordered,
            foreign: self.foreign - earlier.foreign,
            told_lost: self.told_lost - earlier.told_lost,
        }
    }
}

/// What one subscriber of one topic has got.
#[derive(Debug)]
pub(crate) struct Checker {
    /// By publisher's number.
    publishers: Box<[Sequence]>,
    since_ns: u64,
    checked: Checked,
}

impl Checker {
    /// For publishers with the numbers from 0, of whose messages those count that were due at `since_ns` or later: earlier ones
    /// are stragglers of a part that was counted already.
    pub(crate) fn new(publishers: u16, since_ns: u64) -> Self {
        let publishers = (0..publishers).map(|_| Sequence::default()).collect();
        Self { publishers, since_ns, checked: Checked::default() }
    }

    /// Takes a payload, and returns when it was due, where it counts as delivered.
    pub(crate) fn take(&mut self, payload: &[u8]) -> Option<u64> {
        let stamp = stamp::read(payload);
        let Some((stamp, sequence)) =
            stamp.and_then(|stamp| Some((stamp, self.publishers.get_mut(usize::from(stamp.publisher))?)))
        else {
            self.checked.foreign += 1;
            return None;
        };
        if stamp.due_ns < self.since_ns {
            return None;
        }
        match sequence.take(stamp.number) {
            Arrival::InOrder => self.checked.delivered += 1,
            Arrival::Late => {
                self.checked.delivered += 1;
                self.checked.reordered += 1;
            }
            Arrival::Again => {
                self.checked.repeated += 1;
                return None;
            }
        }
        Some(stamp.due_ns)
    }

    pub(crate) fn told_lost(&mut self, messages: u64) {
        self.checked.told_lost += messages;
    }

    pub(crate) fn checked(&self) -> Checked {
        self.checked
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arrival {
    InOrder,
    Late,
    Again,
}

/// Numbers that came of one publisher to one topic.
#[derive(Debug, Default)]
struct Sequence {
    next: u64,
    /// What is missing below `next`, in order. Empty with a broker that does as it must.
    missing: Vec<Range<u64>>,
}

impl Sequence {
    fn take(&mut self, number: u64) -> Arrival {
        if number == self.next {
            self.next += 1;
            return Arrival::InOrder;
        }
        if number > self.next {
            self.missing.push(self.next..number);
            self.next = number + 1;
            return Arrival::InOrder;
        }
        let at = self.missing.partition_point(|range| range.end <= number);
        let Some(range) = self.missing.get_mut(at).filter(|range| range.contains(&number)) else {
            return Arrival::Again;
        };
        let behind = number + 1..range.end;
        range.end = number;
        if range.is_empty() {
            self.missing.remove(at);
            if !behind.is_empty() {
                self.missing.insert(at, behind);
            }
        } else if !behind.is_empty() {
            self.missing.insert(at + 1, behind);
        }
        Arrival::Late
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::stamp::Stamp;

    fn payload(publisher: u16, number: u64) -> Vec<u8> {
        let mut payload = vec![0; stamp::STAMP_BYTES];
        stamp::write(&mut payload, Stamp { due_ns: 1, publisher, number });
        payload
    }

    proptest! {
        #[test]
        fn agrees_with_a_set_of_all_numbers(arrivals in prop::collection::vec((0..3u16, 0..40u64), 0..200)) {
            let mut checker = Checker::new(2, 1);
            let (mut seen, mut expected) = (BTreeSet::new(), Checked::default());
            for (publisher, number) in arrivals {
                checker.take(&payload(publisher, number));
                let is_behind = seen.range((publisher, number)..).next().is_some_and(|(other, _)| *other == publisher);
                if publisher == 2 {
                    expected.foreign += 1;
                } else if !seen.insert((publisher, number)) {
                    expected.repeated += 1;
                } else {
                    expected.delivered += 1;
                    expected.reordered += u64::from(is_behind);
                }
            }
            prop_assert_eq!(checker.checked(), expected);
        }
    }

    #[test]
    fn straggler_of_an_earlier_part_does_not_count() {
        let mut checker = Checker::new(1, 2);
        assert_eq!(checker.take(&payload(0, 0)), None);
        assert_eq!(checker.checked(), Checked::default());
    }

    #[test]
    fn payload_without_stamp_is_foreign() {
        let mut checker = Checker::new(1, 0);
        assert_eq!(checker.take(b"hello"), None);
        assert_eq!(checker.checked(), Checked { foreign: 1, ..Checked::default() });
    }
}
