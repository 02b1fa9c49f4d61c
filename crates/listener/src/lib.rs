//! The door of a Carillon broker: TLS, HTTP, WebSocket, and one session for each connection, on shards of one thread
//! each.
//!
//! A socket is accepted by one thread and placed on the shard with the fewest connections; TLS handshake, HTTP
//! upgrade, session, subscriptions and outbox live there, and no lock is taken on the way of a message. Between shards
//! publications travel in bounded queues.
//!
//! It does not read configuration files, handle signals, or serve metrics over HTTP: the broker does. It does not
//! decide who gets a message: the router does. It never serves plain text.
//!
//! Start with [`Listener`]. Then, inwards: `accept` and `shard` (threads), `connection` (one socket's life),
//! [`websocket`] (frames), `session` (what the messages do, without I/O), [`gate`] (who is let in, and what they may do) and
//! `hub` (what the sessions of a shard share). `streams` is the shards' part of what is kept. [`quota`] counts how much. [`proxies`] and [`origin`] answer where a client is, and what page it is.

mod accept;
mod arrival;
mod clock;
mod connection;
pub mod gate;
mod http;
mod hub;
pub mod origin;
pub mod proxies;
pub mod quota;
mod session;
pub mod settings;
mod shard;
mod socket;
mod streams;
pub mod tls;
pub mod websocket;

use std::{io, net::SocketAddr, sync::Arc, thread};

use carillon_metrics::{BrokerMetrics, ShardMetrics, StreamMetrics};
use carillon_streams::keeper::{Keeper, Opened};
use tokio::{
    net::TcpListener,
    runtime::Builder,
    sync::{oneshot, watch},
    time::Instant,
};

use self::{
    accept::Acceptor,
    quota::Ledger,
    shard::{Common, Kept, ShardHandle, Start, memory::Watch, queue},
    streams::Queues,
};

pub use gate::Gate;
pub use http::WEBSOCKET_PATH;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub use session::harness::run as run_sessions;
pub use settings::Settings;
pub use tls::Tls;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub use tls::{FuzzedHandshake, fuzz_handshake, read_records};

/// A listening broker. Dropping it without [`Listener::drain`] tells every client to go and waits for nobody.
pub struct Listener {
    address: SocketAddr,
    drain: watch::Sender<bool>,
    threads: Vec<thread::JoinHandle<()>>,
    shards: Vec<ShardHandle>,
    keeper: Option<Keeper>,
}

/// Streams that were opened and are not served yet.
pub struct OpenedStreams {
    /// By the keeper.
    pub opened: Opened,
    /// What is counted of each, by its index.
    pub metrics: Vec<Arc<StreamMetrics>>,
}

/// Why the door does not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}{}", hint(source))]
    Bind {
        /// Which address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// No thread, or no event queue, could be had.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] io::Error),
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; another program has it: stop that one, or listen on another port",
        io::ErrorKind::PermissionDenied => "; ports below 1024 need the capability CAP_NET_BIND_SERVICE",
        io::ErrorKind::AddrNotAvailable => "; this machine has no such address",
        _ => "",
    }
}

impl Listener {
    /// Binds the address and starts acceptor and shards. There are as many shards, one thread each, as
    /// `shards` has places to count.
    pub fn start(
        settings: Settings,
        tls: &Tls,
        gate: &Arc<Gate>,
        broker_metrics: Arc<BrokerMetrics>,
        shards: &[Arc<ShardMetrics>],
        streams: Option<OpenedStreams>,
    ) -> Result<Self, StartError> {
        let listener = accept::bind(settings.listen, settings.backlog)
            .map_err(|source| StartError::Bind { address: settings.listen, source })?;
        let address = listener.local_addr()?;
        let settings = Arc::new(settings);
        let (drain, draining) = watch::channel(false);
        let origin = Instant::now();
        let entries = settings.limits.quota_entries;
        let ledger = Arc::new(Ledger::new(entries, &gate.scopes().identity, Arc::clone(&broker_metrics)));
        let (watch, allowance) = Watch::new(gate, &ledger, shards, settings.limits.outbox_bytes);
        let common = Common {
            settings: Arc::clone(&settings),
            tls: tls.clone(),
            gate: Arc::clone(gate),
            ledger: Arc::clone(&ledger),
            origin,
            allowance,
            drain: draining.clone(),
        };
        let (give_acceptor, acceptor) = oneshot::channel();
        let (handles, keeper) = start_shards(&common, shards, streams, acceptor)?;
        let watching = watch_memory(watch, draining)?;
        if let Some(first) = handles.first() {
            let _context = first.runtime.enter();
            let acceptor = Acceptor {
                listener: TcpListener::from_std(listener)?,
                shards: handles.iter().map(|shard| shard.placement.clone()).collect(),
                proxies: settings.proxies.clone(),
                gate: Arc::clone(gate),
                ledger,
                origin,
                metrics: broker_metrics,
            };
            // A shard that is gone has told why.
            let _ = give_acceptor.send(acceptor);
        }
        Ok(Self { address, drain, threads: vec![watching], shards: handles, keeper })
    }

    /// Where it listens; tells the port where port 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Keeps the streams, if there are any.
    pub fn keeper(&self) -> Option<&Keeper> {
        self.keeper.as_ref()
    }

    /// Stops: accepts no more, tells every client when to come back, lets what waits for it leave, and returns when
    /// all have gone or the drain's deadline has come. Blocks the calling thread.
    pub fn drain(mut self) {
        self.drain.send_replace(true);
        for shard in self.shards.drain(..) {
            shard.join();
        }
        for thread in self.threads.drain(..) {
            // A panic of the thread has been reported by the panic hook.
            let _ = thread.join();
        }
        // After the last client has heard what became of its publications.
        if let Some(keeper) = self.keeper.take() {
            keeper.stop();
        }
    }
}

/// Starts the thread that keeps the broker's memory within its quota.
fn watch_memory(watch: Watch, mut draining: watch::Receiver<bool>) -> Result<thread::JoinHandle<()>, StartError> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let run = async move {
        tokio::select! {
            () = watch.run() => {}
            _ = draining.wait_for(|drain| *drain) => {}
        }
    };
    Ok(thread::Builder::new().name("carillon-memory".into()).spawn(move || runtime.block_on(run))?)
}

fn start_shards(
    common: &Common,
    metrics: &[Arc<ShardMetrics>],
    streams: Option<OpenedStreams>,
    acceptor: oneshot::Receiver<Acceptor>,
) -> Result<(Vec<ShardHandle>, Option<Keeper>), StartError> {
    let (senders, inboxes): (Vec<_>, Vec<_>) =
        metrics.iter().map(|_| queue::bounded(common.settings.limits.shard_queue_bytes)).unzip();
    let kept = match streams {
        None => None,
        Some(OpenedStreams { opened, metrics }) => {
            let keeper = opened.start(Arc::new(Queues::new(senders.clone())))?;
            Some(Kept { keeper, metrics: metrics.into() })
        }
    };
    let mut handles = Vec::with_capacity(metrics.len());
    let mut acceptor = Some(acceptor);
    for (index, (inbox, metrics)) in inboxes.into_iter().zip(metrics).enumerate() {
        let peers = senders.iter().enumerate().filter(|(peer, _)| *peer != index).map(|(_, sender)| sender.clone());
        handles.push(ShardHandle::start(Start {
            index,
            common: common.clone(),
            metrics: Arc::clone(metrics),
            inbox,
            peers: peers.collect(),
            kept: kept.clone(),
            acceptor: acceptor.take(),
        })?);
    }
    Ok((handles, kept.map(|kept| kept.keeper)))
}
