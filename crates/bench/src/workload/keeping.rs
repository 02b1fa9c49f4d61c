//! Connections that are opened, measured while they open, and then kept, or ended all at once.

use std::{cell::RefCell, io, rc::Rc};

use tokio::{
    sync::watch,
    task::{JoinSet, spawn_local},
};

use crate::{
    Dialect, Heard, Role,
    clock::now_ns,
    connection::{Connection, Opener},
    latency::Tally,
    pace::Schedule,
    timer::Timer,
    workload::connect::Arrivals,
};

/// The connections of one thread.
pub(crate) struct Keeping<D> {
    thread: usize,
    opener: Opener<D>,
    opening: RefCell<OpeningTally>,
    end: watch::Sender<End>,
}

/// How long it took until connections were ready.
#[derive(Default)]
pub(crate) struct OpeningTally {
    pub(crate) tally: Tally,
    /// When the last was ready.
    pub(crate) last_ns: u64,
}

impl OpeningTally {
    /// Those of all threads together.
    pub(crate) fn of_all(threads: Vec<Self>) -> Self {
        let mut all = Self::default();
        for thread in threads {
            all.tally.add(&thread.tally);
            all.last_ns = all.last_ns.max(thread.last_ns);
        }
        all
    }
}

/// How connections end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// As a client ends them.
    Close,
    /// With a reset.
    Cut,
}

/// Which connections are opened, of all threads together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// Number of the first.
    pub(crate) first: usize,
    pub(crate) count: usize,
    pub(crate) arrivals: Arrivals,
    /// Each to a topic of its own.
    pub(crate) subscribe: bool,
    /// When the first is due.
    pub(crate) start_ns: u64,
}

impl<D: Dialect> Keeping<D> {
    pub(crate) fn new(thread: usize, opener: Opener<D>) -> Self {
        Self { thread, opener, opening: RefCell::default(), end: watch::Sender::new(End::Close) }
    }

    /// Opens this thread's share, and returns when each is ready and kept, or counted as lost.
    pub(crate) async fn open(self: Rc<Self>, wanted: Wanted) -> io::Result<OpeningTally> {
        match wanted.arrivals {
            Arrivals::AtOnce(at_once) => self.open_at_once(wanted, at_once).await,
            Arrivals::PerSecond(per_second) => self.open_at_pace(wanted, per_second).await?,
        }
        Ok(self.opening.take())
    }

    /// Ends all that are kept.
    pub(crate) fn end(&self, end: End) {
        self.end.send_replace(end);
    }

    async fn open_at_once(self: &Rc<Self>, wanted: Wanted, at_once: usize) {
        let numbers = Rc::new(RefCell::new(self.share(wanted)));
        let mut under_way = JoinSet::new();
        for _ in 0..at_once.div_ceil(self.opener.load().threads).min(wanted.count) {
            let (keeping, numbers) = (Rc::clone(self), Rc::clone(&numbers));
            under_way.spawn_local(async move {
                loop {
                    let Some(index) = numbers.borrow_mut().next() else { return };
                    let due_ns = now_ns().max(wanted.start_ns);
                    keeping.open_one(wanted, index, due_ns).await;
                }
            });
        }
        under_way.join_all().await;
    }

    async fn open_at_pace(self: &Rc<Self>, wanted: Wanted, per_second: f64) -> io::Result<()> {
        let schedule = Schedule::new(wanted.start_ns, per_second, 0, 1);
        let mut timer = Timer::new()?;
        let mut under_way = JoinSet::new();
        for index in self.share(wanted) {
            let due_ns = schedule.due_ns(index as u64);
            timer.until(due_ns).await?;
            self.opening.borrow_mut().tally.lag.record(now_ns().saturating_sub(due_ns));
            let keeping = Rc::clone(self);
            under_way.spawn_local(async move { keeping.open_one(wanted, index, due_ns).await });
        }
        under_way.join_all().await;
        Ok(())
    }

    fn share(&self, wanted: Wanted) -> impl Iterator<Item = usize> + use<D> {
        (self.thread..wanted.count).step_by(self.opener.load().threads)
    }

    async fn open_one(self: &Rc<Self>, wanted: Wanted, index: usize, due_ns: u64) {
        let load = self.opener.load();
        match self.ready(wanted, wanted.first + index).await {
            Ok(connection) => {
                let now_ns = now_ns();
                load.count_ready();
                let mut opening = self.opening.borrow_mut();
                opening.tally.latencies.record(now_ns.saturating_sub(due_ns));
                opening.last_ns = opening.last_ns.max(now_ns);
                drop(opening);
                self.keep(connection);
            }
            Err(error) => load.count_lost(&error),
        }
    }

    async fn ready(&self, wanted: Wanted, number: usize) -> io::Result<Connection<D>> {
        let topic = self.opener.load().topic(number as u64);
        let mut connection = self.opener.open(number, Role::Idle { topic: &topic }).await?;
        if wanted.subscribe {
            connection.subscribe(&topic).await?;
        }
        Ok(connection)
    }

    /// Keeps a connection, and answers what the broker asks, until it is lost or ended.
    fn keep(self: &Rc<Self>, mut connection: Connection<D>) {
        let mut end = self.end.subscribe();
        let keeping = Rc::clone(self);
        spawn_local(async move {
            loop {
                tokio::select! {
                    turn = connection.turn(|_, heard| { keeping.heard(heard); Ok(()) }) => if let Err(error) = turn {
                        keeping.opener.load().count_lost(&error);
                        return;
                    },
                    // The sender lives as long as this.
                    _ = end.changed() => {
                        match *end.borrow_and_update() {
                            End::Close => connection.close(),
                            End::Cut => connection.cut(),
                        }
                        return;
                    }
                }
            }
        });
    }

    fn heard(&self, heard: Heard<'_>) {
        if let Heard::Refused(_, reason) = heard {
            self.opener.load().count_refused(reason);
        }
    }
}
