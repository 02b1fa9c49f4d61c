//! The topics of a stream, each with the sequence of its newest message.

use std::hash::BuildHasher;

use carillon_wire::{Topic, TopicBuf};
use foldhash::quality::RandomState;
use hashbrown::HashTable;

/// No entry.
const NONE: u32 = u32::MAX;

/// Topics by name and by the sequence of their newest message.
///
/// Of a topic's messages the newest is the last that retention takes, so a topic has a kept message exactly as long as
/// its newest is kept. Therefore no counts are needed, nor anything of what was removed: topics are in one list in the
/// order of their newest message, and when the stream's first sequence moves, those before it leave from the front.
#[derive(Debug)]
pub(super) struct Topics {
    /// Places in `entries`, by name.
    by_name: HashTable<u32>,
    entries: Vec<Entry>,
    free: Vec<u32>,
    oldest: u32,
    newest: u32,
    state: RandomState,
}

#[derive(Debug)]
struct Entry {
    name: TopicBuf,
    last: u64,
    older: u32,
    newer: u32,
}

impl Default for Topics {
    fn default() -> Self {
        Self {
            by_name: HashTable::new(),
            entries: Vec::new(),
            free: Vec::new(),
            oldest: NONE,
            newest: NONE,
            state: RandomState::default(),
        }
    }
}

impl Topics {
    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// The sequence of the topic's newest message.
    pub(super) fn last(&self, name: &str) -> Option<u64> {
        self.find(name).and_then(|place| self.entry(place)).map(|entry| entry.last)
    }

    /// A message of the topic; its sequence is above all that were noted before.
    pub(super) fn note(&mut self, topic: Topic<'_>, sequence: u64) -> TopicBuf {
        let place = match self.find(topic.as_str()) {
            Some(place) => {
                self.unlink(place);
                place
            }
            None => self.insert(topic),
        };
        self.link_newest(place, sequence);
        self.entry(place).map_or_else(|| topic.into(), |entry| entry.name.clone())
    }

    /// Forgets the topics whose newest message is before the stream's first sequence.
    pub(super) fn forget_before(&mut self, first: u64) {
        while let Some(entry) = self.entry(self.oldest)
            && entry.last < first
        {
            let place = self.oldest;
            let hash = self.state.hash_one(entry.name.as_str());
            if let Ok(found) = self.by_name.find_entry(hash, |it| *it == place) {
                found.remove();
            }
            self.unlink(place);
            // The place keeps the name until it is taken again.
            self.free.push(place);
        }
    }

    /// Names and newest sequences, in ascending order of the sequences.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&TopicBuf, u64)> {
        let mut place = self.oldest;
        std::iter::from_fn(move || {
            let entry = self.entry(place)?;
            place = entry.newer;
            Some((&entry.name, entry.last))
        })
    }

    fn find(&self, name: &str) -> Option<u32> {
        let is_it = |place: &u32| self.entry(*place).is_some_and(|entry| entry.name.as_str() == name);
        self.by_name.find(self.state.hash_one(name), is_it).copied()
    }

    /// A new entry that is not in the list yet.
    fn insert(&mut self, topic: Topic<'_>) -> u32 {
        let entry = Entry { name: topic.into(), last: 0, older: NONE, newer: NONE };
        let free = self.free.pop();
        let place = free.unwrap_or_else(|| u32::try_from(self.entries.len()).unwrap_or(NONE));
        match self.entry_mut(place) {
            Some(free) => *free = entry,
            // `NONE` is no place, and never reached: `Definition::max_topics` is below it.
            None => self.entries.push(entry),
        }
        let Self { by_name, entries, state, .. } = self;
        let rehash = |place: &u32| entries.get(*place as usize).map_or(0, |entry| state.hash_one(entry.name.as_str()));
        by_name.insert_unique(state.hash_one(topic.as_str()), place, rehash);
        place
    }

    fn unlink(&mut self, place: u32) {
        let Some(Entry { older, newer, .. }) = self.entry(place) else { return };
        let (older, newer) = (*older, *newer);
        match self.entry_mut(older) {
            Some(older) => older.newer = newer,
            None => self.oldest = newer,
        }
        match self.entry_mut(newer) {
            Some(newer) => newer.older = older,
            None => self.newest = older,
        }
    }

    fn link_newest(&mut self, place: u32, last: u64) {
        let older = self.newest;
        if let Some(entry) = self.entry_mut(place) {
            (entry.last, entry.older, entry.newer) = (last, older, NONE);
        }
        match self.entry_mut(older) {
            Some(older) => older.newer = place,
            None => self.oldest = place,
        }
        self.newest = place;
    }

    fn entry(&self, place: u32) -> Option<&Entry> {
        self.entries.get(place as usize)
    }

    fn entry_mut(&mut self, place: u32) -> Option<&mut Entry> {
        self.entries.get_mut(place as usize)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::{collection::vec, prelude::*};

    use super::*;

    proptest! {
        #[test]
        fn topics_are_those_whose_newest_message_is_kept(steps in vec((0..12_u32, 0..4_u64), 0..200)) {
            let mut topics = Topics::default();
            let mut model = BTreeMap::new();
            let mut first = 1;
            for (sequence, (topic, forward)) in (1..).zip(steps) {
                let name = format!("t.{topic}");
                prop_assert_eq!(topics.last(&name), model.get(&name).copied());
                topics.note(Topic::new(&name).unwrap(), sequence);
                model.insert(name, sequence);
                if forward == 0 {
                    first += (sequence - first) / 2;
                    topics.forget_before(first);
                    model.retain(|_, last| *last >= first);
                }
                let mut expected: Vec<_> = model.iter().map(|(name, last)| (name.as_str(), *last)).collect();
                expected.sort_by_key(|(_, last)| *last);
                prop_assert_eq!(topics.iter().map(|(name, last)| (name.as_str(), last)).collect::<Vec<_>>(), expected);
                prop_assert_eq!(topics.len(), model.len());
                prop_assert!(topics.entries.len() <= 12);
            }
        }
    }
}
