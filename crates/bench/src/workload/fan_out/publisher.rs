//! A publisher: writes what is due, when it is due.

use std::{convert::Infallible, io, sync::Arc};

use tokio::sync::watch;

use super::{part::Part, worker::Worker};
use crate::{
    Dialect, Framing, Heard, Order, Pace,
    clock::now_ns,
    connection::Connection,
    pace::Schedule,
    stamp::{self, Stamp},
    timer::Timer,
};

/// A publisher wakes up no more often.
const TURN_NS: u64 = 1_000_000;
/// What it writes in one turn at most, so that subscribers of its thread get their turn.
const TURN_BYTES: usize = 128 << 10;

/// Goes through one part after the other, until the connection is lost.
pub(super) async fn publish<D: Dialect>(
    worker: &Worker<D>,
    number: usize,
    connection: &mut Connection<D>,
    mut parts: watch::Receiver<Option<Arc<Part>>>,
) -> io::Result<Infallible> {
    let mut timer = Timer::new()?;
    loop {
        tokio::select! {
            turn = connection.turn(answered(worker)) => turn?,
            // The sender lives as long as the thread.
            _ = parts.changed() => {
                let part = parts.borrow_and_update().clone();
                if let Some(part) = part {
                    Publisher::new(worker, number, connection, &part).run(&mut timer).await?;
                }
            }
        }
    }
}

fn answered<D: Dialect>(worker: &Worker<D>) -> impl FnMut(u64, Heard<'_>) -> io::Result<()> {
    |_, heard| {
        if let Heard::Refused(_, reason) = heard {
            worker.opener.load().count_refused(reason);
        }
        Ok(())
    }
}

/// A publisher in one part.
struct Publisher<'a, D> {
    worker: &'a Worker<D>,
    dialect: D,
    number: u64,
    connection: &'a mut Connection<D>,
    part: &'a Part,
    /// Of its own publications, the next one.
    next: u64,
    /// So many in this part.
    total: u64,
    payload: Vec<u8>,
    message: Vec<u8>,
}

impl<'a, D: Dialect> Publisher<'a, D> {
    fn new(worker: &'a Worker<D>, number: usize, connection: &'a mut Connection<D>, part: &'a Part) -> Self {
        let number = number as u64;
        Self {
            worker,
            dialect: worker.opener.load().dialect.clone(),
            number,
            connection,
            part,
            next: 0,
            total: part.plan.of_publisher(number),
            payload: vec![0; part.payload_bytes],
            message: Vec::new(),
        }
    }

    async fn run(mut self, timer: &mut Timer) -> io::Result<()> {
        match self.part.pace {
            Pace::PerSecond(per_second) => {
                if self.order(per_second) {
                    return Ok(());
                }
                self.open_loop(per_second, timer).await
            }
            Pace::Saturated { window } => {
                let start_ns = self.part.start_ns;
                self.turns_until(timer.until(start_ns)).await??;
                self.saturate(window).await
            }
        }
    }

    /// Has the server publish by itself, where it can.
    fn order(&mut self, per_second: f64) -> bool {
        #[allow(clippy::cast_precision_loss, reason = "no run has so many topics")]
        let topics = self.part.plan.topics as f64;
        for (index, topic) in self.worker.topics.iter().enumerate() {
            #[allow(clippy::cast_precision_loss, reason = "no run has so many topics")]
            let offset = std::time::Duration::from_secs_f64(index as f64 / per_second);
            let start_at_ns = self.part.start_ns + u64::try_from(offset.as_nanos()).unwrap_or(0);
            let order = Order {
                topic,
                messages: self.part.plan.messages,
                per_second: per_second / topics,
                payload_bytes: self.part.payload_bytes,
                start_at_ns,
            };
            self.message.clear();
            if !self.dialect.order(&order, &mut self.message) {
                return false;
            }
            self.connection.queue(&self.message);
        }
        self.part.has_published(self.part.plan.total());
        true
    }

    /// Publishes what is due when it is due. Where the broker does not take it, what becomes due meanwhile keeps its time.
    async fn open_loop(mut self, per_second: f64, timer: &mut Timer) -> io::Result<()> {
        let schedule = Schedule::new(self.part.start_ns, per_second, self.number, self.part.plan.publishers);
        let due = |index| schedule.due_ns(index);
        // What was due before this time waited for the broker, not for the load.
        let mut held_back_until_ns = 0;
        while self.next < self.total {
            let now_ns = now_ns();
            let (first, mut is_flushed) = (self.next, true);
            while self.next < self.total && due(self.next) <= now_ns && self.connection.queued_bytes() < TURN_BYTES {
                let due_ns = due(self.next);
                if due_ns >= held_back_until_ns {
                    self.worker.tally.borrow_mut().lag.record(now_ns - due_ns);
                }
                self.queue(due_ns);
            }
            if self.next > first {
                self.part.has_published(self.next - first);
                is_flushed = self.flush()?;
            }
            if !is_flushed {
                held_back_until_ns = self.wait_until_flushed().await?;
            } else if self.next >= self.total {
                // Nothing is due any more, and the next part may be about to begin.
                return Ok(());
            } else if due(self.next) <= now_ns {
                tokio::task::yield_now().await;
            } else {
                let wake_ns = due(self.next).max(now_ns + TURN_NS);
                self.turns_until(timer.until(wake_ns)).await??;
            }
        }
        Ok(())
    }

    /// Publishes as much as subscribers have room for.
    async fn saturate(mut self, window: u64) -> io::Result<()> {
        let part = self.part;
        while self.next < self.total {
            let mut room = self.turns_until(part.wait_for_room(window)).await?;
            let first = self.next;
            let now_ns = now_ns();
            while self.next < self.total && room > 0 && self.connection.queued_bytes() < TURN_BYTES {
                self.queue(now_ns);
                room -= 1;
            }
            part.has_published(self.next - first);
            if !self.flush()? {
                self.wait_until_flushed().await?;
            }
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Queues its next publication.
    fn queue(&mut self, due_ns: u64) {
        let (topic, number) = self.part.plan.place(self.number, self.next);
        self.next += 1;
        let topic = usize::try_from(topic).ok().and_then(|topic| self.worker.topics.get(topic));
        let publisher = u16::try_from(self.number).unwrap_or(u16::MAX);
        stamp::write(&mut self.payload, Stamp { due_ns, publisher, number });
        if self.part.framing == Framing::Each {
            self.message.clear();
        }
        self.dialect.publish(topic.map_or("", String::as_str), &self.payload, &mut self.message);
        if self.part.framing == Framing::Each || self.message.len() >= TURN_BYTES {
            self.connection.queue(&self.message);
            self.message.clear();
        }
    }

    fn flush(&mut self) -> io::Result<bool> {
        if !self.message.is_empty() {
            self.connection.queue(&self.message);
            self.message.clear();
        }
        self.connection.flush()
    }

    /// Waits until the socket has taken all, and tells when that was.
    async fn wait_until_flushed(&mut self) -> io::Result<u64> {
        while !self.connection.flush()? {
            self.connection.turn(answered(self.worker)).await?;
        }
        Ok(now_ns())
    }

    /// Reads what comes until something else is over.
    async fn turns_until<T>(&mut self, over: impl Future<Output = T>) -> io::Result<T> {
        let mut over = std::pin::pin!(over);
        loop {
            tokio::select! {
                result = &mut over => return Ok(result),
                turn = self.connection.turn(answered(self.worker)) => turn?,
            }
        }
    }
}
