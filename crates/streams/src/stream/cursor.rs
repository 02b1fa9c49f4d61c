//! A subscription's way through a stream: from where it starts, over history, to what is live, and back.

use std::sync::Arc;

use super::{Bounds, EpochChange, Epochs, MAX_SEQUENCE, Origin, Page, Position, Read, Select, Stream};

/// A subscription's place in one stream, and what it gets next.
///
/// ```text
///            new, when nothing lies between                          every batch is delivered
///          +---------------------------------------------> Live <---------------------------+
///          |                                                |                               |
///   Origin +---> Behind: pages are read, batches are not    | fall_behind; a batch is       | a page reaches what
///                delivered, only remembered by their end    | missing; another epoch        | the batches have told
///                  ^  |                                     v                               |
///                  |  +---- read, on_page ------------> Behind -----------------------------+
/// ```
///
/// Two ways lead messages here, and they are not in step with each other: **batches**, which tell in order what is
/// committed, and **pages**, which are asked for and read somewhere else. The cursor goes by one number, its position:
/// everything up to there was delivered, named as lost, or did not match. A page starts behind it and moves it; of a
/// batch only what is behind it is delivered. The cursor is live once no batch that was told has anything behind its
/// position; then the next batch has all that comes next. So there is no hole, no repeat and no other order, whatever
/// comes in between, and it needs to know nothing about how far a page's reader could see.
///
/// It holds no messages and no pattern. To let readers of a busy stream catch up for sure, keep the last few batches
/// (in a [`Ring`](super::Ring)) and serve a [`CursorRead`] from there if it starts in them: at once, so that no batch
/// comes in between.
#[derive(Debug)]
pub struct Cursor {
    epochs: Arc<Epochs>,
    position: u64,
    /// Up to here only the newest message of each topic is read.
    pub(super) last_by_topic_as_of: u64,
    is_live: bool,
    /// The last sequence of this epoch that a batch has told.
    told: u64,
    /// Where it began, in the first epoch from which on positions still mean the same.
    began_at: u64,
    reading: Option<ReadId>,
    next_read: ReadId,
}

/// One read of a cursor. Its page counts only until the cursor moves in another way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReadId(u64);

/// What a cursor wants to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CursorRead {
    /// To be handed back with the page.
    pub id: ReadId,
    /// What.
    pub read: Read,
}

/// What was committed to a stream since the batch before, as every shard is told it, in order. Also told without
/// messages, when the epoch changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The epoch that the sequences belong to.
    pub epochs: Arc<Epochs>,
    /// The stream's bounds with this batch.
    pub bounds: Bounds,
    /// The sequence of its first message; one more than the last of the batch before.
    pub first: u64,
    /// That of its last; `first - 1` in a batch without messages.
    pub last: u64,
}

/// What a cursor makes of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnBatch {
    /// To be told first: the subscription is in another epoch from here on.
    pub epoch_change: Option<EpochChange>,
    /// The subscription is live from here on; to be told before the messages.
    pub became_live: bool,
    /// Deliver what matches behind this sequence. `None`: nothing of it; it will be read.
    pub deliver_behind: Option<u64>,
}

/// What a cursor makes of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnPage {
    /// To be told first: the subscription is in another epoch from here on.
    pub epoch_change: Option<EpochChange>,
    /// Whether the page's items are to be delivered, all of them and in order. If not, the page is not what comes next.
    pub deliver: bool,
    /// The subscription is live from here on; to be told behind the items.
    pub became_live: bool,
}

impl Batch {
    /// A batch without messages: what a stream is now.
    pub fn of(stream: &Stream) -> Self {
        let bounds = stream.bounds();
        Self { epochs: stream.epochs().clone(), bounds, first: bounds.last.saturating_add(1), last: bounds.last }
    }
}

impl Cursor {
    /// A cursor at the start of a subscription, and what the client is to be told if the stream has got another epoch
    /// meanwhile. `newest` is the last batch that the cursor's shard was told (before the first: [`Batch::of`] the stream
    /// as it was then); the next one is the first that comes to [`on_batch`](Self::on_batch).
    pub fn new(origin: &Origin, newest: &Batch) -> (Self, Option<EpochChange>) {
        let mut cursor = Self {
            epochs: origin.epochs.clone(),
            position: origin.position,
            last_by_topic_as_of: origin.last_by_topic_as_of,
            is_live: false,
            // Where the shard is still in an older epoch, nobody else tells what there is of this one.
            told: if origin.epochs.is_newer_than(&newest.epochs) { origin.last } else { newest.last },
            began_at: origin.position,
            reading: None,
            next_read: ReadId(0),
        };
        let is_over = newest.epochs.is_newer_than(&cursor.epochs);
        let change = is_over.then(|| cursor.enter(&newest.epochs, newest.bounds, newest.last));
        cursor.is_live = cursor.has_all_told();
        (cursor, change)
    }

    /// What to read next: nothing while live, or while a read is under way. Each page is asked for by its own call, so
    /// the reader sets the pace.
    pub fn read(&mut self) -> Option<CursorRead> {
        if self.is_live || self.reading.is_some() {
            return None;
        }
        let id = self.next_read;
        self.next_read = ReadId(id.0.wrapping_add(1));
        self.reading = Some(id);
        let read = if self.position < self.last_by_topic_as_of {
            let as_of = self.last_by_topic_as_of;
            Read { after: self.position, through: as_of, select: Select::LastByTopic { as_of } }
        } else {
            Read { after: self.position, through: MAX_SEQUENCE, select: Select::All }
        };
        Some(CursorRead { id, read })
    }

    /// The page that a read brought.
    pub fn on_page<M>(&mut self, id: ReadId, page: &Page<M>) -> OnPage {
        let mut result = OnPage { epoch_change: None, deliver: false, became_live: false };
        if self.reading != Some(id) {
            return result;
        }
        self.reading = None;
        if self.epochs.is_newer_than(&page.epochs) {
            return result;
        }
        if page.epochs.is_newer_than(&self.epochs) {
            // It was read behind a position of the old epoch, so it says nothing about the new one.
            result.epoch_change = Some(self.enter(&page.epochs, page.bounds, page.bounds.last));
            result.became_live = self.go_live();
            return result;
        }
        self.position = self.position.max(page.complete_through);
        result.deliver = true;
        result.became_live = self.go_live();
        result
    }

    /// A read brought no page: it may be asked for again.
    pub fn on_read_failed(&mut self, id: ReadId) {
        if self.reading == Some(id) {
            self.reading = None;
        }
    }

    /// The next batch of the stream. Every one has to come here, delivered or not.
    pub fn on_batch(&mut self, batch: &Batch) -> OnBatch {
        let mut result = OnBatch { epoch_change: None, became_live: false, deliver_behind: None };
        if self.epochs.is_newer_than(&batch.epochs) {
            return result;
        }
        let was_live = self.is_live;
        if batch.epochs.is_newer_than(&self.epochs) {
            let before = batch.first.saturating_sub(1);
            result.epoch_change = Some(self.enter(&batch.epochs, batch.bounds, before));
            self.is_live = self.has_all_told();
        }
        self.told = self.told.max(batch.last);
        // A batch is missing. That is not meant to be, but reading heals it.
        if self.is_live && batch.first > self.position.saturating_add(1) {
            self.is_live = false;
        }
        if self.is_live {
            result.became_live = !was_live;
            result.deliver_behind = Some(self.position);
            self.position = self.position.max(batch.last);
        }
        result
    }

    /// What was handed on behind this position has been dropped again: the reader was too slow for it. It reads on from
    /// there. Where an epoch has begun since, it reads on as far as that one knows the position.
    ///
    /// An [`EpochChange`] must not be dropped.
    pub fn fall_behind(&mut self, handed_on: &Position) {
        let position = self.epochs.translate(&handed_on.epoch, handed_on.sequence).unwrap_or(self.began_at);
        self.position = self.position.min(position);
        self.is_live = false;
        self.reading = None;
    }

    /// Where a client that has everything so far resumes: everything up to here was delivered, named as lost, or did
    /// not match.
    pub fn position(&self) -> Position {
        Position { epoch: self.epochs.current().clone(), sequence: self.position }
    }

    /// Whether batches are delivered as they come.
    pub fn is_live(&self) -> bool {
        self.is_live
    }

    /// How many sequences, of those that its shard was told, it has not come to yet.
    pub fn lag(&self) -> u64 {
        self.told.saturating_sub(self.position)
    }

    /// Goes on in a newer epoch, of which everything up to `told` is there.
    fn enter(&mut self, epochs: &Arc<Epochs>, bounds: Bounds, told: u64) -> EpochChange {
        let translate = |sequence| epochs.translate(self.epochs.current(), sequence);
        if let (Some(position), Some(as_of)) = (translate(self.position), translate(self.last_by_topic_as_of)) {
            (self.position, self.last_by_topic_as_of) = (position, as_of);
            self.began_at = self.began_at.min(position);
        } else {
            // Nothing of the old numbers counts. A reader of last values that was not through gets them anew.
            let was_through = self.position >= self.last_by_topic_as_of;
            self.last_by_topic_as_of = if was_through { 0 } else { bounds.last };
            self.position = bounds.first.saturating_sub(1);
            self.began_at = self.position;
        }
        self.epochs = epochs.clone();
        self.told = told;
        self.is_live = false;
        self.reading = None;
        epochs.change(self.position.saturating_add(1))
    }

    fn has_all_told(&self) -> bool {
        self.position >= self.told && self.position >= self.last_by_topic_as_of
    }

    fn go_live(&mut self) -> bool {
        let was_live = self.is_live;
        self.is_live = self.has_all_told();
        self.is_live && !was_live
    }
}
