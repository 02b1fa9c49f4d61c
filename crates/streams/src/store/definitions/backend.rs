//! redb on a file of the store's disk, and in memory.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

use super::super::disk::DiskFile;

pub(super) struct DiskBackend(pub(super) Arc<dyn DiskFile>);

impl fmt::Debug for DiskBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskBackend").finish_non_exhaustive()
    }
}

impl StorageBackend for DiskBackend {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_at(out, offset)
    }

    /// What is added is written and not only made long: a hole takes no room, so that the disk could be full when
    /// something is written into it.
    fn set_len(&self, len: u64) -> io::Result<()> {
        let before = self.0.len()?;
        let added = vec![0; usize::try_from(len.saturating_sub(before)).map_err(io::Error::other)?];
        let written = if added.is_empty() { self.0.set_len(len) } else { self.0.write_at(&added, before) };
        written.inspect_err(|_| {
            // What there was is sound all the same.
            let _ = self.0.set_len(before);
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_at(data, offset)
    }
}

/// Bytes in memory, which outlast the database on them.
#[derive(Debug, Clone, Default)]
pub(super) struct MemoryBackend(Arc<Mutex<Vec<u8>>>);

impl MemoryBackend {
    pub(super) fn new(bytes: &[u8]) -> Self {
        Self(Arc::new(Mutex::new(bytes.to_vec())))
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a piece of this length would be.
fn place(offset: u64, len: usize) -> io::Result<std::ops::Range<usize>> {
    let start = usize::try_from(offset).map_err(io::Error::other)?;
    Ok(start..start.checked_add(len).ok_or(io::ErrorKind::InvalidInput)?)
}

impl StorageBackend for MemoryBackend {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let bytes = self.lock();
        out.copy_from_slice(bytes.get(place(offset, out.len())?).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.lock().resize(usize::try_from(len).map_err(io::Error::other)?, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut bytes = self.lock();
        let place = place(offset, data.len())?;
        if bytes.len() < place.end {
            bytes.resize(place.end, 0);
        }
        bytes.get_mut(place).ok_or(io::ErrorKind::UnexpectedEof)?.copy_from_slice(data);
        Ok(())
    }
}
