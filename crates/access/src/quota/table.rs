//! Quotas by key, in bounded memory.

use std::{collections::HashMap, hash::Hash};

/// How many entries each new key looks at, to find idle ones.
const SWEEP: usize = 8;

/// What can be forgotten when it is idle.
pub trait Idle {
    /// The limits that decide on it.
    type Limits;

    /// Whether a new value in its place would answer everything as this one does.
    fn is_idle(&self, limits: &Self::Limits, now_ns: u64) -> bool;
}

/// A value for each key, such as the quotas of an identity or of a [`Network`](super::Network).
///
/// It forgets only what is idle, so nobody gets a limit anew by waiting less than a full bucket takes, and nobody's
/// count is lost. Each new key looks at a few entries and takes idle ones away, in turn; so the table follows the
/// number of busy keys, at a fixed cost for each new one.
///
/// # When it is full
/// Where there is no room and none of the entries looked at is idle, the new key gets the **shared** entry, together
/// with all others who come too late. So a flood of keys finds one entry's worth of room in all, and those who have an
/// entry keep it. Whoever comes again later may find room of its own.
#[derive(Debug)]
pub struct Table<K, V> {
    by_key: HashMap<K, u32>,
    slots: Vec<Slot<K, V>>,
    /// Slots without an entry.
    free: Vec<u32>,
    shared: V,
    max_entries: u32,
    /// The slot that is looked at next.
    hand: usize,
    /// The latest time that it was told. New entries begin with it, so that a clock that went back gives nobody the
    /// same time twice by way of a forgotten entry.
    latest_ns: u64,
}

#[derive(Debug)]
struct Slot<K, V> {
    /// How often an entry here was forgotten. In a place it says that the entry is still that one.
    generation: u32,
    entry: Option<(K, V)>,
}

/// Where an entry stands: what a connection keeps, to come to its quotas without looking a key up.
///
/// It stays good as long as the entry is not idle, so as long as its holder counts in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place(Target);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Shared,
    Slot { index: u32, generation: u32 },
}

impl Place {
    /// Whether this is the entry of those who found no room.
    pub const fn is_shared(self) -> bool {
        matches!(self.0, Target::Shared)
    }
}

impl<K: Clone + Eq + Hash, V: Idle> Table<K, V> {
    /// An empty one, for `max_entries` keys at the same time; those who find no room share `shared`.
    pub fn new(max_entries: u32, shared: V) -> Self {
        Self { by_key: HashMap::new(), slots: Vec::new(), free: Vec::new(), shared, max_entries, hand: 0, latest_ns: 0 }
    }

    /// The entry of a key and where it stands. If it has none, `new_value` makes it, from the time in nanoseconds.
    pub fn entry(
        &mut self,
        key: &K,
        limits: &V::Limits,
        now_ns: u64,
        new_value: impl FnOnce(u64) -> V,
    ) -> (Place, &mut V) {
        self.latest_ns = self.latest_ns.max(now_ns);
        let mut index = self.by_key.get(key).copied();
        if index.is_none() {
            self.sweep(limits);
            index = self.insert(key, new_value);
        }
        let slot = index.and_then(|index| Some((index, self.slots.get_mut(usize::try_from(index).ok()?)?)));
        match slot {
            Some((index, Slot { generation, entry: Some((_, value)) })) => {
                (Place(Target::Slot { index, generation: *generation }), value)
            }
            _ => (Place(Target::Shared), &mut self.shared),
        }
    }

    /// The entry at a place; `None` if it was idle and is forgotten.
    pub fn get_mut(&mut self, place: Place) -> Option<&mut V> {
        let Target::Slot { index, generation } = place.0 else { return Some(&mut self.shared) };
        let slot = self.slots.get_mut(usize::try_from(index).ok()?)?;
        let (_, value) = slot.entry.as_mut()?;
        (slot.generation == generation).then_some(value)
    }

    /// How many keys have an entry of their own.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether no key has an entry.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// Looks at the next few entries, and forgets those that are idle.
    fn sweep(&mut self, limits: &V::Limits) {
        let now_ns = self.latest_ns;
        for _ in 0..SWEEP.min(self.slots.len()) {
            let at = self.hand % self.slots.len();
            self.hand = at + 1;
            let Some(slot) = self.slots.get_mut(at) else { return };
            if let Some((key, _)) = slot.entry.take_if(|(_, value)| value.is_idle(limits, now_ns)) {
                slot.generation = slot.generation.wrapping_add(1);
                if let Some(index) = self.by_key.remove(&key) {
                    self.free.push(index);
                }
            }
        }
    }

    /// `None` if there is no room.
    fn insert(&mut self, key: &K, new_value: impl FnOnce(u64) -> V) -> Option<u32> {
        let index = self.free.pop().or_else(|| self.add_slot())?;
        self.slots.get_mut(usize::try_from(index).ok()?)?.entry = Some((key.clone(), new_value(self.latest_ns)));
        self.by_key.insert(key.clone(), index);
        Some(index)
    }

    fn add_slot(&mut self) -> Option<u32> {
        let next = u32::try_from(self.slots.len()).ok().filter(|next| *next < self.max_entries)?;
        self.slots.push(Slot { generation: 0, entry: None });
        Some(next)
    }
}
