//! What an operator sees of streams and their store.

use std::sync::Arc;

use super::StreamGauges;
use super::shared::{KeptStream, Shared, State};
use crate::stream::{Batch, Bounds, Definition, Epochs, Totals};

/// A stream, as it is now.
#[derive(Debug, Clone)]
pub struct StreamStatus {
    /// As it is defined now.
    pub definition: Arc<Definition>,
    /// Its epoch, and those before.
    pub epochs: Arc<Epochs>,
    /// What can be read.
    pub bounds: Bounds,
    /// What it keeps.
    pub totals: Totals,
    /// Topics with a kept message.
    pub topics: usize,
    /// Message ids that are remembered.
    pub remembered_ids: usize,
    /// The time of the newest message, in microseconds since 1970; 0 before the first one.
    pub last_time_us: u64,
    /// Publications are refused, because the store has failed.
    pub is_stopped: bool,
}

/// The store of the streams on disk, as it is now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreStatus {
    /// Why it takes no publications, if so. It has to be opened again.
    pub failed: Option<String>,
    /// Why compaction does not get on, if so. It tries again by itself.
    pub compaction_failed: Option<String>,
    /// Messages that are damaged: as many as were named when the store was opened, or as readers came upon since if
    /// those are more.
    pub damaged_messages: u64,
    /// Whether the room is there that retention needs on a full disk.
    pub has_reserve: bool,
    /// Bytes of all segments.
    pub bytes: u64,
    /// Segments.
    pub segments: u64,
}

impl Shared {
    /// What a stream keeps.
    pub(super) fn totals(&self, kept: &KeptStream) -> Totals {
        match &*kept.read() {
            State::Memory(memory) => memory.totals(),
            State::Disk(_) => {
                let reader = self.reader();
                reader.and_then(|reader| reader.stream(kept.number())).map(|state| state.totals).unwrap_or_default()
            }
        }
    }

    pub(super) fn gauges(&self, kept: &KeptStream) -> StreamGauges {
        let totals = self.totals(kept);
        let state = kept.read();
        let stream = state.stream();
        let (bounds, topics, remembered_ids) = (stream.bounds(), stream.topic_count(), stream.remembered_ids());
        StreamGauges { bounds, totals, topics, remembered_ids }
    }

    pub(super) fn status(&self, kept: &KeptStream) -> StreamStatus {
        let totals = self.totals(kept);
        let state = kept.read();
        let stream = state.stream();
        StreamStatus {
            definition: Arc::clone(stream.definition()),
            epochs: Arc::clone(stream.epochs()),
            bounds: stream.bounds(),
            totals,
            topics: stream.topic_count(),
            remembered_ids: stream.remembered_ids(),
            last_time_us: stream.last_time_us(),
            is_stopped: stream.is_stopped(),
        }
    }
}

impl KeptStream {
    pub(super) fn newest(&self) -> Batch {
        Batch::of(self.read().stream())
    }
}
