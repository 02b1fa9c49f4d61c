//! The store of the streams on disk, as its committer has it.

use std::mem;
use std::sync::Arc;

use carillon_wire::TopicBuf;
use foldhash::quality::RandomState;
use hashbrown::HashSet;

use crate::keeper::StoreStatus;
use crate::keeper::submission::Submitted;
use crate::store::{Definitions, Disk, Log, Record};

/// What a record takes beside topic, message id and delivery.
const RECORD_FIXED_BYTES: u64 = 34;
/// How the names of segments' files end.
const SEGMENT: &str = ".log";
/// The largest record.
pub(super) const MAX_RECORD_BYTES: u64 = 63 << 20;

/// The log, and what is kept beside it.
pub(in crate::keeper) struct DiskStore {
    pub(in crate::keeper) disk: Arc<dyn Disk>,
    pub(in crate::keeper) log: Log,
    /// `None` while they could not be opened again.
    pub(in crate::keeper) definitions: Option<Definitions>,
    pub(in crate::keeper) damaged_messages: u64,
    /// Why what is kept beside the log cannot be changed any more.
    pub(super) definitions_failed: Option<String>,
    /// Why it takes nothing more.
    pub(super) failed: Option<String>,
    /// Why compaction cannot go on, if so. It tries again.
    pub(super) compaction_failed: Option<String>,
    /// Whether nothing was taken away since the files were measured.
    pub(super) is_measured: bool,
    measured: Measured,
    /// By stream, for those with a count for each topic: the topics that were published to since the last look.
    touched: Vec<HashSet<TopicBuf, RandomState>>,
}

/// What a publication takes in the log.
pub(in crate::keeper) fn record_bytes(submitted: &Submitted<'_>) -> u64 {
    let id = submitted.head.message_id.map_or(0, str::len);
    (submitted.head.topic.len() + id + submitted.delivery.len()) as u64 + RECORD_FIXED_BYTES
}

impl DiskStore {
    pub(in crate::keeper) fn new(
        disk: Arc<dyn Disk>,
        log: Log,
        definitions: Definitions,
        damaged_messages: u64,
    ) -> Self {
        let measured = Measured::of(&*disk);
        Self {
            disk,
            log,
            definitions: Some(definitions),
            damaged_messages,
            definitions_failed: None,
            failed: None,
            compaction_failed: None,
            is_measured: true,
            measured,
            touched: Vec::new(),
        }
    }

    /// Whether retention can work: it does on a full disk.
    pub(super) fn can_retain(&self) -> bool {
        self.log.failed().is_none_or(|failed| failed.full)
    }

    pub(super) fn append(&mut self, record: &Record<'_>) -> Result<(), String> {
        self.log.append(record).map_err(|error| error.to_string())
    }

    pub(super) fn commit(&mut self) -> Result<(), String> {
        if self.failed.is_some() {
            // Its streams refuse everything, so nothing was appended.
            return Ok(());
        }
        let committed = self.log.commit().map_err(|error| error.to_string())?;
        self.measured.bytes += committed.bytes;
        self.measured.bytes_since += committed.bytes;
        Ok(())
    }

    /// A message of this topic was appended.
    pub(super) fn touch(&mut self, stream: u32, topic: &TopicBuf) {
        let place = stream as usize;
        if place >= self.touched.len() {
            self.touched.resize_with(place + 1, HashSet::default);
        }
        if let Some(touched) = self.touched.get_mut(place)
            && !touched.contains(topic)
        {
            touched.insert(topic.clone());
        }
    }

    /// The topics that were published to since the last call.
    pub(super) fn take_touched(&mut self, stream: u32) -> HashSet<TopicBuf, RandomState> {
        self.touched.get_mut(stream as usize).map(mem::take).unwrap_or_default()
    }

    pub(in crate::keeper) fn status(&self) -> StoreStatus {
        StoreStatus {
            failed: self.failed.clone(),
            damaged_messages: self.damaged_messages,
            compaction_failed: self.compaction_failed.clone(),
            has_reserve: self.log.has_reserve(),
            bytes: self.measured.bytes,
            segments: self.measured.segments,
        }
    }

    /// Looks at the files again, if there may be others by now.
    pub(super) fn measure_if_due(&mut self, segment_bytes: u64) {
        if !self.is_measured || self.measured.bytes_since >= segment_bytes {
            self.measured = Measured::of(&*self.disk);
            self.is_measured = true;
        }
    }
}

/// The segments' files.
#[derive(Debug, Clone, Copy, Default)]
struct Measured {
    segments: u64,
    bytes: u64,
    /// Of those, what came since they were looked at.
    bytes_since: u64,
}

impl Measured {
    fn of(disk: &dyn Disk) -> Self {
        let mut measured = Self::default();
        for name in disk.list().unwrap_or_default() {
            if name.ends_with(SEGMENT)
                && let Ok(len) = disk.open(&name).and_then(|file| file.len())
            {
                measured.segments += 1;
                measured.bytes += len;
            }
        }
        measured
    }
}
