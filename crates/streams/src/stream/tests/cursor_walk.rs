//! Holds what a subscriber was given to what its stream had.

use super::{
    as_index,
    cursor_model::{Given, World},
};
use crate::stream::{Epoch, LossReason, MAX_SEQUENCE, Origin, Position};

/// Walks along what the subscriber was given, and holds it to the stream's content.
pub(super) struct Walk<'w> {
    world: &'w World,
    epoch: Epoch,
    era: usize,
    position: u64,
    as_of: u64,
}

impl<'w> Walk<'w> {
    pub(super) fn new(world: &'w World, origin: &Origin) -> Self {
        let epoch = origin.epochs.current().clone();
        let (era, _) = world.translate(&epoch, 0);
        Self { world, epoch, era, position: origin.position, as_of: origin.last_by_topic_as_of }
    }

    fn topic(&self, sequence: u64) -> usize {
        self.world.eras[self.era].topics[as_index(sequence) - 1]
    }

    /// Nothing that had to come lies between the position and this sequence.
    fn nothing_is_missing_before(&self, sequence: u64) {
        let topics = &self.world.eras[self.era].topics;
        for missing in self.position + 1..sequence {
            let topic = self.topic(missing);
            let newer = |through: u64| {
                let through = as_index(through.min(topics.len() as u64));
                topics[as_index(missing)..through].iter().filter(|it| **it == topic).count()
            };
            let is_replaced = self.world.each.is_some_and(|each| newer(MAX_SEQUENCE) >= each as usize);
            let is_not_the_last = missing <= self.as_of && newer(self.as_of) > 0;
            assert!(!self.world.matches(topic) || is_replaced || is_not_the_last, "{missing} is missing, unnamed");
        }
    }

    pub(super) fn step(&mut self, given: &Given) {
        match given {
            Given::Message { epoch, sequence } => {
                assert_eq!(*epoch, self.epoch);
                assert!(*sequence > self.position, "{sequence} comes behind {}", self.position);
                assert!(self.world.matches(self.topic(*sequence)));
                if *sequence <= self.as_of {
                    let later = &self.world.eras[self.era].topics[as_index(*sequence)..as_index(self.as_of)];
                    assert!(!later.contains(&self.topic(*sequence)), "{sequence} is not the last of its topic");
                }
                self.nothing_is_missing_before(*sequence);
                self.position = *sequence;
            }
            Given::Lost { epoch, gap } => {
                assert_eq!(*epoch, self.epoch);
                assert!(gap.first > self.position && gap.last >= gap.first, "{gap:?} at {}", self.position);
                self.nothing_is_missing_before(gap.first);
                let era = &self.world.eras[self.era];
                if gap.reason == LossReason::Damage {
                    assert!((gap.first..=gap.last).all(|it| era.damaged.contains(&it)));
                } else if self.era + 1 == self.world.eras.len() {
                    assert!(gap.last < self.world.stream.stream().bounds().first, "what is named as lost is there");
                }
                self.position = gap.last;
            }
            Given::Changed { change, as_of } => {
                let (era, position) = self.world.translate(&self.epoch, self.position);
                let (next_era, _) = self.world.translate(&change.epoch, 0);
                if era == next_era {
                    assert!(change.from > position, "what it has is not new");
                    self.position = position;
                } else {
                    self.position = change.from - 1;
                }
                (self.era, self.as_of, self.epoch) = (next_era, *as_of, change.epoch.clone());
            }
        }
    }

    pub(super) fn finish(&self, end: &Position) {
        assert_eq!(end.epoch, self.epoch);
        assert!(end.sequence >= self.position);
        self.nothing_is_missing_before(end.sequence + 1);
    }
}
