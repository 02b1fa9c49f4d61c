//! The thread of a shard: starts it, gives it sockets, and stops it.

use std::{
    cell::{Cell, RefCell},
    io,
    net::TcpStream,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::JoinHandle,
};

use carillon_metrics::{HandshakeFailure, ShardMetrics, StreamMetrics};
use carillon_router::ConnectionKey;
use carillon_streams::keeper::{Committed, Event, Keeper, ReadReply};
use tokio::{
    runtime::{Builder, Handle, LocalOptions},
    sync::{Semaphore, mpsc, oneshot, watch},
    time::{Duration, Instant, timeout},
};

use super::{
    Seat, Shard, flush,
    memory::{self, Allowance},
    queue::{self, Batch, Item, Queued},
};
use crate::{
    accept::Acceptor,
    clock::Clock,
    connection::{self, AtTheDoor},
    gate::Gate,
    hub::Hub,
    quota::Ledger,
    settings::Settings,
    streams::{Progress, Streams},
    tls::Tls,
};

/// How often the shard looks whether its last connection has gone, while it drains.
const DRAIN_POLL: Duration = Duration::from_millis(10);
/// How often it is looked how far the readers of streams are behind, and what failed is tried again.
const TICK: Duration = Duration::from_secs(1);

/// What a shard starts from.
pub(crate) struct Start {
    pub(crate) index: usize,
    pub(crate) common: Common,
    pub(crate) metrics: Arc<ShardMetrics>,
    pub(crate) inbox: queue::Receiver,
    pub(crate) peers: Vec<queue::Sender>,
    pub(crate) kept: Option<Kept>,
    /// Comes where the shard's thread is the one that accepts.
    pub(crate) acceptor: Option<oneshot::Receiver<Acceptor>>,
}

/// The streams, as the shards share them.
#[derive(Clone)]
pub(crate) struct Kept {
    pub(crate) keeper: Keeper,
    /// By the streams' index.
    pub(crate) metrics: Arc<[Arc<StreamMetrics>]>,
}

/// What is the same for all shards.
#[derive(Clone)]
pub(crate) struct Common {
    pub(crate) settings: Arc<Settings>,
    pub(crate) tls: Tls,
    pub(crate) gate: Arc<Gate>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) origin: Instant,
    pub(crate) allowance: Allowance,
    /// Turns true when the broker is being stopped.
    pub(crate) drain: watch::Receiver<bool>,
}

/// A running shard, as the rest of the broker sees it.
pub(crate) struct ShardHandle {
    pub(crate) placement: Placement,
    /// Of its thread.
    pub(crate) runtime: Handle,
    thread: JoinHandle<()>,
}

/// Where the acceptor puts sockets.
#[derive(Clone)]
pub(crate) struct Placement {
    newcomers: mpsc::UnboundedSender<(TcpStream, AtTheDoor)>,
    taken: Arc<AtomicUsize>,
}

impl Placement {
    /// Connections that the shard has or was given.
    pub(crate) fn connections(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// A place there for one connection more.
    pub(crate) fn seat(&self) -> Seat {
        Seat::take(&self.taken)
    }

    /// Gives the shard a socket. The queue is bounded by the quota of handshakes, which the acceptor keeps.
    pub(crate) fn place(&self, socket: TcpStream, at_the_door: AtTheDoor) {
        // A shard that is gone closes the socket by dropping it: the broker is stopping.
        let _ = self.newcomers.send((socket, at_the_door));
    }
}

impl ShardHandle {
    /// Starts the shard's thread.
    ///
    /// Fails where the system gives no thread, or the thread no event queue.
    pub(crate) fn start(start: Start) -> io::Result<Self> {
        let (newcomers, placed) = mpsc::unbounded_channel();
        let taken = Arc::new(AtomicUsize::new(0));
        let placement = Placement { newcomers, taken: Arc::clone(&taken) };
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::Builder::new().name(format!("carillon-shard-{}", start.index)).spawn(move || {
            // The runtime cannot leave its thread, so it is made there.
            match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
                Ok(runtime) => {
                    let _ = tell.send(Ok(runtime.handle().clone()));
                    runtime.block_on(run(start, placed, taken));
                }
                Err(error) => {
                    let _ = tell.send(Err(error));
                }
            }
        })?;
        let runtime = told.recv().unwrap_or_else(|_| Err(io::Error::other("the shard's thread has ended")))?;
        Ok(Self { placement, runtime, thread })
    }

    /// Waits for the thread's end. Call after the drain was asked for; blocks.
    pub(crate) fn join(self) {
        // A panic of the thread has been reported by the panic hook.
        let _ = self.thread.join();
    }
}

async fn run(start: Start, placed: mpsc::UnboundedReceiver<(TcpStream, AtTheDoor)>, taken: Arc<AtomicUsize>) {
    let Common { settings, tls, gate, ledger, origin, allowance, mut drain } = start.common;
    let has_peers = !start.peers.is_empty();
    let streams = start.kept.as_ref().map(|kept| Streams::new(start.index, &kept.keeper, &kept.metrics));
    let shard = Rc::new(Shard {
        index: start.index,
        tls,
        gate,
        ledger,
        clock: Clock::new(origin),
        hub: RefCell::new(Hub::new(&settings.limits, Arc::clone(&start.metrics), has_peers, streams)),
        settings,
        metrics: start.metrics,
        tls_buffers: Rc::default(),
        read_scratch: RefCell::default(),
        staging: RefCell::default(),
        tasks: RefCell::default(),
        outgoing: flush::Outgoing::default(),
        woken: RefCell::default(),
        peers: start.peers,
        keeper: start.kept.map(|kept| kept.keeper),
        is_draining: Cell::new(false),
        rules_replaced: Cell::new(0),
        opened: Cell::new(0),
        may_keep_bytes: Cell::new(usize::MAX),
        busy: Cell::new(0),
        handshake_turns: Semaphore::new(1),
        told_of_proxy: Cell::new(None),
    });
    let seating = tokio::task::spawn_local(seat_placed(Rc::clone(&shard), placed, drain.clone()));
    if let Some(acceptor) = start.acceptor {
        tokio::task::spawn_local(accept(Rc::clone(&shard), acceptor, drain.clone()));
    }
    tokio::task::spawn_local(follow_rules(Rc::clone(&shard)));
    tokio::task::spawn_local(memory::keep_to(Rc::clone(&shard), allowance));
    tokio::task::spawn_local(flush::run(Rc::clone(&shard)));
    if shard.keeper.is_some() {
        tokio::task::spawn_local(tick(Rc::clone(&shard)));
    }
    tokio::task::spawn_local(receive(Rc::clone(&shard), start.inbox));
    // An error means that the broker's handle is gone, which asks for the same.
    let _ = drain.wait_for(|drain| *drain).await;
    seating.abort();
    shard.begin_drain();
    let all_gone = async {
        while taken.load(Ordering::Relaxed) > 0 {
            tokio::time::sleep(DRAIN_POLL).await;
        }
    };
    if timeout(shard.settings.deadlines.drain, all_gone).await.is_err() {
        tracing::warn!(
            connections = taken.load(Ordering::Relaxed),
            "the drain's deadline has come before all had left"
        );
    }
}

/// Accepts for all shards.
async fn accept(shard: Rc<Shard>, acceptor: oneshot::Receiver<Acceptor>, drain: watch::Receiver<bool>) {
    // Without one the broker has not come to be.
    if let Ok(acceptor) = acceptor.await {
        let keep = |tcp, at_the_door| seat(&shard, tcp, at_the_door, drain.clone());
        acceptor.run(drain.clone(), keep).await;
    }
}

/// Takes the sockets that were accepted on another shard's thread.
async fn seat_placed(
    shard: Rc<Shard>,
    mut placed: mpsc::UnboundedReceiver<(TcpStream, AtTheDoor)>,
    drain: watch::Receiver<bool>,
) {
    while let Some((socket, at_the_door)) = placed.recv().await {
        match tokio::net::TcpStream::from_std(socket) {
            Ok(tcp) => seat(&shard, tcp, at_the_door, drain.clone()),
            Err(error) => tracing::warn!(%error, "a socket could not be watched"),
        }
    }
}

fn seat(shard: &Rc<Shard>, tcp: tokio::net::TcpStream, at_the_door: AtTheDoor, mut drain: watch::Receiver<bool>) {
    shard.metrics.connections_opened.inc();
    let shard = Rc::clone(shard);
    tokio::task::spawn_local(async move {
        // A drain does not wait for who has not come in yet.
        tokio::select! {
            () = connection::open(tcp, at_the_door, Rc::clone(&shard)) => {}
            _ = drain.wait_for(|drain| *drain) => {
                shard.metrics.handshake_failures.of(HandshakeFailure::Draining).inc();
            }
        }
    });
}

async fn follow_rules(shard: Rc<Shard>) {
    let mut replaced = shard.gate.watch();
    while replaced.changed().await.is_ok() {
        let times = *replaced.borrow_and_update();
        shard.replace_rules(times);
    }
}

async fn receive(shard: Rc<Shard>, mut inbox: queue::Receiver) {
    while let Some(Queued { item, room }) = inbox.receive().await {
        match item {
            Item::Publications(batch) => deliver(&shard, &batch).await,
            Item::Stream(event) => match *event {
                Event::Committed(committed) => deliver_committed(&shard, &committed).await,
                Event::Read(reply) => take_reply(&shard, reply).await,
            },
        }
        drop(room);
        shard.metrics.shard_queue_bytes.set(i64::try_from(inbox.waiting_bytes()).unwrap_or(i64::MAX));
    }
}

async fn deliver(shard: &Shard, batch: &Batch) {
    let mut publications = batch.iter();
    in_turns(shard, |hub| hub.deliver(&mut publications, batch.accepted_nanos)).await;
}

/// What was committed goes to who is live, and then the publishers are answered.
async fn deliver_committed(shard: &Shard, committed: &Committed) {
    if !committed.group.batches().is_empty() {
        let mut progress = Progress::of(Arc::clone(&committed.group));
        shard.hub.borrow_mut().begin_group(&committed.group);
        in_turns(shard, |hub| hub.deliver_group(&mut progress)).await;
    }
    let mut answers = committed.answers.iter();
    in_turns(shard, |hub| {
        for answers in answers.by_ref() {
            shard.post(ConnectionKey::from_bits(answers.ticket), |mail| {
                mail.answered += answers.answers.iter().filter(|answer| answer.request.is_some()).count();
                hub.encode_answers(&answers.answers, &mut mail.messages);
            });
            if hub.is_turn_over() {
                return true;
            }
        }
        false
    })
    .await;
}

async fn take_reply(shard: &Shard, reply: ReadReply) {
    let told = {
        let mut hub = shard.hub.borrow_mut();
        hub.begin_turn(shard.busy.get());
        hub.on_reply(reply)
    };
    if let Some(told) = told {
        shard.post(told.key, |mail| {
            mail.messages.extend_from_slice(&told.message);
            mail.ended_subscriptions += usize::from(told.ends_subscription);
        });
    }
    shard.end_turn();
    tokio::task::yield_now().await;
}

/// Does something that can be long, turn by turn, until it says that it is done. Those who got something have their turn
/// before they get more.
async fn in_turns(shard: &Shard, mut act: impl FnMut(&mut Hub) -> bool) {
    loop {
        let has_more = {
            let mut hub = shard.hub.borrow_mut();
            hub.begin_turn(shard.busy.get());
            act(&mut hub)
        };
        shard.end_turn();
        shard.let_write(has_more).await;
        if !has_more {
            return;
        }
    }
}

async fn tick(shard: Rc<Shard>) {
    loop {
        tokio::time::sleep(TICK).await;
        shard.hub.borrow_mut().tick();
        shard.end_turn();
    }
}
