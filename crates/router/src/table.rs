//! The subscription table: who subscribed to what, and who matches a topic.

use std::borrow::Cow;

use carillon_wire::{Pattern, Topic};

use crate::{
    exact::Exact,
    subscribers::Subscriber,
    trie::{End, Trie},
};

/// All subscriptions of a shard. Equal patterns share one list.
#[derive(Debug, Default)]
pub(crate) struct Table {
    exact: Exact,
    trie: Trie,
}

/// Where a subscription stands in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    target: Target,
    /// In the target's list. It changes when the last of the list takes the place of another.
    pub(crate) position: u32,
}

impl Place {
    /// Whether both are in the list of one pattern.
    pub(crate) fn is_beside(self, other: Self) -> bool {
        self.target == other.target
    }
}

/// Whose list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Topic(u32),
    Node(u32),
    Rest(u32),
}

impl Table {
    /// Adds a subscriber.
    pub(crate) fn insert(&mut self, pattern: Pattern<'_>, subscriber: Subscriber) -> Place {
        if let Some(topic) = pattern.as_topic() {
            let (index, position) = self.exact.insert(topic, subscriber);
            return Place { target: Target::Topic(index), position };
        }
        let (index, end, position) = self.trie.insert(pattern, subscriber);
        let target = match end {
            End::Here => Target::Node(index),
            End::Rest => Target::Rest(index),
        };
        Place { target, position }
    }

    /// The pattern of the subscriptions at a place.
    pub(crate) fn pattern(&self, place: Place) -> Option<Cow<'_, str>> {
        match place.target {
            Target::Topic(index) => self.exact.name(index).map(Cow::Borrowed),
            Target::Node(index) => self.trie.pattern(index, End::Here).map(Cow::Owned),
            Target::Rest(index) => self.trie.pattern(index, End::Rest).map(Cow::Owned),
        }
    }

    /// The subscribers to the pattern of a place.
    pub(crate) fn list(&self, place: Place) -> &[Subscriber] {
        match place.target {
            Target::Topic(index) => self.exact.list(index),
            Target::Node(index) => self.trie.list(index, End::Here),
            Target::Rest(index) => self.trie.list(index, End::Rest),
        }
    }

    /// Shows each pattern with its subscribers, in no order.
    pub(crate) fn for_each_pattern(&self, mut show: impl FnMut(&str, &[Subscriber])) {
        self.exact.for_each_topic(&mut show);
        self.trie.for_each_pattern(show);
    }

    /// Removes the subscriber at a place, in constant time for a topic and in the pattern's tokens otherwise. The one
    /// that is returned has taken the place.
    pub(crate) fn remove(&mut self, place: Place) -> Option<Subscriber> {
        match place.target {
            Target::Topic(index) => self.exact.remove(index, place.position),
            Target::Node(index) => self.trie.remove(index, End::Here, place.position),
            Target::Rest(index) => self.trie.remove(index, End::Rest, place.position),
        }
    }

    /// Shows each list of subscribers whose pattern matches the topic, no list twice, none empty; tells how many nodes
    /// of the trie were visited.
    pub(crate) fn for_each_match<'t>(&'t self, topic: Topic<'_>, mut on_match: impl FnMut(&'t [Subscriber])) -> u32 {
        let exact = self.exact.subscribers(topic);
        if !exact.is_empty() {
            on_match(exact);
        }
        self.trie.for_each_match(topic, on_match)
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.trie.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use carillon_wire::PatternBuf;
    use proptest::{collection::vec, prelude::*, sample::Index, strategy::Union};

    use super::*;
    use crate::subscribers::Policy;

    #[derive(Debug, Clone)]
    enum Step {
        Insert(String),
        Remove(Index),
        Match(String),
    }

    /// Few tokens, so that names meet; `$` where it means something and where it does not.
    fn topics() -> impl Strategy<Value = String> {
        vec(Union::new(["a", "b", "c", "$a"].map(Just)), 1..5).prop_map(|tokens| tokens.join("."))
    }

    fn patterns() -> impl Strategy<Value = String> {
        let tokens = vec(Union::new(["a", "b", "*", "$a"].map(Just)), 0..5);
        let rest = Union::new([true, false].map(Just));
        (tokens, rest).prop_map(|(mut tokens, has_rest)| {
            if has_rest || tokens.is_empty() {
                tokens.push(">");
            }
            tokens.join(".")
        })
    }

    fn steps() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => patterns().prop_map(Step::Insert),
            2 => any::<Index>().prop_map(Step::Remove),
            3 => topics().prop_map(Step::Match),
        ]
    }

    /// The table beside a plain list, in which a subscriber's slot is its place.
    #[derive(Default)]
    struct Pair {
        table: Table,
        list: Vec<Option<(PatternBuf, Place)>>,
    }

    impl Pair {
        fn insert(&mut self, pattern: &str) {
            let pattern = PatternBuf::new(pattern).unwrap();
            let slot = u32::try_from(self.list.len()).unwrap();
            let place = self.table.insert(pattern.as_pattern(), Subscriber::new(0, slot, Policy::DropOldest));
            assert_eq!(self.table.pattern(place).as_deref(), Some(pattern.as_str()));
            self.list.push(Some((pattern, place)));
        }

        fn remove(&mut self, slot: usize) {
            let Some((_, place)) = self.list[slot].take() else { return };
            if let Some(moved) = self.table.remove(place) {
                self.list[moved.slot() as usize].as_mut().unwrap().1.position = place.position;
            }
        }

        fn assert_same_matches(&self, topic: &str) {
            let topic = Topic::new(topic).unwrap();
            let mut found = Vec::new();
            self.table.for_each_match(topic, |list| found.extend(list.iter().map(|it| it.slot() as usize)));
            found.sort_unstable();
            let expected: Vec<usize> = (0..self.list.len())
                .filter(|slot| self.list[*slot].as_ref().is_some_and(|(it, _)| it.as_pattern().matches(topic)))
                .collect();
            assert_eq!(found, expected, "{topic}");
        }

        fn assert_same_patterns(&self) {
            let mut found = Vec::new();
            self.table.for_each_pattern(|pattern, subscribers| {
                assert!(!subscribers.is_empty(), "{pattern} has no subscribers");
                found.extend(subscribers.iter().map(|it| (it.slot() as usize, pattern.to_owned())));
            });
            found.sort_unstable();
            let expected = self.list.iter().enumerate();
            let expected = expected.filter_map(|(slot, it)| Some((slot, it.as_ref()?.0.as_str().to_owned())));
            assert!(found.iter().cloned().eq(expected), "{found:?}");
        }
    }

    proptest! {
        #[test]
        fn matches_are_those_of_the_pattern_under_churn_and_nothing_is_left_behind(steps in vec(steps(), 0..200)) {
            let mut pair = Pair::default();
            for step in steps {
                match step {
                    Step::Insert(pattern) => pair.insert(&pattern),
                    Step::Remove(index) if !pair.list.is_empty() => pair.remove(index.index(pair.list.len())),
                    Step::Remove(_) => {}
                    Step::Match(topic) => pair.assert_same_matches(&topic),
                }
            }
            pair.assert_same_patterns();
            for slot in 0..pair.list.len() {
                pair.remove(slot);
            }
            prop_assert!(pair.table.is_empty(), "{:?}", pair.table);
        }
    }
}
