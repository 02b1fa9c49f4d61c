//! Where a subscription starts, and what a reader that comes back is told.

use std::sync::Arc;

use super::{Epoch, EpochChange, EpochReason, Epochs, Gap, Stream};

/// Where a subscription wants to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// With what is published from now on.
    Now,
    /// With the newest message of each topic, as they are now and in the order of their sequences, then all after them.
    LastByTopic,
    /// With the newest `n` messages that match, then all after them.
    Newest(usize),
    /// Behind a position that was told in an epoch: everything up to there was seen.
    Behind(Position),
    /// With the first message that was published at this time or later: microseconds since 1970.
    Time(u64),
    /// With the first message that is kept.
    Beginning,
}

/// A place in a stream: everything up to there is done with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// What the sequence means.
    pub epoch: Epoch,
    /// The last that is done with; 0: nothing is.
    pub sequence: u64,
}

/// What a start needs before it is known where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// Nothing more.
    Ready(Origin),
    /// The position right before the first message at this time or later, or `origin.position` if there is none.
    FindTime {
        /// The time.
        time_us: u64,
        /// To be completed by [`Origin::at`].
        origin: Origin,
    },
    /// The position right before the newest `n` messages that match, up to `origin.position`.
    FindNewest {
        /// How many; not 0.
        n: usize,
        /// To be completed by [`Origin::at`].
        origin: Origin,
    },
}

/// Where a subscription begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The stream's epoch.
    pub epochs: Arc<Epochs>,
    /// The subscription gets what is behind this sequence.
    pub position: u64,
    /// The stream's last sequence.
    pub last: u64,
    /// Up to here it gets the newest message of each topic only; 0 where it gets all.
    pub last_by_topic_as_of: u64,
    /// What the reply to a reader that came back says.
    pub resumed: Resumed,
}

/// What a reader that came back is told: exactly one of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resumed {
    /// It had no position to come back to.
    Fresh,
    /// All that it has not seen follows.
    Continued,
    /// This is lost; all behind it follows.
    AfterGap(Gap),
    /// Its position was in another epoch. What is lost of this one comes as a gap where it stood.
    OtherEpoch(EpochChange),
}

impl Start {
    /// Where that is in a stream, as the stream is now.
    pub fn plan(&self, stream: &Stream) -> Plan {
        let bounds = stream.bounds();
        let fresh = |position| Origin {
            epochs: stream.epochs().clone(),
            position,
            last: bounds.last,
            last_by_topic_as_of: 0,
            resumed: Resumed::Fresh,
        };
        let before_first = bounds.first.saturating_sub(1);
        match self {
            Self::Now | Self::Newest(0) => Plan::Ready(fresh(bounds.last)),
            Self::Beginning => Plan::Ready(fresh(before_first)),
            Self::LastByTopic => Plan::Ready(Origin { last_by_topic_as_of: bounds.last, ..fresh(before_first) }),
            Self::Newest(n) => Plan::FindNewest { n: *n, origin: fresh(bounds.last) },
            Self::Time(time_us) => Plan::FindTime { time_us: *time_us, origin: fresh(bounds.last) },
            Self::Behind(position) => Plan::Ready(resume(position, stream)),
        }
    }
}

impl Origin {
    /// With the position that was found.
    #[must_use]
    pub fn at(self, position: u64) -> Self {
        Self { position: position.min(self.position), ..self }
    }
}

fn resume(from: &Position, stream: &Stream) -> Origin {
    let (epochs, bounds) = (stream.epochs(), stream.bounds());
    let origin = |position, resumed| Origin {
        epochs: epochs.clone(),
        position,
        last: bounds.last,
        last_by_topic_as_of: 0,
        resumed,
    };
    let before_first = bounds.first.saturating_sub(1);
    if from.epoch != *epochs.current() {
        let position = epochs.translate(&from.epoch, from.sequence).unwrap_or(before_first).min(bounds.last);
        return origin(position, Resumed::OtherEpoch(epochs.change(position.saturating_add(1))));
    }
    if from.sequence > bounds.last {
        let from = bounds.last.saturating_add(1);
        let change = EpochChange { reason: EpochReason::PositionAhead, ..epochs.change(from) };
        return origin(bounds.last, Resumed::OtherEpoch(change));
    }
    match bounds.gap_after(from.sequence) {
        Some(gap) => origin(gap.last, Resumed::AfterGap(gap)),
        None => origin(from.sequence, Resumed::Continued),
    }
}
