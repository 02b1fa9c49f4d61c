//! The last of what was committed, kept on each shard for readers who have nearly caught up.
//!
//! A page takes a moment to come from the readers' threads, and a busy stream goes on meanwhile: without the tail a
//! reader would always find something new behind its last page. With it, what is new is read at once, where no batch can
//! come in between. The bytes are those of the groups, which all shards share.

use std::{collections::VecDeque, sync::Arc};

use carillon_streams::{
    keeper::{Group, HistoryPage, Part, StreamBatch},
    stream::{Bounds, Epochs, PageLimits},
};
use carillon_wire::{Pattern, Topic};

/// The last groups, over all streams.
#[derive(Default)]
pub(super) struct Tail {
    groups: VecDeque<Arc<Group>>,
    size_bytes: usize,
    /// For each stream the batches of `groups` that are its, oldest first.
    batches: Vec<VecDeque<TailBatch>>,
}

struct TailBatch {
    group: Arc<Group>,
    /// Its place in the group.
    index: usize,
    first: u64,
    last: u64,
}

impl Tail {
    pub(super) fn new(streams: usize) -> Self {
        Self { batches: std::iter::repeat_with(VecDeque::new).take(streams).collect(), ..Self::default() }
    }

    /// Adds what was committed last, and forgets the oldest groups beyond so many bytes.
    pub(super) fn push(&mut self, group: &Arc<Group>, max_bytes: usize) {
        for (index, batch) in group.batches().iter().enumerate() {
            if let Some(batches) = self.batches.get_mut(batch.stream as usize)
                && batch.batch.first <= batch.batch.last
            {
                let (first, last) = (batch.batch.first, batch.batch.last);
                batches.push_back(TailBatch { group: Arc::clone(group), index, first, last });
            }
        }
        if group.batches().iter().all(StreamBatch::is_empty) {
            return;
        }
        self.groups.push_back(Arc::clone(group));
        self.size_bytes += weight(group);
        while self.size_bytes > max_bytes {
            let Some(oldest) = self.groups.pop_front() else { return };
            self.size_bytes -= weight(&oldest);
            for batch in oldest.batches() {
                if let Some(batches) = self.batches.get_mut(batch.stream as usize) {
                    let _ = batches.pop_front_if(|first| Arc::ptr_eq(&first.group, &oldest));
                }
            }
        }
    }

    /// Forgets a stream's, because its numbers mean something else from now on.
    pub(super) fn clear(&mut self, stream: u32) {
        if let Some(batches) = self.batches.get_mut(stream as usize) {
            batches.clear();
        }
    }

    /// What a pattern matches behind a position and up to `through`, if all of that is here. Also tells how many messages
    /// were looked at.
    pub(super) fn page(
        &self,
        stream: u32,
        pattern: Pattern<'_>,
        (after, through): (u64, u64),
        (epochs, bounds): (&Arc<Epochs>, Bounds),
        limits: &PageLimits,
    ) -> Option<(HistoryPage, usize)> {
        let batches = self.batches.get(stream as usize)?;
        let is_here = batches.front()?.first <= after.saturating_add(1) && bounds.first <= after.saturating_add(1);
        if !is_here {
            return None;
        }
        let start = batches.partition_point(|batch| batch.last <= after);
        let mut page = Builder::new(after);
        'batches: for batch in batches.range(start..) {
            let Some(found) = batch.group.batches().get(batch.index) else { break };
            let known = usize::try_from((after + 1).saturating_sub(batch.first)).unwrap_or(usize::MAX);
            for message in found.messages_from(known) {
                if message.sequence > through || page.is_full(message.delivery.len(), limits) {
                    break 'batches;
                }
                page.looked_at += 1;
                page.complete_through = message.sequence;
                if Topic::new(message.topic).is_ok_and(|topic| pattern.matches(topic)) {
                    page.push(message.sequence, message.delivery);
                }
            }
        }
        let looked_at = page.looked_at;
        Some((page.finish(epochs, bounds), looked_at))
    }
}

/// What a group takes: its bytes, and what stands around them.
fn weight(group: &Group) -> usize {
    const AROUND_A_GROUP: usize = 512;
    const AROUND_A_BATCH: usize = 256;
    group.size_bytes() + AROUND_A_GROUP + group.batches().len() * AROUND_A_BATCH
}

struct Builder {
    bytes: Vec<u8>,
    count: u32,
    first: u64,
    last: u64,
    complete_through: u64,
    looked_at: usize,
}

impl Builder {
    fn new(after: u64) -> Self {
        Self { bytes: Vec::new(), count: 0, first: 0, last: 0, complete_through: after, looked_at: 0 }
    }

    fn is_full(&self, more_bytes: usize, limits: &PageLimits) -> bool {
        self.looked_at >= limits.looked_at
            || self.count as usize >= limits.messages
            || self.count > 0 && (self.bytes.len() + more_bytes) as u64 > limits.bytes
    }

    fn push(&mut self, sequence: u64, delivery: &[u8]) {
        self.bytes.extend_from_slice(delivery);
        self.count += 1;
        if self.count == 1 {
            self.first = sequence;
        }
        self.last = sequence;
    }

    fn finish(self, epochs: &Arc<Epochs>, bounds: Bounds) -> HistoryPage {
        let Self { bytes, count, first, last, complete_through, .. } = self;
        let messages = (count > 0).then(|| Part::Messages { bytes: bytes.into(), count, first, last });
        HistoryPage { epochs: Arc::clone(epochs), bounds, complete_through, parts: messages.into_iter().collect() }
    }
}
