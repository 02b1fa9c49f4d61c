//! Every label there is, with all of its values. Each is documented for who looks at a graph and wonders.

use crate::label::labels;

labels! {
    /// How far a connection has come.
    pub enum Phase {
        /// Accepted, and in its TLS handshake.
        TlsHandshake = "tls_handshake",
        /// TLS stands; waiting for an HTTP request that makes it a WebSocket.
        Http = "http",
        /// A WebSocket, whether or not the client has sent its connect message.
        WebSocket = "websocket",
    }

    /// How a TLS handshake was made.
    pub enum TlsHandshake {
        /// With certificate and signature, which costs the most.
        Full = "full",
        /// From a session ticket of an earlier connection.
        Resumed = "resumed",
    }

    /// Why a connection ended before its client was connected.
    pub enum HandshakeFailure {
        /// It came from a trusted proxy, which sent no PROXY header in time, or one that is not understood.
        ProxyHeader = "proxy_header",
        /// It spoke plain text where TLS is spoken.
        PlainText = "plain_text",
        /// Its TLS handshake did not end in time.
        TlsTimeout = "tls_timeout",
        /// Its TLS handshake failed: no common version or cipher, a certificate the client refuses, or it went away.
        TlsError = "tls_error",
        /// It showed no client certificate, and one is required.
        ClientCertificateMissing = "client_certificate_missing",
        /// None of the configured authorities has issued its client certificate.
        ClientCertificateUnknownCa = "client_certificate_unknown_ca",
        /// Its client certificate, or one that issued it, has run out, or its time has not come.
        ClientCertificateExpired = "client_certificate_expired",
        /// Its client certificate, or one that issued it, is revoked.
        ClientCertificateRevoked = "client_certificate_revoked",
        /// There is no current revocation list of the issuer of its client certificate.
        ClientCertificateUnknownStatus = "client_certificate_unknown_status",
        /// Its client certificate is damaged, not for clients, or its signature does not hold.
        ClientCertificateInvalid = "client_certificate_invalid",
        /// No complete HTTP request came in time.
        HttpTimeout = "http_timeout",
        /// Its HTTP request was malformed or too large.
        HttpError = "http_error",
        /// It asked for a path that is not served.
        NotFound = "not_found",
        /// Its request for a WebSocket breaks RFC 6455.
        BadUpgrade = "bad_upgrade",
        /// Its `Origin` is not one that is let in.
        Origin = "origin",
        /// It offered no WebSocket subprotocol that the broker speaks.
        Subprotocol = "subprotocol",
        /// The broker was told to stop before it was a WebSocket.
        Draining = "draining",
        /// Its handshakes took their time, and somebody waited for them to end: see quotas.broker.handshakes.
        GaveWay = "gave_way",
        /// A proxy has told its address, from which as many are there as may be.
        QuotaExceeded = "quota_exceeded",
    }

    /// Why a WebSocket connection ended.
    pub enum CloseReason {
        /// The client closed, and it was done.
        Normal = "normal",
        /// The client closed because it goes away, as a page that is left does.
        GoingAway = "going_away",
        /// The client closed with a code that says that something was wrong.
        ClientError = "client_error",
        /// TCP or TLS ended without a WebSocket close.
        Disconnected = "disconnected",
        /// The broker was told to stop.
        Draining = "draining",
        /// The client read too slowly for a subscription whose overflow policy is to close.
        SlowConsumer = "slow_consumer",
        /// The client's socket took no byte during the write deadline.
        WriteTimeout = "write_timeout",
        /// The client did not answer a heartbeat.
        HeartbeatTimeout = "heartbeat_timeout",
        /// No connect message came in time.
        ConnectTimeout = "connect_timeout",
        /// The client broke the WebSocket protocol.
        ProtocolError = "protocol_error",
        /// The client sent a text message; all of the protocol is binary.
        TextMessage = "text_message",
        /// The client sent text or a close reason that is not UTF-8.
        InvalidUtf8 = "invalid_utf8",
        /// The client sent a WebSocket message above the limit.
        MessageTooBig = "message_too_big",
        /// The client sent what is no message of the protocol.
        BadMessage = "bad_message",
        /// The client sent a request before its connect message.
        NotConnected = "not_connected",
        /// The broker failed; its log says how.
        InternalError = "internal_error",
        /// The client's credentials were refused, missing, or ran out.
        Unauthenticated = "unauthenticated",
        /// The broker held as much in memory as it may, and the client had sent a part of a large message.
        Overloaded = "overloaded",
        /// The client's credentials could not be checked then.
        Unavailable = "unavailable",
        /// Its identity or its address had used up a quota.
        QuotaExceeded = "quota_exceeded",
    }

    /// How presenting credentials, or none, ended.
    pub enum LoginResult {
        /// The client was let in.
        Accepted = "accepted",
        /// It was not; its error says why.
        Refused = "refused",
        /// Its credentials could not be checked then.
        Unavailable = "unavailable",
        /// Its identity or its address had used up a quota.
        QuotaExceeded = "quota_exceeded",
        /// A client that was in has renewed its credentials.
        Refreshed = "refreshed",
    }

    /// Why a publication was refused.
    pub enum RefusalReason {
        /// A field is missing, malformed or of the wrong type.
        BadRequest = "bad_request",
        /// The topic breaks the grammar of topics.
        InvalidTopic = "invalid_topic",
        /// The topic begins with `$`, which is the broker's own.
        ReservedTopic = "reserved_topic",
        /// Payload and headers are above the limit.
        PayloadTooLarge = "payload_too_large",
        /// The client may not publish to this topic.
        Forbidden = "forbidden",
        /// The broker cannot take it now.
        Overloaded = "overloaded",
        /// A quota of the connection, the identity or the address is used up.
        QuotaExceeded = "quota_exceeded",
        /// It asks for what only a stream can do, and no stream keeps its topic.
        NoStream = "no_stream",
        /// The topic's last sequence is not the one that the publisher expects.
        UnexpectedSequence = "unexpected_sequence",
        /// Its stream has as many topics as it may.
        StreamFull = "stream_full",
        /// Its stream takes nothing now, or failed to say whether it was kept.
        StreamUnavailable = "stream_unavailable",
    }

    /// Why a stream did not keep a publication.
    pub enum StreamRefusal {
        /// The topic's last sequence is not the one that the publisher expects.
        UnexpectedSequence = "unexpected_sequence",
        /// The stream has as many topics as `max_topics` says.
        TooManyTopics = "too_many_topics",
        /// The message is larger than all that the stream may keep.
        TooLarge = "too_large",
        /// The message id is empty or too long.
        MessageId = "message_id",
        /// The store has failed, and takes nothing until it is opened again.
        Stopped = "stopped",
        /// The stream has no sequence left.
        Exhausted = "exhausted",
        /// The write failed: whether the message was kept is known only when the store is opened again.
        NotKnown = "not_known",
    }

    /// What a subscription was told that came back with a position.
    pub enum ResumeOutcome {
        /// Everything after its position is there.
        Continued = "continued",
        /// Some of what comes after its position is gone; it was told which.
        AfterGap = "after_gap",
        /// Its position is of an epoch that is over.
        OtherEpoch = "other_epoch",
    }

    /// Why messages are missing that a reader of a stream was told of.
    pub enum StreamGapReason {
        /// They were older, or more, than the stream keeps.
        Retention = "retention",
        /// An operator has removed them.
        Purge = "purge",
        /// The disk has lost them.
        Damage = "damage",
    }

    /// Why a message did not reach a subscriber's socket.
    pub enum DropReason {
        /// The outbox was full, and the subscription's policy is to drop the oldest. The subscriber was told the gap.
        DropOldest = "drop_oldest",
        /// The outbox was full, and the subscription's policy is to close. What waited went with the connection.
        SlowConsumer = "slow_consumer",
        /// The connection ended while the message waited for it.
        Disconnected = "disconnected",
        /// The broker stopped before the message was written.
        Draining = "draining",
    }

    /// A bound on how much, by its key in the configuration's `[quotas]`.
    pub enum QuotaName {
        /// All connections of the broker.
        BrokerConnections = "broker.connections",
        /// All handshakes of the broker. What is over it waits in the kernel's queue.
        BrokerHandshakes = "broker.handshakes",
        /// All that waits in memory for clients that read slowly, or have not sent all of a message.
        BrokerQueuedBytes = "broker.queued_bytes",
        /// One connection's subscriptions.
        ConnectionSubscriptions = "connection.subscriptions",
        /// The size of one connection's publications.
        ConnectionPayloadBytes = "connection.payload_bytes",
        /// One connection's publications in a time.
        ConnectionPublications = "connection.publications",
        /// One connection's published bytes in a time.
        ConnectionBytes = "connection.bytes",
        /// One connection's other requests in a time.
        ConnectionRequests = "connection.requests",
        /// One connection's refused credentials in a time.
        ConnectionFailedLogins = "connection.failed_logins",
        /// One identity's connections.
        IdentityConnections = "identity.connections",
        /// One identity's subscriptions.
        IdentitySubscriptions = "identity.subscriptions",
        /// The size of one identity's publications.
        IdentityPayloadBytes = "identity.payload_bytes",
        /// One identity's publications in a time.
        IdentityPublications = "identity.publications",
        /// One identity's published bytes in a time.
        IdentityBytes = "identity.bytes",
        /// One identity's other requests in a time.
        IdentityRequests = "identity.requests",
        /// One identity's refused credentials in a time.
        IdentityFailedLogins = "identity.failed_logins",
        /// One address' connections.
        AddressConnections = "address.connections",
        /// One address' handshakes.
        AddressHandshakes = "address.handshakes",
        /// One address' subscriptions.
        AddressSubscriptions = "address.subscriptions",
        /// The size of one address' publications.
        AddressPayloadBytes = "address.payload_bytes",
        /// One address' publications in a time.
        AddressPublications = "address.publications",
        /// One address' published bytes in a time.
        AddressBytes = "address.bytes",
        /// One address' other requests in a time.
        AddressRequests = "address.requests",
        /// One address' refused credentials in a time.
        AddressFailedLogins = "address.failed_logins",
    }

    /// Whose use of the quotas is remembered.
    pub enum QuotaHolder {
        /// Somebody who proved who they are.
        Identity = "identity",
        /// An IPv4 address, or the /64 of an IPv6 address.
        Address = "address",
    }

    /// Why no connection could be accepted.
    pub enum AcceptError {
        /// Out of file descriptors.
        FdLimit = "fd_limit",
        /// The kernel is out of memory for sockets.
        Memory = "memory",
        /// Anything else; the log says what.
        Other = "other",
    }

    /// How a fetch of an issuer's keys from its JWKS URL ended.
    pub enum JwksFetchResult {
        /// Its keys are in use.
        Ok = "ok",
        /// No answer, or none in full, came in time.
        Timeout = "timeout",
        /// Its host has no address, takes no connection, is not trusted, or broke the connection off.
        Unreachable = "unreachable",
        /// It answered with another status than 200; redirects are among them.
        BadStatus = "bad_status",
        /// What it answered with is no JWKS document, is too large, or has no key for this issuer.
        BadDocument = "bad_document",
    }

    /// How a reload of the configuration and its files ended.
    pub enum ReloadResult {
        /// New connections use what was read.
        Ok = "ok",
        /// The files are broken or missing; what was there before is kept.
        Failed = "failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Label;
    use std::collections::HashSet;

    fn check<E: Label>() {
        let names: HashSet<_> = E::ALL.iter().map(|label| label.name()).collect();
        assert_eq!(names.len(), E::ALL.len(), "a name occurs twice");
        for (place, label) in E::ALL.iter().enumerate() {
            assert_eq!(label.index(), place, "{label:?}");
            assert!(
                // A dot only where the label is a key of the configuration.
                label
                    .name()
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.".contains(&byte)),
                "{label:?} has the name {:?}",
                label.name()
            );
        }
    }

    #[test]
    fn labels_are_unique_and_in_snake_case() {
        check::<Phase>();
        check::<TlsHandshake>();
        check::<HandshakeFailure>();
        check::<CloseReason>();
        check::<RefusalReason>();
        check::<StreamRefusal>();
        check::<ResumeOutcome>();
        check::<StreamGapReason>();
        check::<DropReason>();
        check::<AcceptError>();
        check::<JwksFetchResult>();
        check::<ReloadResult>();
        check::<QuotaName>();
        check::<QuotaHolder>();
    }
}
