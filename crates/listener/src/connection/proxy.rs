//! The header of the PROXY protocol, which a trusted proxy must send ahead of the TLS handshake.

use std::{io, net::SocketAddr};

use carillon_metrics::{HandshakeFailure, ShardMetrics};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    time::{Duration, Instant, timeout_at},
};

use crate::{
    proxies::header::{Decoded, HeaderError, MAX_HEADER_BYTES, Source, decode},
    shard::Shard,
};

/// A proxy that is set wrongly is so for each of its connections; it is told this often, not for each.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// Why no header came.
#[derive(Debug, thiserror::Error)]
enum Missing {
    #[error(
        "it sent none within deadlines.tls_handshake_seconds; let the proxy send PROXY protocol version 2 (HAProxy: send-proxy-v2)"
    )]
    TooLate,
    #[error("it closed the connection in the middle of the header")]
    CutOff,
    /// As load balancers do to see whether a port is open. Nothing is wrong with that.
    #[error("it closed the connection without a byte")]
    NothingSaid,
    #[error(transparent)]
    Malformed(#[from] HeaderError),
    #[error("the socket failed: {0}")]
    Socket(#[from] io::Error),
}

/// Takes the header, and not a byte behind it, from what the trusted `peer` sends. What is wrong with it is logged.
pub(super) async fn take_header<S>(
    stream: &mut S,
    peer: SocketAddr,
    until: Instant,
    shard: &Shard,
) -> Result<Source, HandshakeFailure>
where
    S: AsyncRead + Unpin,
{
    let taken = timeout_at(until, read_header(stream, &shard.metrics)).await.unwrap_or(Err(Missing::TooLate));
    taken.map_err(|missing| {
        if matches!(missing, Missing::NothingSaid | Missing::Socket(_)) || !shard.may_tell_of_proxy(TOLD_EVERY) {
            tracing::debug!(%peer, reason = %missing, "a trusted proxy sent no PROXY header");
        } else {
            tracing::warn!(
                %peer,
                reason = %missing,
                "a connection from proxies.trusted was refused: with proxies.protocol = \"proxy-v2\", each must start \
                 with a PROXY header"
            );
        }
        HandshakeFailure::ProxyHeader
    })
}

async fn read_header<S>(stream: &mut S, metrics: &ShardMetrics) -> Result<Source, Missing>
where
    S: AsyncRead + Unpin,
{
    let mut buffer = [0; MAX_HEADER_BYTES];
    let mut length = 0;
    loop {
        let needed = match decode(buffer.get(..length).unwrap_or_default())? {
            Decoded::Whole { source, .. } => return Ok(source),
            Decoded::Incomplete(needed) => needed,
        };
        match stream.read(buffer.get_mut(length..needed).unwrap_or_default()).await? {
            0 if length == 0 => return Err(Missing::NothingSaid),
            0 => return Err(Missing::CutOff),
            read => {
                metrics.wire_bytes_received.add(read as u64);
                length += read;
            }
        }
    }
}
