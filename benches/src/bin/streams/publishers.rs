//! Connections that publish, and count what is acknowledged.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    io::{self, Error},
    rc::Rc,
    time::{Duration, Instant},
};

use carillon_benches::{
    broker::Broker,
    connection::{Connection, Target},
    histogram::Histogram,
};
use carillon_wire::{BrokerMessage, ClientMessage, Headers, Id, Topic, client_message::Publish};
use tokio::{task::JoinSet, time};

use crate::meter::{Cost, Meter};

/// Topics are taken in this stride, so that neighbours in time are not neighbours in name.
const STRIDE: usize = 7919;
/// Before anything is measured.
const WARM_UP: Duration = Duration::from_secs(1);

/// What is published.
pub(crate) struct Plan {
    /// Where.
    pub(crate) target: Target,
    /// By how many.
    pub(crate) connections: usize,
    /// Each publication takes another.
    pub(crate) topics: Rc<[String]>,
    /// At least 8: the first eight bytes are when it was due, in nanoseconds from when the publishers began.
    pub(crate) payload_bytes: usize,
    /// Whether publications have ids.
    pub(crate) message_ids: bool,
    /// When.
    pub(crate) pace: Pace,
    /// How many at most, all connections together.
    pub(crate) count: u64,
}

/// When publications leave.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pace {
    /// When an earlier one was acknowledged: so many are in flight, all connections together.
    Closed { in_flight: usize },
    /// At times that were fixed before, whatever becomes of the earlier ones. Latencies count from these times.
    Open { per_second: f64 },
}

/// Connections that publish until they are ended.
pub(crate) struct Publishers {
    tasks: JoinSet<io::Result<()>>,
    tally: Rc<Tally>,
}

/// What was acknowledged while it was measured.
pub(crate) struct Run {
    /// How many.
    pub(crate) acknowledged: u64,
    /// How long each took.
    pub(crate) latencies: Histogram,
    /// What it cost.
    pub(crate) cost: Cost,
}

/// What publishers count together.
struct Tally {
    begun: Instant,
    /// Publications that may be sent yet.
    left: Cell<u64>,
    acknowledged: Cell<u64>,
    /// While it is measured.
    latencies: RefCell<Option<Histogram>>,
}

impl Publishers {
    /// Connects, and begins.
    pub(crate) async fn start(plan: Plan) -> io::Result<Self> {
        let mut connections = Vec::new();
        for number in 0..plan.connections {
            connections.push(plan.target.connect(number).await?);
        }
        let tally = Rc::new(Tally {
            begun: Instant::now(),
            left: Cell::new(plan.count),
            acknowledged: Cell::new(0),
            latencies: RefCell::new(None),
        });
        let (plan, mut tasks) = (Rc::new(plan), JoinSet::new());
        for (number, connection) in connections.into_iter().enumerate() {
            let publisher = Publisher {
                connection,
                number,
                in_flight: InFlight::default(),
                message: Vec::new(),
                payload: vec![b'x'; plan.payload_bytes],
                plan: Rc::clone(&plan),
                tally: Rc::clone(&tally),
            };
            tasks.spawn_local(publisher.run());
        }
        Ok(Self { tasks, tally })
    }

    /// When they began, which payloads count from.
    pub(crate) fn begun(&self) -> Instant {
        self.tally.begun
    }

    /// Lets them warm up, measures for some time, and ends them.
    pub(crate) async fn measure(self, broker: &Broker, seconds: f64) -> io::Result<Run> {
        time::sleep(WARM_UP).await;
        let meter = Meter::begin(broker)?;
        let before = self.tally.acknowledged.get();
        *self.tally.latencies.borrow_mut() = Some(Histogram::default());
        time::sleep(Duration::from_secs_f64(seconds)).await;
        let cost = meter.read(broker)?;
        let acknowledged = self.tally.acknowledged.get() - before;
        let latencies = self.tally.latencies.take().unwrap_or_default();
        self.tally.left.set(0);
        self.end().await?;
        Ok(Run { acknowledged, latencies, cost })
    }

    /// Waits until all that were to be sent are acknowledged.
    pub(crate) async fn end(mut self) -> io::Result<()> {
        while let Some(ended) = self.tasks.join_next().await {
            ended.map_err(Error::other)??;
        }
        Ok(())
    }
}

impl Run {
    /// Acknowledgements in each second.
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    pub(crate) fn rate(&self) -> f64 {
        self.acknowledged as f64 / self.cost.lasted.as_secs_f64()
    }
}

/// One connection that publishes.
struct Publisher {
    connection: Connection,
    number: usize,
    in_flight: InFlight,
    /// Publications that leave together.
    message: Vec<u8>,
    payload: Vec<u8>,
    plan: Rc<Plan>,
    tally: Rc<Tally>,
}

impl Publisher {
    async fn run(mut self) -> io::Result<()> {
        match self.plan.pace {
            Pace::Closed { in_flight } => self.run_closed((in_flight / self.plan.connections).max(1)).await,
            Pace::Open { per_second } => self.run_open(per_second).await,
        }
    }

    async fn run_closed(&mut self, window: usize) -> io::Result<()> {
        loop {
            let now = Instant::now();
            while self.in_flight.count < window && self.tally.take() {
                self.add(now)?;
            }
            self.send().await?;
            if self.in_flight.count == 0 {
                return Ok(());
            }
            self.read().await?;
        }
    }

    async fn run_open(&mut self, per_second: f64) -> io::Result<()> {
        #[expect(clippy::cast_precision_loss, reason = "numbers of connections are small")]
        let (each, first) = (
            Duration::from_secs_f64(self.plan.connections as f64 / per_second),
            Duration::from_secs_f64(self.number as f64 / per_second),
        );
        let mut due = self.tally.begun + first;
        loop {
            let now = Instant::now();
            while due <= now && self.tally.take() {
                self.add(due)?;
                due += each;
            }
            self.send().await?;
            let is_over = self.tally.left.get() == 0;
            if is_over && self.in_flight.count == 0 {
                return Ok(());
            }
            tokio::select! {
                read = self.read() => read?,
                () = time::sleep_until(due.into()), if !is_over => {}
            }
        }
    }

    /// Puts a publication among those that leave next.
    fn add(&mut self, due: Instant) -> io::Result<()> {
        let id = self.in_flight.add(due);
        let place = (id as usize).wrapping_mul(self.plan.connections).wrapping_add(self.number).wrapping_mul(STRIDE);
        let topic = self.plan.topics.get(place % self.plan.topics.len()).ok_or_else(|| Error::other("no topics"))?;
        let nanos = u64::try_from(due.saturating_duration_since(self.tally.begun).as_nanos()).unwrap_or(u64::MAX);
        if let Some(start) = self.payload.first_chunk_mut() {
            *start = nanos.to_be_bytes();
        }
        let message_id = self.plan.message_ids.then(|| format!("{:p}-{}-{id}", Rc::as_ptr(&self.tally), self.number));
        let publish = Publish {
            id: Some(Id::from(id)),
            topic: Topic::new(topic).map_err(Error::other)?,
            payload: &self.payload,
            headers: Headers::EMPTY,
            message_id: message_id.as_deref(),
            expected_sequence: None,
        };
        ClientMessage::Publish(publish).encode(&mut self.message);
        Ok(())
    }

    async fn send(&mut self) -> io::Result<()> {
        if !self.message.is_empty() {
            self.connection.send_encoded(&self.message).await?;
            self.message.clear();
        }
        Ok(())
    }

    /// Cancel safe.
    async fn read(&mut self) -> io::Result<()> {
        let (in_flight, tally, mut heartbeat) = (&mut self.in_flight, &self.tally, None);
        self.connection
            .read(|message| match message {
                BrokerMessage::Ok(ok) if ok.sequence.is_some() && !ok.is_duplicate => in_flight.end(ok.id, tally),
                BrokerMessage::Heartbeat(number) => {
                    heartbeat = Some(number);
                    Ok(())
                }
                other => Err(Error::other(format!("a publication was to be kept, and the broker said {other:?}"))),
            })
            .await?;
        match heartbeat {
            Some(number) => self.connection.answer(number).await,
            None => Ok(()),
        }
    }
}

impl Tally {
    /// Whether one more may be sent.
    fn take(&self) -> bool {
        let left = self.left.get();
        self.left.set(left.saturating_sub(1));
        left > 0
    }
}

/// When the publications were due that are not acknowledged yet.
#[derive(Default)]
struct InFlight {
    /// From the oldest that is not acknowledged; none for those behind it that are.
    due: VecDeque<Option<Instant>>,
    /// Requests before the first of these. The next request has one more than all.
    before: u32,
    count: usize,
}

impl InFlight {
    /// One more, and its request's id.
    fn add(&mut self, due: Instant) -> u32 {
        self.due.push_back(Some(due));
        self.count += 1;
        u32::try_from(self.due.len()).unwrap_or(u32::MAX).wrapping_add(self.before)
    }

    fn end(&mut self, id: Id, tally: &Tally) -> io::Result<()> {
        let place = u32::try_from(id.get()).ok().and_then(|id| id.checked_sub(self.before + 1));
        let due = place.and_then(|place| self.due.get_mut(place as usize)?.take());
        let due =
            due.ok_or_else(|| Error::other(format!("publication {id:?} was acknowledged, and is not in flight")))?;
        self.count -= 1;
        tally.acknowledged.set(tally.acknowledged.get() + 1);
        if let Some(latencies) = tally.latencies.borrow_mut().as_mut() {
            latencies.record(due.elapsed());
        }
        while let Some(None) = self.due.front() {
            self.due.pop_front();
            self.before += 1;
        }
        Ok(())
    }
}
