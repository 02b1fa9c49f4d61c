//! What time asks for: retention, and compaction while nothing else is to be done.

use carillon_wire::TopicBuf;

use super::Committer;
use super::store::{Aging, DiskStore};
use crate::keeper::shared::{Shared, State};
use crate::stream::{Durability, Retention, Totals};

/// How much one step of compaction reads and writes; publications wait for that long.
const COMPACTION_STEP_BYTES: usize = 512 << 10;

impl Committer {
    /// Takes away what retention does not allow any more, and tells the shards and the metrics how it is. To be called at
    /// most each second, between two groups.
    pub(in crate::keeper) fn maintain(&mut self, now_us: u64) {
        let Self { shared, store, .. } = self;
        let (changed, failed) = match store {
            Some(store) => match retain_on_disk(shared, store, now_us) {
                Ok(changed) => (changed, None),
                Err(reason) => (Vec::new(), Some(reason)),
            },
            None => (expire_in_memory(shared, now_us), None),
        };
        if let Some(reason) = failed {
            self.fail(&reason);
        }
        self.tell_changed(&changed);
        self.tell_gauges();
        self.tell_store_status();
    }

    /// Goes one step of compaction. Whether there is more to do.
    pub(in crate::keeper) fn compact(&mut self, now_us: u64) -> bool {
        let windows = self.streams().map(|stream| stream.read().stream().definition().dedup.time_us);
        let younger_than_us = now_us.saturating_sub(windows.max().unwrap_or(0));
        let Some(store) = self.store.as_mut().filter(|store| store.failed.is_none()) else { return false };
        match store.log.compact(younger_than_us, COMPACTION_STEP_BYTES) {
            Ok(has_more) => {
                store.compaction_failed = None;
                has_more
            }
            Err(error) => {
                let reason = error.to_string();
                store.compaction_failed = Some(reason.clone());
                if store.log.failed().is_some() {
                    self.fail(&reason);
                }
                false
            }
        }
    }
}

/// The streams whose first sequence moved.
fn retain_on_disk(shared: &Shared, store: &mut DiskStore, now_us: u64) -> Result<Vec<u32>, String> {
    if !store.can_retain() {
        return Ok(Vec::new());
    }
    let mut cuts = Vec::new();
    for kept in shared.streams.iter().filter(|kept| kept.durability == Durability::Disk) {
        let (number, first, retention, now_us) = {
            let state = kept.read();
            let stream = state.stream();
            let retention = stream.definition().retention;
            (kept.number(), stream.bounds().first, retention, now_us.max(stream.last_time_us()))
        };
        if let Some(max) = retention.max_messages_per_topic {
            let touched = store.take_touched(kept.index);
            store.log.replace_beyond(number, max, touched.iter().map(TopicBuf::as_str));
        }
        let totals = shared.totals(kept);
        let max_age_us = retention.max_age_us.filter(|_| totals.messages > 0);
        let aging = max_age_us.map(|max| Aging { number, first, max_age_us: max.get(), due_us: 0 });
        let may_be_too_old = aging.is_some_and(|aging| store.may_be_too_old(kept.index, &aging, now_us));
        if may_be_too_old || is_too_much(&retention, totals) {
            match store.log.cut(number, &retention, now_us) {
                Some(cut) => cuts.push((kept.index, number, cut.first)),
                None => aging.into_iter().for_each(|aging| store.note_age(kept.index, aging)),
            }
        }
    }
    if cuts.is_empty() {
        return Ok(Vec::new());
    }
    store.set_id_windows(shared, now_us);
    let first_sequences: Vec<_> = cuts.iter().map(|(_, number, first)| (*number, *first)).collect();
    store.log.retain(&first_sequences).map_err(|error| error.to_string())?;
    for (index, _, first) in &cuts {
        if let Some(kept) = shared.stream(*index)
            && let State::Disk(stream) = &mut *kept.write()
        {
            stream.remove_before(*first);
        }
    }
    Ok(cuts.into_iter().map(|(index, ..)| index).collect())
}

fn expire_in_memory(shared: &Shared, now_us: u64) -> Vec<u32> {
    let mut changed = Vec::new();
    for kept in shared.streams.iter().filter(|kept| kept.durability == Durability::Memory) {
        if let State::Memory(memory) = &mut *kept.write() {
            let before = memory.stream().bounds();
            memory.expire(now_us);
            if memory.stream().bounds() != before {
                changed.push(kept.index);
            }
        }
    }
    changed
}

/// Whether more is kept than by its bytes or its count may be.
fn is_too_much(retention: &Retention, kept: Totals) -> bool {
    retention.max_bytes.is_some_and(|max| kept.bytes > max.get())
        || retention.max_messages.is_some_and(|max| kept.messages > max.get())
}
