//! What recovery found damaged, or cut.

use std::ops::Range;

use super::header::SegmentId;

/// The end of the last segment, which looks like a write that was never finished: a crash, a full disk. It is cut off by
/// [`Log::settle`](super::Log::settle).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The segment's file.
    pub file: String,
    /// Where it ends from then on.
    pub offset: u64,
    /// How much is cut.
    pub bytes: u64,
    /// Sound records behind the bad one, which are cut too, because none may follow a hole.
    pub whole_records: u64,
    /// Whether it is just what an unfinished write leaves: the file ends early, or whole sectors are missing. Then
    /// nothing of it was acknowledged, as far as the disk keeps what it says it has synced. If not, it may as well be a
    /// group that was committed and then damaged, and the streams need another epoch.
    pub is_certain: bool,
}

/// What cannot be read any more. Everything else can.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Damage {
    /// Messages of a stream; where compaction had been, some of them may have been replaced before.
    Messages {
        /// The stream's number.
        stream: u32,
        /// The first that is damaged.
        first_sequence: u64,
        /// The last that is damaged.
        last_sequence: u64,
    },
    /// Bytes of a segment. Which messages stood there, the other damage tells as far as it is known.
    Bytes {
        /// The segment's file.
        file: String,
        /// Which of its bytes.
        range: Range<u64>,
    },
    /// A segment of which nothing can be read, because its header is damaged, and too much beside it.
    Segment {
        /// The segment's file.
        file: String,
    },
    /// Segments that should be there.
    MissingSegments {
        /// The first one's number.
        first: u64,
        /// The last one's number.
        last: u64,
    },
}

impl Damage {
    pub(super) fn bytes(id: SegmentId, range: Range<u64>) -> Self {
        Self::Bytes { file: id.log_name(), range }
    }
}
