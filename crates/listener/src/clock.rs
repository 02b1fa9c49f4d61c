//! The two clocks of a shard: one that only says how long something took, and one that says when it was.

use std::{
    cell::Cell,
    time::{SystemTime, UNIX_EPOCH},
};

use tokio::time::Instant;

/// Reads both clocks. All shards of a broker count from the same origin.
#[derive(Debug)]
pub(crate) struct Clock {
    origin: Instant,
    last_unix_us: Cell<u64>,
}

/// One reading, passed down to whatever happens in this turn, so that nothing on the way reads a clock of its own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    /// Nanoseconds since the broker's start.
    pub(crate) nanos: u64,
    /// Microseconds since 1970 began (UTC). Never less than in an earlier reading of the same shard.
    pub(crate) unix_us: u64,
}

impl Moment {
    /// Seconds since 1970 began (UTC).
    pub(crate) fn unix_s(self) -> u64 {
        self.unix_us / 1_000_000
    }
}

impl Clock {
    pub(crate) fn new(origin: Instant) -> Self {
        Self { origin, last_unix_us: Cell::new(0) }
    }

    pub(crate) fn read(&self) -> Moment {
        let unix_us = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
            .max(self.last_unix_us.get());
        self.last_unix_us.set(unix_us);
        Moment { nanos: self.nanos(), unix_us }
    }

    /// Nanoseconds since the broker's start.
    pub(crate) fn nanos(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}
