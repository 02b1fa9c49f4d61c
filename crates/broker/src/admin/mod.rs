//! The admin listener: metrics, health and what streams keep, for operators and their tools.
//!
//! It has a thread and a runtime of its own, so that it answers though every shard is stuck, and so that no scrape ever
//! delays a message. On loopback it speaks plain HTTP unless it is given a certificate; off loopback it wants TLS and a
//! token. Connections are few and short: each has one request, a deadline for its head and one for all of it. What waits for
//! the disk is done on other threads, and changes get more time.
//!
//! | route | answer |
//! |---|---|
//! | `/` | the list of routes |
//! | `/metrics` | Prometheus' text format |
//! | `/healthz` | 200 while the process lives |
//! | `/readyz` | 200 while the broker takes connections and no store has failed, else 503 with the reasons |
//! | `/watch` | a page that shows what the broker delivers, where [`AdminListener::offer_watch`] was called |
//! | `/streams`, and below | what streams keep, their messages, and changes: `streams` lists them |
//! | `/store/reopen` | opens the store of the streams on disk again after a failure |

mod answer;
pub(crate) mod documents;
mod readiness;
mod serve;
pub(crate) mod streams;
mod watch;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::{Arc, OnceLock},
    thread::{self, JoinHandle},
    time::Duration,
};

use carillon_listener::tls::Tls;
use carillon_metrics::Exporter;
use carillon_streams::keeper::Keeper;
use tokio::sync::oneshot;

pub use readiness::{NotReady, Readiness};

use self::streams::Streams;
use crate::config::Secret;

/// So many requests may wait for the disk at once; others wait for these. Of changes there is one at a time.
const MAX_BLOCKING_THREADS: usize = 8;

/// How the admin listener is set up.
#[derive(Debug)]
pub struct Settings {
    /// Address and port; port 0 takes a free one.
    pub address: SocketAddr,
    /// With it, TLS is spoken and nothing else.
    pub tls: Option<Tls>,
    /// With it, every request must carry it as `Authorization: Bearer`.
    pub token: Option<Secret>,
    /// From a connection's acceptance to the end of its request's head, the TLS handshake not counted.
    pub head_deadline: Duration,
    /// From a connection's acceptance to its end, unless it asks for a change.
    pub connection_deadline: Duration,
    /// From a request for a change of streams to the end of its connection. The change is made to its end all the same.
    pub change_deadline: Duration,
    /// One connection more is closed at once.
    pub max_connections: usize,
}

impl Settings {
    /// Settings with the usual bounds: 10 s for a head, 30 s for a connection, an hour for a change, 64 connections.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            tls: None,
            token: None,
            head_deadline: Duration::from_secs(10),
            connection_deadline: Duration::from_secs(30),
            change_deadline: Duration::from_hours(1),
            max_connections: 64,
        }
    }
}

/// Why the admin listener does not stand.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Off loopback there was no certificate or no token.
    #[error("the admin listener serves {0}, which is not on loopback, only with TLS and a token")]
    Open(SocketAddr),
    /// The address cannot be listened on.
    #[error("the admin listener cannot listen on {address}: {source}; another address can be given with --admin")]
    Bind {
        /// Which.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// Its thread or runtime could not be made.
    #[error("the admin listener cannot start: {0}")]
    Thread(io::Error),
}

/// The admin listener while it runs. Dropping it stops it.
#[derive(Debug)]
pub struct AdminListener {
    address: SocketAddr,
    watched: Arc<OnceLock<SocketAddr>>,
    keeper: Arc<OnceLock<Option<Keeper>>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl AdminListener {
    /// Listens, and answers on a thread of its own.
    pub fn start(settings: Settings, exporter: Exporter, readiness: Arc<Readiness>) -> Result<Self, StartError> {
        let open = settings.tls.is_none() || settings.token.is_none();
        if open && !settings.address.ip().is_loopback() {
            return Err(StartError::Open(settings.address));
        }
        let (listener, address) =
            bind(settings.address).map_err(|source| StartError::Bind { address: settings.address, source })?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(MAX_BLOCKING_THREADS)
            .build()
            .map_err(StartError::Thread)?;
        let (stop, stopped) = oneshot::channel();
        let watched = Arc::new(OnceLock::new());
        let keeper = Arc::new(OnceLock::new());
        let answers = answer::Answers {
            exporter,
            readiness,
            token: settings.token.clone(),
            watched: Arc::clone(&watched),
            streams: Streams::new(Arc::clone(&keeper)),
        };
        let thread = thread::Builder::new()
            .name("admin".to_owned())
            .spawn(move || {
                runtime.block_on(serve::serve(listener, settings, answers, stopped));
                // Nobody waits for what still waits for the disk.
                runtime.shutdown_background();
            })
            .map_err(StartError::Thread)?;
        Ok(Self { address, watched, keeper, stop: Some(stop), thread: Some(thread) })
    }

    /// Serves the page at `/watch` from now on, for development; it connects to the port of `broker` on this machine.
    pub fn offer_watch(&self, broker: SocketAddr) {
        // A second call changes nothing: the broker does not move.
        let _ = self.watched.set(broker);
    }

    /// Serves the routes about streams from now on; until then they answer that the broker is starting. `None`: no stream is
    /// defined.
    pub fn serve_streams(&self, keeper: Option<Keeper>) {
        // A second call changes nothing: a broker has one keeper.
        let _ = self.keeper.set(keeper);
    }

    /// The address that is listened on, with the port that was taken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for AdminListener {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the admin listener's thread panicked");
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}
