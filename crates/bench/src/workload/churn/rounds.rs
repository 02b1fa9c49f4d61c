//! Rounds of coming and going, as one thread does them.

use std::{
    cell::RefCell,
    io,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{sync::Semaphore, task::JoinSet, time::timeout};

use super::{Churn, ChurnOf};
use crate::{
    Dialect, Heard, Role,
    clock::now_ns,
    connection::{Connection, Opener},
    latency::Tally,
    pace::Schedule,
    stamp::{self, STAMP_BYTES, Stamp},
    timer::Timer,
};

/// Connections of one thread that come and go at once at most; who is due beyond waits, and the wait is in the latency.
const AT_ONCE: usize = 1024;
/// Source addresses are used again after so many connections, when the system has forgotten the first.
const NUMBERS: u64 = 2_000_000;

/// What comes and goes, and how far it is.
#[derive(Debug)]
pub(super) struct Churning {
    of: ChurnOf,
    connections: usize,
    rounds: u64,
    schedule: Schedule,
    done: AtomicU64,
}

impl Churning {
    pub(super) fn new(churn: &Churn, rounds: u64, start_ns: u64) -> Self {
        let schedule = Schedule::new(start_ns, churn.per_second, 0, 1);
        Self { of: churn.of, connections: churn.connections, rounds, schedule, done: AtomicU64::new(0) }
    }

    pub(super) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }
}

/// The rounds of one thread.
pub(super) struct Rounds<D> {
    thread: usize,
    opener: Opener<D>,
    tally: RefCell<Tally>,
}

impl<D: Dialect> Rounds<D> {
    pub(super) fn new(thread: usize, opener: Opener<D>) -> Self {
        Self { thread, opener, tally: RefCell::default() }
    }

    /// Does this thread's rounds.
    pub(super) async fn go_round(self: Rc<Self>, churning: Arc<Churning>) -> io::Result<Tally> {
        match churning.of {
            ChurnOf::Subscriptions => self.subscriptions(&churning).await,
            ChurnOf::Connections => self.connections(&churning).await?,
        }
        Ok(self.tally.take())
    }

    /// Each connection does its rounds one after the other.
    async fn subscriptions(self: &Rc<Self>, churning: &Arc<Churning>) {
        let mut under_way = JoinSet::new();
        for number in (self.thread..churning.connections).step_by(self.opener.load().threads) {
            let (rounds, churning) = (Rc::clone(self), Arc::clone(churning));
            under_way.spawn_local(async move {
                if let Err(error) = rounds.subscriptions_of(&churning, number).await {
                    rounds.opener.load().count_lost(&error);
                }
            });
        }
        under_way.join_all().await;
    }

    async fn subscriptions_of(&self, churning: &Churning, number: usize) -> io::Result<()> {
        let load = self.opener.load();
        let role = load.topic(number as u64);
        let mut connection = self.opener.open(number, Role::Subscriber { topic: &role }).await?;
        let mut timer = Timer::new()?;
        for index in (number as u64..churning.rounds).step_by(churning.connections) {
            let due_ns = churning.schedule.due_ns(index);
            while now_ns() < due_ns {
                tokio::select! {
                    turn = connection.turn(|_, _| Ok(())) => turn?,
                    due = timer.until(due_ns) => {
                        due?;
                        self.tally.borrow_mut().lag.record(now_ns() - due_ns);
                    }
                }
            }
            let topic = load.topic(index);
            self.in_time(subscribe_and_back(&load.dialect, &mut connection, &topic)).await?;
            self.has_done(churning, due_ns);
        }
        connection.close();
        Ok(())
    }

    /// Each connection is a task of its own from when it is due.
    async fn connections(self: &Rc<Self>, churning: &Arc<Churning>) -> io::Result<()> {
        let (mut timer, mut under_way) = (Timer::new()?, JoinSet::new());
        let room = Arc::new(Semaphore::new(AT_ONCE));
        for index in (self.thread as u64..churning.rounds).step_by(self.opener.load().threads) {
            let due_ns = churning.schedule.due_ns(index);
            if now_ns() < due_ns {
                timer.until(due_ns).await?;
                self.tally.borrow_mut().lag.record(now_ns() - due_ns);
            }
            // It is closed by nobody.
            let Ok(place) = Arc::clone(&room).acquire_owned().await else { break };
            let (rounds, churning) = (Rc::clone(self), Arc::clone(churning));
            under_way.spawn_local(async move {
                let _place = place;
                match rounds.in_time(rounds.connect_and_back(index)).await {
                    Ok(()) => rounds.has_done(&churning, due_ns),
                    Err(error) => rounds.opener.load().count_lost(&error),
                }
            });
            // Those that have ended are forgotten.
            while under_way.try_join_next().is_some() {}
        }
        under_way.join_all().await;
        Ok(())
    }

    async fn connect_and_back(&self, index: u64) -> io::Result<()> {
        let load = self.opener.load();
        let topic = load.topic(index);
        let number = usize::try_from(index % NUMBERS).unwrap_or(0);
        let mut connection = self.opener.open_subscribed(number, &topic).await?;
        publish_and_read(&load.dialect, &mut connection, &topic).await?;
        connection.close();
        Ok(())
    }

    async fn in_time(&self, round: impl Future<Output = io::Result<()>>) -> io::Result<()> {
        let patience = self.opener.load().patience;
        timeout(patience, round).await.map_err(|_| {
            io::Error::new(io::ErrorKind::TimedOut, format!("a round was not done within {} s", patience.as_secs()))
        })?
    }

    fn has_done(&self, churning: &Churning, due_ns: u64) {
        self.tally.borrow_mut().latencies.record(now_ns().saturating_sub(due_ns));
        churning.done.fetch_add(1, Ordering::Relaxed);
    }
}

/// Subscribes, publishes, reads that, and unsubscribes.
async fn subscribe_and_back<D: Dialect>(dialect: &D, connection: &mut Connection<D>, topic: &str) -> io::Result<()> {
    let subscription = connection.subscribe(topic).await?;
    publish_and_read(dialect, connection, topic).await?;
    let (mut message, request) = (Vec::new(), connection.next_request());
    dialect.unsubscribe(topic, subscription, request, &mut message);
    connection.queue(&message);
    connection.settled(request).await
}

/// Publishes to a topic that the connection itself is subscribed to, and waits for what it published.
async fn publish_and_read<D: Dialect>(dialect: &D, connection: &mut Connection<D>, topic: &str) -> io::Result<()> {
    let (mut payload, mut message) = ([0; STAMP_BYTES], Vec::new());
    let stamp = Stamp { due_ns: now_ns(), publisher: 0, number: 0 };
    stamp::write(&mut payload, stamp);
    dialect.publish(topic, &payload, &mut message);
    connection.queue(&message);
    connection.wait_for(&|heard| matches!(heard, Heard::Delivery(came) if stamp::read(came) == Some(stamp))).await
}
