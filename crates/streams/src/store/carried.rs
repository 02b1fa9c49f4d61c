//! Message ids that outlive their segments.
//!
//! An id counts for the whole window of deduplication, also when retention has taken its message. While the broker runs
//! it is in memory; for the next start the ids of a segment are carried over into a small file before the segment is
//! unlinked. What cannot be written on a full disk, though the reserve was given up for it, is forgotten: retention has to
//! make room all the same.

use std::collections::HashMap;
use std::io;

use super::bytes::{Bytes, put_text, put_varint};
use super::disk::Disk;
use super::error::{OpenError, is_damage};
use super::reader::{IdWindow, MessageId};
use super::recovery::io_error;

pub(super) const NAME: &str = "ids";
const NEW_NAME: &str = "ids.new";
const MAGIC: &[u8; 8] = b"carilids";
const VERSION: u32 = 1;

#[derive(Debug, Default)]
pub(super) struct Carried {
    /// By the streams' numbers, as they were told last.
    pub(super) windows: HashMap<u32, IdWindow>,
    ids: Vec<MessageId>,
}

impl Carried {
    /// What the file has: nothing if there is none. A damaged one only means that a duplicate may not be noticed, so it
    /// counts as none.
    pub(super) fn read(disk: &dyn Disk) -> Result<Self, OpenError> {
        let read = || {
            let file = disk.open(NAME)?;
            let mut bytes = vec![0; usize::try_from(file.len()?).unwrap_or_default()];
            file.read_at(&mut bytes, 0)?;
            Ok::<_, io::Error>(bytes)
        };
        let bytes = match read() {
            Err(error) if error.kind() == io::ErrorKind::NotFound || is_damage(&error) => Vec::new(),
            read => read.map_err(io_error("read", NAME))?,
        };
        Ok(Self { windows: HashMap::new(), ids: decode(&bytes).unwrap_or_default() })
    }

    pub(super) fn ids(&self) -> &[MessageId] {
        &self.ids
    }

    /// Takes ids over, and forgets those that are out of their window, and those of streams that are no more. What the
    /// file is to have if anything changed.
    pub(super) fn take_over(&mut self, ids: Vec<MessageId>, is_there: impl Fn(u32) -> bool) -> Option<Vec<u8>> {
        let before = self.ids.len();
        let has_new = !ids.is_empty();
        self.ids.extend(ids);
        // Of each stream the newest count, and one that is carried twice counts once.
        self.ids.sort_unstable_by_key(|id| (id.stream, std::cmp::Reverse(id.sequence)));
        self.ids.dedup_by_key(|id| (id.stream, id.sequence));
        let mut counts = HashMap::<u32, usize>::new();
        let windows = &self.windows;
        self.ids.retain(|id| {
            let count = counts.entry(id.stream).or_default();
            *count += 1;
            // Nobody has said yet that the ids of a stream without a window count no more.
            let is_in = |window: &IdWindow| id.time_us >= window.from_time_us && *count <= window.max;
            is_there(id.stream) && windows.get(&id.stream).is_none_or(is_in)
        });
        (has_new || self.ids.len() != before).then(|| self.encode())
    }

    /// Puts a file with this content in the place of the one before, for good.
    pub(super) fn write(content: &[u8], disk: &dyn Disk) -> io::Result<()> {
        let file = disk.create(NEW_NAME)?;
        let written = file.write_at(content, 0).and_then(|()| file.sync_data());
        if written.is_err() {
            // On a full disk it would take the room that retention needs.
            let _ = disk.unlink(NEW_NAME);
        }
        written?;
        disk.rename(NEW_NAME, NAME)?;
        disk.sync_directory()
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        for id in &self.ids {
            put_varint(&mut out, u64::from(id.stream));
            put_varint(&mut out, id.sequence);
            put_varint(&mut out, id.time_us);
            put_text(&mut out, &id.topic);
            put_varint(&mut out, id.id.len() as u64);
            out.extend_from_slice(&id.id);
        }
        let checksum = crc32c::crc32c(&out);
        out.extend_from_slice(&checksum.to_le_bytes());
        out
    }
}

fn decode(bytes: &[u8]) -> Option<Vec<MessageId>> {
    let (covered, checksum) = bytes.split_last_chunk::<4>()?;
    if crc32c::crc32c(covered) != u32::from_le_bytes(*checksum) {
        return None;
    }
    let mut fields = Bytes(covered);
    if fields.take(MAGIC.len())? != MAGIC || fields.u32()? != VERSION {
        return None;
    }
    let mut ids = Vec::new();
    while !fields.is_empty() {
        let stream = u32::try_from(fields.varint()?).ok()?;
        let (sequence, time_us) = (fields.varint()?, fields.varint()?);
        let topic = fields.text()?.to_owned();
        let len = usize::try_from(fields.varint()?).ok()?;
        ids.push(MessageId { stream, sequence, time_us, topic, id: fields.take(len)?.to_vec() });
    }
    Some(ids)
}
