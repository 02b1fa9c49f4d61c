//! What an operator asks for, done between two groups: first on disk, then in the state, then told.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::{Committer, DiskStore};
use crate::keeper::admin::{AdminError, AdminRequest, Purge, Purged};
use crate::keeper::open::{Finding, epoch};
use crate::keeper::recover::{Defined, OpenedStore};
use crate::keeper::shared::{KeptStream, Shared, State};
use crate::store::{Definitions, Stored};
use crate::stream::{
    Bounds, Definition, Durability, Epoch, EpochReason, Epochs, MemoryStream, Recovered, Stream, Totals,
};

impl Committer {
    pub(in crate::keeper) fn administer(&mut self, now_us: u64, request: AdminRequest) {
        // Whoever does not wait for the answer any more does not need it.
        match request {
            AdminRequest::Purge { stream, purge, answer } => {
                let _ = answer.send(self.with(stream, |this, kept| this.purge(kept, purge, now_us)));
            }
            AdminRequest::Remove { stream, answer } => {
                let _ = answer.send(self.with(stream, |this, kept| this.remove(kept, now_us)));
            }
            AdminRequest::RenewEpoch { stream, answer } => {
                let _ = answer.send(self.with(stream, |this, kept| this.renew_epoch(kept, now_us)));
            }
            AdminRequest::Redefine(definitions) => self.redefine(now_us, definitions),
            AdminRequest::Reopen { answer } => {
                let _ = answer.send(self.reopen(now_us));
            }
        }
    }

    /// Does something with a stream, and tells what it is then.
    fn with<T>(
        &mut self,
        stream: u32,
        change: impl FnOnce(&mut Self, &KeptStream) -> Result<T, AdminError>,
    ) -> Result<T, AdminError> {
        let kept = self.shared.stream(stream).map(Arc::clone).ok_or(AdminError::Stopping)?;
        let changed = change(self, &kept);
        // Also after an error: a part of it may have been done.
        self.tell_changed(&[stream]);
        if let Some(reason) = self.store.as_ref().and_then(DiskStore::new_failure) {
            self.fail(&reason);
        }
        self.tell_gauges();
        changed
    }

    fn purge(&mut self, kept: &KeptStream, purge: Purge, now_us: u64) -> Result<Purged, AdminError> {
        let bounds = kept.read().stream().bounds();
        let end = bounds.last.saturating_add(1);
        let first = match purge {
            Purge::All => end,
            Purge::Before(first) => first.min(end),
        };
        if first <= bounds.first {
            return Ok(Purged { first: bounds.first, messages: 0 });
        }
        let before = self.shared.totals(kept);
        if let Some(store) = &mut self.store {
            store.check_can_retain()?;
            store.set_id_windows(&self.shared, now_us);
            store.log.retain(&[(kept.number(), first)]).map_err(AdminError::store)?;
        }
        match &mut *kept.write() {
            State::Disk(stream) => stream.purge_before(first),
            State::Memory(memory) => memory.purge_before(first),
        }
        if let Some(store) = &mut self.store {
            // Last, because this has no reserve on a full disk. Without it the gap's reason is another one after a restart.
            store.change_stored(kept, |stored| stored.purged_through = first - 1)?;
        }
        let Totals { messages, .. } = self.shared.totals(kept);
        Ok(Purged { first, messages: before.messages.saturating_sub(messages) })
    }

    /// Works on a full disk too, as a purge does.
    fn remove(&mut self, kept: &KeptStream, now_us: u64) -> Result<Epoch, AdminError> {
        let epochs = kept.read().stream().epochs().followed_by(epoch(), EpochReason::Created, None);
        let mut number = kept.number();
        if let Some(store) = &mut self.store {
            store.check_can_retain()?;
            store.set_id_windows(&self.shared, now_us);
            let old = number;
            // From here on the old number is nobody's; if the rest fails, the next opening does it.
            number = store.next_number()?;
            let stored = Stored { number, durability: Durability::Disk, epochs: epochs.clone(), purged_through: 0 };
            store.put(kept, &stored)?;
            store.log.remove(old).map_err(AdminError::store)?;
        }
        let mut state = kept.write();
        let definition = Arc::clone(state.stream().definition());
        // Where the clock was ahead once, this is the end of it.
        let last_time_us = state.stream().last_time_us().min(now_us);
        let current = epochs.current().clone();
        let mut empty = empty(definition, epochs, last_time_us);
        if state.stream().is_stopped() {
            empty.stop();
        }
        *state = match &*state {
            State::Disk(_) => State::Disk(empty),
            State::Memory(_) => State::Memory(MemoryStream::new(empty)),
        };
        kept.set_number(number);
        Ok(current)
    }

    fn renew_epoch(&mut self, kept: &KeptStream, now_us: u64) -> Result<Epoch, AdminError> {
        let new = epoch();
        if let Some(store) = &mut self.store {
            store.check_failed()?;
            let epochs = {
                let state = kept.read();
                let committed = state.stream().bounds().last;
                state.stream().epochs().followed_by(new.clone(), EpochReason::Renewed, Some(committed))
            };
            store.change_stored(kept, |stored| stored.epochs = epochs)?;
        }
        match &mut *kept.write() {
            State::Disk(stream) => {
                stream.renew_epoch(new.clone(), EpochReason::Renewed);
                stream.set_time_back(now_us);
            }
            State::Memory(memory) => {
                memory.renew_epoch(new.clone(), EpochReason::Renewed);
                memory.set_time_back(now_us);
            }
        }
        Ok(new)
    }

    /// What is defined as before costs nothing.
    fn redefine(&mut self, now_us: u64, definitions: Vec<(u32, Arc<Definition>)>) {
        let mut changed = Vec::new();
        for (index, definition) in definitions {
            let Some(kept) = self.shared.stream(index) else { continue };
            let before = Arc::clone(kept.read().stream().definition());
            if before == definition {
                continue;
            }
            let max_per_topic = definition.retention.max_messages_per_topic;
            match &mut *kept.write() {
                State::Disk(stream) => stream.redefine(definition),
                State::Memory(memory) => memory.redefine(definition, now_us),
            }
            let is_less = |max: &NonZeroU32| before.retention.max_messages_per_topic.is_none_or(|before| *max < before);
            if let (Some(store), Some(max)) = (&mut self.store, max_per_topic.filter(is_less)) {
                store.log.replace_all_beyond(kept.number(), max);
            }
            changed.push(index);
        }
        self.tell_changed(&changed);
        self.maintain(now_us);
    }

    /// Opens the store again, if it has failed.
    fn reopen(&mut self, now_us: u64) -> Result<Vec<Finding>, AdminError> {
        let Self { shared, store: Some(store), .. } = self else { return Err(AdminError::NoStore) };
        if store.failed.is_none() {
            return Ok(Vec::new());
        }
        let defined: Vec<_> = shared.streams.iter().map(|kept| Defined::of(kept)).collect();
        let was_full = store.log.failed().is_some_and(|failed| failed.full);
        // Let go first: it may be locked against a second opening. From here on the log that failed is only read.
        store.definitions = None;
        store.log.finish_saving();
        let mut opened =
            OpenedStore::open(&store.disk, &shared.options, &defined, now_us).map_err(AdminError::store)?;
        if was_full {
            opened.log.free().map_err(AdminError::store)?;
        }
        let (streams, report) = put_back(shared, store, opened);
        self.tell_changed(&streams);
        self.tell_gauges();
        self.tell_store_status();
        Ok(report)
    }

    /// Commits nothing more.
    pub(in crate::keeper) fn close(self) {
        if let Some(store) = self.store
            && store.failed.is_none()
        {
            // What was acknowledged is on disk; this only helps the next start.
            let _ = store.log.close();
        }
    }
}

/// Has everybody go on with a store that was opened again. Which streams may have changed, and what was found.
fn put_back(shared: &Shared, store: &mut DiskStore, opened: OpenedStore) -> (Vec<u32>, Vec<Finding>) {
    let OpenedStore { log, definitions, streams, report, damaged_messages } = opened;
    shared.set_reader(Some(log.reader()));
    *store = DiskStore::new(Arc::clone(&store.disk), log, definitions, damaged_messages);
    let mut indexes = Vec::new();
    for restored in streams {
        let Some(kept) = shared.stream(restored.index) else { continue };
        let mut state = kept.write();
        *state = State::Disk(restored.stream);
        kept.set_number(restored.number);
        indexes.push(restored.index);
    }
    (indexes, report)
}

fn empty(definition: Arc<Definition>, epochs: Epochs, last_time_us: u64) -> Stream {
    let bounds = Bounds { first: 1, last: 0, purged_through: 0 };
    let (epochs, topics, ids) = (Arc::new(epochs), Vec::new(), Vec::new());
    Stream::restore(definition, Recovered { epochs, bounds, last_time_us, topics, ids })
}

impl AdminError {
    #[expect(clippy::needless_pass_by_value, reason = "so that it stands in `map_err` as it is")]
    fn store(error: impl ToString) -> Self {
        Self::Store { reason: error.to_string() }
    }
}

impl DiskStore {
    fn check_can_retain(&self) -> Result<(), AdminError> {
        if self.can_retain() { Ok(()) } else { self.check_failed() }
    }

    fn check_failed(&self) -> Result<(), AdminError> {
        self.failed.as_ref().map_or(Ok(()), |reason| Err(AdminError::store(reason)))
    }

    /// Why it has to be taken for failed from now on.
    fn new_failure(&self) -> Option<String> {
        let failed = || self.log.failed().map(ToString::to_string).or_else(|| self.definitions_failed.clone());
        if self.failed.is_none() { failed() } else { None }
    }

    fn next_number(&self) -> Result<u32, AdminError> {
        self.definitions.as_ref().map(Definitions::next_number).ok_or_else(not_open)
    }

    fn put(&mut self, kept: &KeptStream, stored: &Stored) -> Result<(), AdminError> {
        let put = self.definitions.as_mut().ok_or_else(not_open)?.put(&kept.name, stored);
        put.map_err(|error| {
            self.definitions_failed = Some(error.to_string());
            AdminError::store(error)
        })
    }

    /// Changes what is kept of a stream beside its messages.
    fn change_stored(&mut self, kept: &KeptStream, change: impl FnOnce(&mut Stored)) -> Result<(), AdminError> {
        let stored = self.definitions.as_ref().ok_or_else(not_open)?.get(&kept.name).cloned();
        let mut stored =
            stored.ok_or_else(|| AdminError::store(format!("nothing is kept of stream `{}`", kept.name)))?;
        change(&mut stored);
        self.put(kept, &stored)
    }
}

fn not_open() -> AdminError {
    AdminError::store("the definitions of the streams are not open")
}
