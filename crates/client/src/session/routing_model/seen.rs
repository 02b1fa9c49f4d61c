//! What came of it, and whether that is right.

use std::{collections::BTreeSet, ops::RangeInclusive};

use super::{KEPT, Modelled, PLAIN, World, epoch_name};
use crate::{command::SubscriptionKey, event::Event};

/// What an application saw of one subscription.
#[derive(Default)]
pub(super) struct Seen {
    numbers: Vec<usize>,
    /// Of the last epoch that it was told of.
    epoch: Option<(String, u64)>,
    sequences: BTreeSet<u64>,
    lost: Vec<RangeInclusive<u64>>,
}

impl Seen {
    pub(super) fn by(modelled: &mut Modelled) -> Self {
        let mut seen = Self::default();
        let mut last = 0;
        while let Some(event) = modelled.handle.try_next() {
            match event {
                Event::Message(message) => {
                    seen.numbers.push(std::str::from_utf8(message.payload()).unwrap().parse().unwrap());
                    let Some(sequence) = message.sequence() else { continue };
                    seen.sequences.insert(sequence);
                    if modelled.has_start {
                        assert!(sequence > last, "{sequence} came behind {last}");
                        last = sequence;
                        assert_eq!(modelled.handle.position(), message.position().as_ref());
                    }
                }
                Event::Gap(gap) => {
                    let range = gap.range.unwrap();
                    seen.lost.push(range.first..=range.last);
                }
                Event::EpochChanged(change) => {
                    seen.epoch = Some((change.epoch.to_string(), change.from - 1));
                    seen.sequences.clear();
                    seen.lost.clear();
                    last = change.from - 1;
                }
                Event::CaughtUp(live) => assert_eq!(modelled.handle.position(), Some(&live.position)),
                Event::Resumed(_) => assert!(modelled.has_start),
                Event::Reconnected(_) => assert!(!modelled.has_start),
                Event::Ended(ended) => panic!("{ended}"),
            }
        }
        seen
    }

    fn knows_of(&self, sequence: u64) -> bool {
        self.sequences.contains(&sequence) || self.lost.iter().any(|range| range.contains(&sequence))
    }
}

pub(super) fn check_with_start(world: &World, modelled: &Modelled, seen: &Seen) {
    let (epoch, behind, first_values) = match &seen.epoch {
        Some((epoch, behind)) => (epoch.clone(), *behind, Vec::new()),
        None => (epoch_name(modelled.owed.0), modelled.owed.1, modelled.owed.2.clone()),
    };
    assert_eq!(epoch, epoch_name(world.epoch));
    let here = world.published.iter().filter(|it| it.epoch == world.epoch && it.matches(modelled.patterns[0]));
    for sequence in here.filter_map(|it| it.sequence).filter(|it| *it > behind || first_values.contains(it)) {
        assert!(seen.knows_of(sequence), "{sequence} is missing in silence");
    }
    let at = modelled.handle.position().unwrap();
    assert_eq!((at.epoch(), at.sequence()), (epoch.as_str(), world.last));
}

pub(super) fn check_without_start(world: &World, key: SubscriptionKey, seen: &Seen) {
    let distinct: BTreeSet<_> = seen.numbers.iter().collect();
    assert_eq!(distinct.len(), seen.numbers.len(), "a message came twice");
    for (_, reader) in world.readers.iter().filter(|(id, _)| world.owners[*id] == key) {
        let since = world.published.iter().filter(|it| it.number >= reader.since && it.matches(&reader.pattern));
        for it in since {
            let is_known = match it.sequence {
                Some(sequence) => it.epoch != world.epoch || seen.knows_of(sequence),
                None => seen.numbers.contains(&it.number),
            };
            assert!(is_known, "{it:?} is missing in silence");
        }
    }
    let topics = |topic| seen.numbers.iter().filter(move |number| world.published[**number].topic == topic);
    for topic in [KEPT[0], KEPT[1], PLAIN] {
        assert!(topics(topic).is_sorted(), "{topic} came out of order");
    }
}
