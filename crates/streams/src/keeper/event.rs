//! What the keeper's threads tell the shards.

use std::ops::Range;
use std::sync::Arc;

use super::{Submissions, read::ReadReply};
use crate::stream::{Batch, Epoch, Refusal};

/// The shards, as the keeper's threads reach them.
pub trait Shards: Send + Sync + 'static {
    /// How many there are. They are numbered from 0.
    fn count(&self) -> usize;
    /// Hands a shard something. Blocks until its queue has room; never fails: a shard that is gone takes nothing.
    fn tell(&self, shard: usize, event: Event);
}

/// Something for a shard.
#[derive(Debug)]
pub enum Event {
    /// A group is kept.
    Committed(Committed),
    /// What was asked for by [`Keeper::read`](super::Keeper::read).
    Read(ReadReply),
}

/// A group is kept, and the answers that it lets go.
///
/// Each shard gets every group that has batches, in the order of their commits, and the answers of its own connections:
/// of publications in this group, and of those that were refused or duplicates. The answers of a shard never come
/// before the batches that they tell of.
#[derive(Debug)]
pub struct Committed {
    /// Shared by all shards.
    pub group: Arc<Group>,
    /// In the order of the submissions.
    pub answers: Vec<Answers>,
}

/// What was committed together. It holds the submissions' own bytes.
#[derive(Debug, Default)]
pub struct Group {
    pub(super) batches: Vec<StreamBatch>,
    pub(super) size_bytes: usize,
}

impl Group {
    /// What is new in each stream, each stream at most once.
    pub fn batches(&self) -> &[StreamBatch] {
        &self.batches
    }

    /// Bytes that it holds.
    pub fn size_bytes(&self) -> usize {
        self.size_bytes
    }
}

/// What is new in a stream: messages, or, without any, other bounds or another epoch.
///
/// [`Batch::first`] is one more than the last sequence that was told before, with one exception: a store that was opened
/// again after a failure may have kept what was in flight then. Such messages are not told; they are to be read.
#[derive(Debug)]
pub struct StreamBatch {
    /// The stream's index.
    pub stream: u32,
    /// Epoch, bounds and sequences.
    pub batch: Batch,
    pub(super) source: Arc<Source>,
    /// Which of the source's places are its messages', in the order of their sequences, which have no hole.
    pub(super) places: Range<usize>,
}

/// What all batches of a group share.
#[derive(Debug, Default)]
pub(super) struct Source {
    pub(super) submissions: Vec<Submissions>,
    pub(super) places: Vec<MessagePlace>,
}

/// Where a message's bytes are.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct MessagePlace {
    pub(super) submissions: u32,
    pub(super) entry: u32,
}

/// A message that was kept.
#[derive(Debug, Clone, Copy)]
pub struct KeptMessage<'a> {
    /// Where it was published.
    pub topic: &'a str,
    /// As it goes over the wire.
    pub delivery: &'a [u8],
    /// Its sequence.
    pub sequence: u64,
    /// [`Submissions::accepted_nanos`] of those that it came with.
    pub accepted_nanos: u64,
}

impl StreamBatch {
    /// Its messages, in the order of their sequences.
    pub fn messages(&self) -> impl Iterator<Item = KeptMessage<'_>> {
        self.messages_from(0)
    }

    /// As [`messages`](Self::messages), but from the n-th one on, counted from 0; those before it cost nothing.
    pub fn messages_from(&self, n: usize) -> impl Iterator<Item = KeptMessage<'_>> {
        let first = self.batch.first.saturating_add(n as u64);
        let Range { start, end } = self.places;
        let places = self.source.places.get(start.saturating_add(n)..end).unwrap_or_default();
        (first..).zip(places).filter_map(|(sequence, place)| {
            let submissions = self.source.submissions.get(place.submissions as usize)?;
            let submitted = submissions.get(place.entry as usize)?;
            Some(KeptMessage {
                topic: submitted.head.topic,
                delivery: submitted.delivery,
                sequence,
                accepted_nanos: submissions.accepted_nanos,
            })
        })
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether it only tells bounds and epoch.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}

/// The answers to one [`Submissions`]: to each publication in it, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answers {
    /// As it was submitted with.
    pub ticket: u64,
    /// One for each publication, also for those without a request's id.
    pub answers: Vec<Answer>,
}

/// What became of a publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The request's id, if it had one.
    pub request: Option<u64>,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is kept, as durably as the stream promises.
    Kept {
        /// The stream's index.
        stream: u32,
        /// Its sequence there; of a duplicate, that of the first one.
        sequence: u64,
        /// The stream's epoch.
        epoch: Epoch,
        /// It had been kept before.
        duplicate: bool,
    },
    /// It is not kept; except for [`Refusal::NotKnown`], which says what it says.
    Refused(Refusal),
}
