//! Subscriptions to one topic each: no wildcard, one lookup.

use carillon_wire::Topic;

use crate::{
    arena::Arena,
    hash_index::HashIndex,
    subscribers::{Subscriber, Subscribers},
};

/// Subscribers by topic.
#[derive(Debug, Default)]
pub(crate) struct Exact {
    topics: Arena<Entry>,
    by_name: HashIndex,
}

#[derive(Debug)]
struct Entry {
    name: Box<str>,
    subscribers: Subscribers,
}

impl Exact {
    /// Adds a subscriber; tells the topic's place and the subscriber's position there.
    pub(crate) fn insert(&mut self, topic: Topic<'_>, subscriber: Subscriber) -> (u32, u32) {
        if let Some(index) = self.find(topic)
            && let Some(entry) = self.topics.get_mut(index)
        {
            return (index, entry.subscribers.push(subscriber));
        }
        let name = topic.as_str();
        let index = self.topics.insert(Entry { name: name.into(), subscribers: Subscribers::One(subscriber) });
        self.by_name.insert(name, index);
        (index, 0)
    }

    /// Removes the subscriber at a position, and returns the one that takes it.
    pub(crate) fn remove(&mut self, index: u32, position: u32) -> Option<Subscriber> {
        let entry = self.topics.get_mut(index)?;
        let moved = entry.subscribers.swap_remove(position);
        if entry.subscribers.is_empty() {
            self.by_name.remove(&*entry.name, index);
            self.topics.remove(index);
        }
        moved
    }

    /// The topic at a place.
    pub(crate) fn name(&self, index: u32) -> Option<&str> {
        self.topics.get(index).map(|entry| &*entry.name)
    }

    /// Shows each topic with its subscribers.
    pub(crate) fn for_each_topic(&self, mut show: impl FnMut(&str, &[Subscriber])) {
        for (_, entry) in self.topics.iter() {
            show(&entry.name, entry.subscribers.as_slice());
        }
    }

    /// The subscribers at a place.
    pub(crate) fn list(&self, index: u32) -> &[Subscriber] {
        self.topics.get(index).map_or(&[], |entry| entry.subscribers.as_slice())
    }

    /// The subscribers of exactly this topic.
    pub(crate) fn subscribers(&self, topic: Topic<'_>) -> &[Subscriber] {
        let entry = self.find(topic).and_then(|index| self.topics.get(index));
        entry.map_or(&[], |entry| entry.subscribers.as_slice())
    }

    fn find(&self, topic: Topic<'_>) -> Option<u32> {
        let name = topic.as_str();
        self.by_name.find(name, |index| self.topics.get(index).is_some_and(|entry| &*entry.name == name))
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.topics.len() == 0 && self.by_name.len() == 0
    }
}
