//! Reading a whole segment to make its index: what is sound, what is not, and where it goes on behind damage.

use std::io;
use std::ops::Range;

use super::disk::DiskFile;
use super::index::MemoryIndex;
use super::{header, record};

/// How many bytes one search for sound records may put through checksums. Payloads can be made so that every few bytes
/// look like the beginning of a long record; the search must end all the same.
const SEARCH_BYTES: usize = 1 << 30;

#[derive(Debug, Default)]
pub(super) struct Scan {
    pub(super) index: MemoryIndex,
    /// What is no record, in order; the last one may reach to the end.
    pub(super) bad: Vec<Range<u64>>,
    /// Where the last group begins whose first record is sound.
    pub(super) last_group: Option<usize>,
    /// Sound records.
    pub(super) records: u64,
}

impl Scan {
    /// Where a write may have been torn: the first damage behind which no group begins. What was written before
    /// another group began had been synced.
    pub(super) fn torn_at(&self) -> Option<usize> {
        let synced = self.last_group.unwrap_or(0) as u64;
        let torn = self.bad.iter().map(|bad| bad.start).find(|start| *start > synced)?;
        usize::try_from(torn).ok()
    }
}

/// Scans the bytes of a segment, its header included.
///
/// # Errors
/// A record's version, when it is newer than this program's.
pub(super) fn scan(bytes: &[u8], salt: u32) -> Result<Scan, u8> {
    let mut scan = Scan::default();
    let mut search = Search { bytes, salt, budget: SEARCH_BYTES };
    let mut offset = header::BYTES;
    while offset < bytes.len() {
        match record::read(bytes.get(offset..).unwrap_or_default(), salt) {
            Ok(read) => {
                if let Some(bad) = scan.bad.last() {
                    scan.index.note_hole(read.record.stream, bad.start, read.record.sequence);
                }
                if read.begins_group {
                    scan.last_group = Some(offset);
                }
                scan.index.add(offset as u64, &read);
                scan.records += 1;
                offset += read.len;
            }
            Err(record::Bad::Newer(version)) => return Err(version),
            Err(_) => {
                let next = search.next_sound(offset).unwrap_or(bytes.len());
                scan.bad.push(offset as u64..next as u64);
                offset = next;
            }
        }
    }
    if let Some(bad) = scan.bad.last() {
        scan.index.note_holes_at_end(bad.start);
    }
    Ok(scan)
}

struct Search<'a> {
    bytes: &'a [u8],
    salt: u32,
    budget: usize,
}

impl Search<'_> {
    /// Where the next sound record begins behind a bad one.
    fn next_sound(&mut self, bad: usize) -> Option<usize> {
        let claimed = record::claimed_len(self.bytes.get(bad..)?).and_then(|len| bad.checked_add(len));
        if let Some(next) = claimed
            && (next == self.bytes.len() || self.is_sound(next))
        {
            return Some(next);
        }
        (bad + 1..self.bytes.len()).find(|offset| self.is_sound(*offset))
    }

    fn is_sound(&mut self, offset: usize) -> bool {
        let Some(bytes) = self.bytes.get(offset..) else { return false };
        let Some(len) = record::claimed_len(bytes).filter(|len| *len <= bytes.len()) else { return false };
        if !record::may_be_one(bytes) || len > self.budget {
            return false;
        }
        self.budget -= len;
        record::read(bytes, self.salt).is_ok()
    }
}

/// The bytes of a file, or from where on it cannot be read, and why.
pub(super) fn read_whole(file: &dyn DiskFile, len: u64) -> Result<Vec<u8>, (u64, io::Error)> {
    const PIECE_BYTES: usize = 1 << 20;
    let mut bytes = vec![0; usize::try_from(len).map_err(|error| (0, io::Error::other(error)))?];
    let mut offset = 0_u64;
    for piece in bytes.chunks_mut(PIECE_BYTES) {
        file.read_at(piece, offset).map_err(|error| (offset, error))?;
        offset += piece.len() as u64;
    }
    Ok(bytes)
}
