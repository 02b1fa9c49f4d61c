//! One part of a run, the warm-up or what is measured, as all threads see it.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

use super::plan::Plan;
use crate::{Framing, Pace};

/// What is published in a part, and how far it is.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) plan: Plan,
    pub(super) pace: Pace,
    pub(super) framing: Framing,
    pub(super) payload_bytes: usize,
    /// When the first publication is due.
    pub(super) start_ns: u64,
    /// By subscriber: how many messages it has got.
    received: Box<[AtomicU64]>,
    /// When the last delivery came.
    last_ns: AtomicU64,
    /// Publications that were handed to a connection.
    published: AtomicU64,
    /// Publishers that wait for subscribers.
    waiting: AtomicU64,
    room: Notify,
}

impl Part {
    pub(super) fn new(plan: Plan, pace: Pace, framing: Framing, payload_bytes: usize, start_ns: u64) -> Self {
        Self {
            plan,
            pace,
            framing,
            payload_bytes,
            start_ns,
            received: (0..plan.subscribers).map(|_| AtomicU64::new(0)).collect(),
            last_ns: AtomicU64::new(start_ns),
            published: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            room: Notify::new(),
        }
    }

    /// A subscriber has got so many by now.
    pub(super) fn has_got(&self, subscriber: usize, messages: u64, now_ns: u64) {
        if let Some(received) = self.received.get(subscriber) {
            received.store(messages, Ordering::SeqCst);
        }
        self.last_ns.fetch_max(now_ns, Ordering::Relaxed);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.room.notify_waiters();
        }
    }

    pub(super) fn has_published(&self, messages: u64) {
        self.published.fetch_add(messages, Ordering::Relaxed);
    }

    pub(super) fn published(&self) -> u64 {
        self.published.load(Ordering::Relaxed)
    }

    /// Deliveries so far.
    pub(super) fn delivered(&self) -> u64 {
        self.received.iter().map(|received| received.load(Ordering::Relaxed)).sum()
    }

    pub(super) fn last_ns(&self) -> u64 {
        self.last_ns.load(Ordering::Relaxed)
    }

    /// How many more may be published so that at most `window` are on their way which not every subscriber has.
    fn room(&self, window: u64) -> u64 {
        let topics = usize::try_from(self.plan.topics).unwrap_or(usize::MAX);
        let slowest = |topic| {
            let readers = self.received.iter().skip(topic).step_by(topics);
            readers.map(|received| received.load(Ordering::SeqCst)).min().unwrap_or(0)
        };
        let everywhere: u64 = (0..topics).map(slowest).sum();
        (window + everywhere).saturating_sub(self.published())
    }

    /// Waits until one of several publishers may publish more, and returns how much.
    pub(super) async fn wait_for_room(&self, window: u64) -> u64 {
        // One wake-up for each message would be the load's work, not the broker's.
        let worth_it = (window / 8).max(1);
        let share = |room: u64| (room / self.plan.publishers).max(1);
        loop {
            let room = self.room(window);
            if room >= worth_it {
                return share(room);
            }
            let _waits = Waits::new(&self.waiting);
            let mut woken = std::pin::pin!(self.room.notified());
            woken.as_mut().enable();
            // A subscriber that saw nobody wait may have made room since.
            if self.room(window) < worth_it {
                woken.await;
            }
        }
    }
}

/// Counts a publisher that waits, until it does not or is given up.
struct Waits<'a>(&'a AtomicU64);

impl<'a> Waits<'a> {
    fn new(waiting: &'a AtomicU64) -> Self {
        waiting.fetch_add(1, Ordering::SeqCst);
        Self(waiting)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(topics: u64, subscribers: u64) -> Part {
        let plan = Plan { topics, subscribers, publishers: 1, messages: 100 };
        Part::new(plan, Pace::Saturated { window: 8 }, Framing::Each, 16, 1)
    }

    #[test]
    fn slowest_subscriber_decides() {
        let part = part(1, 3);
        part.has_published(8);
        assert_eq!(part.room(8), 0);
        part.has_got(0, 8, 2);
        part.has_got(1, 5, 2);
        assert_eq!(part.room(8), 0);
        part.has_got(2, 3, 2);
        assert_eq!(part.room(8), 3);
    }

    #[test]
    fn topics_add_up() {
        let part = part(2, 4);
        part.has_published(6);
        for (subscriber, messages) in [(0, 3), (1, 1), (2, 2), (3, 3)] {
            part.has_got(subscriber, messages, 2);
        }
        assert_eq!(part.room(8), 8 + 2 + 1 - 6);
        assert_eq!((part.delivered(), part.last_ns()), (9, 2));
    }

    #[tokio::test]
    async fn publisher_waits_for_a_subscriber() {
        let part = part(1, 1);
        part.has_published(8);
        let mut room = std::pin::pin!(part.wait_for_room(8));
        tokio::select! {
            biased;
            _ = room.as_mut() => panic!("there is no room"),
            () = std::future::ready(()) => {}
        }
        part.has_got(0, 5, 2);
        assert_eq!(room.await, 5);
        assert_eq!(part.waiting.load(Ordering::SeqCst), 0);
    }
}
