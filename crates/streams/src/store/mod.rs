//! The log on disk: all streams of a store in one sequence of segment files.
//!
//! # What it promises
//! - [`Log::commit`] returns when everything that was appended before outlasts a power loss: one write and one sync,
//!   however many streams it is of. Nobody reads anything before.
//! - After a crash all that was committed is there. Of what was appended after the last commit, a first part may be
//!   there too, whole and in order.
//! - After a failed write or sync nothing more is taken until the store is opened again, because nobody can tell what is
//!   on disk. Reading goes on.
//! - Damage is never read as a message and never passed over in silence: what cannot be read is named, when the store is
//!   opened ([`Recovered`]) or when it is read ([`Page::damaged`]), and everything else stays readable.
//! - Memory is bounded by the streams, the topics and the number of segments, and the index of one segment; not by the
//!   number of messages.
//!
//! # What it leaves to others
//! Which messages retention takes, deduplication, epochs, and threads, but for one that writes the index of a segment
//! that was full: a [`Log`] is used by one thread, [`Reader`]s by any number. It reads no clock.
//!
//! # Files
//! `NUMBER-GENERATION.log` is a segment: a `header`, then a `record` for each message. `.idx` beside it tells where
//! each stream, sequence and topic is (`index`), and can be made anew. `manifest` tells which segments count, `reserve`
//! keeps room for retention on a full disk, `lock` keeps other processes out.
//!
//! # Where to start
//! [`Log::open`], then `recovery` for what it does after a crash; [`Reader::read`].

mod bytes;
mod carried;
mod compaction;
mod cut;
mod damage;
mod definitions;
mod disk;
mod end;
mod error;
#[cfg(any(test, feature = "test-support"))]
pub mod faulty;
mod header;
mod index;
mod last;
mod ledger;
mod log;
mod manifest;
mod newest;
mod page;
mod reader;
mod record;
mod recovered;
mod recovery;
mod replace;
mod reserve;
mod retention;
mod salt;
mod saving;
mod scan;
mod segment;
mod select;
mod shared;
#[cfg(test)]
mod tests;
mod walk;

pub use damage::{Cut, Damage};
pub use definitions::{Definitions, DefinitionsError, Stored};
pub use disk::{Directory, Disk, DiskFile};
pub use error::{AppendError, OpenError, StoreFailed, Unreadable};
pub use log::{Committed, Log, Options};
pub use page::{Page, PageMessage};
pub use reader::{IdWindow, MessageId, Reader};
pub use record::Record;
pub use recovered::{Recovered, RecoveredStream, TopicTail};
pub use retention::{Freed, StoreSize};
pub use shared::StreamState;
