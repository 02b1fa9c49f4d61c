//! From what is on disk to streams that go on: after a start, and after a failure.
//!
//! All that can be refused is refused before anything is changed. What tells of damage is only put in order once the epochs
//! that follow from it are kept, so that nothing in between makes anybody forget it.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::Arc;

use carillon_wire::{PatternBuf, TopicBuf};

use super::Options;
use super::open::{Finding, OpenError, epoch};
use super::shared::KeptStream;
use crate::store::{self, Damage, Definitions, Disk, IdWindow, Log, RecoveredStream, Stored};
use crate::stream::{
    Bounds, DedupWindow, Definition, Durability, EpochReason, Epochs, Recovered, RecoveredId, Stream, StreamName,
    check_change,
};

/// A stream's time that is more than this ahead of the clock, in microseconds, is worth a word.
const AHEAD_US: u64 = 60_000_000;

/// A stream as it is defined.
pub(super) struct Defined {
    pub(super) index: u32,
    pub(super) definition: Arc<Definition>,
    /// As this run of the broker knows them, if it had the stream before.
    epochs: Option<Arc<Epochs>>,
}

/// A store that was opened.
pub(super) struct OpenedStore {
    pub(super) log: Log,
    pub(super) definitions: Definitions,
    /// All that are defined to be on disk.
    pub(super) streams: Vec<Restored>,
    pub(super) report: Vec<Finding>,
    pub(super) damaged_messages: u64,
}

/// A stream as it goes on.
pub(super) struct Restored {
    pub(super) index: u32,
    pub(super) number: u32,
    pub(super) stream: Stream,
    /// To be kept before it goes on, if it is new or has a new epoch.
    changed: Option<Stored>,
}

impl Defined {
    pub(super) fn new(index: u32, definition: &Arc<Definition>) -> Self {
        Self { index, definition: Arc::clone(definition), epochs: None }
    }

    pub(super) fn of(kept: &KeptStream) -> Self {
        let state = kept.read();
        let epochs = Some(Arc::clone(state.stream().epochs()));
        Self { index: kept.index, definition: Arc::clone(state.stream().definition()), epochs }
    }

    pub(super) fn is_on_disk(&self) -> bool {
        self.definition.durability == Durability::Disk
    }
}

impl OpenedStore {
    pub(super) fn open(
        disk: &Arc<dyn Disk>,
        options: &Options,
        defined: &[Defined],
        now_us: u64,
    ) -> Result<Self, OpenError> {
        let definitions = Definitions::open(disk)?;
        let Options { segment_bytes, reserve_bytes, .. } = *options;
        let (mut log, mut recovered) = Log::open(Arc::clone(disk), store::Options { segment_bytes, reserve_bytes })?;
        let next = definitions.next_number();
        if let Some((number, _)) = recovered.streams.range(next..).next() {
            return Err(OpenError::UnknownNumber { number: *number, next });
        }
        let names = definitions.all().iter().map(|(name, stored)| (stored.number, name.clone())).collect();
        let (mut report, damaged_messages) = found(&recovered, &names);
        if recovered.is_new && definitions.all().is_empty() {
            // From here on a store without anything but definitions is one that has lost everything.
            log.settle()?;
            recovered.is_new = false;
        }
        let orphans = orphans(&definitions, &recovered, defined)?;
        let removed: Vec<_> = recovered.streams.keys().filter(|it| !names.contains_key(it)).copied().collect();
        let windows = id_windows(&definitions, defined, now_us);
        log.set_id_windows(windows.clone());
        let ids = ids(&log, &windows)?;
        let mut restoring = Restoring { definitions: &definitions, recovered: &mut recovered, ids, next, now_us };
        let mut streams = Vec::new();
        for defined in defined.iter().filter(|defined| defined.is_on_disk()) {
            streams.push(restoring.restore(defined, &mut report)?);
        }
        // What is only unreadable, and where, is known already; this is about what nobody knows.
        let is_damage_new = recovered.damage.iter().any(|damage| !matches!(damage, Damage::Messages { .. }));
        let mut opened = Self { log, definitions, streams, report, damaged_messages };
        opened.keep_changes()?;
        opened.forget(orphans, removed)?;
        if is_damage_new {
            opened.log.accept_damage()?;
        }
        opened.say_what_was_replaced();
        Ok(opened)
    }

    /// First the epochs, then what they follow from.
    fn keep_changes(&mut self) -> Result<(), OpenError> {
        let streams = self.streams.iter();
        let changed = streams.filter_map(|it| Some((&it.stream.definition().name, it.changed.as_ref()?)));
        let changed: Vec<_> = changed.collect();
        if !changed.is_empty() {
            self.definitions.put_all(changed)?;
        }
        Ok(self.log.settle()?)
    }

    /// Takes away what nobody has any more: streams without messages, and numbers of which a removal was interrupted.
    fn forget(&mut self, orphans: Vec<(StreamName, u32)>, mut numbers: Vec<u32>) -> Result<(), OpenError> {
        for (name, number) in orphans {
            self.definitions.remove(&name)?;
            numbers.push(number);
            let text = format!("stream `{name}` is no longer defined and has no messages: forgotten");
            self.report.push(Finding::note(text));
        }
        for number in numbers {
            self.log.remove(number)?;
        }
        Ok(())
    }

    fn say_what_was_replaced(&mut self) {
        for Restored { number, stream, .. } in &self.streams {
            if let Some(max) = stream.definition().retention.max_messages_per_topic {
                self.log.replace_all_beyond(*number, max);
            }
        }
    }
}

/// What is needed to restore one stream after the other.
struct Restoring<'a> {
    definitions: &'a Definitions,
    recovered: &'a mut store::Recovered,
    /// By the streams' numbers.
    ids: HashMap<u32, Vec<RecoveredId>>,
    /// The number of the next new stream.
    next: u32,
    now_us: u64,
}

impl Restoring<'_> {
    fn restore(&mut self, defined: &Defined, report: &mut Vec<Finding>) -> Result<Restored, OpenError> {
        let Defined { index, definition, epochs: known } = defined;
        let stored = self.definitions.get(&definition.name);
        let number = stored.map_or(self.next, |stored| stored.number);
        let found = self.recovered.streams.remove(&number);
        let mut epochs = epochs(stored, known.as_ref());
        let last = found.as_ref().map_or(0, |found| found.last_sequence);
        let is_certain = stored.is_none() || self.end_is_certain(found.as_ref());
        if !is_certain {
            epochs = Arc::new(epochs.followed_by(epoch(), EpochReason::Repaired, Some(last)));
            report.push(Finding::loss(format!(
                "stream `{}`: messages behind sequence {last} may be lost; it goes on in the new epoch {}",
                definition.name,
                epochs.current(),
            )));
        }
        let ahead_us = found.as_ref().map_or(0, |found| found.last_time_us.saturating_sub(self.now_us));
        if ahead_us > AHEAD_US {
            report.push(Finding::note(format!(
                "stream `{}`: its newest message was published {} s ahead of the clock; until the clock has come there, \
                 its time stands still and age takes nothing of what is published. Mend the clock; if that was ahead \
                 before, `carillon stream renew-epoch` lets the stream go on with the clock",
                definition.name,
                ahead_us / 1_000_000,
            )));
        }
        let purged_through = stored.map_or(0, |stored| stored.purged_through);
        let kept = Stored { number, durability: Durability::Disk, epochs: Epochs::clone(&epochs), purged_through };
        if stored.is_none() {
            self.next = self.next.saturating_add(1);
        }
        let changed = (stored.is_none() || !is_certain).then_some(kept);
        let ids = self.ids.remove(&number).unwrap_or_default();
        let recovered = Recovered { ids, ..as_recovered(epochs, purged_through, found.as_ref()) };
        let stream = Stream::restore(Arc::clone(definition), recovered);
        check_change(&stream, Some(definition))?;
        Ok(Restored { index: *index, number, stream, changed })
    }

    /// Whether no sequence can be given out a second time.
    fn end_is_certain(&self, found: Option<&RecoveredStream>) -> bool {
        let cut_is_certain = self.recovered.cut.as_ref().is_none_or(|cut| cut.is_certain);
        cut_is_certain
            && !self.recovered.is_new
            && found.map_or(self.recovered.absent_streams_are_empty, |found| found.end_is_certain)
    }
}

fn as_recovered(epochs: Arc<Epochs>, purged_through: u64, found: Option<&RecoveredStream>) -> Recovered {
    let Some(found) = found else {
        let bounds = Bounds { first: 1, last: 0, purged_through };
        return Recovered { epochs, bounds, last_time_us: 0, topics: Vec::new(), ids: Vec::new() };
    };
    let tails = found.topics.iter();
    let topics = tails.filter_map(|(name, tail)| Some((TopicBuf::new(name).ok()?, tail.last_sequence))).collect();
    Recovered {
        epochs,
        bounds: Bounds { first: found.first_sequence, last: found.last_sequence, purged_through },
        last_time_us: found.last_time_us,
        topics,
        ids: Vec::new(),
    }
}

/// The epochs that a stream goes on with, in the order of this run of the broker.
fn epochs(stored: Option<&Stored>, known: Option<&Arc<Epochs>>) -> Arc<Epochs> {
    match (stored, known) {
        (None, None) => Arc::new(Epochs::new(epoch(), EpochReason::Created)),
        (None, Some(known)) => Arc::new(known.followed_by(epoch(), EpochReason::Created, None)),
        (Some(stored), None) => Arc::new(stored.epochs.clone()),
        (Some(stored), Some(known)) if stored.epochs.current() == known.current() => Arc::clone(known),
        // A change was kept, but failed before it was told.
        (Some(stored), Some(known)) => {
            let past = stored.epochs.past().last().filter(|past| past.epoch == *known.current());
            let same_through = past.map(|past| past.same_through);
            let (current, reason) = (stored.epochs.current().clone(), stored.epochs.reason());
            Arc::new(known.followed_by(current, reason, same_through))
        }
    }
}

/// Streams that are kept, but not defined to be on disk any more. They may go if nothing is lost by that.
fn orphans(
    definitions: &Definitions,
    recovered: &store::Recovered,
    defined: &[Defined],
) -> Result<Vec<(StreamName, u32)>, OpenError> {
    let mut orphans = Vec::new();
    for (name, stored) in definitions.all() {
        let new = defined.iter().find(|defined| defined.definition.name == *name);
        if new.is_some_and(Defined::is_on_disk) {
            continue;
        }
        let found = recovered.streams.get(&stored.number);
        let epochs = Arc::new(stored.epochs.clone());
        let stream = Stream::restore(Arc::new(as_it_was(name)), as_recovered(epochs, 0, found));
        check_change(&stream, new.map(|new| &*new.definition))?;
        orphans.push((name.clone(), stored.number));
    }
    Ok(orphans)
}

/// A stand-in for the definition of a stream that is no longer defined.
fn as_it_was(name: &StreamName) -> Definition {
    let patterns = PatternBuf::new(">").into_iter().collect();
    let retention = crate::stream::Retention { max_bytes: NonZeroU64::new(u64::MAX), ..Default::default() };
    let dedup = DedupWindow { time_us: 0, ids: 0 };
    let durability = Durability::Disk;
    Definition { name: name.clone(), patterns, durability, retention, dedup, max_topics: u32::MAX - 1 }
}

/// Which message ids count now.
pub(super) fn id_window(dedup: DedupWindow, now_us: u64) -> IdWindow {
    IdWindow { from_time_us: now_us.saturating_sub(dedup.time_us), max: dedup.ids }
}

/// By the numbers of the streams that are kept.
fn id_windows(definitions: &Definitions, defined: &[Defined], now_us: u64) -> HashMap<u32, IdWindow> {
    let window = |defined: &Defined| {
        let number = definitions.get(&defined.definition.name).filter(|_| defined.is_on_disk())?.number;
        Some((number, id_window(defined.definition.dedup, now_us)))
    };
    defined.iter().filter_map(window).collect()
}

/// The message ids that may still be in the streams' windows.
fn ids(log: &Log, windows: &HashMap<u32, IdWindow>) -> Result<HashMap<u32, Vec<RecoveredId>>, OpenError> {
    let found = log.reader().message_ids(|number| windows.get(&number).copied());
    let mut ids = HashMap::<u32, Vec<_>>::new();
    for found in found.map_err(|_| store::OpenError::unread("the message ids"))? {
        if let (Ok(topic), Ok(id)) = (TopicBuf::new(&found.topic), String::from_utf8(found.id)) {
            let id = RecoveredId { topic, id, sequence: found.sequence, time_us: found.time_us };
            ids.entry(found.stream).or_default().push(id);
        }
    }
    Ok(ids)
}

/// What is to be said of damage, and how many messages it took.
fn found(recovered: &store::Recovered, names: &HashMap<u32, StreamName>) -> (Vec<Finding>, u64) {
    let mut damaged_messages = 0_u64;
    let mut report = Vec::new();
    if recovered.is_new && !names.is_empty() {
        let text =
            "the segments and the manifest are missing, though the definitions know streams: their messages are lost";
        report.push(Finding::loss(text.to_owned()));
    }
    if let Some(store::Cut { file, offset, bytes, whole_records, is_certain }) = &recovered.cut {
        let cut = format!("{file} was cut at byte {offset}, {bytes} bytes before its end");
        report.push(if *is_certain {
            Finding::note(format!("{cut}: it looks like a write that was never finished, and so never acknowledged"))
        } else {
            Finding::loss(format!(
                "{cut}: a record is damaged, and {whole_records} whole ones are behind it; they may have been acknowledged"
            ))
        });
    }
    for damage in &recovered.damage {
        report.push(Finding::loss(match damage {
            Damage::Messages { stream, first_sequence, last_sequence } => {
                let count = last_sequence.saturating_sub(*first_sequence).saturating_add(1);
                damaged_messages = damaged_messages.saturating_add(count);
                let name = names.get(stream).map_or("(removed)", StreamName::as_str);
                format!(
                    "stream `{name}`: messages {first_sequence} to {last_sequence} are damaged; all others are there"
                )
            }
            Damage::Bytes { file, range } => format!("{file}: bytes {} to {} are damaged", range.start, range.end),
            Damage::Segment { file } => format!("{file}: nothing of it can be read"),
            Damage::MissingSegments { first, last } => format!("segments {first} to {last} are missing"),
        }));
    }
    (report, damaged_messages)
}

impl Finding {
    fn note(text: String) -> Self {
        Self { is_loss: false, text }
    }

    fn loss(text: String) -> Self {
        Self { is_loss: true, text }
    }
}
