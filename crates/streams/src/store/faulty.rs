//! A disk in memory that fails on purpose, for tests.
//!
//! It keeps apart what was synced and what was only written. [`FaultyDisk::crash`] throws away, tears or keeps what was
//! not synced, each write by itself, as a power loss does. A failed sync forgets what it should have synced, but reads
//! still show it until the next crash: that is how Linux does it.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::disk::{Disk, DiskFile};

/// Blocks that reach the disk whole or not at all.
const SECTOR_BYTES: usize = 512;

/// What fails next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The n-th call from now on that changes something fails with this kind of error. 0 is the very next one. A write
    /// that fails has written its first half.
    Call(u64, io::ErrorKind),
    /// No more than this many bytes fit in all files.
    Full(usize),
}

/// The disk. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub struct FaultyDisk {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    names: BTreeMap<String, Inode>,
    /// Changes of names that a crash may undo, the last ones first.
    unsynced_names: Vec<BTreeMap<String, Inode>>,
    calls: u64,
    fails_at: Option<(u64, io::ErrorKind)>,
    capacity: Option<usize>,
    /// Reads of files whose names begin so fail, of these bytes.
    bad_reads: Option<(String, Range<u64>)>,
    /// Counted on each crash, so that files opened before it are dead.
    life: u64,
}

type Inode = Arc<Mutex<Content>>;

#[derive(Debug, Default)]
struct Content {
    /// What reads show.
    seen: Vec<u8>,
    /// Bytes of it that were never written: they take no room.
    holes: Vec<Range<usize>>,
    synced: Vec<u8>,
    unsynced: Vec<Change>,
}

#[derive(Debug, Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(offset, written) => {
                let end = offset + written.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                if let Some(place) = bytes.get_mut(*offset..end) {
                    place.copy_from_slice(written);
                }
            }
            Self::Length(len) => bytes.resize(*len, 0),
        }
    }
}

impl Content {
    fn used_bytes(&self) -> usize {
        self.seen.len() - self.holes.iter().map(Range::len).sum::<usize>()
    }

    /// What a write takes of the disk's room.
    fn room_for(&self, written: Range<usize>) -> usize {
        let common = |hole: &Range<usize>| hole.end.min(written.end).saturating_sub(hole.start.max(written.start));
        let grows = written.end.saturating_sub(written.start.max(self.seen.len()));
        grows + self.holes.iter().map(common).sum::<usize>()
    }

    fn note_holes(&mut self, change: &Change) {
        let len = self.seen.len();
        let (filled, new_hole) = match change {
            Change::Write(offset, written) => (*offset..offset + written.len(), len..*offset),
            Change::Length(new) => (*new..usize::MAX, len..*new),
        };
        let holes = std::mem::take(&mut self.holes);
        let left = |hole: Range<usize>| [hole.start..hole.end.min(filled.start), hole.start.max(filled.end)..hole.end];
        self.holes = holes.into_iter().flat_map(left).chain([new_hole]).filter(|hole| hole.start < hole.end).collect();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FaultyDisk {
    /// An empty disk on which nothing fails yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets what fails.
    pub fn fail(&self, fault: Fault) {
        let mut inner = lock(&self.inner);
        match fault {
            Fault::Call(after, kind) => inner.fails_at = Some((inner.calls + after, kind)),
            Fault::Full(capacity) => inner.capacity = Some(capacity),
        }
    }

    /// From now on reads fail of files whose names begin with `stem`, where they want bytes from an offset on.
    pub fn fail_reads(&self, stem: &str, from: u64) {
        self.fail_reads_of(stem, from..u64::MAX);
    }

    /// As [`fail_reads`](Self::fail_reads), where they want any of these bytes.
    pub fn fail_reads_of(&self, stem: &str, range: Range<u64>) {
        lock(&self.inner).bad_reads = Some((stem.to_owned(), range));
    }

    /// Nothing fails any more.
    pub fn heal(&self) {
        let mut inner = lock(&self.inner);
        (inner.fails_at, inner.capacity, inner.bad_reads) = (None, None, None);
    }

    /// How many calls changed something so far.
    pub fn calls(&self) -> u64 {
        lock(&self.inner).calls
    }

    /// Bytes in all files.
    pub fn used_bytes(&self) -> usize {
        lock(&self.inner).used_bytes()
    }

    /// Power loss: of what was not synced, `random` decides what is lost, torn and kept. Open files of before are dead.
    pub fn crash(&self, mut random: impl FnMut() -> u64) {
        let mut inner = lock(&self.inner);
        inner.life += 1;
        // A journal keeps the order of names' changes.
        let kept = usize::try_from(random()).unwrap_or_default() % (inner.unsynced_names.len() + 1);
        if let Some(names) = inner.unsynced_names.get(kept).cloned() {
            inner.names = names;
        }
        inner.unsynced_names.clear();
        for inode in inner.names.values() {
            let mut content = lock(inode);
            let mut bytes = std::mem::take(&mut content.synced);
            for change in std::mem::take(&mut content.unsynced) {
                match (random() % 4, change) {
                    (0, _) => {}
                    (1, Change::Write(offset, written)) => tear(offset, &written, &mut bytes, &mut random),
                    (_, change) => change.apply(&mut bytes),
                }
            }
            content.seen.clone_from(&bytes);
            content.synced = bytes;
            let len = content.seen.len();
            content.holes.retain_mut(|hole| {
                hole.end = hole.end.min(len);
                hole.start < hole.end
            });
        }
    }

    /// The bytes of a file.
    pub fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        lock(&self.inner).names.get(name).map(|inode| lock(inode).seen.clone())
    }

    /// Sets the bytes of a file, for good.
    pub fn set_bytes(&self, name: &str, bytes: &[u8]) {
        let mut inner = lock(&self.inner);
        let inode = inner.names.entry(name.to_owned()).or_default();
        let (seen, synced) = (bytes.to_vec(), bytes.to_vec());
        *lock(inode) = Content { seen, synced, ..Content::default() };
    }

    /// A copy that goes its own way.
    #[must_use]
    pub fn copy(&self) -> Self {
        let copy = Self::new();
        for (name, inode) in &lock(&self.inner).names {
            copy.set_bytes(name, &lock(inode).seen);
        }
        copy
    }
}

/// Keeps some sectors of a write.
fn tear(offset: usize, written: &[u8], bytes: &mut Vec<u8>, random: &mut impl FnMut() -> u64) {
    let in_order = random().is_multiple_of(2);
    let to_next_sector = (SECTOR_BYTES - offset % SECTOR_BYTES).min(written.len());
    let (first, others) = written.split_at(to_next_sector);
    let mut at = offset;
    for sector in std::iter::once(first).chain(others.chunks(SECTOR_BYTES)) {
        if random().is_multiple_of(3) {
            if in_order {
                return;
            }
        } else {
            Change::Write(at, sector.to_vec()).apply(bytes);
        }
        at += sector.len();
    }
}

impl Inner {
    fn used_bytes(&self) -> usize {
        self.names.values().map(|inode| lock(inode).used_bytes()).sum()
    }

    /// Counts a call that changes something, and fails it if it is its turn.
    fn call(&mut self) -> io::Result<()> {
        let call = self.calls;
        self.calls += 1;
        match self.fails_at {
            Some((at, kind)) if at == call => Err(io::Error::new(kind, "on purpose")),
            _ => Ok(()),
        }
    }

    fn change_names(&mut self, change: impl FnOnce(&mut BTreeMap<String, Inode>) -> io::Result<()>) -> io::Result<()> {
        self.call()?;
        let before = self.names.clone();
        change(&mut self.names)?;
        self.unsynced_names.push(before);
        Ok(())
    }

    /// Whether a read of a file fails.
    fn is_bad(&self, inode: &Inode, wanted: &Range<u64>) -> bool {
        self.bad_reads.as_ref().is_some_and(|(stem, bad)| {
            let is_it = |(name, it): (&String, &Inode)| name.starts_with(stem) && Arc::ptr_eq(it, inode);
            wanted.end > bad.start && wanted.start < bad.end && self.names.iter().any(is_it)
        })
    }

    fn inode(&self, name: &str) -> io::Result<Inode> {
        self.names.get(name).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Disk for FaultyDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(lock(&self.inner).names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut inner = lock(&self.inner);
        inner.change_names(|names| {
            names.insert(name.to_owned(), Inode::default());
            Ok(())
        })?;
        Ok(Arc::new(FaultyFile { disk: self.clone(), inode: inner.inode(name)?, life: inner.life }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let inner = lock(&self.inner);
        Ok(Arc::new(FaultyFile { disk: self.clone(), inode: inner.inode(name)?, life: inner.life }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        lock(&self.inner).change_names(|names| {
            let inode = names.remove(from).ok_or(io::ErrorKind::NotFound)?;
            names.insert(to.to_owned(), inode);
            Ok(())
        })
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        lock(&self.inner)
            .change_names(|names| names.remove(name).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into()))
    }

    fn sync_directory(&self) -> io::Result<()> {
        let mut inner = lock(&self.inner);
        inner.call()?;
        inner.unsynced_names.clear();
        Ok(())
    }
}

struct FaultyFile {
    disk: FaultyDisk,
    inode: Inode,
    life: u64,
}

impl FaultyFile {
    fn inner(&self) -> io::Result<MutexGuard<'_, Inner>> {
        let inner = lock(&self.disk.inner);
        if inner.life == self.life { Ok(inner) } else { Err(io::Error::other("opened before the crash")) }
    }

    fn change(&self, change: Change) {
        let mut content = lock(&self.inode);
        content.note_holes(&change);
        change.apply(&mut content.seen);
        content.unsynced.push(change);
    }
}

impl DiskFile for FaultyFile {
    fn len(&self) -> io::Result<u64> {
        Ok(lock(&self.inode).seen.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        if lock(&self.disk.inner).is_bad(&self.inode, &(offset..offset + buffer.len() as u64)) {
            return Err(io::Error::other("on purpose"));
        }
        let content = lock(&self.inode);
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let bytes = content.seen.get(start..).and_then(|rest| rest.get(..buffer.len()));
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut inner = self.inner()?;
        let mut result = inner.call();
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let grows = lock(&self.inode).room_for(offset..offset + bytes.len());
        if result.is_ok() && inner.capacity.is_some_and(|capacity| inner.used_bytes() + grows > capacity && grows > 0) {
            result = Err(io::ErrorKind::StorageFull.into());
        }
        let written = if result.is_ok() { bytes.len() } else { bytes.len() / 2 };
        let grows = lock(&self.inode).room_for(offset..offset + written);
        let fits = inner.capacity.is_none_or(|capacity| inner.used_bytes() + grows <= capacity);
        if result.is_ok() || fits {
            self.change(Change::Write(offset, bytes.get(..written).unwrap_or_default().to_vec()));
        }
        result
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner()?.call()?;
        self.change(Change::Length(usize::try_from(len).unwrap_or(usize::MAX)));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut inner = self.inner()?;
        let called = inner.call();
        let mut content = lock(&self.inode);
        let changes = std::mem::take(&mut content.unsynced);
        // After an error the pages count as clean: nobody writes them again.
        called?;
        for change in changes {
            change.apply(&mut content.synced);
        }
        Ok(())
    }
}
