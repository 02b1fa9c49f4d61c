//! What an operator can set for the door. The broker fills these from its configuration; the defaults here are the
//! documented ones.

use std::{net::SocketAddr, time::Duration};

use crate::{origin::OriginPattern, proxies::Proxies};

/// Where the door stands, and how it treats who comes.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The address that is listened on, for wss.
    pub listen: SocketAddr,
    /// The kernel's queue of connections that are not yet accepted.
    pub backlog: u32,
    /// Whose word is taken for a client's address.
    pub proxies: Proxies,
    /// Which `Origin` headers are let in.
    pub origins: Origins,
    /// How many and how large.
    pub limits: Limits,
    /// How long.
    pub deadlines: Deadlines,
}

/// Which web pages may connect. Only browsers send `Origin`; it guards their users, not the broker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins {
    /// Origins that are let in.
    pub allowed: Vec<OriginPattern>,
    /// Lets every origin whose host is this machine in: `localhost`, `127.0.0.0/8`, `[::1]`. For development.
    pub allow_loopback: bool,
    /// Refuses a request that carries no `Origin` at all, as those of services do.
    pub require: bool,
}

/// Every bound on a number or a size. At each bound something defined happens, which its line tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Payload and headers of one publication, in bytes. A larger one is refused with an error.
    pub max_payload_bytes: usize,
    /// One WebSocket message, fragments together, in bytes. A larger one ends the connection with 1009.
    pub max_message_bytes: usize,
    /// Live subscriptions of one connection. One more is refused with an error.
    pub max_subscriptions: usize,
    /// `*` tokens in one pattern. More are refused with an error: the cost of a match grows with them.
    pub max_wildcards: usize,
    /// Bytes that wait for one connection, and 16 for each subscription that a message matched. At the bound the subscriptions' overflow policies decide.
    pub outbox_bytes: usize,
    /// Messages that wait for one connection. At the bound the subscriptions' overflow policies decide.
    pub outbox_messages: usize,
    /// Bytes of replies that wait for one connection. At the bound its socket is not read on until some are written.
    pub reply_bytes: usize,
    /// Bytes of publications that wait for one shard. At the bound publishing connections wait.
    pub shard_queue_bytes: usize,
    /// Bytes of an HTTP request's head. A larger one gets 431.
    pub max_http_head_bytes: usize,
    /// Identities, and addresses, whose use of the quotas is remembered. Those who find no room share one account.
    pub quota_entries: u32,
}

/// Every bound on a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deadlines {
    /// From accepting the socket to the end of the TLS handshake.
    pub tls_handshake: Duration,
    /// From the end of the TLS handshake to the whole head of the HTTP request.
    pub http_head: Duration,
    /// From the WebSocket's start to the connect message.
    pub connect: Duration,
    /// A write during which the socket takes no byte.
    pub write: Duration,
    /// Between two heartbeats. An answer that has not come when the next is due ends the connection.
    pub heartbeat: Duration,
    /// For everything that waits to leave when the broker is told to stop.
    pub drain: Duration,
    /// The range over which clients are told to come back after a stop, each at its own moment.
    pub return_spread: Duration,
    /// The longest that deliveries wait for more to the same connections, so that one write takes them all; only while
    /// writing them singly would keep the shard busy.
    pub batch: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_payload_bytes: 1 << 20,
            max_message_bytes: (1 << 20) + (4 << 10),
            max_subscriptions: 10_000,
            max_wildcards: 4,
            outbox_bytes: 4 << 20,
            outbox_messages: 16_384,
            reply_bytes: 256 << 10,
            shard_queue_bytes: 16 << 20,
            max_http_head_bytes: 16 << 10,
            quota_entries: 200_000,
        }
    }
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            tls_handshake: Duration::from_secs(10),
            http_head: Duration::from_secs(10),
            connect: Duration::from_secs(10),
            write: Duration::from_secs(10),
            heartbeat: Duration::from_secs(25),
            drain: Duration::from_secs(10),
            return_spread: Duration::from_secs(5),
            batch: Duration::from_millis(2),
        }
    }
}
