//! What recovery found damaged, or cut.

use std::ops::Range;

use super::header::SegmentId;

/// The end of the last segment, which a crash had left half written: nothing in it was acknowledged. It was cut off.
///
/// When the last group that was committed before a crash was damaged as well, this looks the same: then
/// `whole_records` is not 0, or the broker had acknowledged more than there is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The segment's file.
    pub file: String,
    /// Where it ends now.
    pub offset: u64,
    /// How much was cut.
    pub bytes: u64,
    /// Sound records behind the torn one, which were cut too, because none may follow a hole.
    pub whole_records: u64,
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
    /// A segment of which nothing can be read, because both copies of its header are damaged.
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
