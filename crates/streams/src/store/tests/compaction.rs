//! What compaction costs those who wait for the log.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::faulty::FaultyDisk;
use super::super::{Disk, DiskFile, Log};
use super::{SMALL, append, message};

/// A disk that knows how much a sync had to write at most.
#[derive(Clone, Default)]
struct SyncWatch {
    disk: FaultyDisk,
    largest_sync: Arc<AtomicU64>,
}

struct WatchedFile {
    file: Arc<dyn DiskFile>,
    unsynced: AtomicU64,
    largest_sync: Arc<AtomicU64>,
}

impl SyncWatch {
    fn watch(&self, file: io::Result<Arc<dyn DiskFile>>) -> io::Result<Arc<dyn DiskFile>> {
        let (unsynced, largest_sync) = (AtomicU64::new(0), Arc::clone(&self.largest_sync));
        Ok(Arc::new(WatchedFile { file: file?, unsynced, largest_sync }))
    }
}

impl Disk for SyncWatch {
    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.watch(self.disk.create(name))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.watch(self.disk.open(name))
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

impl DiskFile for WatchedFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.unsynced.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.file.write_at(bytes, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.largest_sync.fetch_max(self.unsynced.swap(0, Ordering::Relaxed), Ordering::Relaxed);
        self.file.sync_data()
    }
}

#[test]
fn what_compaction_copies_is_synced_in_pieces() {
    const STEP_BYTES: u64 = 300;
    let disk = SyncWatch::default();
    let (mut log, _) = Log::open(Arc::new(disk.clone()), super::Options { segment_bytes: 8_000, ..SMALL }).unwrap();
    // Of each segment a little less than half stays.
    for sequence in 1..=400 {
        append(&mut log, 1, &message(1, sequence, "a", 60), b"");
        append(&mut log, 2, &message(2, sequence, "b", 40), b"");
        log.commit().unwrap();
    }
    log.retain(&[(1, 400)]).unwrap();
    disk.largest_sync.store(0, Ordering::Relaxed);
    let before = log.size();
    while log.compact(u64::MAX, usize::try_from(STEP_BYTES).unwrap()).unwrap() {}
    assert!(log.size().bytes < before.bytes * 2 / 3);
    let largest = disk.largest_sync.load(Ordering::Relaxed);
    assert!(largest < super::super::compaction::SYNCED_AT_ONCE_BYTES + 2 * STEP_BYTES, "{largest} bytes");
}
