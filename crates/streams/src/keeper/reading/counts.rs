//! What reading costs.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::store::{Disk, DiskFile};

/// Counters of what is read, for the metrics. They only grow.
#[derive(Debug, Default)]
pub struct ReadCounts {
    disk_reads: AtomicU64,
    disk_bytes: AtomicU64,
    page_hits: AtomicU64,
    page_misses: AtomicU64,
    damaged_messages: AtomicU64,
}

impl ReadCounts {
    /// Calls that read from the disk. The operating system may have had it in memory.
    pub fn disk_reads(&self) -> u64 {
        self.disk_reads.load(Ordering::Relaxed)
    }

    /// Bytes that these calls read.
    pub fn disk_bytes(&self) -> u64 {
        self.disk_bytes.load(Ordering::Relaxed)
    }

    /// Pages of streams on disk for which nothing had to be read.
    pub fn page_hits(&self) -> u64 {
        self.page_hits.load(Ordering::Relaxed)
    }

    /// Pages of streams on disk for which something had to be read.
    pub fn page_misses(&self) -> u64 {
        self.page_misses.load(Ordering::Relaxed)
    }

    /// Messages that readers found damaged, each counted once for each run of the broker.
    pub fn damaged_messages(&self) -> u64 {
        self.damaged_messages.load(Ordering::Relaxed)
    }

    pub(super) fn count_damage(&self, messages: u64) {
        self.damaged_messages.fetch_add(messages, Ordering::Relaxed);
    }

    pub(super) fn count_page(&self, was_read: bool) {
        let counter = if was_read { &self.page_misses } else { &self.page_hits };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn count_read(&self, bytes: usize) {
        self.disk_reads.fetch_add(1, Ordering::Relaxed);
        self.disk_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// A disk of which every read is counted: those for readers, and those of recovery and compaction.
#[derive(Debug)]
pub(in super::super) struct CountedDisk<D> {
    disk: D,
    counts: Arc<ReadCounts>,
}

struct CountedFile {
    file: Arc<dyn DiskFile>,
    counts: Arc<ReadCounts>,
}

impl<D: Disk> CountedDisk<D> {
    /// Counts what is read of a disk.
    pub(in super::super) fn new(disk: D, counts: Arc<ReadCounts>) -> Self {
        Self { disk, counts }
    }

    fn counted(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(CountedFile { file, counts: Arc::clone(&self.counts) })
    }
}

impl<D: Disk> Disk for CountedDisk<D> {
    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.create(name).map(|file| self.counted(file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.open(name).map(|file| self.counted(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        self.disk.unlink(name)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.disk.sync_directory()
    }
}

impl DiskFile for CountedFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.counts.count_read(buffer.len());
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}
