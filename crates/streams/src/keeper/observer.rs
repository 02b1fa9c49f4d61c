//! What the keeper's threads count.

use std::time::Duration;

use super::StoreStatus;
use crate::stream::{Bounds, Gap, Refusal, Totals};

/// Takes what is to be counted; a broker hands it to its metrics. Called on the keeper's threads, so it must not block.
/// Streams are named by their indexes. What is not wanted may be left out: `()` wants nothing.
pub trait Observer: Send + Sync + 'static {
    /// A group was committed that had messages of this stream. `took`: writing and syncing it, for all its streams
    /// together; nothing in a memory stream.
    fn committed(&self, stream: u32, messages: u64, took: Duration) {
        let _ = (stream, messages, took);
    }

    /// A publication had been kept before.
    fn duplicate(&self, stream: u32) {
        let _ = stream;
    }

    /// A publication was refused.
    fn refused(&self, stream: u32, refusal: &Refusal) {
        let _ = (stream, refusal);
    }

    /// Somebody who read a stream came upon messages that are damaged. Each is told once, also those that were named
    /// when the store was opened. Called on the readers' threads.
    fn damaged(&self, stream: u32, gap: Gap) {
        let _ = (stream, gap);
    }

    /// What a stream keeps has changed.
    fn kept(&self, stream: u32, gauges: &StreamGauges) {
        let _ = (stream, gauges);
    }

    /// What the store is has changed, or a second has passed.
    fn store(&self, status: &StoreStatus) {
        let _ = status;
    }
}

impl Observer for () {}

/// What a stream keeps now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamGauges {
    /// What can be read.
    pub bounds: Bounds,
    /// Messages and bytes.
    pub totals: Totals,
    /// Topics with a kept message.
    pub topics: usize,
    /// Message ids that are remembered.
    pub remembered_ids: usize,
}
