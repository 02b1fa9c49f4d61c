//! Appending and committing.

use std::fmt;
use std::sync::Arc;

use super::compaction::Compaction;
use super::disk::Disk;
use super::end::Unsettled;
use super::error::{AppendError, OpenError, StoreFailed};
use super::header::{Header, SegmentId};
use super::index::{Index, MemoryIndex};
use super::ledger::{Ledger, plus};
use super::reader::Reader;
use super::record::{self, Kind, Record};
use super::recovered::Recovered;
use super::recovery;
use super::reserve::Reserve;
use super::saving::Saving;
use super::segment::{Segment, read_lock, write_lock};
use super::shared::{Shared, StreamState, StreamStates};
use crate::stream::{Extent, Totals};

/// How a log is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// A segment that has this many bytes is followed by another one. Retention frees whole segments, a start scans one,
    /// and the index of one is in memory.
    pub segment_bytes: u64,
    /// How much room is kept for retention to work in when the disk is full; 0 for none.
    pub reserve_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, reserve_bytes: 4 << 20 }
    }
}

/// What a commit put on disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Committed {
    /// Messages.
    pub messages: u64,
    /// Bytes of the log.
    pub bytes: u64,
}

/// The one writer of a store.
///
/// Records that were appended are on disk, and seen by readers, after [`commit`](Self::commit): one write and one sync,
/// whatever the number of their streams. After a crash all that was committed is there, and of what was appended
/// after the last commit, a first part in order or nothing.
///
/// Dropping it loses nothing that was committed; [`close`](Self::close) moreover lets the next start know that the last
/// group was.
pub struct Log {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) shared: Arc<Shared>,
    pub(super) options: Options,
    pub(super) reserve: Reserve,
    /// The number of the segment that is made next.
    pub(super) next_number: u64,
    /// The one that is written, once there is one.
    pub(super) active: Option<Active>,
    unsettled: Unsettled,
    /// Segments that count and of which nothing can be read.
    pub(super) unreadable: Vec<SegmentId>,
    pub(super) ledger: Ledger,
    pub(super) compaction: Option<Compaction>,
    /// Segments that compaction leaves alone: it found them damaged, could not read them, or has just made them.
    pub(super) never_compact: Vec<SegmentId>,
    /// Why compaction waits for retention to free something.
    pub(super) compaction_waits: Option<StoreFailed>,
    group: Group,
    pub(super) saving: Saving,
    pub(super) failed: Option<StoreFailed>,
}

pub(super) struct Active {
    pub(super) segment: Arc<Segment>,
    /// What was committed.
    pub(super) len: u64,
    /// Its name is not yet on disk for sure.
    pub(super) is_new: bool,
}

/// What was appended and is not committed.
#[derive(Default)]
struct Group {
    bytes: Vec<u8>,
    /// Where the first record is in `bytes`.
    records_at: usize,
    /// As they will be, with what is added alone as their totals.
    streams: StreamStates,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("options", &self.options).field("failed", &self.failed).finish_non_exhaustive()
    }
}

impl Log {
    /// Opens the store on a disk, or makes a new one. Blocks while it reads the indexes of all segments and scans the
    /// last one.
    ///
    /// What [`Recovered`] says will be said again by the next opening until it was acted upon: see
    /// [`settle`](Self::settle) and [`accept_damage`](Self::accept_damage).
    ///
    /// # Errors
    /// See [`OpenError`]. Damage is no error: [`Recovered`] names it.
    pub fn open(disk: Arc<dyn Disk>, options: Options) -> Result<(Self, Recovered), OpenError> {
        let opened = recovery::open(&disk)?;
        let mut reserve = Reserve::new(options.reserve_bytes);
        reserve.fill(&*disk);
        let log = Self {
            disk,
            shared: Arc::new(opened.shared),
            options,
            reserve,
            next_number: opened.next_number,
            active: opened.active,
            unsettled: opened.unsettled,
            unreadable: opened.unreadable,
            ledger: opened.ledger,
            compaction: None,
            never_compact: Vec::new(),
            compaction_waits: None,
            group: Group::default(),
            saving: Saving::default(),
            failed: None,
        };
        Ok((log, opened.recovered))
    }

    /// Cuts off what [`Recovered::cut`](super::Recovered::cut) named, and makes a new store's first file: to be called once
    /// the caller has kept what follows from [`Recovered`]. Whoever has nothing to keep need not call it: the first
    /// record that is appended does it too.
    ///
    /// # Errors
    /// [`StoreFailed`].
    pub fn settle(&mut self) -> Result<(), StoreFailed> {
        self.check_failed()?;
        if std::mem::take(&mut self.unsettled.has_no_manifest) {
            let streams = read_lock(&self.shared.state).streams.clone();
            self.write_manifest(&self.manifest(&streams, &self.sealed()))?;
        }
        let settled = self.unsettled.settle(&*self.disk);
        settled.map_err(|failed| self.fail(failed))
    }

    /// Something to read with, on any thread.
    pub fn reader(&self) -> Reader {
        Reader::new(Arc::clone(&self.shared))
    }

    /// Why the store takes nothing more, if it does not.
    pub fn failed(&self) -> Option<&StoreFailed> {
        self.failed.as_ref()
    }

    /// Waits for what is done beside the caller's thread: the index of a segment that was full. To be called before the
    /// store is opened a second time.
    pub fn finish_saving(&mut self) {
        self.saving.wait();
    }

    /// Sees to it that the next group has a segment with room: nearly always only a look, now and then a new file. Without
    /// this, the first record that is appended does it.
    ///
    /// # Errors
    /// [`StoreFailed`].
    pub fn make_room(&mut self) -> Result<(), StoreFailed> {
        self.check_failed()?;
        if !self.group.bytes.is_empty() {
            return Ok(());
        }
        self.settle()?;
        if self.active.as_ref().is_some_and(|active| active.len >= self.options.segment_bytes) {
            self.seal();
        }
        if self.active.is_none() {
            self.begin_segment()?;
        }
        Ok(())
    }

    /// Takes a record for the next commit. Only memory, once [`make_room`](Self::make_room) was called.
    ///
    /// # Errors
    /// [`AppendError`]; then this record is not taken.
    pub fn append(&mut self, record: &Record<'_>) -> Result<(), AppendError> {
        self.check_failed()?;
        if !record::fits(record) {
            return Err(AppendError::TooLong);
        }
        let pending = self.group.streams.get(&record.stream).copied();
        let before = pending.unwrap_or_else(|| self.committed_or_new(record.stream));
        let expected = before.last_sequence.saturating_add(1);
        if record.sequence != expected {
            return Err(AppendError::OutOfOrder { stream: record.stream, expected, found: record.sequence });
        }
        self.put(Kind::Message, record)?;
        let added = Totals { messages: 1, bytes: record::len(record) as u64 };
        let pending = pending.map_or(Totals::default(), |pending| pending.totals);
        let after = StreamState {
            last_sequence: record.sequence,
            last_time_us: record.time_us,
            totals: plus(pending, added),
            ..before
        };
        self.group.streams.insert(record.stream, after);
        Ok(())
    }

    /// Puts everything that was appended on disk, with one write and one sync, and shows it to the readers.
    ///
    /// # Errors
    /// [`StoreFailed`]; then nobody knows what of the group is on disk, and the store takes nothing more.
    pub fn commit(&mut self) -> Result<Committed, StoreFailed> {
        self.check_failed()?;
        if self.group.bytes.is_empty() {
            return Ok(Committed::default());
        }
        let group = std::mem::take(&mut self.group);
        let written = match &mut self.active {
            Some(active) => write_group(&*self.disk, active, &group),
            None => Ok(Committed::default()),
        };
        let committed = written.map_err(|failed| self.fail(failed))?;
        self.show(&group);
        // The next group will have about this size.
        self.group.bytes = group.bytes;
        self.group.bytes.clear();
        Ok(committed)
    }

    /// Lets readers see what was committed.
    fn show(&mut self, group: &Group) {
        let mut state = write_lock(&self.shared.state);
        for (stream, after) in &group.streams {
            let StreamState { first_sequence, last_sequence, last_time_us, totals } = *after;
            if let Some(active) = &self.active {
                let added = Extent { last: last_sequence, newest_time_us: last_time_us, totals };
                self.ledger.add(*stream, &active.segment, added);
            }
            let known = state.streams.entry(*stream).or_insert(StreamState {
                first_sequence,
                totals: Totals::default(),
                ..*after
            });
            // Retention may have moved the first sequence meanwhile.
            *known = StreamState { first_sequence: known.first_sequence, totals: plus(known.totals, totals), ..*after };
        }
    }

    /// Commits, and writes that this was synced, and what there is: so the next start takes damage for damage and not
    /// for a write that a crash tore, and notices what is missing.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub fn close(mut self) -> Result<(), StoreFailed> {
        self.settle()?;
        self.commit()?;
        if self.active.is_some() {
            let mark = Record { stream: 0, sequence: 0, time_us: 0, topic: "", message_id: &[], delivery: &[] };
            self.put(Kind::Mark, &mark)?;
            self.commit()?;
        }
        let streams = read_lock(&self.shared.state).streams.clone();
        self.write_manifest(&self.manifest(&streams, &self.sealed()))
    }

    pub(super) fn check_failed(&self) -> Result<(), StoreFailed> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    pub(super) fn fail(&mut self, failed: StoreFailed) -> StoreFailed {
        self.group = Group::default();
        self.failed = Some(failed.clone());
        failed
    }

    fn put(&mut self, kind: Kind, record: &Record<'_>) -> Result<(), StoreFailed> {
        let begins_group = self.group.bytes.is_empty();
        if begins_group {
            self.make_room()?;
        }
        let Some(active) = &self.active else { return Ok(()) };
        if begins_group {
            self.group.begin(active);
        }
        record::put(&mut self.group.bytes, active.segment.header.salt, kind, begins_group, record);
        Ok(())
    }

    /// Ends the segment that is written, if there is one; the next group begins another.
    pub(super) fn seal(&mut self) {
        // One that was never committed has no header, and its number is used again.
        if let Some(full) = self.active.take_if(|active| active.len > 0) {
            self.saving.save(&full.segment, full.len);
        }
    }

    fn committed_or_new(&self, stream: u32) -> StreamState {
        let new = StreamState { first_sequence: 1, last_sequence: 0, last_time_us: 0, totals: Totals::default() };
        read_lock(&self.shared.state).streams.get(&stream).copied().unwrap_or(new)
    }

    fn begin_segment(&mut self) -> Result<(), StoreFailed> {
        let header = Header::new(SegmentId { number: self.next_number, generation: 0 });
        let name = header.id.log_name();
        let created = self.disk.create(&name).map_err(|error| StoreFailed::new("create", name, &error));
        let file = created.map_err(|failed| self.fail(failed))?;
        self.next_number += 1;
        let index = Index::Memory(MemoryIndex::default());
        let segment = Arc::new(Segment::new(Arc::clone(&self.disk), header, file, index));
        let mut state = write_lock(&self.shared.state);
        let mut segments = Vec::clone(&state.segments);
        segments.push(Arc::clone(&segment));
        state.segments = Arc::new(segments);
        drop(state);
        self.active = Some(Active { segment, len: 0, is_new: true });
        Ok(())
    }
}

impl Group {
    fn begin(&mut self, active: &Active) {
        if active.len == 0 {
            // The header goes to disk with the first group.
            active.segment.header.put(&mut self.bytes);
        }
        self.records_at = self.bytes.len();
    }
}

fn write_group(disk: &dyn Disk, active: &mut Active, group: &Group) -> Result<Committed, StoreFailed> {
    let Active { segment, len, is_new } = active;
    let failed = |operation| {
        let name = segment.id().log_name();
        move |error: std::io::Error| StoreFailed::new(operation, name, &error)
    };
    segment.file.write_at(&group.bytes, *len).map_err(failed("write"))?;
    segment.file.sync_data().map_err(failed("sync"))?;
    if *is_new {
        disk.sync_directory().map_err(failed("sync the directory of"))?;
        *is_new = false;
    }
    let mut messages = 0;
    segment.extend(|index| {
        let mut at = group.records_at;
        while let Some(read) = group.bytes.get(at..).and_then(record::read_own) {
            index.add(*len + at as u64, &read);
            messages += u64::from(read.kind == Kind::Message);
            at += read.len;
        }
    });
    *len += group.bytes.len() as u64;
    Ok(Committed { messages, bytes: group.bytes.len() as u64 })
}
