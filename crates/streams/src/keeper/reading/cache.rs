//! The pages that were read lately, and who reads which now, so that many readers at once cost the disk what one does.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use carillon_wire::PatternBuf;
use hashbrown::HashMap;

use super::chunk::Chunk;
use crate::stream::Epoch;

/// The most chunks that are looked up at once. A page of more ends early.
const MAX_CHAIN: usize = 64;
/// What a chunk takes beside its own memory: its places in the tables.
const PLACE_BYTES: usize = 128;

/// What a chunk is of. Chunks of one key never contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// The stream's number in the store: another one after a removal.
    pub(super) number: u32,
    pub(super) epoch: Epoch,
    /// `None`: all topics.
    pub(super) pattern: Option<PatternBuf>,
    /// As [`Select::LastByTopic`](crate::stream::Select) has it; `None`: every message.
    pub(super) last_by_topic_as_of: Option<u64>,
    /// Where newer messages of a topic replace older ones: the stream's first sequence, and how many behind it were
    /// replaced. When there are more, a chunk may have too much.
    pub(super) replaced: Option<(u64, u64)>,
}

/// Chunks, bounded by their bytes; what was read first goes first.
///
/// Chunks of one key do not overlap: whoever reads what is missing first says so and ends where the next chunk begins,
/// or where somebody else is reading already; who wants what is being read waits for it.
#[derive(Debug)]
pub(super) struct PageCache {
    max_bytes: usize,
    state: Mutex<State>,
    landed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Each key's chunks by the sequence that they end with; none empty.
    chunks: HashMap<Arc<Key>, BTreeMap<u64, Arc<Chunk>>>,
    oldest_first: VecDeque<(Arc<Key>, u64)>,
    bytes: usize,
    /// As many as there are threads that read.
    flights: Vec<Stretch>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Stretch {
    key: Arc<Key>,
    after: u64,
    through: u64,
}

/// What there is for a page.
#[derive(Debug)]
pub(super) enum LookedUp<'c> {
    /// What comes next, without a hole between them. Not empty.
    Chunks(Vec<Arc<Chunk>>),
    /// It is to be read.
    Missing(Flight<'c>),
}

/// The right to read a stretch. Nobody else reads it until this one has landed or was dropped.
#[derive(Debug)]
pub(super) struct Flight<'c> {
    cache: &'c PageCache,
    stretch: Stretch,
}

impl PageCache {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { max_bytes, state: Mutex::default(), landed: Condvar::new() }
    }

    /// The chunks behind a position that are there, up to about `enough_bytes` of deliveries.
    pub(super) fn chunks(&self, key: &Key, after: u64, enough_bytes: usize) -> Vec<Arc<Chunk>> {
        self.lock().chain(key, after, enough_bytes)
    }

    /// As [`chunks`](Self::chunks); where the first one is missing, it may be read now, as far as `through` at most.
    /// Blocks while it is being read by another thread.
    pub(super) fn look_up(&self, key: &Key, after: u64, through: u64, enough_bytes: usize) -> LookedUp<'_> {
        let mut state = self.lock();
        while state.is_being_read(key, after) {
            state = self.landed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let chunks = state.chain(key, after, enough_bytes);
        if !chunks.is_empty() {
            return LookedUp::Chunks(chunks);
        }
        let stretch = Stretch { key: Arc::new(key.clone()), after, through: state.hole_end(key, after).min(through) };
        state.flights.push(stretch.clone());
        LookedUp::Missing(Flight { cache: self, stretch })
    }

    /// What all chunks take in memory.
    #[cfg(test)]
    pub(super) fn size_bytes(&self) -> usize {
        self.lock().bytes
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn chain(&self, key: &Key, after: u64, enough_bytes: usize) -> Vec<Arc<Chunk>> {
        let mut chain = Vec::new();
        let (mut end, mut bytes) = (after, 0_usize);
        let behind = self.chunks.get(key).into_iter().flat_map(|chunks| chunks.range(after.saturating_add(1)..));
        for (through, chunk) in behind.take(MAX_CHAIN) {
            if chunk.after() > end || bytes >= enough_bytes && !chain.is_empty() {
                break;
            }
            end = *through;
            // Of the first one only a part may be wanted.
            bytes = if chain.is_empty() { 0 } else { bytes.saturating_add(chunk.delivery_bytes()) };
            chain.push(Arc::clone(chunk));
        }
        chain
    }

    fn is_being_read(&self, key: &Key, after: u64) -> bool {
        self.flights.iter().any(|flight| *flight.key == *key && flight.after <= after && after < flight.through)
    }

    /// How far nothing is there behind a position that no chunk has, and nobody reads it.
    fn hole_end(&self, key: &Key, after: u64) -> u64 {
        let chunks = self.chunks.get(key);
        let chunk = chunks.and_then(|chunks| chunks.range(after.saturating_add(1)..).next());
        let flights = self.flights.iter().filter(|flight| *flight.key == *key && flight.after > after);
        flights.map(|flight| flight.after).chain(chunk.map(|(_, chunk)| chunk.after())).min().unwrap_or(u64::MAX)
    }

    fn insert(&mut self, key: &Arc<Key>, chunk: Arc<Chunk>, max_bytes: usize) {
        let bytes = weight(key, &chunk);
        if bytes > max_bytes {
            return;
        }
        self.bytes += bytes;
        self.oldest_first.push_back((Arc::clone(key), chunk.through()));
        if let Some(replaced) = self.chunks.entry(Arc::clone(key)).or_default().insert(chunk.through(), chunk) {
            // Never so, as flights do not overlap; its place in the order is the new one's now.
            self.bytes = self.bytes.saturating_sub(weight(key, &replaced));
        }
        while self.bytes > max_bytes
            && let Some((key, through)) = self.oldest_first.pop_front()
        {
            self.remove(&key, through);
        }
    }

    fn remove(&mut self, key: &Arc<Key>, through: u64) {
        let Some(chunks) = self.chunks.get_mut(key) else { return };
        if let Some(chunk) = chunks.remove(&through) {
            self.bytes = self.bytes.saturating_sub(weight(key, &chunk));
        }
        if chunks.is_empty() {
            self.chunks.remove(key);
        }
    }
}

/// The key is counted with each chunk, though they share it: most have few.
fn weight(key: &Key, chunk: &Chunk) -> usize {
    let pattern = key.pattern.as_ref().map_or(0, |pattern| pattern.as_str().len());
    chunk.memory_bytes() + size_of::<Key>() + pattern + PLACE_BYTES
}

impl Flight<'_> {
    /// Up to here it is to be read, and no further: behind it others have what comes next.
    pub(super) fn through(&self) -> u64 {
        self.stretch.through
    }

    /// Keeps what was read, for those who wait for it and others.
    pub(super) fn land(self, chunks: impl IntoIterator<Item = Arc<Chunk>>) {
        let mut state = self.cache.lock();
        for chunk in chunks {
            debug_assert!(chunk.after() >= self.stretch.after && chunk.through() <= self.stretch.through);
            state.insert(&self.stretch.key, chunk, self.cache.max_bytes);
        }
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        let mut state = self.cache.lock();
        if let Some(at) = state.flights.iter().position(|flight| *flight == self.stretch) {
            state.flights.swap_remove(at);
        }
        drop(state);
        self.cache.landed.notify_all();
    }
}
