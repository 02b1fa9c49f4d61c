//! The first bytes of a segment's file: which segment it is, and the salt of its checksums.
//!
//! They stand there twice, so that no single damage makes the rest unreadable.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

use super::bytes::Bytes;

const MAGIC: &[u8; 8] = b"carilseg";
const VERSION: u32 = 1;
const COPY_BYTES: usize = 32;
/// Where the first record begins.
pub(super) const BYTES: usize = 2 * COPY_BYTES;

/// Which segment of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SegmentId {
    /// Rising along the log.
    pub(super) number: u64,
    /// 0 as it was written; one more than its parts' highest where compaction made it.
    pub(super) generation: u32,
}

impl SegmentId {
    pub(super) fn log_name(self) -> String {
        format!("{:016x}-{:x}.log", self.number, self.generation)
    }

    pub(super) fn index_name(self) -> String {
        format!("{:016x}-{:x}.idx", self.number, self.generation)
    }

    /// The segment whose log has this name.
    pub(super) fn of_log_name(name: &str) -> Option<Self> {
        Self::of_name(name).filter(|id| id.log_name() == name)
    }

    /// The segment whose log or index has this name.
    pub(super) fn of_name(name: &str) -> Option<Self> {
        let stem = name.strip_suffix(".log").or_else(|| name.strip_suffix(".idx"))?;
        let (number, generation) = stem.split_once('-')?;
        let id = Self {
            number: u64::from_str_radix(number, 16).ok()?,
            generation: u32::from_str_radix(generation, 16).ok()?,
        };
        // Only as it is written: no sign, no other case, no missing zeros.
        (id.log_name() == name || id.index_name() == name).then_some(id)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) id: SegmentId,
    pub(super) salt: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadHeader {
    /// Neither copy is sound.
    Damaged,
    /// Another segment's bytes under this name.
    OfAnother,
    /// Sound, and of this newer version.
    Newer(u32),
}

impl Header {
    /// With a new salt.
    pub(super) fn new(id: SegmentId) -> Self {
        // std seeds it at random; more than that is not needed against guesses of 32 bits.
        let mut hasher = RandomState::new().build_hasher();
        hasher.write_u64(id.number);
        let random = hasher.finish().to_le_bytes();
        let salt = Bytes(&random).u32().unwrap_or_default();
        Self { id, salt }
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        let mut copy = Vec::with_capacity(COPY_BYTES);
        copy.extend_from_slice(MAGIC);
        copy.extend_from_slice(&VERSION.to_le_bytes());
        copy.extend_from_slice(&self.id.number.to_le_bytes());
        copy.extend_from_slice(&self.id.generation.to_le_bytes());
        copy.extend_from_slice(&self.salt.to_le_bytes());
        copy.extend_from_slice(&crc32c::crc32c(&copy).to_le_bytes());
        out.extend_from_slice(&copy);
        out.extend_from_slice(&copy);
    }

    /// From the first bytes of a file, fewer than [`BYTES`] included.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, BadHeader> {
        let mut found = Err(BadHeader::Damaged);
        for copy in bytes.chunks(COPY_BYTES).take(2) {
            match Self::read_copy(copy) {
                Some(Ok(header)) => return Ok(header),
                Some(Err(version)) => found = Err(BadHeader::Newer(version)),
                None => {}
            }
        }
        found
    }

    fn read_copy(copy: &[u8]) -> Option<Result<Self, u32>> {
        let covered = copy.get(..COPY_BYTES - 4)?;
        let mut fields = Bytes(copy);
        let magic = fields.take(MAGIC.len())?;
        let version = fields.u32()?;
        let number = fields.u64()?;
        let generation = fields.u32()?;
        let salt = fields.u32()?;
        let checksum = fields.u32()?;
        if magic != MAGIC || checksum != crc32c::crc32c(covered) {
            return None;
        }
        Some(if version == VERSION { Ok(Self { id: SegmentId { number, generation }, salt }) } else { Err(version) })
    }
}
