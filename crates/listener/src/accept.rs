//! Accepts sockets and places each on the shard with the fewest connections. It never waits for a handshake.

use std::{io, net::SocketAddr, sync::Arc};

use carillon_metrics::{AcceptError, BrokerMetrics};
use socket2::{Domain, Protocol, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    time::{Duration, Instant, sleep},
};

use crate::shard::Placement;

/// How long accepting pauses when descriptors or memory have run out. What waits in the kernel's queue is kept.
const PAUSE: Duration = Duration::from_millis(100);
/// A shortage that goes on is told this often, not ten times in a second.
const TOLD_EVERY: Duration = Duration::from_secs(10);

pub(crate) struct Acceptor {
    pub(crate) listener: TcpListener,
    pub(crate) shards: Vec<Placement>,
    pub(crate) max_connections: usize,
    pub(crate) metrics: Arc<BrokerMetrics>,
}

/// Binds the address; the port is usable again at once after a restart.
pub(crate) fn bind(address: SocketAddr, backlog: u32) -> io::Result<std::net::TcpListener> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

impl Acceptor {
    /// Accepts until the drain begins.
    pub(crate) async fn run(self, mut drain: watch::Receiver<bool>) {
        let mut told: Option<Instant> = None;
        loop {
            let accepted = tokio::select! {
                _ = drain.wait_for(|drain| *drain) => return,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((socket, peer)) => self.place(socket, peer),
                Err(error) => {
                    let kind = classify(&error);
                    self.metrics.accept_errors.of(kind).inc();
                    if kind == AcceptError::Other {
                        tracing::debug!(%error, "a connection was gone before it could be accepted");
                        continue;
                    }
                    if told.is_none_or(|told| told.elapsed() > TOLD_EVERY) {
                        tracing::error!(%error, "accepting pauses until there is room again; raise the limit on open files (ulimit -n) or lower limits.max_connections");
                        told = Some(Instant::now());
                    }
                    self.metrics.accept_pauses.inc();
                    sleep(PAUSE).await;
                }
            }
        }
    }

    fn place(&self, socket: TcpStream, peer: SocketAddr) {
        let connections: usize = self.shards.iter().map(Placement::connections).sum();
        if connections >= self.max_connections {
            self.metrics.connections_refused.inc();
            return;
        }
        let ready = socket.set_nodelay(true).and_then(|()| socket.into_std());
        match (ready, self.shards.iter().min_by_key(|shard| shard.connections())) {
            (Ok(socket), Some(shard)) => shard.place(socket, peer),
            (Err(error), _) => tracing::debug!(%error, "a connection was gone before it could be placed"),
            (Ok(_), None) => {}
        }
    }
}

fn classify(error: &io::Error) -> AcceptError {
    match error.kind() {
        io::ErrorKind::OutOfMemory => AcceptError::Memory,
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted => {
            AcceptError::Other
        }
        // EMFILE and ENFILE have no kind of their own; whatever else keeps accept from working is worth a pause too.
        _ => AcceptError::FdLimit,
    }
}
