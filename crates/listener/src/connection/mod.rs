//! One connection from its socket to its end: TLS, HTTP, WebSocket, each phase with its own deadline, and each giving
//! its memory back before the next.

mod deadlines;
mod reader;
mod task;
mod writer;

use std::{io, net::SocketAddr, rc::Rc};

use carillon_metrics::{HandshakeFailure, Phase, TlsHandshake};
use rustls::HandshakeKind;
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    time::{Duration, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use self::task::Connection;
pub(crate) use self::writer::Staging;
use crate::{
    arrival::Arrival,
    http,
    shard::{Seat, Shard},
    socket::{PlainText, Socket},
};

/// The stream that everything after the handshake runs on.
pub(crate) type Stream = TlsStream<Socket>;

/// Ciphertext that TLS may hold for a socket that takes no more. It is beside the outbox's bound.
const TLS_BUFFER_BYTES: usize = 32 << 10;
/// For an answer in plain text, and for the client to read it.
const PLAIN_TEXT_DEADLINE: Duration = Duration::from_secs(1);

/// Shakes hands, and starts the connection's own task when the client has become a WebSocket.
pub(crate) async fn open(tcp: TcpStream, peer: SocketAddr, shard: Rc<Shard>, seat: Seat) {
    match shake_hands(tcp, &shard).await {
        Ok(upgraded) => {
            // A new task, so that the memory of the handshakes is not kept for as long as the connection lasts.
            let http::Upgraded { stream, early, authorization } = upgraded;
            let arrival = Arrival { address: peer.ip(), authorization };
            tokio::task::spawn_local(Connection::new(stream, &early, arrival, shard, seat));
        }
        Err(failure) => {
            shard.metrics.handshake_failures.of(failure).inc();
            tracing::debug!(%peer, reason = carillon_metrics::Label::name(failure), "no connection came of a socket");
        }
    }
}

async fn shake_hands(tcp: TcpStream, shard: &Shard) -> Result<http::Upgraded<Stream>, HandshakeFailure> {
    let stream = {
        let _phase = shard.phase(Phase::TlsHandshake);
        let deadline = shard.settings.deadlines.tls_handshake;
        Box::pin(timeout(deadline, accept_tls(tcp, shard))).await.map_err(|_| HandshakeFailure::TlsTimeout)??
    };
    let _phase = shard.phase(Phase::Http);
    let deadline = shard.settings.deadlines.http_head;
    Box::pin(timeout(deadline, http::upgrade(stream, &shard.settings)))
        .await
        .map_err(|_| HandshakeFailure::HttpTimeout)?
}

async fn accept_tls(tcp: TcpStream, shard: &Shard) -> Result<Stream, HandshakeFailure> {
    let acceptor = TlsAcceptor::from(shard.tls.config());
    let socket = Socket::new(tcp, std::sync::Arc::clone(&shard.metrics));
    let accepted =
        acceptor.accept_with(socket, |tls| tls.set_buffer_limit(Some(TLS_BUFFER_BYTES))).into_fallible().await;
    match accepted {
        Ok(stream) => {
            let kind = match stream.get_ref().1.handshake_kind() {
                Some(HandshakeKind::Resumed) => TlsHandshake::Resumed,
                _ => TlsHandshake::Full,
            };
            shard.metrics.tls_handshakes.of(kind).inc();
            Ok(stream)
        }
        Err((error, socket)) => {
            let Some(plain) = plain_text(&error) else {
                tracing::debug!(%error, "the TLS handshake failed");
                return Err(HandshakeFailure::TlsError);
            };
            if plain.looks_like_http {
                let _ = timeout(PLAIN_TEXT_DEADLINE, answer_plain_http(socket)).await;
            }
            Err(HandshakeFailure::PlainText)
        }
    }
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
