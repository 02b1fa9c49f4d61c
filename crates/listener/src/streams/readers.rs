//! The subscriptions of a shard that are not live on a stream: where each is, and what it reads next.
//!
//! Who is live has nothing here. Its place is the shard's own: all that the shard was told of the stream has gone to its
//! outbox.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use carillon_streams::stream::{Cursor, ReadId, Start};
use carillon_wire::{Id, PatternBuf};

/// What one connection reads, and what it has to be told.
#[derive(Debug, Default)]
pub(super) struct Readers {
    /// In the order in which they come next.
    pub(super) behind: VecDeque<Reader>,
    /// The one thing that is under way for them: a connection that asks for much waits for itself, and for nobody else.
    pub(super) reading: Option<Reading>,
    /// Subscriptions that can be resumed, so that their positions are told.
    pub(super) resumable: HashMap<Id, Resumable>,
    /// Requests for history that are under way.
    pub(super) histories: Vec<HistoryRead>,
    /// As long as this lives, what was asked for is wanted.
    pub(super) asker: Arc<()>,
}

/// A subscription on its way through a stream.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) subscription: Id,
    pub(super) stream: u32,
    pub(super) pattern: PatternBuf,
    pub(super) stage: Stage,
    /// Whether it has read the log to its end, so that what it misses are the last batches, as those got them who were
    /// live. Before, retention may have taken messages out of these.
    pub(super) knows_log: bool,
}

/// How far a reader is.
#[derive(Debug)]
pub(super) enum Stage {
    /// It is not known yet where it starts.
    Starting(Start),
    /// It reads.
    On(Cursor),
}

/// What the keeper was asked for one of the readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) subscription: Id,
    pub(super) stream: u32,
    /// The keeper's number of it.
    pub(super) read: u64,
    /// The cursor's, where it is a page; else it is where the subscription starts.
    pub(super) page: Option<ReadId>,
    /// Its subscription has ended. It still stands for the one thing that is under way.
    pub(super) is_orphan: bool,
}

/// A request for history on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HistoryRead {
    pub(super) request: Id,
    pub(super) pattern: PatternBuf,
    /// The keeper's read.
    pub(super) read: u64,
}

/// A subscription that said where it starts.
#[derive(Debug)]
pub(super) struct Resumable {
    pub(super) stream: u32,
    /// The position that it was told last.
    pub(super) told: u64,
    /// What it gets is history, for which it needs the permission, until it has been live.
    pub(super) reads_history: bool,
}

impl Reader {
    pub(super) fn cursor(&self) -> Option<&Cursor> {
        match &self.stage {
            Stage::On(cursor) => Some(cursor),
            Stage::Starting(_) => None,
        }
    }

    pub(super) fn cursor_mut(&mut self) -> Option<&mut Cursor> {
        match &mut self.stage {
            Stage::On(cursor) => Some(cursor),
            Stage::Starting(_) => None,
        }
    }
}

impl Readers {
    pub(super) fn is_empty(&self) -> bool {
        self.behind.is_empty() && self.resumable.is_empty() && self.histories.is_empty() && self.reading.is_none()
    }

    /// Takes the reader that a read is for, if that is still wanted.
    pub(super) fn take_reader(&mut self, of_read: u64) -> Option<(Reader, Option<ReadId>)> {
        let reading = self.reading.take_if(|reading| reading.read == of_read).filter(|reading| !reading.is_orphan)?;
        let Reading { subscription, stream, page, .. } = reading;
        let is_it = |reader: &Reader| (reader.subscription, reader.stream) == (subscription, stream);
        let at = self.behind.iter().position(is_it)?;
        Some((self.behind.remove(at)?, page))
    }

    /// Takes the request for history that a read is for.
    pub(super) fn take_history(&mut self, of_read: u64) -> Option<Id> {
        let at = self.histories.iter().position(|history| history.read == of_read)?;
        Some(self.histories.swap_remove(at).request)
    }

    /// Forgets a subscription. Whether it was still being found out where it starts.
    pub(super) fn forget(&mut self, subscription: Id) -> bool {
        let mut was_starting = false;
        while let Some(at) = self.behind.iter().position(|reader| reader.subscription == subscription) {
            // The last one takes its place: to keep the order would cost as much as there are.
            let reader = self.behind.swap_remove_back(at);
            was_starting |= reader.is_some_and(|reader| reader.cursor().is_none());
        }
        self.resumable.remove(&subscription);
        if let Some(reading) = self.reading.as_mut().filter(|reading| reading.subscription == subscription) {
            reading.is_orphan = true;
        }
        was_starting
    }

    /// Notes that a subscription was told that it is live.
    pub(super) fn note_live(&mut self, subscription: Id, position: u64) {
        if let Some(resumable) = self.resumable.get_mut(&subscription) {
            (resumable.told, resumable.reads_history) = (position, false);
        }
    }

    /// Notes the position that a subscription was told.
    pub(super) fn note_told(&mut self, subscription: Id, position: u64) {
        if let Some(resumable) = self.resumable.get_mut(&subscription) {
            resumable.told = position;
        }
    }
}
