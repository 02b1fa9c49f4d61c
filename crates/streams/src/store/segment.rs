//! One segment: its file, and where its records are.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::disk::{Disk, DiskFile};
use super::header::{Header, SegmentId};
use super::index::{By, FileIndex, Index, IndexDamaged, MemoryIndex, Place, Summary, encode};
use super::record::{self, Read};
use super::scan::{read_what_can_be_read, scan};

/// Readers hold it while they read, so that its file may lose its name meanwhile.
pub(super) struct Segment {
    pub(super) header: Header,
    pub(super) file: Arc<dyn DiskFile>,
    disk: Arc<dyn Disk>,
    index: RwLock<Index>,
}

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
        Self { header, file, disk, index: RwLock::new(index) }
    }

    pub(super) fn id(&self) -> SegmentId {
        self.header.id
    }

    /// Looks something up. An index' file that turns out to be damaged is made anew first.
    pub(super) fn look_up<T>(&self, look: impl Fn(&Index) -> Result<T, IndexDamaged>) -> Option<T> {
        if let Ok(found) = look(&read_lock(&self.index)) {
            return Some(found);
        }
        let rebuilt = self.index_from_log();
        // So that the next start does not trust it either.
        let _ = self.disk.unlink(&self.id().index_name());
        let mut index = write_lock(&self.index);
        *index = rebuilt;
        // From memory now, which is never damaged.
        look(&index).ok()
    }

    /// Takes in what was committed.
    pub(super) fn extend(&self, records: impl FnOnce(&mut MemoryIndex)) {
        if let Index::Memory(index) = &mut *write_lock(&self.index) {
            records(index);
        }
    }

    /// Writes the index to its file and forgets it in memory; keeps it there when that fails, which costs only memory.
    pub(super) fn save_index(&self, log_len: u64) {
        let bytes = match &*read_lock(&self.index) {
            Index::Memory(index) => encode(index, self.header, log_len),
            Index::File(_) => return,
        };
        let name = self.id().index_name();
        // Not synced: after a power loss it may be torn, which its checksums tell.
        let saved = self.disk.create(&name).and_then(|file| file.write_at(&bytes, 0).map(|()| file));
        let opened = saved.ok().and_then(|file| FileIndex::open(file, self.header, log_len).ok());
        if let Some(index) = opened {
            *write_lock(&self.index) = Index::File(Arc::new(index));
        } else {
            // What is left of it would only be found damaged later.
            let _ = self.disk.unlink(&name);
        }
    }

    fn index_from_log(&self) -> Index {
        let len = self.file.len().unwrap_or(0);
        let (bytes, _) = read_what_can_be_read(&*self.file, len);
        Index::Memory(scan(&bytes, self.header.salt).unwrap_or_default().index)
    }

    pub(super) fn summary(&self, stream: u32) -> Option<Summary> {
        self.look_up(|index| Ok(index.summary(stream))).flatten()
    }

    pub(super) fn topic_places(&self, stream: u32, topic: &str) -> Vec<Place> {
        self.look_up(|index| index.topic_places(stream, topic)).unwrap_or_default()
    }

    pub(super) fn chunk(&self, stream: u32, chunk: usize) -> Option<Vec<Place>> {
        self.look_up(|index| index.places(stream, chunk)).flatten()
    }

    /// The chunks of a stream's places from the one on where a sequence would be.
    pub(super) fn chunks_from(&self, stream: u32, sequence: u64) -> impl Iterator<Item = Vec<Place>> {
        let first = self.look_up(|index| Ok(index.chunk(stream, By::Sequence(sequence)))).unwrap_or(0);
        (first..).map_while(move |chunk| self.chunk(stream, chunk))
    }

    /// Backwards, from the one on where a sequence would be.
    pub(super) fn chunks_back_from(&self, stream: u32, sequence: u64) -> impl Iterator<Item = Vec<Place>> {
        let last = self.look_up(|index| Ok(index.chunk(stream, By::Sequence(sequence)))).unwrap_or(0);
        (0..=last).rev().map_while(move |chunk| self.chunk(stream, chunk))
    }

    /// Reads the record at an offset; `None` when it is damaged.
    ///
    /// # Panics
    /// Never, whatever the offset is.
    pub(super) fn read_record<'a>(&self, offset: u64, buffer: &'a mut Vec<u8>) -> Option<Read<'a>> {
        const MOST_ARE_SHORTER_BYTES: u64 = 1024;
        let rest = self.file.len().ok()?.checked_sub(offset)?;
        buffer.resize(usize::try_from(rest.min(MOST_ARE_SHORTER_BYTES)).ok()?, 0);
        self.file.read_at(buffer, offset).ok()?;
        let len = record::claimed_len(buffer)?;
        if len as u64 > rest {
            return None;
        }
        if len > buffer.len() {
            buffer.resize(len, 0);
            self.file.read_at(buffer, offset).ok()?;
        }
        record::read(buffer, self.header.salt).ok()
    }
}
