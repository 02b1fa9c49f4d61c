//! Reading a stream from its beginning.

use std::{
    cell::RefCell,
    io,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::task::spawn_local;

use serde::Serialize;

use crate::{
    Dialect, Framing, Heard, Publish, Role, Run, RunError, Tickets,
    check::{Checked, Checker},
    clock::now_ns,
    connection::{Connection, Opener},
    crew::Crew,
    latency::Latencies,
    load::Load,
    meter::Meter,
    outcome::{Deliveries, ReplayOutcome},
    workload::{
        opening::open_many,
        publish::Published,
        watching::{Watch, per_second, watched},
    },
};

/// After the last delivery that was expected, so that one which comes twice is seen.
const GRACE: Duration = Duration::from_millis(100);
/// So many publications wait for their acknowledgement while the stream is filled.
const FILLING_IN_FLIGHT: usize = 1024;

/// Publishes messages that a stream keeps, and then reads them from its beginning.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Replay {
    /// Readers, each of which reads all; at least 1.
    pub readers: usize,
    /// Messages that are published before; at least 1.
    pub messages: u64,
    /// Size of each payload, at least [`STAMP_BYTES`](crate::stamp::STAMP_BYTES).
    pub payload_bytes: usize,
}

impl Default for Replay {
    fn default() -> Self {
        Self { readers: 1, messages: 100_000, payload_bytes: 128 }
    }
}

/// The readers of one thread.
struct Readers<D> {
    thread: usize,
    opener: Opener<D>,
    ready: RefCell<Vec<Connection<D>>>,
    tally: RefCell<(Checked, Latencies)>,
}

/// What all readers read, and how far they are.
struct Reading {
    topic: String,
    messages: u64,
    start_ns: u64,
    delivered: AtomicU64,
    last_ns: AtomicU64,
}

impl Replay {
    /// Runs it: fills the stream, which is not measured, and then has all readers begin at once.
    pub async fn run<D: Dialect>(&self, run: &Run<'_, D>) -> Result<ReplayOutcome, RunError> {
        if self.readers == 0 {
            return Err(RunError::Settings("there must be at least one reader".to_owned()));
        }
        if !run.dialect.subscribe_from_beginning("a", 1, &mut Vec::new()) {
            return Err(RunError::Unsupported { dialect: run.dialect.name(), what: "streams to replay" });
        }
        let load = Load::new(run, Tickets::Never);
        let topic = load.topic(0_u64);
        self.fill(run, &load, &topic).await?;
        load.forget_handshakes();

        let crew = {
            let load = Arc::clone(&load);
            let make = move |thread| Readers {
                thread,
                opener: Opener::new(load),
                ready: RefCell::default(),
                tally: RefCell::new((Checked::default(), Latencies::new())),
            };
            Crew::start(run.threads.max(1), make).await?
        };
        let meter = Meter::new(run.server, crew.thread_ids())?;
        let count = self.readers;
        let opening = crew.each(move |readers| readers.open(count));
        let opening = watched(opening, run.progress, "connected", count as u64, || load.opened());
        opening.await?.into_iter().collect::<Result<(), _>>()?;

        let expected = self.messages * count as u64;
        let before = meter.read()?;
        let reading = Arc::new(Reading {
            topic,
            messages: self.messages,
            start_ns: now_ns(),
            delivered: AtomicU64::new(0),
            last_ns: AtomicU64::new(0),
        });
        let beginning = Arc::clone(&reading);
        crew.each(|readers| async move { readers.begin(&beginning) }).await?;
        let (patience, scheduled) = (load.patience, Duration::ZERO);
        let watch = Watch { progress: run.progress, what: "replayed", of: expected, patience, scheduled };
        watch.until_done(|| reading.delivered.load(Ordering::Relaxed), || load.lost()).await;
        let used = meter.since(&before)?;
        tokio::time::sleep(GRACE).await;

        let (mut checked, mut caught_up) = (Checked::default(), Latencies::new());
        for (thread_checked, thread_caught_up) in crew.each(|readers| async move { readers.result() }).await? {
            checked.add(thread_checked);
            caught_up.add(&thread_caught_up);
        }
        let mut common = load.common();
        let last_ns = reading.last_ns.load(Ordering::Relaxed);
        common.seconds = Duration::from_nanos(last_ns.saturating_sub(reading.start_ns)).as_secs_f64();
        let server_ns_for_each_delivery = used.server_ns_for_each(checked.delivered);
        used.tell(&mut common, None, 0.0);
        Ok(ReplayOutcome {
            deliveries: Deliveries::new(expected, checked, 0),
            delivered_per_second: per_second(checked.delivered, common.seconds),
            caught_up: caught_up.quantiles(),
            server_ns_for_each_delivery,
            common,
        })
    }

    async fn fill<D: Dialect>(&self, run: &Run<'_, D>, load: &Arc<Load<D>>, topic: &str) -> Result<(), RunError> {
        let filling = Publish {
            connections: 1,
            in_flight: FILLING_IN_FLIGHT,
            messages: self.messages,
            payload_bytes: self.payload_bytes,
            framing: Framing::Together,
            ..Publish::default()
        };
        let Published { sending, .. } = filling.publish(run, load, [topic.to_owned()].into(), "published").await?;
        if sending.progress.kept() == self.messages {
            return Ok(());
        }
        let reasons = load.common().reasons;
        if !reasons.is_empty() {
            return Err(RunError::NotFilled(reasons.join("; ")));
        }
        let missing = format!("{} of {} messages were kept", sending.progress.kept(), self.messages);
        Err(if sending.progress.kept() == 0 {
            RunError::NothingKept { topic: topic.to_owned() }
        } else {
            RunError::NotFilled(missing)
        })
    }
}

impl<D: Dialect> Readers<D> {
    async fn open(self: Rc<Self>, readers: usize) -> Result<(), RunError> {
        let numbers = (self.thread..readers).step_by(self.opener.load().threads);
        let open = async |opener: Opener<D>, (): (), number: usize| {
            let topic = opener.load().topic(0_u64);
            opener.open(number, Role::Subscriber { topic: &topic }).await
        };
        open_many(&self.opener, (), numbers, open, |_, connection| self.ready.borrow_mut().push(connection)).await
    }

    fn begin(self: &Rc<Self>, reading: &Arc<Reading>) {
        for mut connection in self.ready.take() {
            let (readers, reading) = (Rc::clone(self), Arc::clone(reading));
            spawn_local(async move {
                let mut checker = Checker::new(1, 0);
                // A lost connection is one way to end; the thread's own end is the other, and then all is counted.
                let Err(error) = readers.read(&reading, &mut connection, &mut checker).await;
                readers.opener.load().count_lost(&error);
            });
        }
    }

    /// Subscribes, and reads until the connection is lost.
    async fn read(
        &self,
        reading: &Reading,
        connection: &mut Connection<D>,
        checker: &mut Checker,
    ) -> io::Result<std::convert::Infallible> {
        let (mut message, request) = (Vec::new(), connection.next_request());
        self.opener.load().dialect.subscribe_from_beginning(&reading.topic, request, &mut message);
        connection.queue(&message);
        let mut has_all = false;
        loop {
            connection.wait().await?;
            let (before, mut last_ns) = (checker.checked(), 0);
            connection.read(&mut |now_ns, heard| {
                match heard {
                    Heard::Delivery(payload) => {
                        checker.take(payload);
                        last_ns = now_ns;
                    }
                    Heard::Gap(messages) => checker.told_lost(messages),
                    Heard::Refused(_, reason) => {
                        self.opener.load().count_refused(reason);
                    }
                    _ => {}
                }
                Ok(())
            })?;
            let mut tally = self.tally.borrow_mut();
            tally.0.add(checker.checked().since(before));
            if checker.checked().delivered == reading.messages && !has_all {
                has_all = true;
                tally.1.record(last_ns.saturating_sub(reading.start_ns));
            }
            reading.delivered.fetch_add(checker.checked().delivered - before.delivered, Ordering::Relaxed);
            reading.last_ns.fetch_max(last_ns, Ordering::Relaxed);
        }
    }

    fn result(&self) -> (Checked, Latencies) {
        self.tally.replace((Checked::default(), Latencies::new()))
    }
}
