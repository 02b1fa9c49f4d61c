//! What the log and its readers have in common: the segments and where each stream begins and ends.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use super::segment::{Segment, read_lock};

#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) state: RwLock<State>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// In the order of the log; the active one is the last.
    pub(super) segments: Arc<Vec<Arc<Segment>>>,
    pub(super) streams: HashMap<u32, StreamState>,
    /// For a stream's topics: what is before this sequence was replaced.
    pub(super) replaced: HashMap<u32, Replaced>,
}

pub(super) type Replaced = Arc<RwLock<HashMap<Box<str>, u64>>>;

/// A stream as its readers see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamState {
    /// What is before it retention took. One more than the last sequence where no message is left.
    pub first_sequence: u64,
    /// The last one that was committed; 0 where there never was one.
    pub last_sequence: u64,
    /// When that one was published, in microseconds since 1970.
    pub last_time_us: u64,
}

/// What one read works on, whatever the log does meanwhile.
pub(super) struct Snapshot {
    pub(super) segments: Arc<Vec<Arc<Segment>>>,
    pub(super) stream: StreamState,
    pub(super) replaced: Option<Replaced>,
}

impl Shared {
    pub(super) fn snapshot(&self, stream: u32) -> Option<Snapshot> {
        let state = read_lock(&self.state);
        Some(Snapshot {
            stream: *state.streams.get(&stream)?,
            segments: Arc::clone(&state.segments),
            replaced: state.replaced.get(&stream).cloned(),
        })
    }
}

impl Snapshot {
    pub(super) fn is_replaced(&self, topic: &str, sequence: u64) -> bool {
        self.replaced.as_ref().is_some_and(|topics| read_lock(topics).get(topic).is_some_and(|first| sequence < *first))
    }
}
