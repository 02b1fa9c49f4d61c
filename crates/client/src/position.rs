//! Places in a stream, and how far a subscription has come.

use std::{fmt, str::FromStr, sync::Arc};

use carillon_wire::{Id, MAX_EPOCH_BYTES};

use crate::{event::Event, start::Start, subscription::Item};

/// A place in a stream: everything up to there has been seen.
///
/// To come back to it after a restart, keep its text, which [`Display`](fmt::Display) writes as `EPOCH:SEQUENCE` and
/// [`FromStr`] reads, and subscribe with [`Start::Behind`](crate::Start::Behind).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Position {
    epoch: Arc<str>,
    sequence: u64,
}

impl Position {
    /// A position that a broker told before.
    ///
    /// # Errors
    /// The epoch is not 1 to 64 printable ASCII characters without spaces, or the sequence is above 2^53 - 1.
    pub fn new(epoch: impl Into<Arc<str>>, sequence: u64) -> Result<Self, InvalidPosition> {
        let epoch = epoch.into();
        let is_epoch =
            (1..=MAX_EPOCH_BYTES).contains(&epoch.len()) && epoch.bytes().all(|byte| byte.is_ascii_graphic());
        if is_epoch && sequence <= Id::MAX.get() { Ok(Self { epoch, sequence }) } else { Err(InvalidPosition) }
    }

    /// One that the codec has checked.
    pub(crate) fn told(epoch: Arc<str>, sequence: u64) -> Self {
        Self { epoch, sequence }
    }

    /// What the sequence means: as long as the epoch is the same, so are the numbers.
    pub fn epoch(&self) -> &str {
        &self.epoch
    }

    pub(crate) fn to_wire(&self) -> carillon_wire::Start<'_> {
        carillon_wire::Start::Behind { epoch: &self.epoch, sequence: self.sequence }
    }

    pub(crate) fn epoch_shared(&self) -> Arc<str> {
        Arc::clone(&self.epoch)
    }

    /// The last sequence that was seen, whatever topic it had; 0: nothing was.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.epoch, self.sequence)
    }
}

impl FromStr for Position {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        // An epoch may contain the colon; digits do not.
        let (epoch, sequence) = text.rsplit_once(':').ok_or(InvalidPosition)?;
        if !sequence.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(InvalidPosition);
        }
        Self::new(epoch, sequence.parse().map_err(|_| InvalidPosition)?)
    }
}

/// A text that is no position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a position is written EPOCH:SEQUENCE: 1 to {MAX_EPOCH_BYTES} printable ASCII characters without spaces, a colon, and \
     an integer below 2^53"
)]
pub struct InvalidPosition;

/// How far a subscription with a start has come, told by its events.
///
/// The session keeps one that has seen all events that came, which is where it resumes; the application's handle keeps one
/// that has seen those that were taken.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    position: Option<Position>,
}

impl Progress {
    /// Nothing is known but what the application told.
    pub(crate) fn from_start(start: Option<&Start>) -> Self {
        let position = match start {
            Some(Start::Behind(position)) => Some(position.clone()),
            _ => None,
        };
        Self { position }
    }

    pub(crate) fn position(&self) -> Option<&Position> {
        self.position.as_ref()
    }

    /// Whether everything up to this sequence was seen.
    pub(crate) fn has_passed(&self, epoch: &str, sequence: u64) -> bool {
        self.position.as_ref().is_some_and(|at| *at.epoch == *epoch && sequence <= at.sequence)
    }

    /// Everything up to there was seen. Within an epoch it never goes back.
    pub(crate) fn reach(&mut self, epoch: &Arc<str>, sequence: u64) {
        match &mut self.position {
            Some(at) if at.epoch == *epoch => at.sequence = at.sequence.max(sequence),
            at => *at = Some(Position { epoch: Arc::clone(epoch), sequence }),
        }
    }

    pub(crate) fn on_item(&mut self, item: &Item) {
        match item {
            Item::Event(event) => self.on_event(event),
            Item::Position(at) => self.reach(&at.epoch, at.sequence),
        }
    }

    fn on_event(&mut self, event: &Event) {
        match event {
            Event::Message(message) => {
                if let Some((place, epoch)) = message.place.as_ref().and_then(|it| Some((it, it.epoch.as_ref()?))) {
                    self.reach(epoch, place.sequence);
                }
            }
            Event::Gap(gap) => {
                if let (Some(at), Some(range)) = (&mut self.position, &gap.range) {
                    at.sequence = at.sequence.max(range.last);
                }
            }
            // Here it goes back, where the new numbers begin.
            Event::EpochChanged(change) => {
                let (epoch, sequence) = (Arc::clone(&change.epoch), change.from.saturating_sub(1));
                self.position = Some(Position { epoch, sequence });
            }
            Event::CaughtUp(live) => self.reach(&live.position.epoch, live.position.sequence),
            // Its position is reached when what it announces was told: a loss must not be forgotten on the way.
            Event::Resumed(_) | Event::Reconnected(_) | Event::Ended(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_read_as_they_are_written() {
        for (epoch, sequence) in [("a", 0), ("x:y", 7), ("0123456789abcdef", (1 << 53) - 1)] {
            let position = Position::new(epoch, sequence).unwrap();
            assert_eq!(position.to_string().parse(), Ok(position));
        }
        for text in ["", "a", "a:", ":1", "a:-1", "a:+1", "a b:1", "ä:1", "a:9007199254740992"] {
            assert_eq!(text.parse::<Position>(), Err(InvalidPosition), "{text}");
        }
        assert!(Position::new("e".repeat(65), 1).is_err());
    }
}
