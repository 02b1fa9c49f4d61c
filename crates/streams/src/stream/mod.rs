//! The logic of streams, without I/O, clock and threads: time comes in as microseconds since 1970, what has to be
//! written or read comes out.
//!
//! - A [`Definition`] says what a stream keeps; [`Routes`] holds all of them, checks that no topic belongs to two, and
//!   finds a topic's stream.
//! - A [`Stream`] takes publications: sequence, time, expected last sequence, dedup. [`Retention`] says what goes.
//! - A [`Ring`] keeps messages in memory; with a `Stream` it is a [`MemoryStream`].
//! - A [`Start`] says where a subscription begins, its [`Cursor`] what it gets next.
//!
//! # Sequences
//! They begin at 1. A **position** is a sequence up to which everything is done with, so 0 is the one before the
//! first message. Whatever is asked of the disk or the ring is asked "behind a position".

mod cursor;
mod dedup;
mod definition;
mod epochs;
mod memory;
mod page;
mod refusal;
mod retention;
mod ring;
mod routes;
mod sets;
mod start;
mod state;
#[cfg(test)]
mod tests;
mod topics;

pub use cursor::{Batch, Cursor, CursorRead, OnBatch, OnPage, ReadId};
pub use definition::{
    DedupWindow, Definition, DefinitionError, DefinitionFault, Durability, MAX_NAME_BYTES, MAX_PATTERNS, StreamName,
    StreamNameError,
};
pub use epochs::{Epoch, EpochChange, EpochError, EpochReason, Epochs, MAX_PAST_EPOCHS, PastEpoch};
pub use memory::MemoryStream;
pub use page::{Bounds, Gap, Item, LossReason, Page, PageLimits, Read, Select};
pub use refusal::{ChangeFault, ChangeRefused, Refusal, check_change};
pub use retention::{Cut, Extent, Retention, Totals};
pub use ring::{Kept, NewestSearch, Ring};
pub use routes::{Overlap, Routes, RoutesError};
pub use sets::{contains, shared_topic};
pub use start::{Origin, Plan, Position, Resumed, Start};
pub use state::{Decision, MAX_SEQUENCE, Place, Publication, Recovered, RecoveredId, Stream, Verdict};
