//! Room on the disk that is kept for retention, which has to write before it can free anything.

use std::io;

use super::disk::Disk;

pub(super) const NAME: &str = "reserve";

#[derive(Debug)]
pub(super) struct Reserve {
    bytes: u64,
    is_filled: bool,
}

impl Reserve {
    pub(super) fn new(bytes: u64) -> Self {
        Self { bytes, is_filled: false }
    }

    /// Takes the room, if it can be had. Without it the store works on; [`is_filled`](Self::is_filled) tells.
    pub(super) fn fill(&mut self, disk: &dyn Disk) {
        if self.is_filled || self.bytes == 0 {
            return;
        }
        self.is_filled = self.try_fill(disk).is_ok();
        if !self.is_filled {
            let _ = disk.unlink(NAME);
        }
    }

    fn try_fill(&self, disk: &dyn Disk) -> io::Result<()> {
        if disk.open(NAME).and_then(|file| file.len()).is_ok_and(|len| len == self.bytes) {
            return Ok(());
        }
        // Written and not only made long, because a hole takes no room.
        let pattern = vec![0x5a; 64 << 10];
        let file = disk.create(NAME)?;
        let mut at = 0;
        while at < self.bytes {
            let piece = pattern.get(..usize::try_from(self.bytes - at).unwrap_or(usize::MAX)).unwrap_or(&pattern);
            file.write_at(piece, at)?;
            at += piece.len() as u64;
        }
        file.sync_data()
    }

    /// Gives the room back to the file system. Whether there was any.
    pub(super) fn release(&mut self, disk: &dyn Disk) -> bool {
        let released = disk.unlink(NAME).is_ok() && disk.sync_directory().is_ok();
        self.is_filled = false;
        released
    }

    pub(super) fn is_filled(&self) -> bool {
        self.is_filled
    }
}
