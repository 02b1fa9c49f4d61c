//! What committers and readers share.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;

use super::{Observer, Options, ReadCounts, StoreStatus};
use crate::store;
use crate::stream::{Durability, MemoryStream, Routes, Stream, StreamName};

/// Everything that more than one of the keeper's threads uses.
pub(super) struct Shared {
    /// By index.
    pub(super) streams: Vec<Arc<KeptStream>>,
    pub(super) routes: Arc<Routes>,
    /// Of the log, if a stream is kept on disk. Another one after the store was opened again.
    pub(super) reader: RwLock<Option<store::Reader>>,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) options: Options,
    /// What reading has cost; the log's disk counts into it too.
    pub(super) read_counts: Arc<ReadCounts>,
    /// As the committer saw it last.
    pub(super) store_status: Mutex<Option<StoreStatus>>,
}

/// One stream.
pub(super) struct KeptStream {
    pub(super) index: u32,
    pub(super) name: StreamName,
    pub(super) durability: Durability,
    /// In the log; another one after a removal. Changes only under the state's lock.
    number: AtomicU32,
    /// Written by its committer only.
    state: RwLock<State>,
}

/// A stream's state and, of a memory stream, its messages: the deliveries.
#[derive(Debug)]
pub(super) enum State {
    Disk(Stream),
    Memory(MemoryStream<Bytes>),
}

impl State {
    pub(super) fn stream(&self) -> &Stream {
        match self {
            Self::Disk(stream) => stream,
            Self::Memory(memory) => memory.stream(),
        }
    }
}

impl KeptStream {
    pub(super) fn new(index: u32, number: u32, state: State) -> Self {
        let definition = Arc::clone(state.stream().definition());
        Self {
            index,
            name: definition.name.clone(),
            durability: definition.durability,
            number: AtomicU32::new(number),
            state: RwLock::new(state),
        }
    }

    /// Its number in the log. To be asked under the state's lock where it has to fit what else is seen.
    pub(super) fn number(&self) -> u32 {
        self.number.load(Ordering::Relaxed)
    }

    /// Under the state's lock.
    pub(super) fn set_number(&self, number: u32) {
        self.number.store(number, Ordering::Relaxed);
    }

    /// Whether somebody else would wait for it.
    #[cfg(test)]
    pub(super) fn is_locked(&self) -> bool {
        self.state.try_write().is_err()
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    pub(super) fn stream(&self, index: u32) -> Option<&Arc<KeptStream>> {
        self.streams.get(index as usize)
    }

    /// To read the log with.
    pub(super) fn reader(&self) -> Option<store::Reader> {
        self.reader.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn store_status(&self) -> Option<StoreStatus> {
        self.store_status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_store_status(&self, status: StoreStatus) {
        self.observer.store(&status);
        *self.store_status.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
    }

    pub(super) fn set_reader(&self, reader: Option<store::Reader>) {
        *self.reader.write().unwrap_or_else(PoisonError::into_inner) = reader;
    }
}
