//! One record of the log.
//!
//! ```text
//! u32 checksum   CRC-32C, begun with the segment's salt, of all that follows
//! u32 length     of all that follows
//! u8  version    1
//! u8  kind       message, covered, lost, mark; the highest bit says that a group begins here
//! u16 topic's length, u16 message id's length
//! u32 stream
//! u64 sequence
//! u64 time       microseconds since 1970
//! topic, message id, delivery
//! ```
//!
//! Numbers are little endian. The salt is random and never leaves the store, so nobody can put bytes into a payload
//! that would pass for a record when damage makes the store search for the next one. It also tells old bytes of another
//! file from this file's.

use super::bytes::Bytes;

pub(super) const VERSION: u8 = 1;
/// Checksum and length.
pub(super) const PREFIX_BYTES: usize = 8;
/// What a record takes without topic, message id and delivery.
pub(super) const FIXED_BYTES: usize = PREFIX_BYTES + 26;
/// More than any message; a longer one is damage.
pub(super) const MAX_BYTES: usize = 64 << 20;

const BEGINS_GROUP: u8 = 0x80;

/// One message of a stream, as it is appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// The stream's number in this store. A number is never used again for another stream.
    pub stream: u32,
    /// One more than the last one of the stream; the first is 1.
    pub sequence: u64,
    /// Microseconds since 1970, not before the last one of the stream.
    pub time_us: u64,
    /// At most 65,535 bytes.
    pub topic: &'a str,
    /// What duplicates are told by, at most 65,535 bytes; empty where the publisher gave none.
    pub message_id: &'a [u8],
    /// What readers are sent.
    pub delivery: &'a [u8],
}

impl Record<'_> {
    /// The most that one takes on disk, in bytes.
    pub const MAX_BYTES: u64 = MAX_BYTES as u64;

    /// What it takes on disk, in bytes.
    pub fn encoded_len(&self) -> u64 {
        len(self) as u64
    }
}

/// What a record is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A message.
    Message,
    /// Its segment stands for this range of the stream: what is not in it was replaced or retention took it.
    Covered,
    /// This range of the stream is damaged.
    Lost,
    /// Says nothing, but begins a group, which proves that the one before was synced.
    Mark,
}

impl Kind {
    const fn number(self) -> u8 {
        match self {
            Self::Message => 1,
            Self::Covered => 2,
            Self::Lost => 3,
            Self::Mark => 4,
        }
    }

    const fn of(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Message),
            2 => Some(Self::Covered),
            3 => Some(Self::Lost),
            4 => Some(Self::Mark),
            _ => None,
        }
    }
}

/// A record as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Read<'a> {
    pub(super) kind: Kind,
    pub(super) begins_group: bool,
    /// In the file, all included.
    pub(super) len: usize,
    pub(super) record: Record<'a>,
}

impl Read<'_> {
    /// The range that a record of the kinds covered and lost names.
    pub(super) fn range(&self) -> Option<(u64, u64)> {
        let first = self.record.sequence;
        let last = Bytes(self.record.delivery).u64()?;
        (first <= last).then_some((first, last))
    }
}

/// Why bytes are no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bad {
    /// Not all of it is there, or its length is no record's.
    Length,
    /// It was changed after it was written, or never was one.
    Checksum,
    /// It is sound, and of this newer version.
    Newer(u8),
}

/// Puts a record behind what is in `out`.
pub(super) fn put(out: &mut Vec<u8>, salt: u32, kind: Kind, begins_group: bool, record: &Record<'_>) {
    let start = out.len();
    let body_bytes = len(record) - PREFIX_BYTES;
    debug_assert!(fits(record));
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&(u32::try_from(body_bytes).unwrap_or(u32::MAX)).to_le_bytes());
    out.push(VERSION);
    out.push(kind.number() | if begins_group { BEGINS_GROUP } else { 0 });
    out.extend_from_slice(&(u16::try_from(record.topic.len()).unwrap_or(u16::MAX)).to_le_bytes());
    out.extend_from_slice(&(u16::try_from(record.message_id.len()).unwrap_or(u16::MAX)).to_le_bytes());
    out.extend_from_slice(&record.stream.to_le_bytes());
    out.extend_from_slice(&record.sequence.to_le_bytes());
    out.extend_from_slice(&record.time_us.to_le_bytes());
    out.extend_from_slice(record.topic.as_bytes());
    out.extend_from_slice(record.message_id);
    out.extend_from_slice(record.delivery);
    let checksum = out.get(start + 4..).map_or(0, |covered| crc32c::crc32c_append(salt, covered));
    if let Some(place) = out.get_mut(start..start + 4) {
        place.copy_from_slice(&checksum.to_le_bytes());
    }
}

/// Puts a record that names a range of a stream.
pub(super) fn put_range(
    out: &mut Vec<u8>,
    salt: u32,
    kind: Kind,
    stream: u32,
    (first, last): (u64, u64),
    time_us: u64,
) {
    let last = last.to_le_bytes();
    let record = Record { stream, sequence: first, time_us, topic: "", message_id: &[], delivery: &last };
    put(out, salt, kind, false, &record);
}

/// Whether the lengths have room in their fields.
pub(super) fn fits(record: &Record<'_>) -> bool {
    let variable = record.topic.len().saturating_add(record.message_id.len()).saturating_add(record.delivery.len());
    u16::try_from(record.topic.len()).is_ok()
        && u16::try_from(record.message_id.len()).is_ok()
        && variable <= MAX_BYTES - FIXED_BYTES
}

/// The length in the file.
pub(super) fn len(record: &Record<'_>) -> usize {
    FIXED_BYTES + record.topic.len() + record.message_id.len() + record.delivery.len()
}

/// The length in the file that the record at the front of `bytes` claims, if a record can have it.
pub(super) fn claimed_len(bytes: &[u8]) -> Option<usize> {
    let mut bytes = Bytes(bytes);
    bytes.u32()?;
    let len = usize::try_from(bytes.u32()?).ok()?.checked_add(PREFIX_BYTES)?;
    (FIXED_BYTES..=MAX_BYTES).contains(&len).then_some(len)
}

/// The record at the front of `bytes`.
pub(super) fn read(bytes: &[u8], salt: u32) -> Result<Read<'_>, Bad> {
    let len = claimed_len(bytes).ok_or(Bad::Length)?;
    let whole = bytes.get(..len).ok_or(Bad::Length)?;
    let mut fields = Bytes(whole);
    let checksum = fields.u32().ok_or(Bad::Length)?;
    if crc32c::crc32c_append(salt, fields.0) != checksum {
        return Err(Bad::Checksum);
    }
    read_fields(fields, len)
}

/// Whether all of `bytes` were a record if its length said so.
pub(super) fn is_sound_with_length(bytes: &[u8], salt: u32) -> bool {
    let fields = bytes.split_at_checked(PREFIX_BYTES);
    let Some(((checksum, _), rest)) = fields.and_then(|(prefix, rest)| Some((prefix.split_first_chunk::<4>()?, rest)))
    else {
        return false;
    };
    let Ok(body_bytes) = u32::try_from(rest.len()) else { return false };
    let covered = crc32c::crc32c_append(salt, &body_bytes.to_le_bytes());
    crc32c::crc32c_append(covered, rest) == u32::from_le_bytes(*checksum)
}

/// A record that was just put, so that its checksum need not be looked at.
pub(super) fn read_own(bytes: &[u8]) -> Option<Read<'_>> {
    let len = claimed_len(bytes)?;
    let mut fields = Bytes(bytes.get(..len)?);
    fields.u32()?;
    read_fields(fields, len).ok()
}

/// Whether a checksum is worth its while: a cheap look at what every record of this version has.
pub(super) fn may_be_one(bytes: &[u8]) -> bool {
    let mut fields = Bytes(bytes);
    let mut looks_right = || {
        fields.u32()?;
        let len = fields.u32()?;
        let version = fields.u8()?;
        let kind = Kind::of(fields.u8()? & !BEGINS_GROUP);
        let variable = u32::from(fields.u16()?) + u32::from(fields.u16()?);
        let fixed = u32::try_from(FIXED_BYTES - PREFIX_BYTES).ok()?;
        Some(version == VERSION && kind.is_some() && variable.checked_add(fixed)? <= len)
    };
    looks_right().unwrap_or(false)
}

fn read_fields(mut fields: Bytes<'_>, len: usize) -> Result<Read<'_>, Bad> {
    fields.u32().ok_or(Bad::Length)?;
    let version = fields.u8().ok_or(Bad::Length)?;
    if version != VERSION {
        return Err(Bad::Newer(version));
    }
    sound_fields(fields, len).ok_or(Bad::Checksum)
}

fn sound_fields(mut fields: Bytes<'_>, len: usize) -> Option<Read<'_>> {
    let kind = fields.u8()?;
    let topic_bytes = fields.u16()?;
    let id_bytes = fields.u16()?;
    let stream = fields.u32()?;
    let sequence = fields.u64()?;
    let time_us = fields.u64()?;
    let topic = std::str::from_utf8(fields.take(usize::from(topic_bytes))?).ok()?;
    let message_id = fields.take(usize::from(id_bytes))?;
    Some(Read {
        kind: Kind::of(kind & !BEGINS_GROUP)?,
        begins_group: kind & BEGINS_GROUP != 0,
        len,
        record: Record { stream, sequence, time_us, topic, message_id, delivery: fields.0 },
    })
}
