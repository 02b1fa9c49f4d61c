//! The well-behaved pair: one publishes a hundred messages a second, the other receives them, and each message's time is
//! taken from the moment it was due. So a broker that holds the publisher up cannot hide it.

use std::{
    io::{self, Error},
    net::Ipv4Addr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use carillon_benches::connection::{Connection, Target};
use carillon_wire::BrokerMessage;
use tokio::{
    runtime::{Builder, Runtime},
    time::timeout_at,
};

use crate::site::PAIR_TOPIC;

/// Between two messages.
const EVERY: Duration = Duration::from_millis(10);
/// The publisher stops reading this long before a message is due: tokio's timers count milliseconds.
const EARLY: Duration = Duration::from_millis(2);
/// For what is still on its way at the end of a window, and for a newcomer to come in.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two newcomers.
const NEWCOMER_EVERY: Duration = Duration::from_millis(250);
/// Before a connection that was ended is made again.
const BEFORE_RETURN: Duration = Duration::from_millis(200);
/// Where the pair comes from, and where newcomers do; no attacker has these.
const PAIR_ADDRESS: Ipv4Addr = Ipv4Addr::LOCALHOST;
const NEWCOMER_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// What the pair has seen since it began.
#[derive(Debug, Default)]
struct Seen {
    /// When each message was due, and how long it took to come.
    messages: Vec<(Instant, Option<Duration>)>,
    accepted: u64,
    /// Why a connection of the pair ended, or what it was refused.
    incidents: Vec<String>,
    /// How long newcomers took until their welcome; none for those who were not let in.
    newcomers: Vec<Option<Duration>>,
}

/// The pair, and a newcomer every quarter of a second.
pub(crate) struct Pair {
    seen: Arc<Mutex<Seen>>,
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// What came of one window.
#[derive(Debug, Clone, Default)]
pub(crate) struct Window {
    /// Of each message that came.
    pub(crate) latencies: Vec<Duration>,
    /// Messages that did not come.
    pub(crate) lost: usize,
    /// What befell the pair.
    pub(crate) incidents: Vec<String>,
    /// Of each newcomer that was welcomed.
    pub(crate) newcomers: Vec<Duration>,
    /// Newcomers that were not.
    pub(crate) turned_away: usize,
}

/// Where a window begins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    messages: usize,
    incidents: usize,
    newcomers: usize,
}

/// One of them, in a thread of its own.
struct Member {
    runtime: Runtime,
    target: Target,
    token: String,
    seen: Arc<Mutex<Seen>>,
    is_over: Arc<AtomicBool>,
    /// Told when it is in.
    ready: mpsc::Sender<()>,
}

impl Pair {
    /// Connects both, and begins.
    pub(crate) fn start(target: &Target, token: &str) -> io::Result<Self> {
        let mut pair = Self { seen: Arc::default(), is_over: Arc::default(), threads: Vec::new() };
        pair.spawn("subscriber", Member::subscribe, target, token)?;
        pair.spawn("publisher", Member::publish, target, token)?;
        let newcomers = |member: &Member| {
            member.come_again_and_again();
            Ok(())
        };
        pair.spawn("newcomers", newcomers, target, token)?;
        Ok(pair)
    }

    /// Starts one, and waits until it is in. If its connection ends, it comes again.
    fn spawn(
        &mut self,
        name: &'static str,
        part: fn(&Member) -> io::Result<()>,
        target: &Target,
        token: &str,
    ) -> io::Result<()> {
        let (ready, is_ready) = mpsc::channel();
        let member = Member {
            runtime: Builder::new_current_thread().enable_all().build()?,
            target: target.clone(),
            token: token.to_owned(),
            seen: Arc::clone(&self.seen),
            is_over: Arc::clone(&self.is_over),
            ready,
        };
        self.threads.push(thread::Builder::new().name(name.to_owned()).spawn(move || {
            while !member.is_over() {
                if let Err(error) = part(&member) {
                    member.seen().incidents.push(format!("{name}: {error}"));
                    thread::sleep(BEFORE_RETURN);
                }
            }
        })?);
        if is_ready.recv_timeout(PATIENCE).is_ok() {
            return Ok(());
        }
        self.is_over.store(true, Ordering::Relaxed);
        let incidents = lock(&self.seen).incidents.join("; ");
        Err(Error::other(format!("the {name} was not let in: {incidents}")))
    }

    /// A window begins.
    pub(crate) fn mark(&self) -> Mark {
        let seen = lock(&self.seen);
        Mark { messages: seen.messages.len(), incidents: seen.incidents.len(), newcomers: seen.newcomers.len() }
    }

    /// The window from there until now, when all its messages have come or can come no more.
    pub(crate) fn window(&self, from: Mark) -> Window {
        let end = lock(&self.seen).messages.len();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = lock(&self.seen);
            let messages = seen.messages.get(from.messages..end).unwrap_or_default();
            let latencies: Vec<_> = messages.iter().filter_map(|(_, latency)| *latency).collect();
            let lost = messages.len() - latencies.len();
            if lost == 0 || Instant::now() > deadline {
                let newcomers = seen.newcomers.get(from.newcomers..).unwrap_or_default();
                return Window {
                    latencies,
                    lost,
                    incidents: seen.incidents.get(from.incidents..).unwrap_or_default().to_vec(),
                    newcomers: newcomers.iter().copied().flatten().collect(),
                    turned_away: newcomers.iter().filter(|newcomer| newcomer.is_none()).count(),
                };
            }
            drop(seen);
            thread::sleep(EVERY);
        }
    }

    /// Ends both; tells how many messages were sent, and how many of them the broker has not accepted.
    pub(crate) fn end(self) -> (usize, u64) {
        self.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads {
            let _ = thread.join();
        }
        let seen = lock(&self.seen);
        (seen.messages.len(), (seen.messages.len() as u64).saturating_sub(seen.accepted))
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads what has come until a moment, and answers heartbeats.
async fn read_until(
    connection: &mut Connection,
    until: Instant,
    mut handle: impl FnMut(&BrokerMessage<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let mut heartbeat = None;
    let reading = connection.read(|message| {
        match &message {
            BrokerMessage::Heartbeat(number) => heartbeat = Some(*number),
            BrokerMessage::Closing(closing) => {
                return Err(Error::other(format!("closed with {}: {}", closing.code, closing.reason)));
            }
            BrokerMessage::Error(error) => return Err(Error::other(format!("refused with {}", error.code))),
            other => handle(other)?,
        }
        Ok(())
    });
    // A read that is given up loses nothing: what has come lies in the connection's buffer.
    if let Ok(read) = timeout_at(until.into(), reading).await {
        read?;
    }
    match heartbeat {
        Some(number) => connection.answer(number).await,
        None => Ok(()),
    }
}

impl Member {
    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        lock(&self.seen)
    }

    fn connect(&self, from: Ipv4Addr) -> io::Result<Connection> {
        self.runtime.block_on(self.target.connect_as(from, Some(&self.token)))
    }

    fn subscribe(&self) -> io::Result<()> {
        let mut connection = self.connect(PAIR_ADDRESS)?;
        self.runtime.block_on(connection.subscribe(PAIR_TOPIC))?;
        let _ = self.ready.send(());
        let mut next = None;
        while !self.is_over() {
            self.runtime.block_on(read_until(&mut connection, Instant::now() + NEWCOMER_EVERY, |message| {
                let now = Instant::now();
                let BrokerMessage::Delivery(delivery) = message else { return Ok(()) };
                let number = delivery.payload.first_chunk().map(|bytes| u64::from_be_bytes(*bytes));
                let number = number.and_then(|number| usize::try_from(number).ok()).unwrap_or(usize::MAX);
                if next.replace(number.wrapping_add(1)).is_some_and(|next| next != number) {
                    return Err(Error::other(format!("message {number} came out of order")));
                }
                if let Some((due, latency)) = self.seen().messages.get_mut(number) {
                    *latency = Some(now.saturating_duration_since(*due));
                }
                Ok(())
            }))?;
        }
        Ok(())
    }

    fn publish(&self) -> io::Result<()> {
        let mut connection = self.connect(PAIR_ADDRESS)?;
        let _ = self.ready.send(());
        let mut due = Instant::now() + EVERY;
        while !self.is_over() {
            while due.saturating_duration_since(Instant::now()) > EARLY {
                let until = Instant::now() + due.saturating_duration_since(Instant::now()).saturating_sub(EARLY);
                self.read_replies(&mut connection, until)?;
            }
            // The thread's own sleep is exact to 50 µs.
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let number = {
                let mut seen = self.seen();
                seen.messages.push((due, None));
                seen.messages.len() as u64 - 1
            };
            self.runtime.block_on(connection.publish_with_id(PAIR_TOPIC, &number.to_be_bytes()))?;
            due += EVERY;
        }
        // What was accepted last.
        self.read_replies(&mut connection, Instant::now() + BEFORE_RETURN)
    }

    fn read_replies(&self, connection: &mut Connection, until: Instant) -> io::Result<()> {
        self.runtime.block_on(read_until(connection, until, |message| {
            if matches!(message, BrokerMessage::Ok(_)) {
                self.seen().accepted += 1;
            }
            Ok(())
        }))
    }

    /// Somebody else who wants to come in: with good credentials, from an address of their own.
    fn come_again_and_again(&self) {
        while !self.is_over() {
            let started = Instant::now();
            let is_in = self.runtime.block_on(async {
                let entering = self.target.connect_as(NEWCOMER_ADDRESS, Some(&self.token));
                timeout_at((started + PATIENCE).into(), entering).await.is_ok_and(|entered| entered.is_ok())
            });
            self.seen().newcomers.push(is_in.then(|| started.elapsed()));
            let _ = self.ready.send(());
            thread::sleep(NEWCOMER_EVERY);
        }
    }
}
