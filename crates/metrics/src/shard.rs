//! What one shard counts.

use crate::{
    CloseReason, Counter, DropReason, Gauge, HandshakeFailure, Histogram, Labelled, LoginResult, Phase, RefusalReason,
    TlsHandshake,
};

/// What one shard counts. Only the shard's own thread writes it; anybody may read.
///
/// The alignment is twice a cache line, because processors fetch lines in pairs: so two shards never write to lines that
/// travel together.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ShardMetrics {
    /// Sockets that this shard was given.
    pub connections_opened: Counter,
    /// WebSocket connections that ended. Those that ended earlier are `handshake_failures`.
    pub connections_closed: Labelled<CloseReason, Counter>,
    /// Connections that this shard has now.
    pub connections: Labelled<Phase, Gauge>,
    /// Connections that ended before their client was connected.
    pub handshake_failures: Labelled<HandshakeFailure, Counter>,
    /// TLS handshakes that succeeded.
    pub tls_handshakes: Labelled<TlsHandshake, Counter>,
    /// Credentials that were presented, or none where none are needed.
    pub logins: Labelled<LoginResult, Counter>,
    /// Live subscriptions of this shard's connections.
    pub subscriptions: Gauge,
    /// Publications that were accepted from this shard's connections.
    pub messages_received: Counter,
    /// Deliveries whose bytes were handed to a socket: one for each connection that a message went to.
    pub messages_delivered: Counter,
    /// Publications that were refused.
    pub publications_refused: Labelled<RefusalReason, Counter>,
    /// Requests other than publications that were answered with an error.
    pub requests_refused: Counter,
    /// Payload of the publications that were accepted, in bytes.
    pub payload_bytes_received: Counter,
    /// The deliveries in their MessagePack form, in bytes, counted for each connection.
    pub delivery_bytes: Counter,
    /// Bytes read from TCP sockets, TLS and WebSocket framing included.
    pub wire_bytes_received: Counter,
    /// Bytes written to TCP sockets, TLS and WebSocket framing included.
    pub wire_bytes_sent: Counter,
    /// WebSocket messages that came in, control frames not counted.
    pub websocket_messages_received: Counter,
    /// WebSocket messages that went out, control frames not counted.
    pub websocket_messages_sent: Counter,
    /// Messages that were meant for a connection and did not reach its socket.
    pub messages_dropped: Labelled<DropReason, Counter>,
    /// Gaps that subscribers were told.
    pub gaps_sent: Counter,
    /// Bytes that wait in the outboxes of this shard's connections.
    pub outbox_bytes: Gauge,
    /// Messages that wait in the outboxes of this shard's connections.
    pub outbox_messages: Gauge,
    /// Memory of the messages that wait in this shard's outboxes, each message once, in bytes.
    pub queued_bytes: Gauge,
    /// Memory of what clients have sent and that is not a whole message yet, of replies that wait, and of what sockets did
    /// not take, in bytes.
    pub buffered_bytes: Gauge,
    /// From a publication's acceptance to the write of each of its deliveries.
    pub publish_to_write: Histogram,
    /// Heartbeats that clients were asked.
    pub heartbeats_sent: Counter,
    /// Bytes of publications that wait for this shard. Their number belongs to all shards; this one copies it here.
    pub shard_queue_bytes: Gauge,
    /// Times that a connection of this shard had to wait, because the queue of some shard was full.
    pub shard_queue_waits: Counter,
    /// Batches of publications of connections that had ended which found no room at another shard, and were given up.
    pub hand_overs_abandoned: Counter,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn two_shards_share_no_pair_of_cache_lines() {
        assert_eq!(align_of::<ShardMetrics>(), 128);
        assert_eq!(size_of::<ShardMetrics>() % 128, 0);
        // Tables are inside, not behind pointers whose targets the allocator could put side by side.
        let shard = Arc::new(ShardMetrics::default());
        let start = Arc::as_ptr(&shard) as usize;
        let table = std::ptr::from_ref(shard.connections_closed.of(CloseReason::Unauthenticated)) as usize;
        assert!((start..start + size_of::<ShardMetrics>()).contains(&table));
    }
}
