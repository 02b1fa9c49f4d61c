//! How the attacked broker is configured, and how much memory that allows.

use std::{fmt::Write, path::Path, time::Duration};

/// What of the configuration the attacks and the bounds ask for. The rest has its defaults.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Threads that serve connections. One is the worst place for the pair: it shares it with all attackers.
    pub(crate) shards: usize,
    /// For every phase of a connection, and between two heartbeats: short, so that what they do is seen.
    pub(crate) deadline: Duration,
}

/// `quotas.broker.connections`: room for the largest attack, the pair, and those who come new.
const CONNECTIONS: u64 = 12_000;
/// `quotas.broker.handshakes`.
const HANDSHAKES: u64 = 4_000;
/// `quotas.broker.queued_bytes`.
const QUEUED_BYTES: u64 = 128 << 20;
/// What `quotas.broker.queued_bytes` leaves alone for each connection.
const FREE_BYTES: u64 = 64 << 10;
const MAX_MESSAGE_BYTES: u64 = (1 << 20) + (4 << 10);
const OUTBOX_BYTES: u64 = 4 << 20;
const REPLY_BYTES: u64 = 256 << 10;
const SHARD_QUEUE_BYTES: u64 = 16 << 20;
const MAX_HTTP_HEAD_BYTES: u64 = 16 << 10;
/// `limits.max_subscriptions`.
pub(crate) const MAX_SUBSCRIPTIONS: usize = 10_000;
/// `quotas.identity.subscriptions`.
pub(crate) const IDENTITY_SUBSCRIPTIONS: usize = 2_000;

/// What somebody allows to clients of whom they know nothing but that an issuer trusts them. The pair needs a hundred
/// publications a second, and three connections.
const QUOTAS: &str = "
[quotas.connection]
publications = { per_second = 1000, burst = 2000 }
bytes = { per_second = 4194304, burst = 4194304 }
requests = { per_second = 100, burst = 2000 }
failed_logins = { per_second = 1, burst = 5 }
[quotas.identity]
connections = 400
subscriptions = 2000
publications = { per_second = 2000, burst = 4000 }
bytes = { per_second = 8388608, burst = 8388608 }
requests = { per_second = 500, burst = 5000 }
[quotas.address]
connections = 100
handshakes = 50
failed_logins = { per_second = 1, burst = 10 }
";

/// TLS keeps at most one flight of a handshake, 64 KiB, and a record.
const HANDSHAKE_BYTES: u64 = (64 + 18) << 10;
/// A record that comes in, 32 KiB that wait for the socket, and the task.
const TLS_BYTES: u64 = (18 + 32 + 16) << 10;
/// A pattern of the attackers with its place in the table and in its connection.
const SUBSCRIPTION_BYTES: u64 = 1 << 10;
/// What is not for one connection alone: scratch space, the allocator's own, the log.
const SHARED_BYTES: u64 = 24 << 20;

/// What attackers may make the broker keep at most.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Holdings {
    /// Connections in their TLS handshake.
    pub(crate) handshakes: usize,
    /// Connections in their HTTP request.
    pub(crate) requests: usize,
    /// WebSocket connections.
    pub(crate) websockets: usize,
    /// Of these, those with a message that is not whole, or one whose effects wait for room.
    pub(crate) partial_messages: usize,
    /// Of these, those that do not read what they subscribed to.
    pub(crate) outboxes: usize,
    /// Subscriptions, all connections together.
    pub(crate) subscriptions: usize,
}

impl Holdings {
    /// The memory that the configuration allows for it, in bytes.
    pub(crate) fn bytes(self) -> u64 {
        let of = |count: usize, bytes: u64| count as u64 * bytes;
        // A buffer that grows is twice its content at most.
        let queued = of(self.websockets, 2 * REPLY_BYTES)
            + of(self.partial_messages, 2 * MAX_MESSAGE_BYTES)
            + of(self.outboxes, OUTBOX_BYTES);
        HANDSHAKES.min(self.handshakes as u64) * HANDSHAKE_BYTES
            + of(self.requests, TLS_BYTES + 2 * MAX_HTTP_HEAD_BYTES)
            + of(self.websockets, TLS_BYTES)
            + queued.min(QUEUED_BYTES + of(self.websockets, FREE_BYTES))
            + of(self.subscriptions, SUBSCRIPTION_BYTES)
            + SHARD_QUEUE_BYTES
            + SHARED_BYTES
    }
}

impl Settings {
    /// The text of `carillon.toml`.
    pub(crate) fn config(&self, home: &Path) -> String {
        let mut text = format!("[listen]\naddress = \"127.0.0.1:0\"\nshards = {}\n", self.shards);
        let path = |name: &str| home.join(name).display().to_string();
        let seconds = self.deadline.as_secs_f64();
        let _ = write!(
            text,
            "[tls]\ncertificate = {:?}\nkey = {:?}\n[admin]\naddress = \"127.0.0.1:0\"\n[access]\nfile = {:?}\n\
             [quotas.broker]\nconnections = {CONNECTIONS}\nhandshakes = {HANDSHAKES}\nqueued_bytes = {QUEUED_BYTES}\n{QUOTAS}\
             [limits]\nmax_message_bytes = {MAX_MESSAGE_BYTES}\n\
             outbox_bytes = {OUTBOX_BYTES}\nreply_bytes = {REPLY_BYTES}\nshard_queue_bytes = {SHARD_QUEUE_BYTES}\n\
             max_http_head_bytes = {MAX_HTTP_HEAD_BYTES}\nmax_subscriptions = {MAX_SUBSCRIPTIONS}\n\
             [deadlines]\ntls_handshake_seconds = {seconds}\nhttp_head_seconds = {seconds}\n\
             connect_seconds = {seconds}\nwrite_seconds = {seconds}\nheartbeat_seconds = {seconds}\n\
             [log]\nformat = \"json\"\nlevel = \"warn,carillon=info\"\n",
            path("server.pem"),
            path("server-key.pem"),
            path("access.toml"),
        );
        text
    }
}
