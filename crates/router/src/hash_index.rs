//! A hash table from keys to places in an arena that holds the keys.

use std::hash::{BuildHasher, Hash};

use foldhash::quality::RandomState;
use hashbrown::HashTable;

/// A smaller table keeps its memory when entries leave.
const SMALL_CAPACITY: usize = 64;

/// Finds `u32` places by keys that are kept elsewhere. Clients choose the keys, so the hash is seeded at random.
///
/// The hash is kept beside each place: growing reads nothing but the table itself, and a lookup reads another key only
/// when 32 bits are equal.
#[derive(Debug, Default)]
pub(crate) struct HashIndex {
    table: HashTable<Entry>,
    state: RandomState,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    hash: u32,
    place: u32,
}

impl Entry {
    /// hashbrown takes buckets from the low bits and tags from the top 7, so both halves need all bits.
    fn spread(hash: u32) -> u64 {
        u64::from(hash) << 32 | u64::from(hash)
    }
}

impl HashIndex {
    /// The place of a key; `is_it` tells whether a place holds it.
    pub(crate) fn find<K: Hash + ?Sized>(&self, key: &K, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        if self.table.is_empty() {
            return None;
        }
        let hash = self.hash(key);
        let found = self.table.find(Entry::spread(hash), |entry| entry.hash == hash && is_it(entry.place));
        found.map(|entry| entry.place)
    }

    /// Adds a key that is not there.
    pub(crate) fn insert<K: Hash + ?Sized>(&mut self, key: &K, place: u32) {
        let hash = self.hash(key);
        self.table.insert_unique(Entry::spread(hash), Entry { hash, place }, |entry| Entry::spread(entry.hash));
    }

    /// Removes a key with the place that it has.
    pub(crate) fn remove<K: Hash + ?Sized>(&mut self, key: &K, place: u32) {
        let hash = self.hash(key);
        if let Ok(entry) = self.table.find_entry(Entry::spread(hash), |entry| entry.place == place) {
            entry.remove();
        }
        let (len, capacity) = (self.table.len(), self.table.capacity());
        if capacity > SMALL_CAPACITY && len < capacity / 8 {
            self.table.shrink_to(len * 2, |entry| Entry::spread(entry.hash));
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    fn hash<K: Hash + ?Sized>(&self, key: &K) -> u32 {
        (self.state.hash_one(key) >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_found_until_they_are_removed_and_the_table_shrinks() {
        let mut index = HashIndex::default();
        for key in 0..10_000_u32 {
            index.insert(&key, key);
        }
        let grown = index.table.capacity();
        for key in 0..10_000_u32 {
            assert_eq!(index.find(&key, |place| place == key), Some(key));
            index.remove(&key, key);
            assert_eq!(index.find(&key, |place| place == key), None);
        }
        assert!(index.table.capacity() < grown / 64);
    }
}
