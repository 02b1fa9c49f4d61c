//! Every metric's name in Prometheus, and its help for whoever is on call; those of streams are in [`streams`].

use prometheus::Error;

use super::{
    family::{
        Family, broker_counter, broker_counter_by, broker_gauge, broker_gauge_by, counter, counter_by, float,
        float_unsigned, gauge, gauge_by, gauge_by_shard, histogram_seconds,
    },
    streams,
};
use crate::{Gauge, Label};

/// Every metric there is.
pub(super) fn families() -> Result<Vec<Family>, Error> {
    let parts = [connections(), messages(), traffic(), queues(), accepting(), quotas(), issuers(), broker()];
    parts.into_iter().flatten().chain(streams::families()).collect()
}

fn connections() -> Vec<Result<Family, Error>> {
    vec![
        counter(
            ("carillon_connections_opened_total", "Connections that were accepted, before any handshake."),
            |shard| &shard.connections_opened,
        ),
        counter_by(
            (
                "carillon_connections_closed_total",
                "WebSocket connections that ended, by reason. Those that ended before their WebSocket stood are in \
                 carillon_handshake_failures_total.",
            ),
            "reason",
            |shard| &shard.connections_closed,
        ),
        gauge_by(
            ("carillon_connections", "Connections that are open now, by how far they have come."),
            "phase",
            |shard| &shard.connections,
        ),
        gauge_by_shard(
            (
                "carillon_shard_connections",
                "Connections that are open now on each shard. New ones go to the shard with the fewest.",
            ),
            |shard| shard.connections.iter().map(|(_, gauge)| gauge.get()).sum(),
        ),
        counter_by(
            (
                "carillon_handshake_failures_total",
                "Connections that ended before their client was connected, by reason.",
            ),
            "reason",
            |shard| &shard.handshake_failures,
        ),
        counter_by(
            (
                "carillon_tls_handshakes_total",
                "TLS handshakes that succeeded. A full one costs far more CPU than one resumed from a ticket.",
            ),
            "kind",
            |shard| &shard.tls_handshakes,
        ),
        counter_by(
            ("carillon_logins_total", "Credentials that clients presented, or none where none are needed, by result."),
            "result",
            |shard| &shard.logins,
        ),
        counter(("carillon_heartbeats_sent_total", "Heartbeats that the broker asked of its clients."), |shard| {
            &shard.heartbeats_sent
        }),
    ]
}

fn messages() -> Vec<Result<Family, Error>> {
    vec![
        gauge(("carillon_subscriptions", "Subscriptions that are live now."), |shard| &shard.subscriptions),
        counter(("carillon_messages_received_total", "Publications that were accepted."), |shard| {
            &shard.messages_received
        }),
        counter(
            (
                "carillon_messages_delivered_total",
                "Deliveries that were handed to a socket: a message to 100 connections is 100.",
            ),
            |shard| &shard.messages_delivered,
        ),
        counter_by(
            (
                "carillon_messages_dropped_total",
                "Messages that were meant for a connection and never written, by reason.",
            ),
            "reason",
            |shard| &shard.messages_dropped,
        ),
        counter(("carillon_gaps_sent_total", "Times that a subscriber was told of messages it missed."), |shard| {
            &shard.gaps_sent
        }),
        counter_by(
            ("carillon_publications_refused_total", "Publications that were refused, by reason."),
            "reason",
            |shard| &shard.publications_refused,
        ),
        counter(
            ("carillon_requests_refused_total", "Requests other than publications that were answered with an error."),
            |shard| &shard.requests_refused,
        ),
        histogram_seconds(
            (
                "carillon_publish_to_write_seconds",
                "From a publication's acceptance to the write of each of its deliveries to a socket.",
            ),
            |shard| &shard.publish_to_write,
        ),
    ]
}

fn traffic() -> Vec<Result<Family, Error>> {
    vec![
        counter(
            ("carillon_payload_received_bytes_total", "Payload of the publications that were accepted."),
            |shard| &shard.payload_bytes_received,
        ),
        counter(
            (
                "carillon_deliveries_bytes_total",
                "Deliveries that were handed to a socket, as MessagePack, before WebSocket and TLS add theirs.",
            ),
            |shard| &shard.delivery_bytes,
        ),
        counter(
            ("carillon_wire_received_bytes_total", "Bytes read from TCP, with all that TLS and WebSocket add."),
            |shard| &shard.wire_bytes_received,
        ),
        counter(
            ("carillon_wire_sent_bytes_total", "Bytes written to TCP, with all that TLS and WebSocket add."),
            |shard| &shard.wire_bytes_sent,
        ),
        counter(
            (
                "carillon_websocket_messages_received_total",
                "WebSocket messages that came in; each may carry several requests.",
            ),
            |shard| &shard.websocket_messages_received,
        ),
        counter(("carillon_websocket_messages_sent_total", "WebSocket messages that went out."), |shard| {
            &shard.websocket_messages_sent
        }),
    ]
}

fn queues() -> Vec<Result<Family, Error>> {
    vec![
        gauge(
            ("carillon_outbox_bytes", "Bytes that wait for connections which read more slowly than they are sent to."),
            |shard| &shard.outbox_bytes,
        ),
        gauge(
            (
                "carillon_outbox_messages",
                "Messages that wait for connections which read more slowly than they are sent to.",
            ),
            |shard| &shard.outbox_messages,
        ),
        gauge_by_shard(
            (
                "carillon_shard_queue_bytes",
                "Bytes of publications that wait for each shard. One that stays high cannot keep up.",
            ),
            |shard| shard.shard_queue_bytes.get(),
        ),
        counter(
            (
                "carillon_shard_queue_waits_total",
                "Times that a publishing connection was not read on, because a shard's queue was full.",
            ),
            |shard| &shard.shard_queue_waits,
        ),
        counter(
            (
                "carillon_hand_overs_abandoned_total",
                "Batches of publications, sent just before their connection ended, that were given up because another shard's \
                 queue stayed full.",
            ),
            |shard| &shard.hand_overs_abandoned,
        ),
    ]
}

fn accepting() -> Vec<Result<Family, Error>> {
    vec![
        broker_counter_by(
            ("carillon_accept_errors_total", "Failures to accept a connection, by reason."),
            "reason",
            |broker| &broker.accept_errors,
        ),
        broker_counter(
            (
                "carillon_accept_pauses_total",
                "Times that accepting paused, because file descriptors or memory had run out.",
            ),
            |broker| &broker.accept_pauses,
        ),
        broker_counter(
            (
                "carillon_connections_refused_total",
                "Connections that were closed at once, because as many as a quota allows were there: see \
                 carillon_quota_enforced_total.",
            ),
            |broker| &broker.connections_refused,
        ),
        broker_gauge(
            ("carillon_ready", "1 while the broker takes connections; 0 while it starts or stops."),
            |broker| read(&broker.ready),
        ),
    ]
}

fn issuers() -> Vec<Result<Family, Error>> {
    vec![
        broker_counter_by(
            (
                "carillon_jwks_fetches_total",
                "Fetches of issuers' keys from their JWKS URLs, by result. A failed one keeps the keys from before; the log \
                 says why.",
            ),
            "result",
            |broker| &broker.jwks_fetches,
        ),
        broker_gauge(
            (
                "carillon_jwks_fetched_timestamp_seconds",
                "When the oldest keys in use that came from a JWKS URL were fetched, as Unix time. 0 means that none were.",
            ),
            |broker| read(&broker.jwks_fetched_seconds),
        ),
        broker_gauge(
            (
                "carillon_jwks_issuers_without_keys",
                "Issuers with a JWKS URL whose keys have not come yet. Their tokens are refused.",
            ),
            |broker| read(&broker.jwks_issuers_without_keys),
        ),
    ]
}

fn quotas() -> Vec<Result<Family, Error>> {
    vec![
        broker_counter_by(
            (
                "carillon_quota_enforced_total",
                "Times that something went over a quota and was refused, or made to wait, by the quota's key in the \
                 configuration.",
            ),
            "quota",
            |broker| &broker.quotas_enforced,
        ),
        broker_counter_by(
            (
                "carillon_quota_reported_total",
                "Times that something went over a quota that is only reported, by the quota's key in the configuration.",
            ),
            "quota",
            |broker| &broker.quotas_reported,
        ),
        broker_gauge_by(
            (
                "carillon_quota_entries",
                "Identities and addresses whose use of the quotas is remembered now. limits.quota_entries bounds each.",
            ),
            "holder",
            |broker| broker.quota_entries.iter().map(|(holder, gauge)| (holder.name(), read(gauge))).collect(),
        ),
        broker_counter_by(
            (
                "carillon_quota_entries_shared_total",
                "Times that an identity or address found no room of its own, and shares one use of the quotas with others.",
            ),
            "holder",
            |broker| &broker.quota_entries_shared,
        ),
        gauge(
            (
                "carillon_queued_bytes",
                "Memory of the messages that wait for connections, each message once. With carillon_buffered_bytes it is \
                 what quotas.broker.queued_bytes bounds.",
            ),
            |shard| &shard.queued_bytes,
        ),
        gauge(
            (
                "carillon_buffered_bytes",
                "Memory of what clients have sent that is not a whole message yet, of replies that wait for them, and of \
                 what their sockets did not take.",
            ),
            |shard| &shard.buffered_bytes,
        ),
    ]
}

fn broker() -> Vec<Result<Family, Error>> {
    vec![
        broker_counter_by(
            (
                "carillon_config_reloads_total",
                "Reloads of the configuration with its files. A failed one keeps what was there before; the log says why.",
            ),
            "result",
            |broker| &broker.config_reloads,
        ),
        broker_gauge(
            (
                "carillon_certificate_not_after_timestamp_seconds",
                "When the certificate in use runs out, as Unix time. 0 means that it is not known.",
            ),
            |broker| read(&broker.certificate_not_after_seconds),
        ),
        broker_gauge(
            (
                "carillon_client_crl_next_update_timestamp_seconds",
                "When the first of the revocation lists for client certificates runs out, as Unix time; from then on it \
                 refuses the certificates of its issuer. 0 means that there are none.",
            ),
            |broker| read(&broker.client_crl_next_update_seconds),
        ),
        broker_gauge_by(
            (
                "carillon_limit",
                "The configured limits, by their names in the configuration; bytes where the name says so.",
            ),
            "name",
            |broker| broker.limits().into_iter().map(|(name, value)| (name, float_unsigned(value))).collect(),
        ),
        broker_gauge_by(
            ("carillon_build_info", "Always 1; the label tells the version that runs."),
            "version",
            |broker| vec![(broker.version(), 1.0)],
        ),
        broker_gauge(("carillon_start_time_seconds", "When the broker started, as Unix time."), |broker| {
            float_unsigned(broker.start_time_seconds())
        }),
    ]
}

fn read(gauge: &Gauge) -> f64 {
    float(gauge.get())
}
