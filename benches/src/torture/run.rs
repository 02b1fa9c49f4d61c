//! What all runs have: a broker that comes and goes, subscribers that stay, publishers that put it under load.

use std::{
    cell::RefCell,
    fmt, io,
    path::PathBuf,
    rc::Rc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::{
    signal::unix::{SignalKind, signal},
    task::{JoinSet, LocalSet},
};

use super::{
    books::{Books, Counts},
    broker::Broker,
    check,
    clients::Room,
    plan::{AUDIT, ORDERS, STREAMS},
    publisher::{Pace, Publisher, Style},
    site::Site,
    subscriber::{Habits, Subscriptions, read_on, subscriptions},
    trouble::{Torture, broken, is_broken},
};
use crate::connection::Target;

/// Of each client's socket.
const RECEIVE_BYTES: u32 = 16 << 10;

/// What every run can be told.
#[derive(Debug, Clone)]
pub struct Options {
    /// The broker's program.
    pub broker: PathBuf,
    /// Decides everything that is left to chance, but for the machine's timing.
    pub seed: u64,
    /// Tell nothing on the way.
    pub is_quiet: bool,
    /// When something is wrong, leave the broker's files for whoever looks what.
    pub keeps_files: bool,
}

/// What a run that ended well has seen.
#[derive(Debug, Clone, Copy)]
pub struct Summary {
    rounds: u32,
    counts: Counts,
    lasted: Duration,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { acknowledged, duplicates, refused, delivered, resumed, fell_behind, gaps, epochs } = self.counts;
        write!(
            f,
            "{} rounds in {:.1?}, nothing lost: {acknowledged} publications acknowledged ({duplicates} as duplicates), \
             {refused} refused; {delivered} deliveries; {resumed} resumes, {fell_behind} times fallen behind, {gaps} gaps, \
             {epochs} new epochs",
            self.rounds, self.lasted
        )
    }
}

/// A run while it goes on.
pub(super) struct Run {
    pub(super) options: Options,
    pub(super) random: StdRng,
    pub(super) room: Room,
    /// Before the site, so that nothing of it is in use when it goes.
    broker: Option<Broker>,
    pub(super) site: Site,
    pub(super) subscribers: Vec<Subscriptions>,
    habits: Rc<RefCell<Habits>>,
    publishers: Vec<Publisher>,
    begun: Instant,
    pub(super) rounds: u32,
}

/// Publishers at work.
pub(super) struct Load {
    publishers: JoinSet<(Publisher, io::Result<()>)>,
    pub(super) pace: Rc<Pace>,
}

impl Run {
    /// Makes a run on a site, and does what `torment` says.
    pub(super) fn conduct(
        options: &Options,
        site: Site,
        torment: impl AsyncFnOnce(&mut Self) -> io::Result<()>,
    ) -> Result<Summary, Torture> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut run = Self {
            options: options.clone(),
            random: StdRng::seed_from_u64(options.seed),
            room: Room::new(),
            site,
            broker: None,
            subscribers: Vec::new(),
            habits: Rc::new(RefCell::new(Habits::CALM)),
            publishers: Vec::new(),
            begun: Instant::now(),
            rounds: 0,
        };
        let ended = LocalSet::new().block_on(&runtime, async {
            let ended = tokio::select! {
                ended = torment(&mut run) => ended,
                // So that nothing stays mounted.
                () = interrupted() => Err(io::Error::other("interrupted")),
            };
            run.room.end();
            ended
        });
        // What a subscriber saw is told rather than what followed from it.
        let ended = run.room.verdict().and(ended);
        let counts = run.room.books(|books| books.counts);
        match ended {
            Ok(()) => Ok(Summary { rounds: run.rounds, counts, lasted: run.begun.elapsed() }),
            Err(error) if is_broken(&error) => Err(run.failed(&error)),
            Err(error) => Err(error.into()),
        }
    }

    fn failed(self, error: &io::Error) -> Torture {
        let log = self.broker.as_ref().map(Broker::log).unwrap_or_default();
        drop(self.broker);
        let (rounds, seed) = (self.rounds, self.options.seed);
        let files = if self.options.keeps_files {
            format!("the broker's files are in {}; ", self.site.keep().display())
        } else {
            String::new()
        };
        Torture::Broken(format!("round {rounds}, --seed {seed}: {error}\n{files}the end of its log:\n{log}"))
    }

    /// Tells how far it is.
    pub(super) fn tell(&self, what: impl fmt::Display) {
        if !self.options.is_quiet {
            let counts = self.room.books(|books| books.counts);
            eprintln!(
                "{what}: {} acknowledged, {} delivered, {:.1?}",
                counts.acknowledged,
                counts.delivered,
                self.begun.elapsed()
            );
        }
    }

    /// Begins with publishers that rest, a broker, and so many readers with these habits.
    pub(super) fn begin(&mut self, subscribers: usize, habits: Habits) -> io::Result<()> {
        self.add_publishers();
        self.start()?;
        self.add_subscribers(subscribers);
        self.set_habits(habits);
        Ok(())
    }

    /// Starts the broker, and tells the clients where it is.
    pub(super) fn start(&mut self) -> io::Result<()> {
        self.room.books(Books::restarted);
        let broker = Broker::start(&self.site)?;
        let address = broker.address.ok_or_else(|| io::Error::other("the broker has no address"))?;
        let target = Target::new(address, &self.site.authority(), false)?.with_receive_bytes(RECEIVE_BYTES);
        self.room.set_target(Some(target));
        self.broker = Some(broker);
        Ok(())
    }

    /// The broker that runs.
    pub(super) fn broker(&self) -> io::Result<&Broker> {
        self.broker.as_ref().ok_or_else(|| io::Error::other("there is no broker now"))
    }

    /// Kills the broker.
    pub(super) fn kill(&mut self) {
        self.room.set_target(None);
        if let Some(broker) = self.broker.take() {
            broker.kill();
        }
    }

    /// Stops the broker as an operator does.
    pub(super) async fn terminate(&mut self) -> io::Result<()> {
        self.room.set_target(None);
        match self.broker.take() {
            // It drains while the clients live.
            Some(broker) => tokio::task::spawn_blocking(|| broker.terminate()).await.map_err(io::Error::other)?,
            None => Ok(()),
        }
    }

    /// Adds clients that read, each with a few subscriptions; one of them to all of a stream, in turn.
    pub(super) fn add_subscribers(&mut self, count: usize) {
        for number in 0..count {
            let subscriptions = subscriptions(number % STREAMS.len(), &mut self.random, now_us());
            self.add_subscriber(subscriptions);
        }
    }

    fn add_subscriber(&mut self, subscriptions: Vec<super::subscription::Subscription>) {
        let subscriber: Subscriptions = Rc::new(RefCell::new(subscriptions));
        self.subscribers.push(Rc::clone(&subscriber));
        let (room, habits, random) = (self.room.clone(), Rc::clone(&self.habits), self.fork());
        tokio::task::spawn_local(read_on(room, subscriber, habits, random));
    }

    /// How the readers behave from now on.
    pub(super) fn set_habits(&self, habits: Habits) {
        *self.habits.borrow_mut() = habits;
    }

    fn fork(&mut self) -> StdRng {
        StdRng::seed_from_u64(self.random.random())
    }

    /// Adds clients that publish: to each stream one that makes sure and one that does not, and one that demands the
    /// topic's last sequence.
    pub(super) fn add_publishers(&mut self) {
        let run = self.options.seed;
        let both = (0..STREAMS.len()).flat_map(|stream| [(stream, Style::Ids), (stream, Style::None)]);
        for (stream, style) in both.chain([(AUDIT, Style::Expecting), (ORDERS, Style::Ids)]) {
            let random = self.fork();
            self.publishers.push(Publisher::new(stream, style, run, random));
        }
    }

    /// Lets the publishers work, each on one connection until it ends, or on one after the other if they are to `persist`.
    pub(super) fn load(&mut self, publications: usize, persist: bool) -> Load {
        let pace = Rc::new(Pace::new(publications));
        let mut publishers = JoinSet::new();
        for mut publisher in self.publishers.drain(..) {
            let (room, pace) = (self.room.clone(), Rc::clone(&pace));
            publishers.spawn_local(async move {
                let ended = if persist {
                    publisher.publish_all(&room, &pace).await
                } else {
                    publisher.publish(&room, &pace).await
                };
                if let Err(error) = &ended
                    && is_broken(error)
                {
                    room.report(error);
                }
                (publisher, ended)
            });
        }
        Load { publishers, pace }
    }

    /// Waits until the publishers have ended.
    pub(super) async fn end_load(&mut self, mut load: Load) -> io::Result<()> {
        while let Some(joined) = load.publishers.join_next().await {
            let (publisher, ended) = joined.map_err(io::Error::other)?;
            self.publishers.push(publisher);
            if let Err(error) = ended
                && is_broken(&error)
            {
                return Err(error);
            }
        }
        self.room.verdict()
    }

    /// Sends again what was never acknowledged, until all is.
    pub(super) async fn settle(&mut self) -> io::Result<()> {
        let load = self.load(0, true);
        load.pace.stop();
        self.end_load(load).await?;
        self.room.books(|books| books.all_settled())
    }

    /// Looks at everything, while nothing is published.
    pub(super) async fn check(&mut self, is_whole: bool) -> io::Result<()> {
        let mut random = self.fork();
        let checked = check::everything(&self.room, &self.subscribers, is_whole, &mut random).await;
        // The broker is up and quiet: a connection that ends now has no right to.
        checked.map_err(|error| if is_broken(&error) { error } else { broken(format!("on a quiet broker: {error}")) })
    }

    /// Looks at the streams alone, whatever subscribers do.
    pub(super) async fn read_streams(&mut self) -> io::Result<()> {
        let mut random = self.fork();
        check::streams(&self.room, true, &mut random).await
    }

    /// So long, at most.
    pub(super) fn some_time(&mut self, at_most: Duration) -> Duration {
        at_most.mul_f64(self.random.random())
    }
}

/// Ctrl-C, or SIGTERM.
async fn interrupted() {
    let terminate = signal(SignalKind::terminate());
    let terminated = async {
        match terminate {
            Ok(mut signal) => signal.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminated => {}
    }
}

pub(super) fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
