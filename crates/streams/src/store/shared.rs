//! What the log and its readers have in common: the segments and where each stream begins and ends.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use foldhash::quality::RandomState;

use super::carried::Carried;
use super::last::LastValues;
use super::segment::{Segment, read_lock};
use super::select::Selections;
use crate::stream::Totals;

#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) state: RwLock<State>,
    pub(super) selections: Selections,
    pub(super) last_values: LastValues,
    pub(super) carried: RwLock<Carried>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// In the order of the log; the active one is the last.
    pub(super) segments: Arc<Vec<Arc<Segment>>>,
    pub(super) streams: StreamStates,
    /// For a stream's topics: what is before this sequence was replaced.
    pub(super) replaced: HashMap<u32, Replaced>,
}

/// Each stream as its readers see it, by number; looked up for each stream of a group.
pub(super) type StreamStates = hashbrown::HashMap<u32, StreamState, RandomState>;

pub(super) type Replaced = Arc<RwLock<Floors>>;

/// A stream's topics that are bounded.
#[derive(Debug, Default)]
pub(super) struct Floors {
    pub(super) by_topic: HashMap<Box<str>, Floor, RandomState>,
    /// Topics that are not among them had no message up to here, if that is known.
    pub(super) complete_through: Option<u64>,
    /// Whether any message was replaced.
    pub(super) has_replaced: bool,
}

/// Of a topic what is before `first` was replaced. When `through` was the stream's last sequence, it kept at most
/// `kept` messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Floor {
    pub(super) first: u64,
    pub(super) through: u64,
    pub(super) kept: u64,
}

impl Floors {
    pub(super) fn first(&self, topic: &str) -> u64 {
        self.by_topic.get(topic).map_or(0, |floor| floor.first)
    }

    pub(super) fn get(&self, topic: &str) -> Option<Floor> {
        let absent = self.complete_through.map(|through| Floor { first: 0, through, kept: 0 });
        self.by_topic.get(topic).copied().or(absent)
    }

    /// Forgets topics of which nothing is kept any more.
    pub(super) fn forget_before(&mut self, first_sequence: u64) {
        self.by_topic.retain(|_, floor| floor.through >= first_sequence);
        self.has_replaced = self.by_topic.values().any(|floor| floor.first > first_sequence);
    }
}

/// A stream as its readers see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamState {
    /// What is before it retention took. One more than the last sequence where no message is left.
    pub first_sequence: u64,
    /// The last one that was committed; 0 where there never was one.
    pub last_sequence: u64,
    /// When that one was published, in microseconds since 1970.
    pub last_time_us: u64,
    /// What is kept: all from `first_sequence` on but what was replaced. Bytes are those of the records on disk.
    pub totals: Totals,
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
    /// The first sequence of a topic that was not taken and not replaced.
    pub(super) fn floor(&self, topic: &str) -> u64 {
        let replaced = self.replaced.as_ref().map_or(0, |topics| read_lock(topics).first(topic));
        replaced.max(self.stream.first_sequence)
    }

    /// Whether any message was replaced.
    pub(super) fn has_replaced(&self) -> bool {
        self.replaced.as_ref().is_some_and(|topics| read_lock(topics).has_replaced)
    }

    pub(super) fn is_replaced(&self, topic: &str, sequence: u64) -> bool {
        self.replaced.as_ref().is_some_and(|topics| sequence < read_lock(topics).first(topic))
    }
}
