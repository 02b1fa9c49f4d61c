//! Which segments count, and where each stream begins and ends at least.
//!
//! It is written anew and renamed, before any segment is unlinked: so a stream whose messages are all gone keeps its
//! numbers, and what compaction replaced never comes back. Its content stands in the file twice.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::bytes::{Bytes, put_varint};
use super::disk::Disk;
use super::error::OpenError;
use super::header::SegmentId;

pub(super) const NAME: &str = "manifest";
pub(super) const NEW_NAME: &str = "manifest.new";
const MAGIC: &[u8; 8] = b"carilman";
const VERSION: u32 = 1;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Manifest {
    /// From this number on every segment counts whose generation is 0.
    pub(super) open_from: u64,
    /// The segments before that number, and the one of that number if it surely is on disk.
    pub(super) live: BTreeSet<SegmentId>,
    pub(super) streams: BTreeMap<u32, Floor>,
}

/// What a stream was when the manifest was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Floor {
    pub(super) first_sequence: u64,
    /// 0 where there never was a message.
    pub(super) last_sequence: u64,
    pub(super) last_time_us: u64,
}

impl Manifest {
    pub(super) fn counts(&self, id: SegmentId) -> bool {
        if id.number >= self.open_from { id.generation == 0 } else { self.live.contains(&id) }
    }

    fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        put_varint(&mut body, self.open_from);
        put_varint(&mut body, self.live.len() as u64);
        for id in &self.live {
            put_varint(&mut body, id.number);
            put_varint(&mut body, u64::from(id.generation));
        }
        put_varint(&mut body, self.streams.len() as u64);
        for (stream, floor) in &self.streams {
            put_varint(&mut body, u64::from(*stream));
            put_varint(&mut body, floor.first_sequence);
            put_varint(&mut body, floor.last_sequence);
            put_varint(&mut body, floor.last_time_us);
        }
        let mut copy = Vec::new();
        copy.extend_from_slice(MAGIC);
        copy.extend_from_slice(&VERSION.to_le_bytes());
        copy.extend_from_slice(&body);
        copy.extend_from_slice(&crc32c::crc32c(&copy).to_le_bytes());
        let mut out = copy.clone();
        out.extend_from_slice(&copy);
        out
    }

    /// Puts it in the place of the one before, for good.
    pub(super) fn write(&self, disk: &dyn Disk) -> io::Result<()> {
        let file = disk.create(NEW_NAME)?;
        file.write_at(&self.encode(), 0)?;
        file.sync_data()?;
        disk.rename(NEW_NAME, NAME)?;
        disk.sync_directory()
    }

    /// Reads it; `None` where the store never had one.
    pub(super) fn read(disk: &dyn Disk) -> Result<Option<Self>, OpenError> {
        let failed = |operation| move |source| OpenError::Io { operation, file: NAME.to_owned(), source };
        let file = match disk.open(NAME) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(failed("open"))?,
        };
        let len = file.len().map_err(failed("read"))?;
        let mut bytes = vec![0; usize::try_from(len).unwrap_or_default()];
        file.read_at(&mut bytes, 0).map_err(failed("read"))?;
        let (first, second) = bytes.split_at(bytes.len() / 2);
        let mut newer = None;
        for copy in [first, second] {
            match read_copy(copy) {
                Some(Ok(manifest)) => return Ok(Some(manifest)),
                Some(Err(version)) => newer = Some(version),
                None => {}
            }
        }
        Err(match newer {
            Some(found) => OpenError::Newer { file: NAME.to_owned(), found, known: VERSION },
            None => OpenError::ManifestDamaged { file: NAME.to_owned() },
        })
    }
}

/// A version that is newer, or the content.
fn read_copy(copy: &[u8]) -> Option<Result<Manifest, u32>> {
    let (covered, checksum) = copy.split_last_chunk::<4>()?;
    if crc32c::crc32c(covered) != u32::from_le_bytes(*checksum) {
        return None;
    }
    let mut fields = Bytes(covered);
    if fields.take(MAGIC.len())? != MAGIC {
        return None;
    }
    let version = fields.u32()?;
    if version != VERSION {
        return Some(Err(version));
    }
    let mut manifest = Manifest { open_from: fields.varint()?, ..Manifest::default() };
    for _ in 0..fields.varint()? {
        let number = fields.varint()?;
        manifest.live.insert(SegmentId { number, generation: u32::try_from(fields.varint()?).ok()? });
    }
    for _ in 0..fields.varint()? {
        let stream = u32::try_from(fields.varint()?).ok()?;
        let floor =
            Floor { first_sequence: fields.varint()?, last_sequence: fields.varint()?, last_time_us: fields.varint()? };
        manifest.streams.insert(stream, floor);
    }
    fields.is_empty().then_some(Ok(manifest))
}
