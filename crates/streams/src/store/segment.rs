//! One segment: its file, and where its records are.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::disk::{Disk, DiskFile};
use super::error::{Unreadable, is_damage};
use super::header::{Header, SegmentId};
use super::index::{By, FileIndex, Index, IndexFailed, MemoryIndex, Place, Summary, encode};
use super::record::{self, Read};
use super::scan::{read_whole, scan};

/// Readers hold it while they read, so that its file may lose its name meanwhile.
pub(super) struct Segment {
    pub(super) header: Header,
    pub(super) file: Arc<dyn DiskFile>,
    disk: Arc<dyn Disk>,
    index: RwLock<Index>,
    /// How often the index was made anew.
    rebuilds: AtomicU64,
    /// Where the log could not be read the last time that all of it was wanted; `READABLE`: nowhere.
    unread_at: AtomicU64,
    saving: Mutex<()>,
}

const READABLE: u64 = u64::MAX;

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segment").field("header", &self.header).finish_non_exhaustive()
    }
}

/// A lock whose holder panicked still guards what it guarded: every change here is one assignment or an append.
pub(super) fn read_lock<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn write_lock<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

impl Segment {
    pub(super) fn new(disk: Arc<dyn Disk>, header: Header, file: Arc<dyn DiskFile>, index: Index) -> Self {
        Self {
            header,
            file,
            disk,
            index: RwLock::new(index),
            rebuilds: AtomicU64::new(0),
            unread_at: AtomicU64::new(READABLE),
            saving: Mutex::default(),
        }
    }

    pub(super) fn id(&self) -> SegmentId {
        self.header.id
    }

    /// How often the index was made anew. While this stays the same, so does what the index says is lost.
    pub(super) fn rebuilds(&self) -> u64 {
        self.rebuilds.load(Ordering::Acquire)
    }

    /// Looks at what the index has in memory wherever it is.
    pub(super) fn peek<T>(&self, look: impl FnOnce(&Index) -> T) -> T {
        look(&read_lock(&self.index))
    }

    /// Looks something up. An index' file that turns out to be damaged is made anew first.
    ///
    /// # Errors
    /// The index cannot be read, and neither can the log.
    pub(super) fn look_up<T>(&self, look: impl Fn(&Index) -> Result<T, IndexFailed>) -> Result<T, Unreadable> {
        let failed = match self.look(&look) {
            Ok(found) => return Ok(found),
            Err(failed) => failed,
        };
        let rebuilt = self.index_from_log()?;
        let mut index = write_lock(&self.index);
        // Another reader may have been first.
        if matches!(&*index, Index::File(_)) {
            *index = rebuilt;
            self.rebuilds.fetch_add(1, Ordering::Release);
            if failed == IndexFailed::Damaged {
                // So that the next start does not trust it either.
                let _ = self.disk.unlink(&self.id().index_name());
            }
        }
        // From memory now, which never fails.
        look(&index).map_err(|_| Unreadable)
    }

    /// Reads no file under the lock.
    fn look<T>(&self, look: impl FnOnce(&Index) -> T) -> T {
        let index = read_lock(&self.index);
        let Index::File(file) = &*index else { return look(&index) };
        let in_file = Index::File(Arc::clone(file));
        drop(index);
        look(&in_file)
    }

    /// Takes in what was committed.
    pub(super) fn extend(&self, records: impl FnOnce(&mut MemoryIndex)) {
        if let Index::Memory(index) = &mut *write_lock(&self.index) {
            records(index);
        }
    }

    /// Writes the index to its file and forgets it in memory; keeps it there when that fails, which costs only memory.
    /// Readers go on with it meanwhile.
    pub(super) fn save_index(&self, log_len: u64) {
        // Two that write one file would tear it.
        let _alone = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = match &*read_lock(&self.index) {
            Index::Memory(index) => encode(index, self.header, log_len),
            Index::File(_) => return,
        };
        let name = self.id().index_name();
        // Not synced: after a power loss it may be torn, which its checksums tell.
        let saved = self.disk.create(&name).and_then(|file| file.write_at(&bytes, 0).map(|()| file));
        let opened = saved.ok().and_then(|file| FileIndex::open(file, self.header, log_len).ok());
        if let Some(index) = opened {
            let in_memory = std::mem::replace(&mut *write_lock(&self.index), Index::File(Arc::new(index)));
            // It may be large, so nobody waits for it.
            drop(in_memory);
        } else {
            // What is left of it would only be found damaged later.
            let _ = self.disk.unlink(&name);
        }
    }

    fn index_from_log(&self) -> Result<Index, Unreadable> {
        // Where it failed before is asked first: all of it is much to read in vain.
        let before = self.unread_at.load(Ordering::Relaxed);
        if before != READABLE && self.file.read_at(&mut [0], before).is_err() {
            return Err(Unreadable);
        }
        let len = self.file.len().map_err(|_| Unreadable)?;
        let read = read_whole(&*self.file, len);
        self.unread_at.store(read.as_ref().err().map_or(READABLE, |(at, _)| *at), Ordering::Relaxed);
        let scan = scan(&read.map_err(|_| Unreadable)?, self.header.salt).map_err(|_| Unreadable)?;
        Ok(Index::Memory(scan.index))
    }

    pub(super) fn summary(&self, stream: u32) -> Option<Summary> {
        self.peek(|index| index.summary(stream))
    }

    pub(super) fn summaries(&self) -> Vec<Summary> {
        self.peek(Index::summaries)
    }

    /// The ranges of a stream that are damaged, as far as they are known.
    pub(super) fn lost(&self, stream: u32) -> Vec<(u64, u64)> {
        self.peek(|index| index.lost(stream))
    }

    pub(super) fn topic_places(&self, stream: u32, topic: &str) -> Result<Vec<Place>, Unreadable> {
        self.look_up(|index| index.topic_places(stream, topic))
    }

    /// The chunks of a stream's places from the one on where a sequence would be. Each is found by its sequence, because
    /// an index that is made anew meanwhile divides them in another way.
    pub(super) fn chunks_from(
        &self,
        stream: u32,
        sequence: u64,
    ) -> impl Iterator<Item = Result<Vec<Place>, Unreadable>> {
        let mut next = Some(sequence);
        std::iter::from_fn(move || {
            let from = next.take()?;
            match self.look_up(|index| chunk_from(index, stream, from)) {
                Ok(None) => None,
                Ok(Some(places)) => {
                    next = places.last().and_then(|last| last.sequence.checked_add(1));
                    Some(Ok(places))
                }
                Err(unreadable) => Some(Err(unreadable)),
            }
        })
    }

    /// Backwards, from the one on where a sequence would be.
    pub(super) fn chunks_back_from(
        &self,
        stream: u32,
        sequence: u64,
    ) -> impl Iterator<Item = Result<Vec<Place>, Unreadable>> {
        let mut next = Some(sequence);
        std::iter::from_fn(move || {
            let through = next.take()?;
            let found = self.look_up(|index| index.places(stream, index.chunk(stream, By::Sequence(through))));
            match found {
                Ok(None) => None,
                Ok(Some(mut places)) => {
                    places.retain(|place| place.sequence <= through);
                    next = places.first().and_then(|first| first.sequence.checked_sub(1));
                    (!places.is_empty()).then_some(Ok(places))
                }
                Err(unreadable) => Some(Err(unreadable)),
            }
        })
    }

    /// Reads the record at an offset; `None` when it is damaged.
    ///
    /// # Errors
    /// The disk does not give it.
    ///
    /// # Panics
    /// Never, whatever the offset is.
    pub(super) fn read_record<'a>(&self, offset: u64, buffer: &'a mut Vec<u8>) -> Result<Option<Read<'a>>, Unreadable> {
        const MOST_ARE_SHORTER_BYTES: u64 = 1024;
        let end = self.file.len().map_err(|_| Unreadable)?;
        let Some(rest) = end.checked_sub(offset) else { return Ok(None) };
        if !self.read_exactly(offset, rest.min(MOST_ARE_SHORTER_BYTES), buffer)? {
            return Ok(None);
        }
        let Some(len) = record::claimed_len(buffer).filter(|len| *len as u64 <= rest) else { return Ok(None) };
        if len > buffer.len() && !self.read_exactly(offset, len as u64, buffer)? {
            return Ok(None);
        }
        Ok(record::read(buffer, self.header.salt).ok())
    }

    /// Reads so many bytes. Whether they are there; if not, the buffer is empty.
    ///
    /// # Errors
    /// The disk does not give them.
    pub(super) fn read_exactly(&self, offset: u64, len: u64, buffer: &mut Vec<u8>) -> Result<bool, Unreadable> {
        buffer.clear();
        // What damage made nonsense of must not become an allocation.
        let end = self.file.len().map_err(|_| Unreadable)?;
        let Ok(bytes) = usize::try_from(len) else { return Ok(false) };
        if offset.checked_add(len).is_none_or(|behind| behind > end) {
            return Ok(false);
        }
        buffer.resize(bytes, 0);
        let Err(error) = self.file.read_at(buffer, offset) else { return Ok(true) };
        buffer.clear();
        if is_damage(&error) { Ok(false) } else { Err(Unreadable) }
    }
}

/// The chunk with the first place from a sequence on.
fn chunk_from(index: &Index, stream: u32, sequence: u64) -> Result<Option<Vec<Place>>, IndexFailed> {
    let number = index.chunk(stream, By::Sequence(sequence));
    let places = index.places(stream, number)?;
    match &places {
        Some(found) if found.last().is_none_or(|last| last.sequence < sequence) => index.places(stream, number + 1),
        _ => Ok(places),
    }
}
