//! Connections that publish and wait for acknowledgements.

use std::{
    cell::RefCell,
    io,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::task::spawn_local;

use super::flight::Flight;
use crate::{
    Dialect, Framing, Heard, Role, RunError,
    clock::now_ns,
    connection::{Connection, Opener},
    latency::Tally,
    pace::Schedule,
    stamp::{self, Stamp},
    timer::Timer,
    workload::opening::open_many,
};

/// What is written in one turn at most.
const TURN_BYTES: usize = 128 << 10;
/// With a pace, a connection wakes up no more often.
const TURN_NS: u64 = 1_000_000;

/// What is published, and how far it is.
#[derive(Debug)]
pub(in crate::workload) struct Sending {
    pub(in crate::workload) topics: Arc<[String]>,
    pub(in crate::workload) connections: u64,
    /// Of all connections together.
    pub(in crate::workload) messages: u64,
    pub(in crate::workload) in_flight: usize,
    pub(in crate::workload) per_second: Option<f64>,
    pub(in crate::workload) payload_bytes: usize,
    pub(in crate::workload) framing: Framing,
    pub(in crate::workload) start_ns: u64,
    pub(in crate::workload) progress: Sent,
}

/// How far it is.
#[derive(Debug, Default)]
pub(in crate::workload) struct Sent {
    acknowledged: AtomicU64,
    kept: AtomicU64,
    last_ns: AtomicU64,
}

impl Sent {
    pub(in crate::workload) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Those that a stream keeps.
    pub(in crate::workload) fn kept(&self) -> u64 {
        self.kept.load(Ordering::Relaxed)
    }

    /// When the last acknowledgement came.
    pub(in crate::workload) fn last_ns(&self) -> u64 {
        self.last_ns.load(Ordering::Relaxed)
    }

    fn add(&self, batch: &Batch) {
        self.acknowledged.fetch_add(batch.acknowledged, Ordering::Relaxed);
        self.kept.fetch_add(batch.kept, Ordering::Relaxed);
        self.last_ns.fetch_max(batch.last_ns, Ordering::Relaxed);
    }
}

/// What one read brought.
#[derive(Default)]
struct Batch {
    acknowledged: u64,
    kept: u64,
    last_ns: u64,
}

/// The connections of one thread.
pub(in crate::workload) struct Senders<D> {
    thread: usize,
    opener: Opener<D>,
    ready: RefCell<Vec<(usize, Connection<D>)>>,
    tally: RefCell<Tally>,
}

impl<D: Dialect> Senders<D> {
    pub(in crate::workload) fn new(thread: usize, opener: Opener<D>) -> Self {
        Self { thread, opener, ready: RefCell::default(), tally: RefCell::default() }
    }

    /// Opens this thread's share.
    pub(in crate::workload) async fn open(
        self: Rc<Self>,
        connections: usize,
        topics: Arc<[String]>,
    ) -> Result<(), RunError> {
        let numbers = (self.thread..connections).step_by(self.opener.load().threads);
        let open = async |opener: Opener<D>, topics: Arc<[String]>, number: usize| {
            let topic = topics.get(number % topics.len()).map_or("", String::as_str);
            opener.open(number, Role::Publisher { topic }).await
        };
        open_many(&self.opener, topics, numbers, open, |number, connection| {
            self.ready.borrow_mut().push((number, connection));
        })
        .await
    }

    /// Has all connections begin.
    pub(in crate::workload) fn begin(self: &Rc<Self>, sending: &Arc<Sending>) {
        for (number, connection) in self.ready.take() {
            let (senders, sending) = (Rc::clone(self), Arc::clone(sending));
            spawn_local(async move {
                if let Err(error) = Sender::new(&senders, &sending, number, connection).run().await {
                    senders.opener.load().count_lost(&error);
                }
            });
        }
    }

    pub(in crate::workload) fn result(&self) -> Tally {
        self.tally.take()
    }
}

/// One connection that publishes.
struct Sender<'a, D> {
    senders: &'a Senders<D>,
    sending: &'a Sending,
    dialect: D,
    number: u64,
    connection: Connection<D>,
    flight: Flight,
    /// Of its own publications, the next one.
    next: u64,
    /// So many.
    total: u64,
    payload: Vec<u8>,
    message: Vec<u8>,
}

impl<'a, D: Dialect> Sender<'a, D> {
    fn new(senders: &'a Senders<D>, sending: &'a Sending, number: usize, connection: Connection<D>) -> Self {
        let number = number as u64;
        Self {
            senders,
            sending,
            dialect: senders.opener.load().dialect.clone(),
            number,
            connection,
            flight: Flight::default(),
            next: 0,
            total: (sending.messages + sending.connections - 1).saturating_sub(number) / sending.connections,
            payload: vec![0; sending.payload_bytes],
            message: Vec::new(),
        }
    }

    /// Publishes its share, and waits for all answers.
    async fn run(mut self) -> io::Result<()> {
        let Sending { start_ns, per_second, connections, in_flight, .. } = *self.sending;
        let schedule = per_second.map(|per_second| Schedule::new(start_ns, per_second, self.number, connections));
        let mut timer = Timer::new()?;
        // What was due before this time waited for the broker, not for the load.
        let mut held_back_until_ns = 0;
        while self.next < self.total || self.flight.room(in_flight) < in_flight {
            let now_ns = now_ns();
            self.queue_due(schedule.as_ref(), now_ns, held_back_until_ns);
            let is_flushed = self.flush()?;
            let is_held_back = !is_flushed || self.flight.room(in_flight) == 0;
            let wake_ns = match schedule {
                _ if is_held_back || self.next >= self.total => None,
                Some(schedule) => Some(schedule.due_ns(self.next).max(now_ns + TURN_NS)),
                None => Some(now_ns),
            };
            self.turn(wake_ns, &mut timer).await?;
            if is_held_back {
                held_back_until_ns = crate::clock::now_ns();
            }
        }
        Ok(())
    }

    fn queue_due(&mut self, schedule: Option<&Schedule>, now_ns: u64, held_back_until_ns: u64) {
        while self.next < self.total
            && self.flight.room(self.sending.in_flight) > 0
            && self.connection.queued_bytes() < TURN_BYTES
        {
            let due_ns = schedule.map_or(now_ns, |schedule| schedule.due_ns(self.next));
            if due_ns > now_ns {
                return;
            }
            if schedule.is_some() && due_ns >= held_back_until_ns {
                self.senders.tally.borrow_mut().lag.record(now_ns - due_ns);
            }
            self.queue(due_ns);
        }
    }

    fn queue(&mut self, due_ns: u64) {
        let topics = self.sending.topics.len() as u64;
        let topic = usize::try_from((self.number + self.next) % topics).ok();
        let topic = topic.and_then(|topic| self.sending.topics.get(topic)).map_or("", String::as_str);
        let publisher = u16::try_from(self.number).unwrap_or(u16::MAX);
        stamp::write(&mut self.payload, Stamp { due_ns, publisher, number: self.next / topics });
        self.next += 1;
        let request = self.connection.next_request();
        if self.dialect.publish_acknowledged(topic, &self.payload, request, &mut self.message) {
            self.flight.add(request, due_ns);
        }
        if self.sending.framing == Framing::Each || self.message.len() >= TURN_BYTES {
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

    /// Waits until answers came, or until a time.
    async fn turn(&mut self, wake_ns: Option<u64>, timer: &mut Timer) -> io::Result<()> {
        let Self { connection, flight, senders, sending, .. } = self;
        let mut batch = Batch::default();
        let answered = |now_ns, heard: Heard<'_>| {
            let (request, is_kept) = match heard {
                Heard::Done(request) => (request, false),
                Heard::Kept(request) => (request, true),
                Heard::Refused(request, reason) => {
                    senders.opener.load().count_refused(reason);
                    flight.take(request);
                    return Ok(());
                }
                _ => return Ok(()),
            };
            if let Some(due_ns) = flight.take(request) {
                senders.tally.borrow_mut().latencies.record(now_ns - due_ns.min(now_ns));
                batch.acknowledged += 1;
                batch.kept += u64::from(is_kept);
                batch.last_ns = now_ns;
            }
            Ok(())
        };
        tokio::select! {
            turn = connection.turn(answered) => turn?,
            woken = timer.until(wake_ns.unwrap_or_default()), if wake_ns.is_some() => woken?,
        }
        sending.progress.add(&batch);
        Ok(())
    }
}
