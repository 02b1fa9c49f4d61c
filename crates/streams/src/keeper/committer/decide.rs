//! Deciding about a group, publication by publication, in one pass.

use std::sync::RwLockWriteGuard;

use bytes::Bytes;
use carillon_wire::Topic;
use carillon_wire::delivery::patch_delivery;

use super::Committer;
use super::store::{DiskStore, record, record_bytes};
use crate::keeper::Submissions;
use crate::keeper::event::{Answer, Answers, MessagePlace, Outcome};
use crate::keeper::shared::{Shared, State};
use crate::keeper::submission::Submitted;
use crate::store::Record;
use crate::stream::{Decision, Durability, MemoryStream, Place, Publication, Refusal, Stream, Verdict};

/// What a message in memory takes beside its bytes.
const MEMORY_MESSAGE_BYTES: u64 = 100;

/// What became of a group that is not committed yet.
#[derive(Default)]
pub(super) struct Decided {
    pub(super) batches: Vec<BegunBatch>,
    /// What is to be committed, in the order in which it came: the place of its batch in `batches`, and its own.
    pub(super) appended: Vec<(u32, MessagePlace)>,
    /// Each with its shard; one for each of the submissions, in order.
    pub(super) answers: Vec<(u32, Answers)>,
    /// Duplicates and refusals that tell of publications in this group: which of the submissions, which of its entries.
    pub(super) looked_at_the_group: Vec<(usize, usize)>,
    /// The store failed on the way.
    pub(super) failed: Option<String>,
}

/// What is appended to one stream.
pub(super) struct BegunBatch {
    pub(super) stream: u32,
    pub(super) first: u64,
    pub(super) messages: u64,
}

/// Finds a stream's batch in the group, without a look-up by hash.
pub(super) struct Batching {
    /// By stream; `usize::MAX`: none.
    place_of: Vec<usize>,
}

/// The stream whose lock is held: over a run of publications into one stream it is taken once.
struct Held<'a> {
    shared: &'a Shared,
    durability: Durability,
    current: Option<(u32, RwLockWriteGuard<'a, State>)>,
}

/// What became of one publication.
struct Answered {
    outcome: Outcome,
    looked_at_the_group: bool,
    /// Its stream and sequence, if it is to be committed.
    appended: Option<(u32, u64)>,
}

impl Batching {
    pub(super) fn new(streams: usize) -> Self {
        Self { place_of: vec![usize::MAX; streams] }
    }

    fn add(&mut self, decided: &mut Decided, (stream, sequence): (u32, u64), place: MessagePlace) {
        let Decided { batches, appended, .. } = decided;
        let Some(known) = self.place_of.get_mut(stream as usize) else { return };
        if let Some(batch) = batches.get_mut(*known) {
            batch.messages += 1;
        } else {
            *known = batches.len();
            batches.push(BegunBatch { stream, first: sequence, messages: 1 });
        }
        // A group has fewer batches than bytes, and less than 2^32 of those.
        appended.push((u32::try_from(*known).unwrap_or(u32::MAX), place));
    }

    fn clear(&mut self, batches: &[BegunBatch]) {
        for batch in batches {
            if let Some(place) = self.place_of.get_mut(batch.stream as usize) {
                *place = usize::MAX;
            }
        }
    }
}

impl Held<'_> {
    fn stream(&mut self, stream: u32) -> Option<(&mut State, u32)> {
        if self.current.as_ref().is_none_or(|(held, _)| *held != stream) {
            let kept = self.shared.stream(stream).filter(|kept| kept.durability == self.durability)?;
            // Let go first: two locks at once could wait for each other.
            self.current = None;
            self.current = Some((stream, kept.write()));
        }
        let number = self.shared.stream(stream)?.number();
        self.current.as_mut().map(|(_, state)| (&mut **state, number))
    }
}

impl Committer {
    /// Decides about every publication, fills in time and sequence, and appends to the log.
    pub(super) fn decide(&mut self, now_us: u64, group: &mut [Submissions]) -> Decided {
        let Self { shared, durability, store, batching, .. } = self;
        // Before any stream is locked: readers wait for the locks, and must not wait for the disk.
        let failed = store.as_mut().and_then(|store| store.make_room().err());
        let mut decided = Decided { failed, ..Decided::default() };
        let mut held = Held { shared, durability: *durability, current: None };
        for (at, submissions) in group.iter_mut().enumerate() {
            let mut answers = Vec::with_capacity(submissions.len());
            for entry in 0..submissions.len() {
                let answered = decide_one(&mut held, store.as_mut(), now_us, submissions, entry, &mut decided.failed);
                if let (Some(appended), Ok(of), Ok(entry)) = (answered.appended, at.try_into(), entry.try_into()) {
                    batching.add(&mut decided, appended, MessagePlace { submissions: of, entry });
                }
                if answered.looked_at_the_group {
                    decided.looked_at_the_group.push((at, entry));
                }
                answers.push(Answer { request: submissions.request(entry), outcome: answered.outcome });
            }
            decided.answers.push((submissions.shard, Answers { ticket: submissions.ticket, answers }));
        }
        batching.clear(&decided.batches);
        decided
    }
}

fn decide_one(
    held: &mut Held<'_>,
    store: Option<&mut DiskStore>,
    now_us: u64,
    submissions: &mut Submissions,
    entry: usize,
    failed: &mut Option<String>,
) -> Answered {
    let malformed = || Answered::refused(Refusal::Malformed);
    // Looked at before anything is decided: what got a sequence must be written.
    if submissions.fill_in(entry, 0, 0).is_err() {
        return malformed();
    }
    let Some(submitted) = submissions.get(entry) else { return malformed() };
    let (Ok(topic), index) = (Topic::new(submitted.head.topic), submitted.head.stream) else { return malformed() };
    let shared = held.shared;
    let Some((state, number)) = held.stream(index) else { return malformed() };
    if failed.is_some() {
        // The group failed before it; this one is not even tried.
        return Answered::refused(Refusal::Stopped).observed(shared, index);
    }
    let decision = match state {
        State::Memory(memory) => publish_in_memory(memory, now_us, topic, &submitted),
        State::Disk(stream) => publish_on_disk(stream, now_us, topic, &submitted),
    };
    if let Verdict::Append(place) = &decision.verdict {
        let written = submissions.fill_in(entry, place.time_us, place.sequence).map_err(|error| error.to_string());
        let appended = written.and_then(|()| match store {
            Some(store) => append(store, index, number, place, submissions, entry, state.stream()),
            None => Ok(()),
        });
        *failed = appended.err();
    }
    let epoch = state.stream().epochs().current().clone();
    let looked_at_the_group = decision.answer_after > 0;
    let kept = |sequence, duplicate| Outcome::Kept { stream: index, sequence, epoch, duplicate };
    match decision.verdict {
        Verdict::Append(place) => Answered {
            outcome: kept(place.sequence, false),
            looked_at_the_group: false,
            appended: Some((index, place.sequence)),
        },
        Verdict::Duplicate { sequence } => {
            shared.observer.duplicate(index);
            Answered { outcome: kept(sequence, true), looked_at_the_group, appended: None }
        }
        Verdict::Refused(refusal) => {
            Answered { looked_at_the_group, ..Answered::refused(refusal) }.observed(shared, index)
        }
    }
}

fn publish_in_memory(
    memory: &mut MemoryStream<Bytes>,
    now_us: u64,
    topic: Topic<'_>,
    submitted: &Submitted<'_>,
) -> Decision {
    let bytes = submitted.delivery.len() as u64 + MEMORY_MESSAGE_BYTES;
    let (message_id, expected_last) = (submitted.head.message_id, submitted.head.expected_last);
    memory.publish(now_us, &Publication { topic, message_id, expected_last, bytes }, |place| {
        // A copy of its own: the submissions' bytes are many messages', and may be kept for as long as one of them.
        let mut delivery = submitted.delivery.to_vec();
        let patched = patch_delivery(&mut delivery, submitted.time_at, place.time_us, place.sequence);
        debug_assert!(patched.is_ok(), "no room for time and sequence");
        Bytes::from(delivery)
    })
}

fn publish_on_disk(stream: &mut Stream, now_us: u64, topic: Topic<'_>, submitted: &Submitted<'_>) -> Decision {
    let bytes = record_bytes(submitted);
    if bytes > Record::MAX_BYTES {
        let refusal = Refusal::TooLarge { bytes, max: Record::MAX_BYTES };
        return Decision { verdict: Verdict::Refused(refusal), answer_after: 0 };
    }
    let (message_id, expected_last) = (submitted.head.message_id, submitted.head.expected_last);
    stream.publish(now_us, &Publication { topic, message_id, expected_last, bytes })
}

fn append(
    store: &mut DiskStore,
    index: u32,
    number: u32,
    place: &Place,
    submissions: &Submissions,
    entry: usize,
    stream: &Stream,
) -> Result<(), String> {
    let Some(submitted) = submissions.get(entry) else { return Err(Refusal::Malformed.to_string()) };
    store.append(&record(&submitted, number, place.sequence, place.time_us))?;
    if stream.definition().retention.max_messages_per_topic.is_some() {
        store.touch(index, &place.topic);
    }
    Ok(())
}

impl Answered {
    fn refused(refusal: Refusal) -> Self {
        Self { outcome: Outcome::Refused(refusal), looked_at_the_group: false, appended: None }
    }

    fn observed(self, shared: &Shared, stream: u32) -> Self {
        if let Outcome::Refused(refusal) = &self.outcome {
            shared.observer.refused(stream, refusal);
        }
        self
    }
}
