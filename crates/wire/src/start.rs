//! Where a subscription, or a page of history, starts in a stream.

use crate::{
    ErrorCode,
    encode::Array,
    fields::{FieldError, Fields, missing},
};

const NOW: u8 = 0;
const LAST_BY_TOPIC: u8 = 1;
const NEWEST: u8 = 2;
const BEHIND: u8 = 3;
const TIME: u8 = 4;
const BEGINNING: u8 = 5;

/// Where a subscription starts in the stream that keeps its topics; an array on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start<'a> {
    /// `[0]`: with what is published from now on.
    Now,
    /// `[1]`: with the newest message of each topic, then all that follow.
    LastByTopic,
    /// `[2, n]`: with the newest messages that match, then all that follow. At least 1.
    Newest(u64),
    /// `[3, epoch, sequence]`: behind a position that the broker told; everything up to there was seen.
    Behind {
        /// What the sequence means.
        epoch: &'a str,
        /// The last that was seen; 0: nothing was.
        sequence: u64,
    },
    /// `[4, time_us]`: with the first message that was accepted at this time or later, in microseconds since 1970 began
    /// (UTC).
    Time(u64),
    /// `[5]`: with the first message that is kept.
    Beginning,
}

impl<'a> Start<'a> {
    /// The start of a subscription; none where the field is missing.
    pub(crate) fn decode(fields: &mut Fields<'a>) -> Result<Option<Self>, FieldError> {
        match HistoryStart::decode_any(fields)? {
            None => Ok(None),
            Some(HistoryStart::At(start)) => Ok(Some(start)),
            Some(HistoryStart::LastByTopic { .. }) => Err(FieldError::new(
                ErrorCode::InvalidStart,
                "a subscription starts with all last values, `[1]`; only a request for history continues among them",
            )),
        }
    }

    pub(crate) fn encode(self, out: &mut Vec<u8>) {
        let elements = match self {
            Self::Now | Self::LastByTopic | Self::Beginning => 1,
            Self::Newest(_) | Self::Time(_) => 2,
            Self::Behind { .. } => 3,
        };
        let mut array = Array::start(out, elements);
        match self {
            Self::Now => array.int(NOW),
            Self::LastByTopic => array.int(LAST_BY_TOPIC),
            Self::Newest(n) => array.int(NEWEST).int(n),
            Self::Behind { epoch, sequence } => array.int(BEHIND).str(epoch).int(sequence),
            Self::Time(time_us) => array.int(TIME).int(time_us),
            Self::Beginning => array.int(BEGINNING),
        };
    }
}

/// Where a page of history starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HistoryStart<'a> {
    /// As a subscription does, but never [`Start::Now`].
    At(Start<'a>),
    /// `[1, epoch, as_of, sequence]`: goes on among the last values of which a page told the first ones.
    LastByTopic {
        /// As the page told it.
        epoch: &'a str,
        /// The values are those that were the last when the stream ended here, as the page told it.
        as_of: u64,
        /// Behind this sequence.
        after: u64,
    },
}

impl<'a> HistoryStart<'a> {
    pub(crate) fn decode(fields: &mut Fields<'a>) -> Result<Self, FieldError> {
        match Self::decode_any(fields)?.ok_or_else(|| missing("start", "an array, such as `[5]` for the beginning"))? {
            Self::At(Start::Now) => Err(FieldError::new(
                ErrorCode::InvalidStart,
                "history has no start `[0]` (now): nothing lies behind it; subscribe for what is to come",
            )),
            start => Ok(start),
        }
    }

    pub(crate) fn encode(self, out: &mut Vec<u8>) {
        match self {
            Self::At(start) => start.encode(out),
            Self::LastByTopic { epoch, as_of, after } => {
                Array::start(out, 4).int(LAST_BY_TOPIC).str(epoch).int(as_of).int(after);
            }
        }
    }

    fn decode_any(fields: &mut Fields<'a>) -> Result<Option<Self>, FieldError> {
        let Some(mut inner) = fields.optional_array("start")? else { return Ok(None) };
        let start = match inner.int("start's kind")? {
            kind if kind == NOW.into() => Start::Now,
            kind if kind == LAST_BY_TOPIC.into() => match inner.optional_epoch()? {
                None => Start::LastByTopic,
                Some(epoch) => {
                    let (as_of, after) = (inner.int("as_of")?, inner.int("sequence")?);
                    return Ok(Some(Self::LastByTopic { epoch, as_of, after }));
                }
            },
            kind if kind == NEWEST.into() => {
                let n = inner.optional_positive("n")?;
                Start::Newest(n.ok_or_else(|| missing("n", "how many of the newest messages, at least 1"))?)
            }
            kind if kind == BEHIND.into() => Start::Behind { epoch: inner.epoch()?, sequence: inner.int("sequence")? },
            kind if kind == TIME.into() => Start::Time(inner.int("time_us")?),
            kind if kind == BEGINNING.into() => Start::Beginning,
            kind => {
                return Err(FieldError::new(
                    ErrorCode::Unsupported,
                    format!("no start of the kind {kind} here; this broker offers 0 to {BEGINNING}"),
                ));
            }
        };
        Ok(Some(Self::At(start)))
    }
}
