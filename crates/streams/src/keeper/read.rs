//! What is asked of the readers, and what they answer.

use std::sync::Weak;

use carillon_wire::PatternBuf;

use super::reading::HistoryPage;
use crate::stream::{Epoch, Origin, Read, Start};

/// Something to read, of one stream. Whoever asks bounds how many of them are under way.
#[derive(Debug, Clone)]
pub struct ReadRequest {
    /// Which shard is told the answer.
    pub shard: usize,
    /// Handed back with the answer: whose request it is.
    pub ticket: u64,
    /// Handed back with the answer: which of theirs.
    pub request: u64,
    /// The stream's index among the definitions.
    pub stream: u32,
    /// Which topics. A pattern of the stream's contains it.
    pub pattern: PatternBuf,
    /// What of them.
    pub what: What,
    /// While it lives, somebody wants the answer. Once it is gone, a request that still waits is dropped, and never
    /// answered. `None`: it is answered in any case.
    pub asker: Option<Weak<()>>,
}

impl ReadRequest {
    /// Whether nobody wants the answer any more.
    pub(super) fn is_abandoned(&self) -> bool {
        self.asker.as_ref().is_some_and(|asker| asker.strong_count() == 0)
    }
}

/// What is to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Where a subscription begins. Answered with [`Found::Origin`].
    Start(Start),
    /// One page, as a [`Cursor`](crate::stream::Cursor) asks for it. Answered with [`Found::Page`].
    Page(Read),
    /// One page of history without a subscription. Answered with [`Found::History`].
    History {
        /// Where it begins.
        start: HistoryStart,
        /// Up to which sequence; `None`: up to the stream's end as it is now.
        through: Option<u64>,
        /// The most messages, at least 1; `None`: as many as a page holds. A page never holds more.
        max_messages: Option<u32>,
    },
}

/// Where a page of history begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HistoryStart {
    /// As a subscription does; but with [`Start::LastByTopic`] there is nothing behind the last values.
    Start(Start),
    /// It goes on with last values of which the first pages were read.
    LastByTopic {
        /// What the sequences mean.
        epoch: Epoch,
        /// The last values were those when this was the stream's last sequence.
        as_of: u64,
        /// Everything up to here was read.
        after: u64,
    },
}

/// The answer to a [`ReadRequest`]. Each gets exactly one, unless its asker is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadReply {
    /// As in the request.
    pub ticket: u64,
    /// As in the request.
    pub request: u64,
    /// As in the request.
    pub stream: u32,
    /// What came of it.
    pub found: Result<Found, ReadFailed>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Where a subscription begins.
    Origin(Origin),
    /// A page for a cursor.
    Page(HistoryPage),
    /// A page of history.
    History {
        /// Where the whole of it begins. A gap that [`Origin::resumed`] tells stands in the page as well, as far as
        /// it was asked for: it is to be told once, from there.
        origin: Origin,
        /// Its first page, or the only one.
        page: HistoryPage,
        /// Nothing that was asked for is behind the page.
        is_end: bool,
    },
}

/// Why nothing was found. Damage is none of the reasons: a page names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadFailed {
    /// No definition has this index.
    #[error("there is no stream with index {stream}; the definitions tell which there are")]
    NoStream {
        /// The index.
        stream: u32,
    },
    /// It is kept on disk, and there is no store that could be read.
    #[error("the stream's store is not open; the operator must open it again")]
    NoStore,
    /// It was removed, purged or given another epoch again and again while it was read.
    #[error("the stream was changed each time that it was read; ask again")]
    Changing,
    /// The disk gave an error. What is there may be sound, so nothing of it is told as lost before somebody has asked for two
    /// minutes.
    #[error("the disk gave an error while the stream was read; ask again")]
    Unreadable,
    /// The broker stops.
    #[error("the broker is stopping; come back and read on")]
    Stopping,
}
