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
        /// It spoke plain text where TLS is spoken.
        PlainText = "plain_text",
        /// Its TLS handshake did not end in time.
        TlsTimeout = "tls_timeout",
        /// Its TLS handshake failed: no common version or cipher, a certificate the client refuses, or it went away.
        TlsError = "tls_error",
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
    }

    /// How presenting credentials, or none, ended.
    pub enum LoginResult {
        /// The client was let in.
        Accepted = "accepted",
        /// It was not; its error says why.
        Refused = "refused",
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

    /// Why no connection could be accepted.
    pub enum AcceptError {
        /// Out of file descriptors.
        FdLimit = "fd_limit",
        /// The kernel is out of memory for sockets.
        Memory = "memory",
        /// Anything else; the log says what.
        Other = "other",
    }

    /// How a reload of certificate and key ended.
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
                label.name().bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'),
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
        check::<DropReason>();
        check::<AcceptError>();
        check::<ReloadResult>();
    }
}
