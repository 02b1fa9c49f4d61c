//! Epochs: what a stream's sequence numbers mean.

use std::{fmt, sync::Arc};

use carillon_wire::MAX_EPOCH_BYTES;

/// How many earlier epochs a stream remembers.
pub const MAX_PAST_EPOCHS: usize = 16;

/// The name of an epoch: 1 to [`MAX_EPOCH_BYTES`] printable ASCII characters, random (who makes it hands it in).
/// A sequence number means something only beside it. It is never empty, so that nothing passes for "the same".
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Epoch(Arc<str>);

impl Epoch {
    /// Checks a text.
    pub fn new(text: &str) -> Result<Self, EpochError> {
        if text.is_empty() || text.len() > MAX_EPOCH_BYTES || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(EpochError);
        }
        Ok(Self(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that is no epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an epoch is 1 to {MAX_EPOCH_BYTES} printable ASCII characters, as the broker told it with the sequence")]
pub struct EpochError;

/// Why a stream has the epoch that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EpochReason {
    /// The stream was made, perhaps after one of its name was removed.
    Created,
    /// It is kept in memory, and the broker started.
    Restarted,
    /// A repair lost sequences that had been given out.
    Repaired,
    /// An operator asked for it, after a restore from a backup.
    Renewed,
    /// It is not another one, but the position is behind the stream's end: what was there is lost, and nobody had made
    /// a new epoch for it.
    PositionAhead,
}

/// A stream's epoch, and the ones before it whose numbers it still understands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Epochs {
    current: Epoch,
    reason: EpochReason,
    past: Vec<PastEpoch>,
    /// Counts the epochs of this run of the broker. Tells newer from older, nothing else, and is not kept.
    order: u64,
}

/// An epoch that a stream had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastEpoch {
    /// Its name.
    pub epoch: Epoch,
    /// Up to here the same numbers still mean the same messages.
    pub same_through: u64,
}

/// What a reader is told when its position was in another epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochChange {
    /// The one that counts from here on.
    pub epoch: Epoch,
    /// Why.
    pub reason: EpochReason,
    /// Of this epoch the reader gets what was published from this sequence on. What it had before means the same there
    /// where the broker knows that; otherwise this is the first message that is kept, so nothing is left out.
    pub from: u64,
}

impl Epochs {
    /// The first epoch that this run of the broker knows.
    pub fn new(current: Epoch, reason: EpochReason) -> Self {
        Self::restore(current, reason, Vec::new())
    }

    /// As they were kept. Of more than [`MAX_PAST_EPOCHS`] past ones the newest count.
    pub fn restore(current: Epoch, reason: EpochReason, mut past: Vec<PastEpoch>) -> Self {
        past.drain(..past.len().saturating_sub(MAX_PAST_EPOCHS));
        Self { current, reason, past, order: 0 }
    }

    /// The next epoch. Up to `same_through` its numbers mean what they meant before. `None`: it is another stream, and a
    /// reader begins anew; that is not the same as 0, with which it has nothing yet.
    #[must_use]
    pub fn followed_by(&self, next: Epoch, reason: EpochReason, same_through: Option<u64>) -> Self {
        let mut past = Vec::with_capacity(self.past.len() + 1);
        if let Some(same_through) = same_through {
            let still_same =
                |it: &PastEpoch| PastEpoch { epoch: it.epoch.clone(), same_through: it.same_through.min(same_through) };
            past.extend(self.past.iter().map(still_same));
            past.push(PastEpoch { epoch: self.current.clone(), same_through });
        }
        Self { order: self.order.saturating_add(1), ..Self::restore(next, reason, past) }
    }

    /// The one that counts.
    pub fn current(&self) -> &Epoch {
        &self.current
    }

    /// Why it was made.
    pub fn reason(&self) -> EpochReason {
        self.reason
    }

    /// Those before it, oldest first.
    pub fn past(&self) -> &[PastEpoch] {
        &self.past
    }

    /// Whether these were made later than others of the same stream, in one run of the broker.
    pub fn is_newer_than(&self, other: &Self) -> bool {
        self.order > other.order
    }

    /// What a position in an epoch is in the current one: everything up to there was seen. `None` if nothing is known
    /// of that epoch.
    pub fn translate(&self, epoch: &Epoch, sequence: u64) -> Option<u64> {
        if *epoch == self.current {
            return Some(sequence);
        }
        let past = self.past.iter().rev().find(|past| past.epoch == *epoch)?;
        Some(sequence.min(past.same_through))
    }

    pub(super) fn change(&self, from: u64) -> EpochChange {
        EpochChange { epoch: self.current.clone(), reason: self.reason, from }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(text: &str) -> Epoch {
        Epoch::new(text).unwrap()
    }

    #[test]
    fn a_position_means_the_same_as_far_as_no_epoch_between_lost_anything() {
        let first = Epochs::new(epoch("a"), EpochReason::Created);
        let second = first.followed_by(epoch("b"), EpochReason::Renewed, Some(500));
        let third = second.followed_by(epoch("c"), EpochReason::Repaired, Some(450));
        assert_eq!(second.translate(&epoch("a"), 300), Some(300));
        assert_eq!(second.translate(&epoch("a"), 800), Some(500));
        assert_eq!(third.translate(&epoch("a"), 800), Some(450));
        assert_eq!(third.translate(&epoch("b"), 470), Some(450));
        assert_eq!(third.translate(&epoch("c"), 470), Some(470));
        assert_eq!(third.translate(&epoch("x"), 1), None);
    }

    #[test]
    fn an_epoch_that_shares_nothing_forgets_those_before_it() {
        let first = Epochs::new(epoch("a"), EpochReason::Created);
        let second = first.followed_by(epoch("b"), EpochReason::Created, None);
        assert_eq!(second.translate(&epoch("a"), 1), None);
        assert!(second.is_newer_than(&first));
    }

    #[test]
    fn only_so_many_past_epochs_are_remembered() {
        let mut epochs = Epochs::new(epoch("0"), EpochReason::Created);
        for n in 1..100 {
            epochs = epochs.followed_by(epoch(&n.to_string()), EpochReason::Renewed, Some(n));
        }
        assert_eq!(epochs.past().len(), MAX_PAST_EPOCHS);
        assert_eq!(epochs.translate(&epoch("98"), 200), Some(99));
    }

    #[test]
    fn an_epoch_is_never_empty() {
        assert!(Epoch::new("").is_err());
        assert!(Epoch::new("a b").is_err());
        assert!(Epoch::new(&"a".repeat(MAX_EPOCH_BYTES + 1)).is_err());
    }
}
