//! Opening what is kept, and starting the threads.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, RwLock};
use std::time::SystemTime;

use super::committer::{Committer, DiskStore, thread};
use super::inbox;
use super::reading::{CountedDisk, Readers};
use super::recover::{Defined, OpenedStore};
use super::shared::{KeptStream, Shared, State};
use super::{Keeper, Observer, Options, ReadCounts, Shards};
use crate::store::{self, DefinitionsError, Directory, Disk, StoreFailed};
use crate::stream::{
    ChangeRefused, Definition, Durability, Epoch, EpochReason, MemoryStream, Routes, RoutesError, Stream, StreamName,
};

/// What was opened, before its threads run.
pub struct Opened {
    shared: Arc<Shared>,
    store: Option<DiskStore>,
    report: Vec<Finding>,
}

/// Something that was found when the store was opened, for the operator's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Whether something that had been kept is lost, or may be.
    pub is_loss: bool,
    /// What, for people.
    pub text: String,
}

/// Why streams could not be opened. The texts are for the operator.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The definitions contradict each other.
    #[error(transparent)]
    Routes(#[from] RoutesError),
    /// A definition would lose what is kept.
    #[error(transparent)]
    Change(#[from] ChangeRefused),
    /// There are streams on disk and no directory for them.
    #[error("stream `{stream}` is kept on disk, and there is no directory for that; set one, or keep it in memory")]
    NoDirectory {
        /// One of them.
        stream: StreamName,
    },
    /// The directory cannot be used.
    #[error("cannot use {} for streams: {source}", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The log.
    #[error(transparent)]
    Log(#[from] store::OpenError),
    /// What is kept beside it.
    #[error(transparent)]
    Definitions(#[from] DefinitionsError),
    /// The log has streams that the definitions cannot know of.
    #[error(
        "the log has messages of stream number {number}, and what is kept of the streams beside it knows only of numbers \
         below {next}; restore both from the same backup, no message was changed"
    )]
    UnknownNumber {
        /// In the log.
        number: u32,
        /// What would come next by the definitions.
        next: u32,
    },
    /// What was found could not be put in order.
    #[error(transparent)]
    Store(#[from] StoreFailed),
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened").field("report", &self.report).finish_non_exhaustive()
    }
}

impl Opened {
    /// What was found, for the operator's log.
    pub fn report(&self) -> &[Finding] {
        &self.report
    }

    /// Which stream keeps which topic.
    pub fn routes(&self) -> &Arc<Routes> {
        &self.shared.routes
    }

    /// Starts the threads.
    ///
    /// # Errors
    /// The operating system gives no thread.
    #[expect(clippy::needless_pass_by_value, reason = "the threads keep them")]
    pub fn start(self, shards: Arc<dyn Shards>) -> io::Result<Keeper> {
        let Self { shared, store, .. } = self;
        let readers = Readers::start(&shared, &shards)?;
        let mut committers = Vec::new();
        let mut spawn = |store| {
            let (inbox, outlet) = inbox::bounded(shared.options.queue_bytes);
            let committer = Committer::new(Arc::clone(&shared), Arc::clone(&shards), store);
            committers.push(thread::spawn(committer, outlet)?);
            Ok::<_, io::Error>(inbox)
        };
        let disk = store.map(|store| spawn(Some(store))).transpose()?;
        let in_memory = shared.streams.iter().any(|stream| stream.durability == Durability::Memory);
        let memory = if in_memory { Some(spawn(None)?) } else { None };
        Ok(Keeper { shared, disk, memory, readers, committers: Arc::new(Mutex::new(committers)) })
    }

    /// The committers without their threads, and what they share: on disk, in memory.
    #[cfg(test)]
    pub(super) fn committers(self, shards: &Arc<dyn Shards>) -> (Arc<Shared>, Option<Committer>, Committer) {
        let Self { shared, store, .. } = self;
        let committer = |store| Committer::new(Arc::clone(&shared), Arc::clone(shards), store);
        let disk = store.map(|store| committer(Some(store)));
        let memory = committer(None);
        (shared, disk, memory)
    }
}

/// Opens the options' directory, if it is needed or there.
pub(super) fn open(
    definitions: Vec<Definition>,
    options: Options,
    observer: Arc<dyn Observer>,
) -> Result<Opened, OpenError> {
    let on_disk = definitions.iter().find(|definition| definition.durability == Durability::Disk);
    let read_counts = Arc::<ReadCounts>::default();
    let disk = match (&options.directory, on_disk) {
        (None, Some(definition)) => return Err(OpenError::NoDirectory { stream: definition.name.clone() }),
        (Some(path), on_disk) if on_disk.is_some() || path.is_dir() => {
            let directory =
                Directory::open(path).map_err(|source| OpenError::Directory { path: path.clone(), source })?;
            Some(Arc::new(CountedDisk::new(directory, Arc::clone(&read_counts))) as Arc<dyn Disk>)
        }
        _ => None,
    };
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now_us = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
    open_on(disk, definitions, options, observer, read_counts, now_us)
}

pub(super) fn open_on(
    disk: Option<Arc<dyn Disk>>,
    definitions: Vec<Definition>,
    options: Options,
    observer: Arc<dyn Observer>,
    read_counts: Arc<ReadCounts>,
    now_us: u64,
) -> Result<Opened, OpenError> {
    let routes = Arc::new(Routes::new(definitions.into_iter().map(Arc::new).collect())?);
    let defined: Vec<_> =
        (0..).zip(routes.definitions()).map(|(index, definition)| Defined::new(index, definition)).collect();
    let opened = disk.as_ref().map(|disk| OpenedStore::open(disk, &options, &defined, now_us)).transpose()?;
    let mut streams: Vec<_> = defined.iter().filter_map(in_memory).collect();
    let (mut store, mut reader, mut report) = (None, None, Vec::new());
    if let (Some(disk), Some(opened)) = (disk, opened) {
        reader = Some(opened.log.reader());
        report = opened.report;
        for restored in opened.streams {
            streams.push(Arc::new(KeptStream::new(restored.index, restored.number, State::Disk(restored.stream))));
        }
        // Without streams on disk, all that was there is left alone, and nobody writes.
        let is_used = defined.iter().any(Defined::is_on_disk);
        store = is_used.then(|| DiskStore::new(disk, opened.log, opened.definitions, opened.damaged_messages));
    }
    streams.sort_unstable_by_key(|stream| stream.index);
    let store_status = Mutex::new(store.as_ref().map(DiskStore::status));
    let reader = RwLock::new(reader);
    let shared = Arc::new(Shared { streams, routes, reader, observer, options, read_counts, store_status });
    Ok(Opened { shared, store, report })
}

fn in_memory(defined: &Defined) -> Option<Arc<KeptStream>> {
    let stream = || Stream::new(Arc::clone(&defined.definition), epoch(), EpochReason::Restarted);
    (!defined.is_on_disk())
        .then(|| Arc::new(KeptStream::new(defined.index, 0, State::Memory(MemoryStream::new(stream())))))
}

/// A new one: 128 random bits.
pub(super) fn epoch() -> Epoch {
    loop {
        if let Ok(epoch) = Epoch::new(&format!("{:032x}", rand::random::<u128>())) {
            return epoch;
        }
    }
}
