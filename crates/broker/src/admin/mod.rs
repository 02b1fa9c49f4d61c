//! The admin listener: metrics and health, for operators and their tools.
//!
//! It has a thread and a runtime of its own, so that it answers though every shard is stuck, and so that no scrape ever
//! delays a message. On loopback it speaks plain HTTP unless it is given a certificate; off loopback it wants TLS and a
//! token. Connections are few and short: each has one request, a deadline for its head and one for all of it.
//!
//! | route | answer |
//! |---|---|
//! | `/` | the list of routes |
//! | `/metrics` | Prometheus' text format |
//! | `/healthz` | 200 while the process lives |
//! | `/readyz` | 200 while the broker takes connections, else 503 with the reasons |
//! | `/watch` | a page that shows what the broker delivers, where [`AdminListener::offer_watch`] was called |

mod answer;
mod readiness;
mod serve;
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
use tokio::sync::oneshot;

pub use readiness::{NotReady, Readiness};

use crate::config::Secret;

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
    /// From a connection's acceptance to its end.
    pub connection_deadline: Duration,
    /// One connection more is closed at once.
    pub max_connections: usize,
}

impl Settings {
    /// Settings with the usual bounds: 10 s for a head, 30 s for a connection, 64 connections.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            tls: None,
            token: None,
            head_deadline: Duration::from_secs(10),
            connection_deadline: Duration::from_secs(30),
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
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::Thread)?;
        let (stop, stopped) = oneshot::channel();
        let watched = Arc::new(OnceLock::new());
        let answers =
            answer::Answers { exporter, readiness, token: settings.token.clone(), watched: Arc::clone(&watched) };
        let thread = thread::Builder::new()
            .name("admin".to_owned())
            .spawn(move || runtime.block_on(serve::serve(listener, settings, answers, stopped)))
            .map_err(StartError::Thread)?;
        Ok(Self { address, watched, stop: Some(stop), thread: Some(thread) })
    }

    /// Serves the page at `/watch` from now on, for development; it connects to the port of `broker` on this machine.
    pub fn offer_watch(&self, broker: SocketAddr) {
        // A second call changes nothing: the broker does not move.
        let _ = self.watched.set(broker);
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
