//! Where in a stream a subscription, or a reading of history, starts.

use std::time::{SystemTime, UNIX_EPOCH};

use carillon_wire::Id;

use crate::position::Position;

/// Where in a stream a subscription starts, or what history is read.
///
/// It asks that one pattern of one stream contains what is subscribed to. All but [`Now`](Self::Now) need the permission to
/// read history.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Start {
    /// With what is published from now on; what comes after is resumed without a loss. There is no history of it. To resume is to
    /// read history, so a client that may not do so has its subscription [ended](crate::Event::Ended) after a lost connection;
    /// without a start it would go on.
    Now,
    /// With the newest message of each topic, in the order of their sequences, then all that follow.
    ///
    /// When the connection is lost before it has caught up, it goes on with *all* messages behind the last that came.
    LastByTopic,
    /// With the newest messages that match, so many of them, then all that follow. 0 is the same as [`Now`](Self::Now).
    Newest(u64),
    /// Behind a position that was seen before: the way to come back after a restart of the application.
    Behind(Position),
    /// With the first message that the broker accepted at this time or later, by its clock. A time that is yet to come is as
    /// [`Now`](Self::Now).
    Since(SystemTime),
    /// With the first message that is kept.
    Beginning,
}

impl Start {
    pub(crate) fn to_wire(&self) -> carillon_wire::Start<'_> {
        use carillon_wire::Start as Wire;
        match self {
            Self::Now | Self::Newest(0) => Wire::Now,
            Self::LastByTopic => Wire::LastByTopic,
            Self::Newest(n) => Wire::Newest(Id::MAX.get().min(*n)),
            Self::Behind(position) => position.to_wire(),
            Self::Since(time) => Wire::Time(micros_since_1970(*time)),
            Self::Beginning => Wire::Beginning,
        }
    }
}

/// What was before 1970 is before everything, and what the wire cannot say is behind everything.
fn micros_since_1970(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX).min(Id::MAX.get())
}
