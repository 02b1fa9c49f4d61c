//! Heartbeats: the broker asks, the client's message handler answers, because a browser's script sees no WebSocket
//! pings and a hidden page's timers are throttled.

use carillon_wire::Id;
use tokio::time::{Duration, Instant};

/// The heartbeats of one connection.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    interval: Duration,
    due: Instant,
    number: u32,
    is_answered: bool,
    /// The client could not have answered: it was not read from, or what was sent to it could not leave.
    is_excused: bool,
}

/// What is to be done when a heartbeat is due.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Ask with this number.
    Ask(Id),
    /// The last one was not answered.
    TimedOut,
}

impl Heartbeat {
    pub(crate) fn new(interval: Duration, now: Instant) -> Self {
        Self { interval, due: now + interval, number: 0, is_answered: true, is_excused: false }
    }

    pub(crate) fn due(&self) -> Instant {
        self.due
    }

    /// The client answered. Only the number that was asked last counts.
    pub(crate) fn answered(&mut self, number: Id) {
        self.is_answered |= number == Id::from(self.number);
    }

    /// Since the last heartbeat the broker itself has held the connection up, so that a missing answer tells nothing.
    pub(crate) fn excuse(&mut self) {
        self.is_excused = true;
    }

    /// Call when `due` has come.
    pub(crate) fn on_due(&mut self, now: Instant) -> Due {
        if !self.is_answered && !self.is_excused {
            return Due::TimedOut;
        }
        self.due = now + self.interval;
        self.is_excused = false;
        self.is_answered = false;
        self.number = self.number.wrapping_add(1);
        Due::Ask(Id::from(self.number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(25);

    fn asked(heartbeat: &mut Heartbeat, now: Instant) -> Id {
        match heartbeat.on_due(now) {
            Due::Ask(number) => number,
            Due::TimedOut => panic!("timed out"),
        }
    }

    #[test]
    fn an_answered_heartbeat_is_followed_by_the_next() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(INTERVAL, start);
        let first = asked(&mut heartbeat, start + INTERVAL);
        heartbeat.answered(first);
        assert_eq!(heartbeat.due(), start + 2 * INTERVAL);
        assert_ne!(asked(&mut heartbeat, start + 2 * INTERVAL), first);
    }

    #[test]
    fn silence_or_an_old_number_is_no_answer() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(INTERVAL, start);
        let first = asked(&mut heartbeat, start);
        heartbeat.answered(first);
        asked(&mut heartbeat, start);
        heartbeat.answered(first);
        assert_eq!(heartbeat.on_due(start), Due::TimedOut);
    }

    #[test]
    fn what_the_broker_held_up_itself_is_excused_once() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(INTERVAL, start);
        asked(&mut heartbeat, start);
        heartbeat.excuse();
        asked(&mut heartbeat, start);
        assert_eq!(heartbeat.on_due(start), Due::TimedOut);
    }
}
