//! Values at stable `u32` places.

use slab::Slab;

/// A smaller arena keeps its memory when it empties, so that one entry that comes and goes costs no allocation.
const SMALL_CAPACITY: usize = 64;

/// Values named by a `u32`, which stays until the value is removed and is then used again.
#[derive(Debug)]
pub(crate) struct Arena<T>(Slab<T>);

impl<T> Default for Arena<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Arena<T> {
    pub(crate) const fn new() -> Self {
        Self(Slab::new())
    }

    /// Puts a value in.
    ///
    /// Each of the router's arenas has fewer than 2^32 entries: subscriptions are bounded to 2^27 with at most 16 nodes
    /// and tokens each, and 2^32 connections would need a terabyte for these records alone.
    pub(crate) fn insert(&mut self, value: T) -> u32 {
        u32::try_from(self.0.insert(value)).expect("an arena has fewer than 2^32 entries")
    }

    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        self.0.get(to_usize(index))
    }

    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        self.0.get_mut(to_usize(index))
    }

    pub(crate) fn remove(&mut self, index: u32) -> Option<T> {
        let removed = self.0.try_remove(to_usize(index));
        if self.0.is_empty() {
            self.trim();
        }
        removed
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// All entries are below this index.
    pub(crate) fn end(&self) -> u32 {
        u32::try_from(self.0.capacity()).unwrap_or(u32::MAX)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.0.iter().filter_map(|(index, value)| Some((u32::try_from(index).ok()?, value)))
    }

    /// Gives back the memory behind the last entry, where that is much. Takes time with the capacity, so it is for the
    /// moment when (nearly) all entries have left.
    pub(crate) fn trim(&mut self) {
        if self.0.capacity() > SMALL_CAPACITY {
            self.0.shrink_to_fit();
        }
    }
}

/// No supported platform has narrower pointers.
const fn to_usize(index: u32) -> usize {
    const { assert!(usize::BITS >= u32::BITS) };
    index as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_arena_that_empties_gives_its_memory_back() {
        let mut arena = Arena::new();
        let indexes: Vec<u32> = (0..10_000).map(|value| arena.insert(value)).collect();
        for index in indexes {
            assert_eq!(arena.remove(index), Some(index));
        }
        assert_eq!((arena.len(), arena.end()), (0, 0));
    }
}
