//! The TCP socket under TLS: counts what crosses the wire, and notices a client that does not speak TLS.

use std::{
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use carillon_metrics::ShardMetrics;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// The first byte of every TLS connection: the content type of a handshake record (RFC 8446, section 5.1).
const TLS_HANDSHAKE_RECORD: u8 = 22;

/// A TCP stream that counts its bytes.
pub(crate) struct Socket {
    tcp: TcpStream,
    metrics: Arc<ShardMetrics>,
    sent_bytes: u64,
    first_byte_seen: bool,
}

/// The error that [`Socket`] gives to TLS when the first byte is not TLS.
#[derive(Debug)]
pub(crate) struct PlainText {
    /// Whether it looks like the start of an HTTP request.
    pub(crate) looks_like_http: bool,
}

impl fmt::Display for PlainText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the client does not speak TLS")
    }
}

impl std::error::Error for PlainText {}

impl Socket {
    pub(crate) fn new(tcp: TcpStream, metrics: Arc<ShardMetrics>) -> Self {
        Self { tcp, metrics, sent_bytes: 0, first_byte_seen: false }
    }

    /// Bytes that the kernel took so far.
    pub(crate) fn sent_bytes(&self) -> u64 {
        self.sent_bytes
    }

    /// Hands bytes to the kernel; tells how many it took. The runtime's budget for a task is not asked: what is written in a
    /// turn has bounds of its own.
    pub(crate) fn poll_send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            match self.tcp.try_write(bytes) {
                Ok(0) if !bytes.is_empty() => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(sent) => {
                    self.sent_bytes += sent as u64;
                    self.metrics.wire_bytes_sent.add(sent as u64);
                    return Poll::Ready(Ok(sent));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(self.tcp.poll_write_ready(cx))?,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.tcp).poll_read(cx, buf))?;
        let received = buf.filled().get(before..).unwrap_or_default();
        self.metrics.wire_bytes_received.add(received.len() as u64);
        if !self.first_byte_seen
            && let Some(first) = received.first()
        {
            self.first_byte_seen = true;
            if *first != TLS_HANDSHAKE_RECORD {
                let looks_like_http = first.is_ascii_uppercase();
                return Poll::Ready(Err(io::Error::other(PlainText { looks_like_http })));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_send(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}
