//! The store of the streams on disk, as its committer has it.

use std::mem;
use std::sync::Arc;

use carillon_wire::TopicBuf;
use foldhash::quality::RandomState;
use hashbrown::HashSet;

use crate::keeper::StoreStatus;
use crate::keeper::recover::id_window;
use crate::keeper::shared::{KeptStream, Shared};
use crate::keeper::submission::Submitted;
use crate::store::{Definitions, Disk, Log, Record, StoreSize};
use crate::stream::Durability;

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
    /// By stream, for those with an age.
    ages: Vec<Option<Aging>>,
    /// By stream, for those with a count for each topic: the topics that were published to since the last look.
    touched: Vec<HashSet<TopicBuf, RandomState>>,
}

/// When a stream's first message will be too old. It stays so as long as these are the same.
#[derive(Debug, Clone, Copy)]
pub(super) struct Aging {
    pub(super) number: u32,
    /// The stream's first sequence.
    pub(super) first: u64,
    pub(super) max_age_us: u64,
    pub(super) due_us: u64,
}

/// As a publication stands in the log.
pub(super) fn record<'a>(submitted: &Submitted<'a>, stream: u32, sequence: u64, time_us: u64) -> Record<'a> {
    Record {
        stream,
        sequence,
        time_us,
        topic: submitted.head.topic,
        message_id: submitted.head.message_id.unwrap_or_default().as_bytes(),
        delivery: submitted.delivery,
    }
}

/// What a publication takes in the log.
pub(in crate::keeper) fn record_bytes(submitted: &Submitted<'_>) -> u64 {
    record(submitted, 0, 0, 0).encoded_len()
}

impl DiskStore {
    pub(in crate::keeper) fn new(
        disk: Arc<dyn Disk>,
        log: Log,
        definitions: Definitions,
        damaged_messages: u64,
    ) -> Self {
        Self {
            disk,
            log,
            definitions: Some(definitions),
            damaged_messages,
            definitions_failed: None,
            failed: None,
            compaction_failed: None,
            ages: Vec::new(),
            touched: Vec::new(),
        }
    }

    /// Whether a message of this stream may be too old by now.
    pub(super) fn may_be_too_old(&self, stream: u32, aging: &Aging, now_us: u64) -> bool {
        let known = self.ages.get(stream as usize).and_then(Option::as_ref);
        known.is_none_or(|known| {
            (known.number, known.first, known.max_age_us) != (aging.number, aging.first, aging.max_age_us)
                || now_us >= known.due_us
        })
    }

    /// Nothing of this stream is too old now; when will something be?
    pub(super) fn note_age(&mut self, stream: u32, aging: Aging) {
        let first_time_us = self.log.first_time_us(aging.number);
        let due_us = first_time_us.map_or(0, |time_us| time_us.saturating_add(aging.max_age_us));
        let place = stream as usize;
        if place >= self.ages.len() {
            self.ages.resize_with(place + 1, || None);
        }
        if let Some(known) = self.ages.get_mut(place) {
            *known = Some(Aging { due_us, ..aging });
        }
    }

    /// Whether retention can work: it does on a full disk. After a second opening that went wrong it does not, because that
    /// may have changed what this log believes is there.
    pub(super) fn can_retain(&self) -> bool {
        self.definitions.is_some() && self.log.failed().is_none_or(|failed| failed.full)
    }

    /// To be said before anything may be unlinked.
    pub(super) fn set_id_windows(&mut self, shared: &Shared, now_us: u64) {
        let on_disk = shared.streams.iter().filter(|kept| kept.durability == Durability::Disk);
        let window = |kept: &Arc<KeptStream>| {
            let state = kept.read();
            (kept.number(), id_window(state.stream().definition().dedup, now_us))
        };
        self.log.set_id_windows(on_disk.map(window));
    }

    pub(super) fn make_room(&mut self) -> Result<(), String> {
        if self.failed.is_some() {
            return Ok(());
        }
        self.log.make_room().map_err(|error| error.to_string())
    }

    pub(super) fn append(&mut self, record: &Record<'_>) -> Result<(), String> {
        self.log.append(record).map_err(|error| error.to_string())
    }

    pub(super) fn commit(&mut self) -> Result<(), String> {
        if self.failed.is_some() {
            // Its streams refuse everything, so nothing was appended.
            return Ok(());
        }
        self.log.commit().map(drop).map_err(|error| error.to_string())
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
        let StoreSize { segments, bytes } = self.log.size();
        StoreStatus {
            failed: self.failed.clone(),
            damaged_messages: self.damaged_messages,
            compaction_failed: self.compaction_failed.clone(),
            has_reserve: self.log.has_reserve(),
            bytes,
            segments,
        }
    }
}
