//! What is counted for the log that keeps the streams on disk.

use crate::{Gauge, SharedCounter};

/// What is counted for the log that keeps the streams on disk. Any thread may write; nothing here is counted for each
/// message. Write the gauges with `set` only.
#[derive(Debug, Default)]
pub struct StoreMetrics {
    /// Bytes of all its segments on disk.
    pub bytes: Gauge,
    /// Its segments.
    pub segments: Gauge,
    /// 1 while it takes nothing because a write has failed, else 0.
    pub failed: Gauge,
    /// Bytes that are held for retention to work in when the disk is full; 0 while they could not be had.
    pub reserve_bytes: Gauge,
    /// Messages that are missing because the disk has lost them.
    pub damaged_messages: Gauge,
    /// Bytes that were read for readers.
    pub read_bytes: SharedCounter,
    /// Pages of history that were in memory already.
    pub page_cache_hits: SharedCounter,
    /// Pages of history that had to be read.
    pub page_cache_misses: SharedCounter,
}
