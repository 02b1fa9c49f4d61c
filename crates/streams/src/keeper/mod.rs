//! The threads that keep streams: what the shards of a broker submit to and read from.
//!
//! ```text
//!  shards                        keeper                                        shards
//!  Submissions --- inbox ---> committer (disk):   decide, append, one sync  --> Committed, to each
//!              --- inbox ---> committer (memory): decide, keep              --> Committed, to each
//!  ReadRequest ------------> readers: pages from the log, the ring or the cache -> ReadReply
//! ```
//!
//! # What it promises
//! - Each publication is answered exactly once, after its group is on disk; the group itself is told no later.
//! - Nobody is told of a message before it is as durable as its stream promises. The groups come to every shard in the
//!   order of their commits, so the batches of a stream are in the order of its sequences.
//! - After a failed write, publications in flight are answered with [`Refusal::NotKnown`](crate::stream::Refusal), later
//!   ones are refused, and [`Keeper::reopen`] or a restart finds out what was kept.
//! - What waits is bounded: publications by [`Options::queue_bytes`], groups by the shards' own queues. Nothing waits for
//!   a timer: what has come in while a group was written is the next group.
//!
//! # What it leaves to others
//! Who may publish or read, cursors and live delivery (the shards'), and how many reads are under way. It logs nothing:
//! [`Opened::report`] and [`Observer`] tell what there is to tell.
//!
//! # Where to start
//! [`Keeper::open`], then [`Submissions`] and [`Committed`]; inside, `committer`, whose `step` is one group without any
//! thread. Reading is in `reading`.

mod admin;
mod committer;
mod event;
mod inbox;
mod observer;
mod open;
mod read;
mod reading;
mod recover;
mod shared;
mod status;
mod submission;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;

use carillon_wire::PatternBuf;

use self::admin::AdminRequest;
use self::inbox::Inbox;
use self::reading::Readers;
use self::shared::{KeptStream, Shared};
use crate::stream::{Batch, Definition, Durability, Epoch, Routes, StreamName};

pub use self::admin::{AdminError, Purge, Purged, RedefineError};
pub use self::event::{Answer, Answers, Committed, Event, Group, KeptMessage, Outcome, Shards, StreamBatch};
pub use self::observer::{Observer, StreamGauges};
pub use self::open::{Finding, OpenError, Opened};
pub use self::read::{Found, HistoryStart, ReadFailed, ReadReply, ReadRequest, What};
pub use self::reading::{HistoryPage, Part, ReadCounts};
pub use self::status::{StoreStatus, StreamStatus};
pub use self::submission::{SubmissionHead, Submissions};

/// How streams are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Where the streams on disk are; needed if there are any. It is made if it is not there.
    pub directory: Option<PathBuf>,
    /// See [`store::Options::segment_bytes`](crate::store::Options::segment_bytes).
    pub segment_bytes: u64,
    /// See [`store::Options::reserve_bytes`](crate::store::Options::reserve_bytes).
    pub reserve_bytes: u64,
    /// The most bytes of publications that wait for a committer; each of the two has its own queue.
    pub queue_bytes: usize,
    /// The most bytes of pages that are kept in memory, so that many readers of one stretch read the disk once.
    pub cache_bytes: usize,
    /// The most bytes of messages in a page. One message always has room.
    pub page_bytes: usize,
    /// The most messages in a page.
    pub page_messages: usize,
    /// How many threads read; at least 1.
    pub reader_threads: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            directory: None,
            segment_bytes: 64 << 20,
            reserve_bytes: 4 << 20,
            queue_bytes: 16 << 20,
            cache_bytes: 64 << 20,
            // Small, so that many readers who catch up share the way out.
            page_bytes: 128 << 10,
            page_messages: 4_096,
            reader_threads: 2,
        }
    }
}

/// The keeper of all streams of a broker, while its threads run. Clones are the same one.
#[derive(Clone)]
pub struct Keeper {
    shared: Arc<Shared>,
    /// `None` where no stream has the durability.
    disk: Option<Inbox>,
    memory: Option<Inbox>,
    readers: Readers,
    committers: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").field("streams", &self.shared.streams.len()).finish_non_exhaustive()
    }
}

impl Keeper {
    /// Opens what is kept of these streams, and begins those that are new. Blocks; starts no thread. [`Opened::start`]
    /// does that, so that the shards may exist by then.
    ///
    /// # Errors
    /// [`OpenError`]: definitions that contradict each other or what is kept, or a store that cannot be opened.
    pub fn open(
        definitions: Vec<Definition>,
        options: Options,
        observer: Arc<dyn Observer>,
    ) -> Result<Opened, OpenError> {
        open::open(definitions, options, observer)
    }

    /// Which stream keeps which topic. As the streams were when the keeper was opened: what a change of definitions may
    /// change since does not show here, but in [`status`](Self::status).
    pub fn routes(&self) -> &Arc<Routes> {
        &self.shared.routes
    }

    /// How the streams are kept.
    pub fn options(&self) -> &Options {
        &self.shared.options
    }

    /// What a stream's messages survive. `Memory` for an index that no stream has.
    pub fn durability(&self, stream: u32) -> Durability {
        self.shared.stream(stream).map_or(Durability::Memory, |stream| stream.durability)
    }

    /// What each stream is now, by index: for a shard that starts, before it is told the first group.
    pub fn newest(&self) -> Vec<Batch> {
        self.shared.streams.iter().map(|stream| stream.newest()).collect()
    }

    /// Puts publications into the committer's queue if there is room now, else hands them back. Never blocks. All of them
    /// are into streams of this durability.
    ///
    /// # Errors
    /// There is no room; see [`submit`](Self::submit).
    pub fn try_submit(&self, durability: Durability, submissions: Submissions) -> Result<(), Submissions> {
        self.inbox(durability).map_or(Ok(()), |inbox| inbox.try_submit(submissions))
    }

    /// Waits for room in the committer's queue, first come first served. Dropped before it is ready, it has submitted
    /// nothing. All are into streams of this durability.
    pub fn submit(&self, durability: Durability, submissions: Submissions) -> impl Future<Output = ()> + Send + use<> {
        let inbox = self.inbox(durability).cloned();
        async move {
            if let Some(inbox) = inbox {
                inbox.submit(submissions).await;
            }
        }
    }

    /// Has something read; the shard is told what was found, exactly once. Never blocks: whoever asks bounds how many
    /// requests are under way.
    pub fn read(&self, request: ReadRequest) {
        self.readers.request(request);
    }

    /// Reads on the caller's thread; blocks on the disk.
    ///
    /// # Errors
    /// [`ReadFailed`].
    pub fn read_blocking(&self, stream: u32, pattern: &PatternBuf, what: &What) -> Result<Found, ReadFailed> {
        self.readers.read_blocking(stream, pattern, what)
    }

    /// The streams as they are now, by index. Waits for no disk.
    pub fn status(&self) -> Vec<StreamStatus> {
        self.shared.streams.iter().map(|stream| self.shared.status(stream)).collect()
    }

    /// The store as it is now; `None` where no stream is kept on disk. Waits for no disk.
    pub fn store_status(&self) -> Option<StoreStatus> {
        self.shared.store_status()
    }

    /// What reading has cost so far.
    pub fn read_counts(&self) -> &Arc<ReadCounts> {
        &self.shared.read_counts
    }

    /// Takes a stream's oldest messages away. Readers are told the gap. Blocks until it is done, durably.
    ///
    /// # Errors
    /// [`AdminError`].
    pub fn purge(&self, name: &StreamName, purge: Purge) -> Result<Purged, AdminError> {
        let stream = self.stream(name)?;
        self.ask(stream.durability, |answer| AdminRequest::Purge { stream: stream.index, purge, answer })
    }

    /// Takes a stream away with all its messages. It is still defined, so it begins anew at once, in the epoch that is
    /// returned. Blocks until it is done, durably.
    ///
    /// # Errors
    /// [`AdminError`].
    pub fn remove(&self, name: &StreamName) -> Result<Epoch, AdminError> {
        let stream = self.stream(name)?;
        self.ask(stream.durability, |answer| AdminRequest::Remove { stream: stream.index, answer })
    }

    /// Gives a stream a new epoch, which is returned, after a restore from a backup. Blocks until it is done, durably.
    ///
    /// # Errors
    /// [`AdminError`].
    pub fn renew_epoch(&self, name: &StreamName) -> Result<Epoch, AdminError> {
        let stream = self.stream(name)?;
        self.ask(stream.durability, |answer| AdminRequest::RenewEpoch { stream: stream.index, answer })
    }

    /// Opens the store again after a failure, and says what was found. Does nothing to a store that works. Blocks.
    ///
    /// # Errors
    /// [`AdminError`]; then what was kept can still be read, and nothing else works until this was asked for again with
    /// success, or the broker was started anew.
    pub fn reopen(&self) -> Result<Vec<Finding>, AdminError> {
        self.disk.as_ref().ok_or(AdminError::NoStore)?;
        self.ask(Durability::Disk, |answer| AdminRequest::Reopen { answer })
    }

    /// Whether streams may be defined so without a restart: retention, dedup window and the bound on topics may change.
    ///
    /// # Errors
    /// [`RedefineError`].
    pub fn check_redefine(&self, definitions: &[Definition]) -> Result<(), RedefineError> {
        admin::check_redefine(&self.shared, definitions)
    }

    /// Defines streams so, if [`check_redefine`](Self::check_redefine) lets it through, soon and without waiting for it.
    ///
    /// # Errors
    /// [`RedefineError`]; nothing changes then.
    pub fn redefine(&self, definitions: Vec<Definition>) -> Result<(), RedefineError> {
        self.check_redefine(&definitions)?;
        let (on_disk, in_memory): (Vec<_>, Vec<_>) = admin::with_indexes(&self.shared, definitions)
            .partition(|(_, definition)| definition.durability == Durability::Disk);
        for (inbox, changed) in [(&self.disk, on_disk), (&self.memory, in_memory)] {
            if let Some(inbox) = inbox {
                // Without a committer the broker is stopping.
                let _ = inbox.request(AdminRequest::Redefine(changed));
            }
        }
        Ok(())
    }

    /// Commits what waits, tells it, closes the log, and ends the threads. What is submitted afterwards is not taken.
    /// Blocks; the shards' queues must still be emptied meanwhile.
    pub fn stop(self) {
        self.readers.stop();
        for inbox in [&self.disk, &self.memory].into_iter().flatten() {
            inbox.stop();
        }
        let committers = std::mem::take(&mut *self.committers.lock().unwrap_or_else(PoisonError::into_inner));
        for committer in committers {
            // One that panicked has said so.
            let _ = committer.join();
        }
        // Lets go of the directory, whoever has a clone of this still.
        self.shared.set_reader(None);
    }

    fn inbox(&self, durability: Durability) -> Option<&Inbox> {
        match durability {
            Durability::Disk => self.disk.as_ref(),
            Durability::Memory => self.memory.as_ref(),
        }
    }

    fn stream(&self, name: &StreamName) -> Result<&KeptStream, AdminError> {
        let named = self.shared.streams.iter().find(|stream| stream.name == *name);
        named.map(|stream| &**stream).ok_or_else(|| AdminError::NoStream { name: name.clone() })
    }

    fn ask<T>(
        &self,
        durability: Durability,
        request: impl FnOnce(mpsc::Sender<Result<T, AdminError>>) -> AdminRequest,
    ) -> Result<T, AdminError> {
        let (answer, answered) = mpsc::channel();
        let is_taken = self.inbox(durability).is_some_and(|inbox| inbox.request(request(answer)));
        if !is_taken {
            return Err(AdminError::Stopping);
        }
        answered.recv().unwrap_or(Err(AdminError::Stopping))
    }
}
