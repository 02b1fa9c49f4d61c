//! Writing what a turn has put into outboxes: connection after connection, in passes, without waking their tasks.
//!
//! A write costs the kernel several microseconds, whether it carries one delivery or thirty. So while deliveries come
//! faster than single writes would be over, a pass waits a little for more to the same connections: [`Batching`].

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use carillon_router::ConnectionKey;
use tokio::{
    sync::Notify,
    task::{unconstrained, yield_now},
    time::{Duration, Instant, timeout_at},
};

use super::Shard;

/// Writes before the shard looks at the network again.
const WRITES_FOR_EACH_TURN: usize = 64;
/// A pass that took some time is followed by so many times that for others' work, before the next one with little in it.
const DELAY_FOR_EACH_PASS: u32 = 3;

/// Connections that something waits for, and tasks that wait for that to be written.
#[derive(Default)]
pub(super) struct Outgoing {
    ready: RefCell<Vec<ConnectionKey>>,
    /// The next pass waits for nothing more.
    is_pressing: Cell<bool>,
    /// Wakes those who go on when the next pass is over.
    behind: RefCell<Vec<Waker>>,
    changed: Notify,
}

impl Outgoing {
    /// Adds connections: `take` appends them, and tells whether the next pass is to wait for nothing more.
    pub(super) fn add(&self, take: impl FnOnce(&mut Vec<ConnectionKey>) -> bool) {
        let mut ready = self.ready.borrow_mut();
        let was_empty = ready.is_empty();
        let is_pressing = take(&mut ready);
        if !ready.is_empty() && was_empty {
            self.changed.notify_one();
        }
        drop(ready);
        if is_pressing {
            self.press();
        }
    }

    /// Whether the next pass waits for nothing more.
    pub(super) fn is_pressing(&self) -> bool {
        self.is_pressing.get()
    }

    fn press(&self) {
        if !self.is_pressing.replace(true) {
            self.changed.notify_one();
        }
    }

    /// Has a task polled again when what is ready now has been written. Where nothing is, once those had their turn for
    /// whom something has come from the network meanwhile: a task that only woke itself would be polled before the runtime
    /// looks there, which it does every so many polls.
    pub(super) fn wake_behind(&self, cx: &mut Context<'_>) {
        if self.ready.borrow().is_empty() {
            let deferred = pin!(yield_now()).poll(cx);
            debug_assert!(deferred.is_pending(), "yielding is never done at once");
        } else {
            self.behind.borrow_mut().push(cx.waker().clone());
            self.press();
        }
    }

    /// Takes all connections, once there are any and, until the given moment, they press. Then tells who goes on when they
    /// are written.
    async fn take(&self, until: impl FnOnce() -> Option<Instant>, into: &mut Vec<ConnectionKey>) -> Vec<Waker> {
        while self.ready.borrow().is_empty() {
            self.changed.notified().await;
        }
        if let Some(until) = until() {
            let pressing = async {
                while !self.is_pressing.get() {
                    self.changed.notified().await;
                }
            };
            let _ = timeout_at(until, pressing).await;
        }
        into.append(&mut self.ready.borrow_mut());
        self.is_pressing.set(false);
        std::mem::take(&mut self.behind.borrow_mut())
    }
}

/// Decides how long a pass waits.
#[derive(Debug)]
pub(super) struct Batching {
    longest: Duration,
    last: Option<Pass>,
}

/// What is known of a pass.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pass {
    pub(super) ended: Instant,
    /// How long its writes took.
    pub(super) took: Duration,
    pub(super) connections: usize,
    /// Deliveries and whatever else was written.
    pub(super) messages: u64,
    /// Connections that the pass before had too.
    pub(super) again: usize,
}

impl Batching {
    pub(super) fn new(longest: Duration) -> Self {
        Self { longest, last: None }
    }

    pub(super) fn note(&mut self, pass: Pass) {
        self.last = Some(pass);
    }

    /// The moment before which a pass does not begin, where that is in the future: with it, the last one and this one
    /// would probably be one.
    pub(super) fn wait_until(&self, now: Instant) -> Option<Instant> {
        let last = self.last?;
        let came_together = last.messages * 2 >= last.connections as u64 * 3;
        let come_again = last.again * 2 >= last.connections && now < last.ended + self.longest;
        let delay = (last.took * DELAY_FOR_EACH_PASS).min(self.longest);
        (came_together || come_again).then_some(last.ended + delay).filter(|until| *until > now)
    }
}

/// Runs the passes of a shard, as long as it lives.
pub(super) async fn run(shard: Rc<Shard>) {
    // Each connection's share of a turn is for itself: what one has written is not held against the next.
    unconstrained(async {
        let mut batching = Batching::new(shard.settings.deadlines.batch);
        let mut keys = Vec::new();
        let mut number = 0_u32;
        loop {
            let behind = shard.outgoing.take(|| batching.wait_until(Instant::now()), &mut keys).await;
            number = number.wrapping_add(1);
            batching.note(pass(&shard, &mut keys, number).await);
            behind.into_iter().for_each(Waker::wake);
        }
    })
    .await;
}

async fn pass(shard: &Shard, keys: &mut Vec<ConnectionKey>, number: u32) -> Pass {
    let mut pass = Pass { ended: Instant::now(), took: Duration::ZERO, connections: keys.len(), messages: 0, again: 0 };
    let before = shard.metrics.messages_delivered.get();
    for keys in keys.chunks(WRITES_FOR_EACH_TURN) {
        let began = Instant::now();
        pass.again += keys.iter().filter(|key| shard.write_out(**key, number)).count();
        pass.ended = Instant::now();
        pass.took += pass.ended - began;
        yield_now().await;
    }
    pass.messages = shard.metrics.messages_delivered.get() - before;
    keys.clear();
    pass
}

impl Shard {
    /// Goes on when what the turn before has given others to write is written, if that is much; else at least when they had
    /// their turn for whom something has come meanwhile. `has_more`: there is more where that came from.
    pub(super) async fn let_write(&self, has_more: bool) {
        if has_more || self.outgoing.is_pressing() {
            let mut is_over = false;
            poll_fn(|cx| {
                if std::mem::replace(&mut is_over, true) {
                    return Poll::Ready(());
                }
                self.outgoing.wake_behind(cx);
                Poll::Pending
            })
            .await;
        } else {
            yield_now().await;
        }
    }

    /// Writes what waits for a connection; whether the last pass had it too.
    fn write_out(&self, key: ConnectionKey, pass: u32) -> bool {
        let tasks = self.tasks.borrow();
        let Some(Some(task)) = tasks.get(key.index()) else { return false };
        let last_pass = task.last_pass.replace(pass);
        // Mail comes first, as it may be the reply to a subscription whose messages wait; taking it is the task's. And it may
        // be the connection whose turn it is.
        let is_done = task.mail.is_empty()
            && task
                .connection
                .try_borrow_mut()
                .is_ok_and(|mut connection| connection.write_out(&mut Context::from_waker(&task.waker)));
        if !is_done {
            task.waker.wake_by_ref();
        }
        last_pass.wrapping_add(1) == pass
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_millis(2);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// How long after its end the next pass waits, if somebody has something to get at once.
    fn delay_after(pass: impl FnOnce(&mut Pass)) -> Option<Duration> {
        let mut batching = Batching::new(LONGEST);
        let ended = Instant::now();
        let mut last = Pass { ended, took: ms(100), connections: 100, messages: 100, again: 0 };
        pass(&mut last);
        batching.note(last);
        batching.wait_until(ended).map(|until| until - ended)
    }

    #[test]
    fn the_first_pass_and_one_for_others_than_the_last_wait_for_nothing() {
        assert_eq!(Batching::new(LONGEST).wait_until(Instant::now()), None);
        assert_eq!(delay_after(|_| {}), None);
    }

    #[test]
    fn a_pass_waits_where_several_messages_come_for_each_or_the_same_come_again() {
        assert_eq!(delay_after(|pass| pass.messages = 150), Some(LONGEST));
        assert_eq!(delay_after(|pass| pass.again = 50), Some(LONGEST));
    }

    #[test]
    fn the_wait_is_no_longer_than_the_writes_are_dear() {
        let short = |pass: &mut Pass| (pass.messages, pass.took) = (1000, Duration::from_micros(200));
        assert_eq!(delay_after(short), Some(Duration::from_micros(600)));
    }

    #[test]
    fn nothing_waits_for_what_comes_too_seldom_to_meet() {
        let mut batching = Batching::new(LONGEST);
        let ended = Instant::now();
        batching.note(Pass { ended, took: ms(8), connections: 1000, messages: 1000, again: 1000 });
        assert_eq!(batching.wait_until(ended + ms(1)), Some(ended + LONGEST));
        assert_eq!(batching.wait_until(ended + LONGEST), None);
        assert_eq!(batching.wait_until(ended + ms(12)), None);
    }

    #[test]
    fn without_a_longest_delay_nothing_waits() {
        let mut batching = Batching::new(Duration::ZERO);
        let ended = Instant::now();
        batching.note(Pass { ended, took: ms(8), connections: 10, messages: 1000, again: 10 });
        assert_eq!(batching.wait_until(ended), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pass_waits_no_longer_where_an_outbox_presses() {
        let outgoing = Outgoing::default();
        let key = ConnectionKey::from_bits(1);
        let offer = |is_pressing| {
            outgoing.add(|ready| {
                ready.push(key);
                is_pressing
            });
        };
        let mut keys = Vec::new();
        offer(false);
        let began = Instant::now();
        outgoing.take(|| Some(began + ms(5)), &mut keys).await;
        assert_eq!((began.elapsed(), keys.len()), (ms(5), 1));

        offer(false);
        let began = Instant::now();
        let later = async {
            tokio::time::sleep(ms(2)).await;
            offer(true);
        };
        tokio::join!(outgoing.take(|| Some(began + ms(5)), &mut keys), later);
        assert_eq!((began.elapsed(), keys.len()), (ms(2), 3));

        offer(true);
        let began = Instant::now();
        outgoing.take(|| Some(began + ms(5)), &mut keys).await;
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
