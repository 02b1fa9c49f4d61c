//! What an index has of each stream in memory, wherever the rest of it is.

use super::{By, Summary};

/// One stream's part of a segment without the places.
#[derive(Debug)]
pub(super) struct StreamOutline {
    pub(super) summary: Summary,
    /// The ranges that are damaged, as far as they are known, in order.
    pub(super) lost: Vec<(u64, u64)>,
    /// Where each chunk of its places begins.
    pub(super) chunk_heads: Vec<ChunkHead>,
}

/// The first record of a chunk.
#[derive(Debug, Clone, Copy)]
pub(super) struct ChunkHead {
    pub(super) sequence: u64,
    pub(super) time_us: u64,
    pub(super) offset: u64,
}

impl StreamOutline {
    /// Which chunk to begin with.
    pub(super) fn chunk(&self, by: By) -> usize {
        self.chunk_heads.partition_point(|head| head.is_not_behind(by)).saturating_sub(1)
    }
}

impl ChunkHead {
    /// Whether what is looked for may stand in this chunk or behind it.
    fn is_not_behind(&self, by: By) -> bool {
        match by {
            By::Sequence(sequence) => self.sequence <= sequence,
            By::Time(time_us) => self.time_us < time_us,
        }
    }
}
