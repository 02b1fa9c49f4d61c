//! A shard: one thread with its own connections, subscription table and outboxes, which it shares with nobody.

mod flush;
pub(crate) mod memory;
pub(crate) mod queue;
mod thread;

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    pin::Pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use carillon_metrics::{Phase, ShardMetrics};
use carillon_router::ConnectionKey;
use carillon_streams::keeper::Keeper;
use rand::Rng;
use tokio::{sync::Semaphore, time::Instant};

pub(crate) use thread::{Common, Kept, Placement, ShardHandle, Start};

use self::queue::{Item, Sender};
use crate::{
    clock::Clock,
    connection::{Connection, Staging},
    gate::Gate,
    hub::{Hub, Outgoing},
    quota::Ledger,
    settings::Settings,
    tls::{self, Tls},
};

/// Publications on their way into queues that were full.
pub(crate) type HandOver = Pin<Box<dyn Future<Output = ()>>>;

/// What the connections of one shard share. All of it stays on the shard's thread.
pub(crate) struct Shard {
    index: usize,
    pub(crate) settings: Arc<Settings>,
    pub(crate) tls: Tls,
    pub(crate) gate: Arc<Gate>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) metrics: Arc<ShardMetrics>,
    pub(crate) clock: Clock,
    pub(crate) hub: RefCell<Hub>,
    /// Where connections receive and seal the records of TLS.
    pub(crate) tls_buffers: Rc<tls::Buffers>,
    /// Where a connection unmasks what it reads.
    pub(crate) read_scratch: RefCell<Vec<u8>>,
    /// Where a connection gathers what it writes.
    pub(crate) staging: RefCell<Staging>,
    /// The connections' tasks, by their key's index.
    tasks: RefCell<Vec<Option<Task>>>,
    /// Connections that something waits for, and those who write it.
    outgoing: flush::Outgoing,
    /// Connections that may have something to read on.
    woken: RefCell<Vec<ConnectionKey>>,
    /// The queues of the other shards.
    peers: Vec<Sender>,
    /// Of the streams, where there are any.
    keeper: Option<Keeper>,
    is_draining: Cell<bool>,
    /// How often the gate's rules were replaced, as far as this shard knows.
    rules_replaced: Cell<u64>,
    opened: Cell<u64>,
    /// What each connection may hold beside its outbox; less while memory is short.
    may_keep_bytes: Cell<usize>,
    /// Connections whose last turn was over before they had done all that lay in their sockets.
    pub(crate) busy: Cell<usize>,
    /// For one handshake at a time to have its turn.
    handshake_turns: Semaphore,
    /// When it was last logged that a proxy is set wrongly.
    told_of_proxy: Cell<Option<Instant>>,
}

/// The task of a connection.
struct Task {
    key: ConnectionKey,
    connection: Rc<RefCell<Connection>>,
    waker: Waker,
    /// What the metrics say that it holds beside its outbox.
    buffered_bytes: usize,
    /// What it has been told since it was polled last.
    mail: Mail,
    /// The last pass over the outboxes in which it was written to.
    last_pass: Cell<u32>,
}

/// What the keeper of the streams has answered a connection.
#[derive(Debug, Default)]
pub(crate) struct Mail {
    /// Whole messages, back to back.
    pub(crate) messages: Vec<u8>,
    /// How many publications were answered.
    pub(crate) answered: usize,
    /// How many subscriptions have not come about.
    pub(crate) ended_subscriptions: usize,
}

impl Mail {
    fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.answered == 0 && self.ended_subscriptions == 0
    }
}

impl Shard {
    /// Whether it is time to log again that a proxy is set wrongly. Then it counts as logged.
    pub(crate) fn may_tell_of_proxy(&self, every: Duration) -> bool {
        let now = Instant::now();
        let is_time = self.told_of_proxy.get().is_none_or(|told| told + every <= now);
        if is_time {
            self.told_of_proxy.set(Some(now));
        }
        is_time
    }

    /// Waits for a handshake's turn, for its costly part: keys are agreed on and a signature is made. There is one for each
    /// look at the network, so that a crowd that comes at once holds nobody else up by more than one of them.
    pub(crate) async fn handshake_turn(&self) {
        let _turn = self.handshake_turns.acquire().await;
        tokio::task::yield_now().await;
    }

    /// The connection and its task, for what comes to it.
    pub(crate) fn register(&self, key: ConnectionKey, waker: &Waker, connection: &Rc<RefCell<Connection>>) {
        let mut tasks = self.tasks.borrow_mut();
        let index = key.index();
        if tasks.len() <= index {
            tasks.resize_with(index + 1, || None);
        }
        if let Some(slot) = tasks.get_mut(index) {
            if let Some(task) = slot {
                task.waker.clone_from(waker);
            } else {
                let (connection, waker) = (Rc::clone(connection), waker.clone());
                *slot = Some(Task {
                    key,
                    connection,
                    waker,
                    buffered_bytes: 0,
                    mail: Mail::default(),
                    last_pass: Cell::new(0),
                });
            }
        }
    }

    pub(crate) fn unregister(&self, key: ConnectionKey) {
        self.note_buffered(key, 0);
        if let Some(slot) = self.tasks.borrow_mut().get_mut(key.index()) {
            *slot = None;
        }
    }

    /// What a connection that is registered holds beside its outbox.
    pub(crate) fn note_buffered(&self, key: ConnectionKey, bytes: usize) {
        let mut tasks = self.tasks.borrow_mut();
        if let Some(Some(task)) = tasks.get_mut(key.index())
            && task.buffered_bytes != bytes
        {
            let signed = |bytes| i64::try_from(bytes).unwrap_or(i64::MAX);
            self.metrics.buffered_bytes.add(signed(bytes) - signed(task.buffered_bytes));
            task.buffered_bytes = bytes;
        }
    }

    /// Has what came of the turn written, read and told.
    pub(crate) fn end_turn(&self) {
        let mut hub = self.hub.borrow_mut();
        self.outgoing.add(|ready| hub.take_ready(ready));
        hub.show_counts();
        if let Some(keeper) = &self.keeper {
            for read in hub.take_reads() {
                keeper.read(read);
            }
        }
        let mut woken = self.woken.borrow_mut();
        hub.take_woken(&mut woken);
        let tasks = self.tasks.borrow();
        for key in woken.drain(..) {
            if let Some(Some(task)) = tasks.get(key.index()) {
                task.waker.wake_by_ref();
            }
        }
    }

    /// Has a connection's task polled again when what its turn has given others to write is written.
    pub(crate) fn go_on_behind_others(&self, cx: &mut Context<'_>) {
        self.outgoing.wake_behind(cx);
    }

    /// Puts what a connection has published where it has to go: into the queue of each other shard, and to the keeper of
    /// the streams. What is returned is still to be waited for: a queue is full.
    pub(crate) fn hand_over(&self, outgoing: Outgoing) -> Option<HandOver> {
        let mut sending: Vec<HandOver> = Vec::new();
        if let Some(batch) = outgoing.batch {
            let batch = Arc::new(batch);
            for peer in &self.peers {
                if let Err(item) = peer.try_send(Item::Publications(Arc::clone(&batch))) {
                    let peer = peer.clone();
                    sending.push(Box::pin(async move { peer.send(item).await }));
                }
            }
        }
        if let Some(keeper) = &self.keeper {
            for (durability, submissions) in outgoing.submissions {
                if let Err(submissions) = keeper.try_submit(durability, submissions) {
                    sending.push(Box::pin(keeper.submit(durability, submissions)));
                }
            }
        }
        if sending.is_empty() {
            return None;
        }
        self.metrics.shard_queue_waits.inc();
        // All at once: a queue that has room does not wait for one that has none.
        Some(Box::pin(poll_fn(move |cx| {
            sending.retain_mut(|sending| sending.as_mut().poll(cx).is_pending());
            if sending.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        })))
    }

    /// Puts what a connection is told into its mail, and wakes it.
    pub(crate) fn post(&self, key: ConnectionKey, put: impl FnOnce(&mut Mail)) {
        if let Some(Some(task)) = self.tasks.borrow_mut().get_mut(key.index())
            && task.key == key
        {
            put(&mut task.mail);
            task.waker.wake_by_ref();
        }
    }

    /// Takes a connection's mail.
    pub(crate) fn take_mail(&self, key: ConnectionKey) -> Option<Mail> {
        let mut tasks = self.tasks.borrow_mut();
        let task = tasks.get_mut(key.index())?.as_mut().filter(|task| !task.mail.is_empty())?;
        Some(std::mem::take(&mut task.mail))
    }

    /// A new name for the log: the shard, and a number that counts its connections.
    pub(crate) fn connection_name(&self) -> String {
        self.opened.set(self.opened.get() + 1);
        format!("{}-{}", self.index, self.opened.get())
    }

    /// While the broker is being stopped: how long one client shall stay away, each its own time.
    pub(crate) fn draining(&self) -> Option<Duration> {
        let spread = self.settings.deadlines.return_spread;
        self.is_draining.get().then(|| spread.mul_f64(rand::rng().random()))
    }

    /// How often the rules of the gate were replaced.
    pub(crate) fn rules_replaced(&self) -> u64 {
        self.rules_replaced.get()
    }

    fn replace_rules(&self, times: u64) {
        self.rules_replaced.set(times);
        self.wake_all();
    }

    fn begin_drain(&self) {
        self.is_draining.set(true);
        self.wake_all();
    }

    /// What each connection may hold beside its outbox. Who holds more has to give.
    pub(crate) fn may_keep_bytes(&self) -> usize {
        self.may_keep_bytes.get()
    }

    fn wake_all(&self) {
        for task in self.tasks.borrow().iter().flatten() {
            task.waker.wake_by_ref();
        }
    }

    /// Wakes those who hold more than so much that shrinking their outboxes does not take.
    fn wake_those_who_buffer(&self, more_than_bytes: usize) {
        let hub = self.hub.borrow();
        for task in self.tasks.borrow().iter().flatten() {
            if task.buffered_bytes + hub.page_bytes(task.key) > more_than_bytes {
                task.waker.wake_by_ref();
            }
        }
    }

    /// Counts a connection in a phase, until the guard is dropped.
    pub(crate) fn phase(&self, phase: Phase) -> PhaseGuard {
        self.metrics.connections.of(phase).add(1);
        PhaseGuard { metrics: Arc::clone(&self.metrics), phase }
    }
}

/// A connection is counted in a phase while this is held.
pub(crate) struct PhaseGuard {
    metrics: Arc<ShardMetrics>,
    phase: Phase,
}

impl Drop for PhaseGuard {
    fn drop(&mut self) {
        self.metrics.connections.of(self.phase).sub(1);
    }
}

/// A place among the shard's connections, from accepting the socket to its end.
pub(crate) struct Seat(Arc<AtomicUsize>);

impl Seat {
    pub(crate) fn take(taken: &Arc<AtomicUsize>) -> Self {
        taken.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(taken))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
