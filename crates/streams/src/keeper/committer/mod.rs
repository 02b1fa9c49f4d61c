//! A committer: the one thread that writes the streams of one durability.
//!
//! ```text
//! submissions -> decide: under the stream's lock, with one time for the whole group; append to the log
//!             -> commit: one write, one sync (nothing in memory)
//!             -> tell:   streams count it as kept, each shard gets the group and its own answers
//! ```
//!
//! [`Committer::step`] is one group; [`thread`](self::thread) calls it with what waits, and does between two groups what
//! an operator asks for (`admin`) and what time asks for (`maintain`).
//!
//! An answer leaves with its group, so it never tells of what a crash could undo: what it looked at is in this group or
//! in one that is committed. Where the group fails, answers that looked at it say that nobody knows.

mod admin;
mod decide;
mod maintain;
mod store;
pub(super) mod thread;

use std::sync::Arc;
use std::time::{Duration, Instant};

use self::decide::{Batching, BegunBatch, Decided};
pub(super) use self::store::DiskStore;
#[cfg(test)]
pub(super) use self::store::record_bytes;
use super::event::{Answers, Committed, Event, Group, MessagePlace, Outcome, Shards, Source, StreamBatch};
use super::shared::{Shared, State};
use super::{Observer, StoreStatus, Submissions, shared::KeptStream};
use crate::stream::{Batch, Durability, Refusal};

/// What writes the streams of one durability.
pub(super) struct Committer {
    shared: Arc<Shared>,
    shards: Arc<dyn Shards>,
    durability: Durability,
    /// `None` in memory.
    store: Option<DiskStore>,
    /// Of each stream of the group that is decided, its place among the batches.
    batching: Batching,
}

impl Committer {
    pub(super) fn new(shared: Arc<Shared>, shards: Arc<dyn Shards>, store: Option<DiskStore>) -> Self {
        let durability = if store.is_some() { Durability::Disk } else { Durability::Memory };
        let batching = Batching::new(shared.streams.len());
        let committer = Self { shared, shards, durability, store, batching };
        committer.tell_gauges();
        committer
    }

    /// Takes one group: decides, commits, tells. `now_us` is its time, in microseconds since 1970. Blocks on the disk, and
    /// on shards whose queues are full.
    pub(super) fn step(&mut self, now_us: u64, mut group: Vec<Submissions>) {
        let mut decided = self.decide(now_us, &mut group);
        let begun = Instant::now();
        if decided.failed.is_none()
            && let Some(store) = &mut self.store
        {
            decided.failed = store.commit().err();
        }
        if let Some(reason) = decided.failed.take() {
            self.fail(&reason);
            decided.disown();
            decided.observe_unknown(&*self.shared.observer);
            self.tell(Group::default(), decided.answers);
            return;
        }
        let took = if self.store.is_some() { begun.elapsed() } else { Duration::ZERO };
        self.tell_kept(group, decided, took);
    }

    /// The group is on disk.
    fn tell_kept(&mut self, submissions: Vec<Submissions>, decided: Decided, took: Duration) {
        let Decided { batches, appended, answers, .. } = decided;
        let mut group = Group::default();
        if !batches.is_empty() {
            group.size_bytes = submissions.iter().map(Submissions::size_bytes).sum();
            group.batches.reserve_exact(batches.len());
            let source = Arc::new(Source { places: by_batch(&batches, &appended), submissions });
            let mut end = 0;
            for BegunBatch { stream, first, messages } in batches {
                let begin = end;
                end += usize::try_from(messages).unwrap_or_default();
                let Some(kept) = self.shared.stream(stream) else { continue };
                let batch = commit(kept, first, messages);
                self.shared.observer.committed(stream, messages, took);
                group.batches.push(StreamBatch { stream, batch, source: Arc::clone(&source), places: begin..end });
            }
        }
        self.tell(group, answers);
    }

    /// Tells each shard a group, if there is anything in it, and the answers of its connections.
    fn tell(&self, group: Group, answers: Vec<(u32, Answers)>) {
        let mut of_shards: Vec<Vec<Answers>> = Vec::new();
        of_shards.resize_with(self.shards.count(), Vec::new);
        for (shard, answers) in answers {
            if let Some(of_shard) = of_shards.get_mut(shard as usize) {
                of_shard.push(answers);
            }
        }
        let group = Arc::new(group);
        for (shard, answers) in of_shards.into_iter().enumerate() {
            if !group.batches.is_empty() || !answers.is_empty() {
                self.shards.tell(shard, Event::Committed(Committed { group: Arc::clone(&group), answers }));
            }
        }
    }

    /// Tells what these streams are now, without messages.
    fn tell_changed(&self, streams: &[u32]) {
        let batch_of = |stream: &u32| {
            let batch = self.shared.stream(*stream)?.newest();
            Some(StreamBatch { stream: *stream, batch, source: Arc::default(), places: 0..0 })
        };
        let batches: Vec<_> = streams.iter().filter_map(batch_of).collect();
        if !batches.is_empty() {
            self.tell(Group { batches, size_bytes: 0 }, Vec::new());
        }
    }

    /// The store takes nothing more.
    fn fail(&mut self, reason: &str) {
        for stream in self.streams() {
            if let State::Disk(stream) = &mut *stream.write() {
                stream.stop();
            }
        }
        if let Some(store) = &mut self.store {
            store.failed = Some(reason.to_owned());
        }
        self.tell_store_status();
    }

    fn tell_store_status(&self) {
        if let Some(store) = &self.store {
            let status = store.status();
            let damaged_messages = status.damaged_messages.max(self.shared.read_counts.damaged_messages());
            self.shared.set_store_status(StoreStatus { damaged_messages, ..status });
        }
    }

    /// Those that it writes.
    fn streams(&self) -> impl Iterator<Item = &Arc<KeptStream>> {
        self.shared.streams.iter().filter(|stream| stream.durability == self.durability)
    }

    fn tell_gauges(&self) {
        for stream in self.streams() {
            self.shared.observer.kept(stream.index, &self.shared.gauges(stream));
        }
    }
}

/// The places of all messages, batch by batch: one allocation for however many streams.
fn by_batch(batches: &[BegunBatch], appended: &[(u32, MessagePlace)]) -> Vec<MessagePlace> {
    let mut next: Vec<_> = batches
        .iter()
        .scan(0, |end, batch| {
            let begin = *end;
            *end += usize::try_from(batch.messages).unwrap_or_default();
            Some(begin)
        })
        .collect();
    let mut places = vec![MessagePlace::default(); appended.len()];
    for (batch, place) in appended {
        if let Some(next) = next.get_mut(*batch as usize)
            && let Some(slot) = places.get_mut(*next)
        {
            *slot = *place;
            *next += 1;
        }
    }
    places
}

/// Counts messages as kept.
fn commit(kept: &KeptStream, first: u64, messages: u64) -> Batch {
    let last = first.saturating_add(messages).saturating_sub(1);
    let mut state = kept.write();
    if let State::Disk(stream) = &mut *state {
        stream.commit(last);
    }
    Batch { first, last, ..Batch::of(state.stream()) }
}

impl Decided {
    /// Takes back what the answers say of a group that may or may not be on disk.
    fn disown(&mut self) {
        for (_, answers) in &mut self.answers {
            for answer in &mut answers.answers {
                if matches!(answer.outcome, Outcome::Kept { duplicate: false, .. }) {
                    answer.outcome = Outcome::Refused(Refusal::NotKnown);
                }
            }
        }
        for (submissions, entry) in std::mem::take(&mut self.looked_at_the_group) {
            let answers = self.answers.get_mut(submissions);
            if let Some(answer) = answers.and_then(|(_, answers)| answers.answers.get_mut(entry)) {
                answer.outcome = Outcome::Refused(Refusal::NotKnown);
            }
        }
    }

    fn observe_unknown(&self, observer: &dyn Observer) {
        for batch in &self.batches {
            (0..batch.messages).for_each(|_| observer.refused(batch.stream, &Refusal::NotKnown));
        }
    }
}
