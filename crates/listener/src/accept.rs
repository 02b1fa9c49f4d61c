//! Accepts sockets, counts them, and places each on the shard with the fewest connections. It waits for a handshake only
//! where as many are under way as there may be.
//!
//! It runs on the first shard's thread, so that a socket that stays there wakes no other thread, and is watched once. See
//! `docs/decisions/0012-cost-of-a-connect.md`.

use std::{io, net::SocketAddr, sync::Arc};

use carillon_access::quota::Most;
use carillon_metrics::{AcceptError, BrokerMetrics, QuotaName};
use socket2::{Domain, Protocol, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::yield_now,
    time::{Duration, Instant, sleep},
};

use crate::{
    connection::AtTheDoor,
    gate::Gate,
    proxies::Proxies,
    quota::{Counted, Handshake, Ledger, Scopes},
    shard::Placement,
};

/// How long accepting pauses when descriptors or memory have run out. What waits in the kernel's queue is kept.
const PAUSE: Duration = Duration::from_millis(100);
/// A shortage that goes on is told this often, not ten times in a second.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// What the kernel may hold for a connection that is not on its way yet. By itself it would take megabytes for a reader
/// that has stopped, beside the outbox's bound.
const KERNEL_UNSENT_BYTES: u32 = 128 << 10;

/// So many are accepted before the shard's connections have their turn.
const SOCKETS_FOR_EACH_TURN: u32 = 8;

const ENFILE: i32 = 23;
const EMFILE: i32 = 24;
const ENOMEM: i32 = 12;
const ENOBUFS: i32 = 105;

pub(crate) struct Acceptor {
    /// Watched by the first shard's runtime.
    pub(crate) listener: TcpListener,
    /// The first one's thread is the one that this runs on.
    pub(crate) shards: Vec<Placement>,
    pub(crate) proxies: Proxies,
    pub(crate) gate: Arc<Gate>,
    pub(crate) ledger: Arc<Ledger>,
    /// From when the broker's clocks count.
    pub(crate) origin: Instant,
    pub(crate) metrics: Arc<BrokerMetrics>,
}

/// Binds the address; the port is usable again at once after a restart. Accepted sockets take over what is set here for all
/// of them, as Linux does it: small writes leave at once, and the kernel does not hide more of a slow reader's messages than
/// the outbox would.
pub(crate) fn bind(address: SocketAddr, backlog: u32) -> io::Result<std::net::TcpListener> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_notsent_lowat(KERNEL_UNSENT_BYTES)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

impl Acceptor {
    /// Accepts until the drain begins. Sockets for the shard whose thread it is go to `keep`.
    pub(crate) async fn run(self, mut drain: watch::Receiver<bool>, keep: impl Fn(TcpStream, AtTheDoor)) {
        let mut told: Option<Instant> = None;
        let mut in_this_turn = 0;
        loop {
            let accepted = tokio::select! {
                _ = drain.wait_for(|drain| *drain) => return,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((socket, peer)) => {
                    tokio::select! {
                        _ = drain.wait_for(|drain| *drain) => return,
                        () = self.let_in(socket, peer, &keep) => {}
                    }
                    in_this_turn += 1;
                    if in_this_turn == SOCKETS_FOR_EACH_TURN {
                        in_this_turn = 0;
                        yield_now().await;
                    }
                }
                Err(error) => {
                    let kind = classify(&error);
                    self.metrics.accept_errors.of(kind).inc();
                    if kind == AcceptError::Other {
                        tracing::debug!(%error, "a connection could not be accepted");
                        // Should it be more than that one connection, this is no busy loop.
                        sleep(Duration::from_millis(1)).await;
                        continue;
                    }
                    if told.is_none_or(|told| told.elapsed() > TOLD_EVERY) {
                        tracing::error!(%error, "accepting pauses until there is room again; raise the limit on open files (ulimit -n) or lower quotas.broker.connections");
                        told = Some(Instant::now());
                    }
                    self.metrics.accept_pauses.inc();
                    sleep(PAUSE).await;
                }
            }
        }
    }

    /// Waits until one more handshake is within the quota. Those who come meanwhile wait in the kernel's queue, so that
    /// a storm of clients who come back is worked off and not sent away.
    async fn begin_handshake(&self, scopes: &Scopes) -> Handshake {
        let handshakes = &self.ledger.handshakes;
        if let Some(Most { most, mode }) = scopes.broker.handshakes
            && handshakes.under_way() >= most
        {
            if mode.is_enforced() {
                self.ledger.note_enforced(QuotaName::BrokerHandshakes);
                let _waiting = handshakes.wait();
                while handshakes.under_way() >= most {
                    handshakes.one_ended().await;
                }
            } else {
                self.ledger.note_reported(QuotaName::BrokerHandshakes);
            }
        }
        handshakes.begin()
    }

    /// Counts a connection, waits for its handshake's turn, and places it.
    async fn let_in(&self, socket: TcpStream, peer: SocketAddr, keep: impl Fn(TcpStream, AtTheDoor)) {
        let scopes = self.gate.scopes();
        let Ok(counted) = self.count(peer, &scopes) else {
            self.metrics.connections_refused.inc();
            return;
        };
        let handshake = self.begin_handshake(&scopes).await;
        let fewest = self.shards.iter().enumerate().min_by_key(|(_, shard)| shard.connections());
        let Some((index, shard)) = fewest else { return };
        let at_the_door = AtTheDoor { peer, seat: shard.seat(), handshake, counted };
        if index == 0 {
            keep(socket, at_the_door);
            return;
        }
        match socket.into_std() {
            Ok(socket) => shard.place(socket, at_the_door),
            Err(error) => tracing::debug!(%error, "a connection was gone before it could be placed"),
        }
    }
}

/// As many connections are there as may be.
struct OverQuota;

impl Acceptor {
    /// Counts a connection for the broker and for its address. A trusted proxy's own address is not what counts: the
    /// client's is, once it is known.
    fn count(&self, peer: SocketAddr, scopes: &Arc<Scopes>) -> Result<Option<Counted>, OverQuota> {
        let connections: usize = self.shards.iter().map(Placement::connections).sum();
        if let Some(Most { most, mode }) = scopes.broker.connections
            && connections as u64 >= most
        {
            if mode.is_enforced() {
                self.ledger.note_enforced(QuotaName::BrokerConnections);
                return Err(OverQuota);
            }
            self.ledger.note_reported(QuotaName::BrokerConnections);
        }
        if self.proxies.is_trusted(peer.ip()) {
            return Ok(None);
        }
        let now_ns = u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Counted::enter(&self.ledger, scopes, peer.ip(), now_ns).map(Some).ok_or(OverQuota)
    }
}

fn classify(error: &io::Error) -> AcceptError {
    // Linux's numbers: what runs out has no kind of its own in the standard library.
    match error.raw_os_error() {
        Some(EMFILE | ENFILE) => AcceptError::FdLimit,
        Some(ENOMEM | ENOBUFS) => AcceptError::Memory,
        // What a connection brought with it, as accept(2) passes network errors on.
        _ => AcceptError::Other,
    }
}

#[cfg(test)]
mod tests {
    use socket2::SockRef;

    use super::*;

    #[test]
    fn accepted_socket_takes_over_what_is_set_for_all() {
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0)), 1).unwrap();
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        listener.set_nonblocking(false).unwrap();
        let (socket, _) = listener.accept().unwrap();
        let options = SockRef::from(&socket);
        assert!(options.tcp_nodelay().unwrap());
        assert_eq!(options.tcp_notsent_lowat().unwrap(), KERNEL_UNSENT_BYTES);
    }
}
