//! A stream as its publishers meet it: sequence, time, topics, ids.

use std::sync::Arc;

use carillon_wire::{MAX_MESSAGE_ID_BYTES, Topic, TopicBuf};

use super::{
    Bounds, DedupWindow, Definition, Epoch, EpochReason, Epochs, Refusal, dedup::Dedup, definition::MAX_TIME_US,
    topics::Topics,
};

/// The highest sequence: what the wire's integers hold.
pub const MAX_SEQUENCE: u64 = (1 << 53) - 1;

/// The state of one stream: what is needed to take publications, and nothing of the messages themselves.
///
/// A publication is decided by [`publish`](Self::publish), written by the caller, and then counted as kept by
/// [`commit`](Self::commit). In between it is in flight: the next publications already see it (its sequence, its topic's
/// last one, its id), but no answer may tell of it; see [`Decision::answer_after`]. If the write fails,
/// [`stop`](Self::stop) it and make a new one by [`restore`](Self::restore) from what was kept.
#[derive(Debug)]
pub struct Stream {
    definition: Arc<Definition>,
    epochs: Arc<Epochs>,
    first: u64,
    committed: u64,
    /// The last that was given out; those above `committed` are in flight.
    assigned: u64,
    purged_through: u64,
    last_time_us: u64,
    topics: Topics,
    dedup: Dedup,
    is_stopped: bool,
}

/// What a publisher wants kept.
#[derive(Debug, Clone, Copy)]
pub struct Publication<'a> {
    /// Where it is published; a topic of this stream.
    pub topic: Topic<'a>,
    /// Names it among those to its topic, so that it is kept once however often it is sent.
    pub message_id: Option<&'a str>,
    /// Keep it only if the topic's newest kept message has this sequence; 0: only if it has none.
    pub expected_last: Option<u64>,
    /// What it counts against [`Retention::max_bytes`](super::Retention::max_bytes): what it takes on disk, or, in a
    /// memory stream, its bytes and the 100 or so of its place there.
    pub bytes: u64,
}

/// What becomes of a publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// It.
    pub verdict: Verdict,
    /// The answer may leave as soon as this sequence is committed. It is 0 where nothing in flight was looked at; else
    /// an answer that left before would tell of what a crash could still undo.
    pub answer_after: u64,
}

/// What becomes of a publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is new: append it.
    Append(Place),
    /// It was published before, with this sequence, perhaps a moment ago.
    Duplicate {
        /// Of the first one.
        sequence: u64,
    },
    /// It is not kept, and nothing was changed.
    Refused(Refusal),
}

/// Where a message stands in its stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// One more than that of the message before.
    pub sequence: u64,
    /// When it was accepted, in microseconds since 1970; never before the message before.
    pub time_us: u64,
    /// Its topic, shared with the stream's table.
    pub topic: TopicBuf,
}

/// What was kept of a stream: from this it goes on after a start.
#[derive(Debug, Clone)]
pub struct Recovered {
    /// Its epochs.
    pub epochs: Arc<Epochs>,
    /// What can be read.
    pub bounds: Bounds,
    /// The time of the last message, also if that is not kept any more; 0 before the first one.
    pub last_time_us: u64,
    /// Each topic with the sequence of its newest message, in any order.
    pub topics: Vec<(TopicBuf, u64)>,
    /// Message ids that may still be in the window, in any order.
    pub ids: Vec<RecoveredId>,
}

/// A message id that was committed.
#[derive(Debug, Clone)]
pub struct RecoveredId {
    /// The message's topic.
    pub topic: TopicBuf,
    /// Its id.
    pub id: String,
    /// Its sequence.
    pub sequence: u64,
    /// Its time.
    pub time_us: u64,
}

impl Stream {
    /// An empty stream.
    pub fn new(definition: Arc<Definition>, epoch: Epoch, reason: EpochReason) -> Self {
        Self::restore(
            definition,
            Recovered {
                epochs: Arc::new(Epochs::new(epoch, reason)),
                bounds: Bounds { first: 1, last: 0, purged_through: 0 },
                last_time_us: 0,
                topics: Vec::new(),
                ids: Vec::new(),
            },
        )
    }

    /// A stream that goes on where it was. What cannot be (a topic's message beyond the stream's last) is passed over.
    pub fn restore(definition: Arc<Definition>, recovered: Recovered) -> Self {
        let Recovered { epochs, bounds, last_time_us, topics: mut names, mut ids } = recovered;
        let first = bounds.first.max(1);
        let committed = bounds.last.max(first - 1);
        let mut topics = Topics::default();
        names.retain(|(_, last)| (first..=committed).contains(last));
        names.sort_unstable_by_key(|(_, last)| *last);
        for (name, last) in names {
            topics.note(name.as_topic(), last);
        }
        let last_time_us = last_time_us.min(MAX_TIME_US);
        ids.retain(|it| it.sequence <= committed);
        let dedup = restored_ids(definition.dedup, ids, last_time_us, committed);
        Self {
            definition,
            epochs,
            first,
            committed,
            assigned: committed,
            purged_through: bounds.purged_through,
            last_time_us,
            topics,
            dedup,
            is_stopped: false,
        }
    }

    /// Decides about a publication. `now_us` is the clock; where it goes back, the stream's time stands still.
    pub fn publish(&mut self, now_us: u64, publication: &Publication<'_>) -> Decision {
        if self.is_stopped {
            return Decision::now(Verdict::Refused(Refusal::Stopped));
        }
        let topic = publication.topic.as_str();
        let now_us = now_us.clamp(self.last_time_us, MAX_TIME_US);
        self.last_time_us = now_us;
        self.dedup.forget(now_us, self.committed);
        // Before all else: a retry must hear that it succeeded, though its first attempt changed what it expects.
        if let Some(sequence) = publication.message_id.and_then(|id| self.dedup.find(topic, id)) {
            return self.decision(Verdict::Duplicate { sequence }, sequence);
        }
        let last_of_topic = self.topics.last(topic);
        if let Err(refusal) = self.check(publication, last_of_topic) {
            let looked_at = match refusal {
                Refusal::UnexpectedLast { last, .. } => last,
                _ => 0,
            };
            return self.decision(Verdict::Refused(refusal), looked_at);
        }
        self.assigned += 1;
        let topic = self.topics.note(publication.topic, self.assigned);
        if let Some(id) = publication.message_id {
            self.dedup.note(topic.clone(), id, self.assigned, now_us);
        }
        self.decision(Verdict::Append(Place { sequence: self.assigned, time_us: now_us, topic }), self.assigned)
    }

    fn check(&self, publication: &Publication<'_>, last_of_topic: Option<u64>) -> Result<(), Refusal> {
        if let Some(id) = publication.message_id
            && (id.is_empty() || id.len() > MAX_MESSAGE_ID_BYTES)
        {
            return Err(Refusal::MessageId { bytes: id.len() });
        }
        if let Some(max) = self.definition.retention.max_bytes
            && publication.bytes > max.get()
        {
            return Err(Refusal::TooLarge { bytes: publication.bytes, max: max.get() });
        }
        let last = last_of_topic.unwrap_or(0);
        if let Some(expected) = publication.expected_last
            && expected != last
        {
            return Err(Refusal::UnexpectedLast { expected, last });
        }
        if last_of_topic.is_none() && self.topics.len() >= self.definition.max_topics as usize {
            return Err(Refusal::TooManyTopics { max: self.definition.max_topics });
        }
        if self.assigned >= MAX_SEQUENCE {
            return Err(Refusal::Exhausted);
        }
        Ok(())
    }

    fn decision(&self, verdict: Verdict, looked_at: u64) -> Decision {
        Decision { verdict, answer_after: if looked_at > self.committed { looked_at } else { 0 } }
    }

    /// Everything up to this sequence is kept from now on, as durably as the stream promises.
    pub fn commit(&mut self, through: u64) {
        self.committed = self.committed.max(through.min(self.assigned));
        self.dedup.forget(self.last_time_us, self.committed);
    }

    /// What is in flight may or may not have been kept, so nothing more can be decided: publications are refused.
    /// Reading goes on.
    pub fn stop(&mut self) {
        self.is_stopped = true;
    }

    /// Whether publications are refused, because a write failed.
    pub fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    /// Retention or damage took everything before this sequence. It moves forward only, and not past what is committed.
    pub fn remove_before(&mut self, first: u64) {
        self.first = self.first.max(first.min(self.committed.saturating_add(1)));
        self.topics.forget_before(self.first);
    }

    /// An operator takes everything before this sequence. The epoch stays.
    pub fn purge_before(&mut self, first: u64) {
        let before = self.first;
        self.remove_before(first);
        if self.first > before {
            self.purged_through = self.first - 1;
        }
    }

    /// A new epoch, whose numbers mean the same as before up to what is committed now.
    pub fn renew_epoch(&mut self, epoch: Epoch, reason: EpochReason) {
        self.epochs = Arc::new(self.epochs.followed_by(epoch, reason, Some(self.committed)));
    }

    /// Where the stream's time is ahead of the clock because that was ahead once, it goes on with the clock.
    pub fn set_time_back(&mut self, now_us: u64) {
        self.last_time_us = self.last_time_us.min(now_us);
        self.dedup.set_time_back(now_us);
    }

    /// Takes a new definition of the same stream, which [`check_change`](super::check_change) has let through. What
    /// retention then takes is for the caller to ask.
    pub fn redefine(&mut self, definition: Arc<Definition>) {
        self.dedup.set_window(definition.dedup);
        self.dedup.forget(self.last_time_us, self.committed);
        self.definition = definition;
    }

    /// What the operator said about it.
    pub fn definition(&self) -> &Arc<Definition> {
        &self.definition
    }

    /// Its epoch, and those before.
    pub fn epochs(&self) -> &Arc<Epochs> {
        &self.epochs
    }

    /// What can be read.
    pub fn bounds(&self) -> Bounds {
        Bounds { first: self.first, last: self.committed, purged_through: self.purged_through }
    }

    /// The latest time that it has seen, in microseconds since 1970; 0 before the first one. No message comes before it.
    pub fn last_time_us(&self) -> u64 {
        self.last_time_us
    }

    /// The topics with a kept message, each with the sequence of its newest, ascending. Those in flight are among them.
    pub fn topics(&self) -> impl Iterator<Item = (&TopicBuf, u64)> {
        self.topics.iter()
    }

    /// How many topics have a kept message.
    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    /// How many message ids are remembered.
    pub fn remembered_ids(&self) -> usize {
        self.dedup.len()
    }
}

/// The ids that are still in the window at the time of the last message.
fn restored_ids(window: DedupWindow, mut ids: Vec<RecoveredId>, last_time_us: u64, committed: u64) -> Dedup {
    let mut dedup = Dedup::new(window);
    ids.sort_unstable_by_key(|it| it.sequence);
    for RecoveredId { topic, id, sequence, time_us } in ids {
        // Later than the last message is only what was published before the stream's time was set back.
        let time_us = time_us.min(last_time_us);
        dedup.forget(time_us, committed);
        if dedup.find(topic.as_str(), &id).is_none() {
            dedup.note(topic, &id, sequence, time_us);
        }
    }
    dedup.forget(last_time_us, committed);
    dedup
}

impl Decision {
    fn now(verdict: Verdict) -> Self {
        Self { verdict, answer_after: 0 }
    }
}
