//! What is read of a stream: pages of messages, and the ranges that are lost.

use std::sync::Arc;

use super::Epochs;

/// Which sequences of a stream can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The first that retention, purge and damage at the front left; above `last` if there is none. What newer messages
    /// of the same topic replaced does not move it, because that is no loss.
    pub first: u64,
    /// The last that is committed; 0 before the first one.
    pub last: u64,
    /// The last that an operator purged; 0 if none was.
    pub purged_through: u64,
}

impl Bounds {
    /// What is lost behind a position: everything from there to the first that is left.
    pub fn gap_after(&self, position: u64) -> Option<Gap> {
        let last = self.first.saturating_sub(1);
        let reason = if last == self.purged_through { LossReason::Purge } else { LossReason::Retention };
        (position < last).then(|| Gap { first: position.saturating_add(1), last, reason })
    }
}

/// A range of a stream that is lost, whatever topics were in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The first that is lost.
    pub first: u64,
    /// The last.
    pub last: u64,
    /// What took it. Where retention and a purge took one range together, whichever came last.
    pub reason: LossReason,
}

impl Gap {
    /// The part of it up to a sequence.
    pub fn up_to(self, last: u64) -> Option<Self> {
        (self.first <= last).then(|| Self { last: self.last.min(last), ..self })
    }
}

/// What takes kept messages away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LossReason {
    /// Age, bytes or count.
    Retention,
    /// An operator.
    Purge,
    /// The disk.
    Damage,
}

/// What to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Read {
    /// Behind this sequence.
    pub after: u64,
    /// Up to this one, or the end of the stream.
    pub through: u64,
    /// Which of them.
    pub select: Select,
}

/// Which messages of a range are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Select {
    /// Every one.
    All,
    /// Those that were the newest of their topic when this sequence was the stream's last.
    LastByTopic {
        /// That sequence.
        as_of: u64,
    },
}

/// Where a page ends. One message always has room, whatever its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageLimits {
    /// The most messages in it.
    pub messages: usize,
    /// The most bytes of them together.
    pub bytes: u64,
    /// The most messages that are looked at to find them, so that a page of a rare topic takes bounded time.
    pub looked_at: usize,
}

/// Some of what was asked for, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<M> {
    /// The stream's epoch when this was read.
    pub epochs: Arc<Epochs>,
    /// The stream's bounds when this was read.
    pub bounds: Bounds,
    /// In ascending order, all behind [`Read::after`] and up to `complete_through`.
    pub items: Vec<Item<M>>,
    /// Everything up to here that was asked for is in the page, or named in it as lost. The next page starts behind it.
    pub complete_through: u64,
}

/// A part of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item<M> {
    /// A message.
    Message {
        /// Its sequence.
        sequence: u64,
        /// It.
        message: M,
    },
    /// What stood here is lost.
    Lost(Gap),
}
