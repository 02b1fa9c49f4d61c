//! One connection from its socket to its end: TLS, HTTP, WebSocket, each phase with its own deadline, and each giving
//! its memory back before the next.

mod deadlines;
mod proxy;
mod reader;
mod task;
mod upkeep;
mod writer;

use std::{
    cell::Cell,
    io,
    net::{IpAddr, SocketAddr},
    rc::Rc,
};

use carillon_metrics::{HandshakeFailure, Phase, TlsHandshake};
use rustls::HandshakeKind;
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    time::{Duration, Instant, sleep, timeout, timeout_at},
};

use self::task::Task;
pub(crate) use self::{task::Connection, writer::Staging};
use crate::{
    arrival::Arrival,
    http,
    proxies::header::Source,
    quota::{Counted, Entered, Handshake, Scope},
    shard::{Seat, Shard},
    socket::{PlainText, Socket},
    tls::{self, ClientCertificateError, ClientChain, Serving, Shaken, TlsSocket},
};

/// The stream that everything after the handshake runs on.
pub(crate) type Stream = TlsSocket;

/// A handshake that has had the first of so many parts of its deadline gives way when somebody waits.
const FAIR_SHARES: u32 = 5;
/// For the last words on a handshake that failed, and for the client to read them.
const LAST_WORDS_DEADLINE: Duration = Duration::from_secs(1);

/// What the acceptor knows of a connection, and what counts it.
pub(crate) struct AtTheDoor {
    pub(crate) peer: SocketAddr,
    pub(crate) seat: Seat,
    /// Held as long as the handshakes last.
    pub(crate) handshake: Handshake,
    /// `None` where it comes from a trusted proxy, which will tell whom it is for.
    pub(crate) counted: Option<Counted>,
}

/// Shakes hands, and starts the connection's own task when the client has become a WebSocket.
pub(crate) async fn open(tcp: TcpStream, at_the_door: AtTheDoor, shard: Rc<Shard>) {
    let AtTheDoor { peer, seat, handshake, mut counted } = at_the_door;
    // Until a trusted proxy tells another one.
    let address = Cell::new(peer.ip().to_canonical());
    let shaken = tokio::select! {
        shaken = shake_hands(tcp, peer, &address, &mut counted, &shard) => shaken,
        () = asked_to_give_way(&shard) => Err(HandshakeFailure::GaveWay),
    };
    match shaken {
        Ok((upgraded, certificate)) => {
            // A new task, so that the memory of the handshakes is not kept for as long as the connection lasts.
            let http::Upgraded { stream, early, authorization } = upgraded;
            let (peer, address) = (peer.ip().to_canonical(), address.get());
            let counted = match counted {
                Some(counted) => Some(counted.connection),
                None => count(address, &shard),
            };
            drop(handshake);
            let arrival = Arrival { peer, address, counted, authorization, certificate };
            tokio::task::spawn_local(Task::new(Connection::new(stream, &early, arrival, shard, seat)));
        }
        Err(failure) => {
            shard.metrics.handshake_failures.of(failure).inc();
            let reason = carillon_metrics::Label::name(failure);
            tracing::debug!(address = %address.get(), %peer, reason, "no connection came of a socket");
        }
    }
}

/// Returns when somebody waits at the door, and this handshake has had time enough. So half-open connections, however
/// many, do not keep others out for as long as their deadlines would let them.
async fn asked_to_give_way(shard: &Shard) {
    let enough = shard.settings.deadlines.tls_handshake.min(shard.settings.deadlines.http_head) / FAIR_SHARES;
    loop {
        sleep(enough).await;
        if shard.ledger.handshakes.is_somebody_waiting() {
            return;
        }
    }
}

/// Counts a connection for the address that a proxy has told in a header of HTTP, if the quota lets it.
fn count(address: IpAddr, shard: &Shard) -> Option<Entered> {
    let scopes = shard.gate.scopes();
    let account = shard.ledger.address(address, &scopes.address, shard.clock.nanos());
    account.bound_by(&scopes, &scopes.address);
    Entered::connection(&shard.ledger, Scope::Address, account, &scopes.address)
}

async fn shake_hands(
    mut tcp: TcpStream,
    peer: SocketAddr,
    address: &Cell<IpAddr>,
    counted: &mut Option<Counted>,
    shard: &Shard,
) -> Result<(http::Upgraded<Stream>, Option<ClientChain>), HandshakeFailure> {
    let (stream, certificate) = {
        let _phase = shard.phase(Phase::TlsHandshake);
        let until = Instant::now() + shard.settings.deadlines.tls_handshake;
        if shard.settings.proxies.asks_for_header(peer.ip())
            && let Source::Client(client) = Box::pin(proxy::take_header(&mut tcp, peer, until, shard)).await?
        {
            address.set(client);
            let entered = Counted::enter(&shard.ledger, &shard.gate.scopes(), client, shard.clock.nanos());
            *counted = Some(entered.ok_or(HandshakeFailure::QuotaExceeded)?);
        }
        Box::pin(timeout_at(until, accept_tls(tcp, shard))).await.map_err(|_| HandshakeFailure::TlsTimeout)??
    };
    let _phase = shard.phase(Phase::Http);
    let deadline = shard.settings.deadlines.http_head;
    let upgraded = Box::pin(timeout(deadline, http::upgrade(stream, address, &shard.settings)))
        .await
        .map_err(|_| HandshakeFailure::HttpTimeout)??;
    Ok((upgraded, certificate))
}

/// Tells the certificate that the client has shown, and who judged it.
async fn accept_tls(tcp: TcpStream, shard: &Shard) -> Result<(Stream, Option<ClientChain>), HandshakeFailure> {
    tcp.readable().await.map_err(|_| HandshakeFailure::TlsError)?;
    shard.handshake_turn().await;
    let Serving { config, verifier } = shard.tls.serving();
    let socket = Socket::new(tcp, std::sync::Arc::clone(&shard.metrics));
    match tls::shake_hands(socket, config, &shard.tls_buffers).await {
        Ok(Shaken { stream, kind, peer_certificates }) => {
            let kind = match kind {
                HandshakeKind::Resumed => TlsHandshake::Resumed,
                _ => TlsHandshake::Full,
            };
            shard.metrics.tls_handshakes.of(kind).inc();
            let certificate = peer_certificates
                .zip(verifier)
                .map(|(chain, verifier)| ClientChain::of_handshake(&chain, verifier, shard.clock.read().unix_s()));
            Ok((stream, certificate))
        }
        Err((error, socket)) => {
            if let Some(refused) = refused_certificate(&error) {
                // A client of TLS 1.3 has begun to send, and a reset would take the alert from it that tells why.
                let _ = timeout(LAST_WORDS_DEADLINE, http::say_goodbye(socket)).await;
                return Err(refused.into());
            }
            let Some(plain) = plain_text(&error) else {
                tracing::debug!(%error, "the TLS handshake failed");
                return Err(HandshakeFailure::TlsError);
            };
            if plain.looks_like_http {
                let _ = timeout(LAST_WORDS_DEADLINE, answer_plain_http(socket)).await;
            }
            Err(HandshakeFailure::PlainText)
        }
    }
}

fn refused_certificate(error: &io::Error) -> Option<ClientCertificateError> {
    ClientCertificateError::of_handshake(error.get_ref()?.downcast_ref()?)
}

fn plain_text(error: &io::Error) -> Option<&PlainText> {
    error.get_ref()?.downcast_ref()
}

/// Tells somebody who typed `http://` what to type.
async fn answer_plain_http(mut socket: Socket) -> io::Result<()> {
    const ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n\
        This port speaks TLS only: use wss:// or https://.\n";
    socket.write_all(ANSWER).await?;
    http::say_goodbye(socket).await
}
