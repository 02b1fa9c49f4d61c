//! Who publishes how much to whom.

/// What one part of a run publishes: publication `k` of all is publisher `k % publishers`' next one, and each publisher goes
/// through the topics in turn, from that of its own number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) topics: u64,
    pub(super) subscribers: u64,
    pub(super) publishers: u64,
    /// For each topic, of all publishers together.
    pub(super) messages: u64,
}

impl Plan {
    /// Publications in all.
    pub(super) fn total(self) -> u64 {
        self.topics * self.messages
    }

    /// Publications of one publisher.
    pub(super) fn of_publisher(self, publisher: u64) -> u64 {
        (self.total() + self.publishers - 1).saturating_sub(publisher) / self.publishers
    }

    /// Where a publisher's publication goes, and its number among those of this publisher to that topic.
    pub(super) fn place(self, publisher: u64, index: u64) -> (u64, u64) {
        ((publisher + index) % self.topics, index / self.topics)
    }

    /// Publications of one publisher to one topic.
    pub(super) fn to_topic(self, publisher: u64, topic: u64) -> u64 {
        let first = (topic + self.topics - publisher % self.topics) % self.topics;
        (self.of_publisher(publisher) + self.topics - 1).saturating_sub(first) / self.topics
    }

    /// Deliveries in all.
    pub(super) fn deliveries(self) -> u64 {
        let readers = |topic: u64| (self.subscribers + self.topics - 1).saturating_sub(topic) / self.topics;
        let published = |topic| (0..self.publishers).map(|publisher| self.to_topic(publisher, topic)).sum::<u64>();
        (0..self.topics).map(|topic| readers(topic) * published(topic)).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn counts_are_those_of_a_walk(
            topics in 1..7u64, subscribers in 1..20u64, publishers in 1..6u64, messages in 0..12u64,
        ) {
            let plan = Plan { topics, subscribers, publishers, messages };
            let mut numbers: BTreeMap<(u64, u64), u64> = BTreeMap::new();
            let mut deliveries = 0;
            for k in 0..plan.total() {
                let (publisher, index) = (k % publishers, k / publishers);
                prop_assert!(index < plan.of_publisher(publisher));
                let (topic, number) = plan.place(publisher, index);
                let next = numbers.entry((publisher, topic)).or_default();
                prop_assert_eq!(number, *next, "numbers of a publisher to a topic have no holes");
                *next += 1;
                deliveries += (0..subscribers).filter(|subscriber| subscriber % topics == topic).count() as u64;
            }
            prop_assert_eq!((0..publishers).map(|publisher| plan.of_publisher(publisher)).sum::<u64>(), plan.total());
            for publisher in 0..publishers {
                for topic in 0..topics {
                    let walked = numbers.get(&(publisher, topic)).copied().unwrap_or(0);
                    prop_assert_eq!(plan.to_topic(publisher, topic), walked);
                }
            }
            prop_assert_eq!(plan.deliveries(), deliveries);
        }
    }
}
