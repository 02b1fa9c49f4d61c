//! Writing what is left of segments into fewer ones.
//!
//! A segment of which less than half is alive is copied, together with neighbours as far as one segment holds them,
//! into a new one, which stands in their place once the manifest says so. Before that a crash leaves everything as it
//! was. It begins with a record for each stream that says which range it stands for, so that nobody takes for damaged
//! what was replaced. A segment with damage is never copied: what is known of it stays as it is. Nor is one that the disk
//! gives an error for, until the next start.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;

use super::disk::DiskFile;
use super::error::StoreFailed;
use super::header::{self, Header, SegmentId};
use super::index::{Index, MemoryIndex, Summary};
use super::ledger::KeptBytes;
use super::log::Log;
use super::record::{self, Kind, Record};
use super::reserve;
use super::segment::{Segment, read_lock};
use super::shared::{Replaced, StreamStates};

/// So much is synced at once: publications wait for that long.
pub(super) const SYNCED_AT_ONCE_BYTES: u64 = if cfg!(test) { 1_000 } else { 4 << 20 };

/// A compaction between two steps.
pub(super) struct Compaction {
    pub(super) inputs: Vec<Arc<Segment>>,
    /// Which input is copied, and from where on.
    input: usize,
    offset: u64,
    header: Header,
    file: Arc<dyn DiskFile>,
    len: u64,
    synced: u64,
    index: MemoryIndex,
    buffer: Vec<u8>,
}

/// What a step came to.
enum Step {
    More,
    Copied,
    /// An input is damaged, or cannot be read.
    Unfit(SegmentId),
}

impl Log {
    /// Goes one step of compaction, about `step_bytes` of reading and of writing. Whether there is more to do.
    ///
    /// Message ids of what is dropped are forgotten at the next start, so segments with messages from `younger_than_us`
    /// on (microseconds since 1970) are left alone: where the window of deduplication begins.
    ///
    /// It takes room before it frees any, so it never takes what retention needs: it does not begin without the reserve,
    /// and where there was no room it does not go on before retention has freed something.
    ///
    /// # Errors
    /// [`StoreFailed`]. Only when the manifest could not be written does the store take nothing more; otherwise it is as
    /// if nothing had begun.
    pub fn compact(&mut self, younger_than_us: u64, step_bytes: usize) -> Result<bool, StoreFailed> {
        self.check_failed()?;
        if let Some(failed) = &self.compaction_waits {
            return Err(failed.clone());
        }
        let went = self.go_on_compacting(younger_than_us, step_bytes);
        self.compaction_waits = went.as_ref().err().filter(|failed| failed.full).cloned();
        went
    }

    fn go_on_compacting(&mut self, younger_than_us: u64, step_bytes: usize) -> Result<bool, StoreFailed> {
        let mut compaction = match self.compaction.take() {
            Some(compaction) => compaction,
            None => match self.plan(younger_than_us) {
                Some(inputs) => {
                    self.check_reserve()?;
                    self.begin(inputs)?
                }
                None => return Ok(false),
            },
        };
        let streams = read_lock(&self.shared.state).streams.clone();
        let replaced = read_lock(&self.shared.state).replaced.clone();
        match compaction.step(step_bytes, &streams, &replaced) {
            Ok(Step::More) => self.compaction = Some(compaction),
            Ok(Step::Copied) => self.finish(compaction)?,
            Ok(Step::Unfit(id)) => {
                self.never_compact.push(id);
                self.give_up(&compaction);
            }
            Err(error) => {
                self.give_up(&compaction);
                return Err(StoreFailed::new("compact into", compaction.header.id.log_name(), &error));
            }
        }
        Ok(true)
    }

    fn check_reserve(&mut self) -> Result<(), StoreFailed> {
        self.reserve.fill(&*self.disk);
        if self.options.reserve_bytes == 0 || self.reserve.is_filled() {
            return Ok(());
        }
        let no_room = std::io::Error::new(io::ErrorKind::StorageFull, "there is no room for it");
        Err(StoreFailed::new("compact without its", reserve::NAME, &no_room))
    }

    /// Forgets a compaction of whose inputs one was unlinked.
    pub(super) fn give_up_compaction_of(&mut self, dead: &[Arc<Segment>]) {
        let is_input = |compaction: &mut Compaction| {
            compaction.inputs.iter().any(|input| dead.iter().any(|dead| dead.id() == input.id()))
        };
        if let Some(compaction) = self.compaction.take_if(is_input) {
            self.give_up(&compaction);
        }
    }

    fn give_up(&self, compaction: &Compaction) {
        // The manifest does not name it, so the next start tries again.
        let _ = self.disk.unlink(&compaction.header.id.log_name());
    }

    /// The segments to compact next.
    fn plan(&self, younger_than_us: u64) -> Option<Vec<Arc<Segment>>> {
        let kept = self.ledger.kept_bytes();
        let (mut run, mut run_bytes, mut is_worth_it) = (Vec::new(), 0, false);
        for segment in self.sealed() {
            let may_be = !self.never_compact.contains(&segment.id()) && may_be_compacted(&segment, younger_than_us);
            let len = segment.file.len().unwrap_or(u64::MAX);
            let dead = if may_be { dead_bytes(&segment, &kept) } else { 0 };
            let live = len.saturating_sub(dead);
            let is_mostly_dead = dead > len / 2;
            let joins = is_mostly_dead || (may_be && len < self.options.segment_bytes / 2);
            if !joins || live.saturating_add(run_bytes) > self.options.segment_bytes {
                if is_worth_it {
                    break;
                }
                (run, run_bytes) = (Vec::new(), 0);
            }
            if joins {
                is_worth_it |= is_mostly_dead;
                run_bytes += live;
                run.push(segment);
            }
        }
        is_worth_it.then_some(run)
    }

    fn begin(&self, inputs: Vec<Arc<Segment>>) -> Result<Compaction, StoreFailed> {
        let number = inputs.first().map_or(0, |input| input.id().number);
        let generation = inputs.iter().map(|input| input.id().generation).max().map_or(1, |highest| highest + 1);
        let header = Header::new(SegmentId { number, generation });
        let name = header.id.log_name();
        let file = self.disk.create(&name).map_err(|error| StoreFailed::new("create", name, &error))?;
        let mut compaction = Compaction {
            inputs,
            input: 0,
            offset: header::BYTES as u64,
            header,
            file,
            len: 0,
            synced: 0,
            index: MemoryIndex::default(),
            buffer: Vec::new(),
        };
        header.put(&mut compaction.buffer);
        compaction.put_ranges(&read_lock(&self.shared.state).streams);
        Ok(compaction)
    }

    /// Puts the new segment in the place of its inputs.
    fn finish(&mut self, compaction: Compaction) -> Result<(), StoreFailed> {
        let Compaction { inputs, header, file, len, index, .. } = compaction;
        let synced = file.sync_data().and_then(|()| self.disk.sync_directory());
        if let Err(error) = synced {
            let _ = self.disk.unlink(&header.id.log_name());
            return Err(StoreFailed::new("sync", header.id.log_name(), &error));
        }
        let output = Arc::new(Segment::new(Arc::clone(&self.disk), header, file, Index::Memory(index)));
        self.saving.save(&output, len);
        let mut sealed = self.sealed();
        let is_input = |segment: &Arc<Segment>| inputs.iter().any(|input| input.id() == segment.id());
        let place = sealed.iter().position(is_input).unwrap_or(sealed.len());
        sealed.retain(|segment| !is_input(segment));
        sealed.insert(place.min(sealed.len()), Arc::clone(&output));
        let streams = read_lock(&self.shared.state).streams.clone();
        self.write_manifest(&self.manifest(&streams, &sealed))?;
        self.replace_segments(sealed, streams);
        self.ledger.compacted(&inputs, &output);
        // Whatever the ledger says of it: nothing is copied twice in a row for nothing.
        if dead_bytes(&output, &self.ledger.kept_bytes()) > len / 2 {
            self.never_compact.push(output.id());
        }
        self.unlink(&inputs);
        Ok(())
    }
}

impl Compaction {
    /// What the new segment stands for.
    fn put_ranges(&mut self, streams: &StreamStates) {
        let mut covered = BTreeMap::<u32, (Summary, Vec<(u64, u64)>)>::new();
        for input in &self.inputs {
            for summary in input.summaries() {
                let (all, holes) = covered.entry(summary.stream).or_insert((summary, Vec::new()));
                if summary.covers.0 > all.covers.1.saturating_add(1) {
                    holes.push((all.covers.1 + 1, summary.covers.0 - 1));
                }
                all.covers = (all.covers.0.min(summary.covers.0), all.covers.1.max(summary.covers.1));
                all.last_time_us = all.last_time_us.max(summary.last_time_us);
            }
        }
        let salt = self.header.salt;
        for (stream, (summary, holes)) in covered {
            let first_sequence = streams.get(&stream).map_or(u64::MAX, |state| state.first_sequence);
            let (first, last) = (summary.covers.0.max(first_sequence), summary.covers.1);
            if first <= last {
                record::put_range(&mut self.buffer, salt, Kind::Covered, stream, (first, last), summary.last_time_us);
            }
            for hole in holes.into_iter().filter(|hole| hole.1 >= first_sequence) {
                record::put_range(&mut self.buffer, salt, Kind::Lost, stream, hole, summary.last_time_us);
            }
        }
    }

    fn step(
        &mut self,
        step_bytes: usize,
        streams: &StreamStates,
        replaced: &HashMap<u32, Replaced>,
    ) -> io::Result<Step> {
        let Some(input) = self.inputs.get(self.input).cloned() else {
            self.flush()?;
            return Ok(Step::Copied);
        };
        let Ok(read) = read_records(&input, self.offset, step_bytes) else { return Ok(Step::Unfit(input.id())) };
        let Some(bytes) = read else {
            self.flush()?;
            (self.input, self.offset) = (self.input + 1, header::BYTES as u64);
            return Ok(Step::More);
        };
        let mut at = 0;
        while let Ok(read) = record::read(bytes.get(at..).unwrap_or_default(), input.header.salt) {
            if read.kind == Kind::Message && is_alive(&read.record, streams, replaced) {
                record::put(&mut self.buffer, self.header.salt, Kind::Message, false, &read.record);
            }
            at += read.len;
        }
        if at == 0 {
            return Ok(Step::Unfit(input.id()));
        }
        self.offset += at as u64;
        self.flush()?;
        Ok(Step::More)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_at(&self.buffer, self.len)?;
        let mut at = if self.len == 0 { header::BYTES } else { 0 };
        while let Some(read) = self.buffer.get(at..).and_then(record::read_own) {
            self.index.add(self.len + at as u64, &read);
            at += read.len;
        }
        self.len += self.buffer.len() as u64;
        self.buffer.clear();
        if self.len - self.synced >= SYNCED_AT_ONCE_BYTES {
            self.file.sync_data()?;
            self.synced = self.len;
        }
        Ok(())
    }
}

/// Bytes from an offset on, with at least one whole record if there is one; `None` at the end.
fn read_records(input: &Segment, offset: u64, step_bytes: usize) -> io::Result<Option<Vec<u8>>> {
    let rest = usize::try_from(input.file.len()?.saturating_sub(offset)).unwrap_or(usize::MAX);
    if rest == 0 {
        return Ok(None);
    }
    let mut bytes = vec![0; rest.min(step_bytes.max(record::FIXED_BYTES))];
    input.file.read_at(&mut bytes, offset)?;
    if let Some(len) = record::claimed_len(&bytes).filter(|len| *len > bytes.len() && *len <= rest) {
        bytes.resize(len, 0);
        input.file.read_at(&mut bytes, offset)?;
    }
    Ok(Some(bytes))
}

fn is_alive(record: &Record<'_>, streams: &StreamStates, replaced: &HashMap<u32, Replaced>) -> bool {
    let is_kept = streams.get(&record.stream).is_some_and(|stream| record.sequence >= stream.first_sequence);
    let first = replaced.get(&record.stream).map_or(0, |topics| read_lock(topics).first(record.topic));
    is_kept && record.sequence >= first
}

fn may_be_compacted(segment: &Segment, younger_than_us: u64) -> bool {
    let is_fit = |summary: &Summary| summary.last_time_us < younger_than_us && segment.lost(summary.stream).is_empty();
    segment.summaries().iter().all(is_fit)
}

/// How many bytes of a segment's messages are dead.
fn dead_bytes(segment: &Segment, kept: &KeptBytes) -> u64 {
    let written: u64 = segment.summaries().iter().map(|summary| summary.bytes).sum();
    written.saturating_sub(kept.get(&segment.id()).copied().unwrap_or(0))
}
