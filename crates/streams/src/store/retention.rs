//! What retention, purges and removals take away.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::sync::Arc;

use super::carried::{self, Carried};
use super::cut::kept_between;
use super::disk::Disk;
use super::error::{StoreFailed, Unreadable};
use super::header::{self, SegmentId};
use super::index::Summary;
use super::log::Log;
use super::manifest::{self, Floor, Manifest};
use super::reader::{IdWindow, MessageId, newest_ids};
use super::segment::{Segment, read_lock, write_lock};
use super::shared::{StreamState, StreamStates};
use crate::stream::Totals;

/// What was freed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Freed {
    /// Segments that were unlinked.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What a store takes on disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreSize {
    /// Segments that can be read, the one that is written among them.
    pub segments: u64,
    /// Their bytes, without their indexes.
    pub bytes: u64,
}

/// The first sequence of a stream that was removed: after all that it can have.
pub(super) const REMOVED: u64 = u64::MAX;

impl Log {
    /// Moves streams' first sequences: what is before them is not read any more, also not after a restart. Segments in
    /// which nothing is left are unlinked. One write and two syncs for all streams together, and none when nothing moves.
    ///
    /// A first sequence never goes back, and at most to one more than the last committed one. This works on a full disk
    /// too, out of the reserve, also after a commit failed for want of room.
    ///
    /// # Errors
    /// [`StoreFailed`]; then nothing was unlinked, and a start may find the first sequences before or after.
    pub fn retain(&mut self, first_sequences: &[(u32, u64)]) -> Result<Freed, StoreFailed> {
        self.check_can_retain()?;
        let mut streams = read_lock(&self.shared.state).streams.clone();
        let mut moved = Vec::new();
        for (stream, first_sequence) in first_sequences {
            let Some(state) = streams.get_mut(stream) else { continue };
            let first_sequence = (*first_sequence).min(state.last_sequence.saturating_add(1));
            if first_sequence > state.first_sequence {
                moved.push((*stream, state.first_sequence));
                state.first_sequence = first_sequence;
            }
        }
        if moved.is_empty() {
            return Ok(Freed::default());
        }
        let freed = self.set_first_sequences(streams)?;
        for (stream, before) in moved {
            self.take_from_ledger(stream, before);
        }
        Ok(freed)
    }

    /// Counts no more what a stream had from its first sequence before to the one that it has now.
    fn take_from_ledger(&mut self, stream: u32, before: u64) {
        let Some(snapshot) = self.shared.snapshot(stream) else { return };
        let first_sequence = snapshot.stream.first_sequence;
        let taken = |segment: &Segment| kept_between(segment, stream, &snapshot, (before, first_sequence));
        self.ledger.take_before(stream, first_sequence, taken);
        let totals = self.ledger.totals(stream);
        if let Some(known) = write_lock(&self.shared.state).streams.get_mut(&stream) {
            known.totals = totals;
        }
        if let Some(topics) = &snapshot.replaced {
            write_lock(topics).forget_before(first_sequence);
        }
    }

    /// Takes a stream away with all its messages. Its number must not be used again.
    ///
    /// # Errors
    /// As [`retain`](Self::retain).
    pub fn remove(&mut self, stream: u32) -> Result<Freed, StoreFailed> {
        self.check_can_retain()?;
        let mut streams = read_lock(&self.shared.state).streams.clone();
        match streams.get_mut(&stream) {
            Some(state) if state.first_sequence != REMOVED => {
                (state.first_sequence, state.totals) = (REMOVED, Totals::default());
            }
            _ => return Ok(Freed::default()),
        }
        let freed = self.set_first_sequences(streams)?;
        self.ledger.remove(stream);
        write_lock(&self.shared.state).replaced.remove(&stream);
        Ok(freed)
    }

    /// Says which message ids count, by the streams' numbers: to be said before anything may be unlinked
    /// ([`retain`](Self::retain), [`remove`](Self::remove), [`free`](Self::free)). Those of segments that are unlinked are
    /// carried over, so that the next start knows them ([`Reader::message_ids`](super::Reader::message_ids)).
    pub fn set_id_windows(&mut self, windows: impl IntoIterator<Item = (u32, IdWindow)>) {
        write_lock(&self.shared.carried).windows = windows.into_iter().collect();
    }

    /// The message ids of a segment that count.
    fn ids_of(&self, segment: &Segment) -> Result<Vec<MessageId>, Unreadable> {
        let carried = read_lock(&self.shared.carried);
        let young = |summary: &Summary| {
            let window = carried.windows.get(&summary.stream)?;
            (summary.last_time_us >= window.from_time_us).then_some((summary.stream, *window))
        };
        let windows: HashMap<_, _> = segment.summaries().iter().filter_map(young).collect();
        drop(carried);
        if windows.is_empty() {
            return Ok(Vec::new());
        }
        Ok(newest_ids(segment, &windows)?.into_values().flatten().collect())
    }

    /// Keeps message ids of segments that are about to be unlinked.
    fn carry(&mut self, ids: Vec<MessageId>, streams: &StreamStates) {
        let is_there = |stream| streams.get(&stream).is_some_and(|state| state.first_sequence != REMOVED);
        let content = write_lock(&self.shared.carried).take_over(ids, is_there);
        if let Some(content) = content {
            // Without room for them they are forgotten by the next start.
            let _ = self.write_with_reserve(carried::NAME, |disk| Carried::write(&content, disk));
        }
    }

    /// Writes a file, on a full disk in the place of the reserve.
    fn write_with_reserve(
        &mut self,
        name: &'static str,
        write: impl Fn(&dyn Disk) -> io::Result<()>,
    ) -> Result<(), StoreFailed> {
        let failed = |error| StoreFailed::new("write", name, &error);
        match write(&*self.disk).map_err(failed) {
            Err(full) if full.full && self.reserve.release(&*self.disk) => write(&*self.disk).map_err(failed),
            written => written,
        }
    }

    /// How large the store is now.
    pub fn size(&self) -> StoreSize {
        let segments = self.segments();
        // One that nothing was committed to yet has no bytes.
        let sizes = segments.iter().map(|segment| segment.file.len().unwrap_or(0)).filter(|len| *len > 0);
        sizes.fold(StoreSize::default(), |size, len| StoreSize {
            segments: size.segments + 1,
            bytes: size.bytes.saturating_add(len),
        })
    }

    /// Whether room is kept for retention on a full disk.
    pub fn has_reserve(&self) -> bool {
        self.reserve.is_filled()
    }

    /// Takes damage as it is, once the caller has acted upon what [`Recovered`](super::Recovered) said and has renewed
    /// the epochs that needed it: the next start does not scan damaged segments again, and takes the ends of streams for
    /// certain. Segments of which nothing can be read are set aside as `.damaged` files. Commits what was appended.
    ///
    /// # Errors
    /// [`StoreFailed`].
    pub fn accept_damage(&mut self) -> Result<(), StoreFailed> {
        self.settle()?;
        self.commit()?;
        self.seal();
        for segment in self.segments().iter() {
            segment.save_index(segment.file.len().unwrap_or(0));
        }
        for id in std::mem::take(&mut self.unreadable) {
            let name = id.log_name();
            let renamed = self.disk.rename(&name, &format!("{name}.damaged"));
            renamed.map_err(|error| self.fail(StoreFailed::new("rename", name, &error)))?;
        }
        let streams = read_lock(&self.shared.state).streams.clone();
        self.write_manifest(&self.manifest(&streams, &self.sealed()))
    }

    /// Ends the segment that is written, whatever its length, and takes away all segments of which nothing is kept: after
    /// the disk was full, what was purged is freed by this even where nothing more can be written.
    ///
    /// # Errors
    /// [`StoreFailed`].
    pub fn free(&mut self) -> Result<Freed, StoreFailed> {
        self.settle()?;
        self.commit()?;
        self.seal();
        let streams = read_lock(&self.shared.state).streams.clone();
        self.set_first_sequences(streams)
    }

    fn check_can_retain(&self) -> Result<(), StoreFailed> {
        match &self.failed {
            Some(failed) if !failed.full => Err(failed.clone()),
            _ => Ok(()),
        }
    }

    fn set_first_sequences(&mut self, mut streams: StreamStates) -> Result<Freed, StoreFailed> {
        let mut ids = Vec::new();
        // One whose ids count and cannot be read now stays a while.
        let can_go = |segment: &Arc<Segment>| {
            is_dead(segment, &streams) && self.ids_of(segment).map(|of_segment| ids.extend(of_segment)).is_ok()
        };
        let (dead, live): (Vec<_>, Vec<_>) = self.sealed().into_iter().partition(can_go);
        let is_anywhere = |stream| {
            self.segments().iter().any(|segment| {
                let is_live = !dead.iter().any(|dead| dead.id() == segment.id());
                is_live && segment.summary(stream).is_some()
            })
        };
        streams.retain(|stream, state| state.first_sequence != REMOVED || is_anywhere(*stream));
        if !dead.is_empty() {
            self.carry(ids, &streams);
        }
        let manifest = self.manifest(&streams, &live);
        self.write_manifest(&manifest)?;
        self.replace_segments(live, streams);
        self.give_up_compaction_of(&dead);
        Ok(self.unlink(&dead))
    }

    /// All segments but the one that is written.
    pub(super) fn sealed(&self) -> Vec<Arc<Segment>> {
        let active = self.active.as_ref().map(|active| active.segment.id());
        self.segments().iter().filter(|segment| Some(segment.id()) != active).cloned().collect()
    }

    fn segments(&self) -> Arc<Vec<Arc<Segment>>> {
        Arc::clone(&read_lock(&self.shared.state).segments)
    }

    pub(super) fn manifest(&self, streams: &StreamStates, sealed: &[Arc<Segment>]) -> Manifest {
        let active = self.active.as_ref().filter(|active| active.len > 0 && !active.is_new);
        let ids = sealed.iter().chain(active.map(|active| &active.segment)).map(|segment| segment.id());
        let live: BTreeSet<SegmentId> = ids.chain(self.unreadable.iter().copied()).collect();
        let floor = |state: &StreamState| Floor {
            first_sequence: state.first_sequence,
            last_sequence: state.last_sequence,
            last_time_us: state.last_time_us,
        };
        let streams: BTreeMap<u32, Floor> = streams.iter().map(|(stream, state)| (*stream, floor(state))).collect();
        let open_from = self.active.as_ref().map_or(self.next_number, |active| active.segment.id().number);
        Manifest { open_from, live, streams }
    }

    pub(super) fn write_manifest(&mut self, manifest: &Manifest) -> Result<(), StoreFailed> {
        let written = self.write_with_reserve(manifest::NAME, |disk| manifest.write(disk));
        written.map_err(|failed| self.fail(failed))
    }

    /// Lets readers see other sealed segments, and other first sequences.
    pub(super) fn replace_segments(&mut self, mut sealed: Vec<Arc<Segment>>, streams: StreamStates) {
        sealed.extend(self.active.as_ref().map(|active| Arc::clone(&active.segment)));
        let mut state = write_lock(&self.shared.state);
        state.segments = Arc::new(sealed);
        state.streams = streams;
    }

    /// Takes the files away of segments that count no more. Readers that have them open read on.
    pub(super) fn unlink(&mut self, dead: &[Arc<Segment>]) -> Freed {
        let mut freed = Freed::default();
        for segment in dead {
            freed.bytes += segment.file.len().unwrap_or(0);
            freed.segments += 1;
            // The manifest does not name them, so the next start tries again.
            let _ = self.disk.unlink(&segment.id().log_name());
            let _ = self.disk.unlink(&segment.id().index_name());
        }
        self.reserve.fill(&*self.disk);
        if freed.bytes > 0 {
            self.compaction_waits = None;
        }
        freed
    }
}

/// Whether a segment surely has nothing more that is kept.
fn is_dead(segment: &Segment, streams: &StreamStates) -> bool {
    let summaries = segment.summaries();
    let is_taken =
        |summary: &Summary| streams.get(&summary.stream).is_some_and(|stream| summary.covers.1 < stream.first_sequence);
    // Where the index names nothing, the file has to be empty too.
    let has_nothing = || segment.file.len().is_ok_and(|len| len <= header::BYTES as u64);
    summaries.iter().all(is_taken) && (!summaries.is_empty() || has_nothing())
}
