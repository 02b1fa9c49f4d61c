//! The numbers that say why: errors, closes, gaps, epochs, and what happens when a reader is slow.

use std::fmt;

macro_rules! codes {
    ($(#[$doc:meta])* $name:ident: $int:ty { $($(#[$variant_doc:meta])* $variant:ident = $number:literal $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
            /// A number that this version does not know; its range still tells what to do.
            Other($int),
        }

        impl $name {
            /// Every code that this version knows.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The code as it stands on the wire.
            pub const fn number(self) -> $int {
                match self {
                    $(Self::$variant => $number,)+
                    Self::Other(number) => number,
                }
            }

            /// The code for a number from the wire.
            pub const fn from_number(number: $int) -> Self {
                match number {
                    $($number => Self::$variant,)+
                    other => Self::Other(other),
                }
            }

            /// The name that the specification and the metrics use.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                    Self::Other(_) => "other",
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    Self::Other(number) => write!(f, "{number}"),
                    known => f.write_str(known.name()),
                }
            }
        }
    };
}

codes! {
    /// Why a request was refused. From 200 to 299: the same request may succeed later. From 400 to 499: it will not,
    /// unless something is changed. From 500: the broker is at fault.
    ErrorCode: u16 {
        /// The broker is at one of its own bounds; try again after the delay that the error tells.
        Overloaded = 200 "overloaded",
        /// Something that the broker needs for this does not answer now; try again after the delay that the error tells.
        Unavailable = 201 "unavailable",
        /// More in a time than the connection, the identity or the address may; try again after the delay that the error
        /// tells.
        RateExceeded = 202 "rate_exceeded",
        /// As many at once as the identity or the address may have. It may succeed when one of them is gone.
        QuotaExceeded = 203 "quota_exceeded",
        /// The stream takes nothing now, because its store failed. Publish again with the same message id.
        StreamUnavailable = 204 "stream_unavailable",
        /// A field is missing, has the wrong type or a value that is not allowed.
        BadRequest = 400 "bad_request",
        /// The credentials are missing or not accepted.
        Unauthenticated = 401 "unauthenticated",
        /// The identity may not do this.
        Forbidden = 403 "forbidden",
        /// No live subscription of this connection has this id.
        UnknownSubscription = 404 "unknown_subscription",
        /// No request has this op.
        UnknownOp = 405 "unknown_op",
        /// A live subscription already has this id.
        IdInUse = 409 "id_in_use",
        /// The first message must be connect, and only the first.
        ConnectExpected = 410 "connect_expected",
        /// The connection is already connected.
        AlreadyConnected = 411 "already_connected",
        /// The topic does not follow the grammar.
        InvalidTopic = 412 "invalid_topic",
        /// The payload and headers are larger than the welcome allowed.
        PayloadTooLarge = 413 "payload_too_large",
        /// The pattern does not follow the grammar, or has more wildcards than the welcome allowed.
        InvalidPattern = 414 "invalid_pattern",
        /// The specification reserves this, and this broker does not offer it.
        Unsupported = 415 "unsupported",
        /// The connection has as many subscriptions as it may have, or 16 to the same pattern.
        TooManySubscriptions = 416 "too_many_subscriptions",
        /// The topic starts with `$` and is the broker's own.
        ReservedTopic = 417 "reserved_topic",
        /// No stream keeps this topic, or no single stream everything that this pattern matches.
        NoStream = 418 "no_stream",
        /// The newest message of the topic is not the one that the publisher expected; the error tells which it is.
        UnexpectedSequence = 419 "unexpected_sequence",
        /// This request cannot start there.
        InvalidStart = 420 "invalid_start",
        /// The stream has as many topics as it may have, and this would be another one.
        StreamFull = 421 "stream_full",
        /// The broker failed; the operator finds the reason in its log.
        Internal = 500 "internal",
    }
}

codes! {
    /// Why a connection was closed: RFC 6455's own codes, and Carillon's from 4000, whose range says when to come back.
    CloseCode: u16 {
        /// Either side is done.
        Normal = 1000 "normal",
        /// The client goes away (a page is left).
        GoingAway = 1001 "going_away",
        /// The peer broke RFC 6455.
        ProtocolError = 1002 "protocol_error",
        /// A text message; only binary ones are accepted.
        TextMessage = 1003 "text_message",
        /// A text that is not UTF-8.
        InvalidUtf8 = 1007 "invalid_utf8",
        /// A WebSocket message larger than the welcome allowed.
        MessageTooBig = 1009 "message_too_big",
        /// The broker failed; the operator finds the reason in its log.
        InternalError = 1011 "internal_error",
        /// The connection's socket took no byte for the write deadline.
        WriteTimeout = 4000 "write_timeout",
        /// A heartbeat was not answered before the next one was due.
        HeartbeatTimeout = 4001 "heartbeat_timeout",
        /// The outbox was full, and a subscription asked to be closed rather than to lose a message.
        SlowConsumer = 4002 "slow_consumer",
        /// The broker is being stopped; the closing message before it tells the delay.
        Draining = 4100 "draining",
        /// The broker is at one of its own bounds; the closing message before it tells the delay.
        Overloaded = 4101 "overloaded",
        /// No connect message came within its deadline.
        ConnectTimeout = 4102 "connect_timeout",
        /// Something that the broker needs to let the client in does not answer now; the closing message before it tells
        /// the delay.
        Unavailable = 4103 "unavailable",
        /// The identity or the address has used up a quota; the closing message before it tells the delay.
        QuotaExceeded = 4104 "quota_exceeded",
        /// What was sent is not a Carillon message.
        BadMessage = 4400 "bad_message",
        /// The credentials are missing or not accepted.
        Unauthenticated = 4401 "unauthenticated",
        /// A request came before connect.
        ConnectExpected = 4402 "connect_expected",
    }
}

/// What a client does after a close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Return {
    /// Connect again at once (with jitter when it fails).
    AtOnce,
    /// Connect again after the delay that the closing message told, or after a backoff with jitter.
    AfterDelay,
    /// Do not connect again before something was changed: the program, its credentials, or its configuration.
    Never,
}

impl CloseCode {
    /// What a client does after a close with this code.
    pub const fn client_returns(self) -> Return {
        match self.number() {
            4000..=4099 => Return::AtOnce,
            1000 | 1002 | 1003 | 1007..=1010 | 4400..=4499 => Return::Never,
            _ => Return::AfterDelay,
        }
    }
}

codes! {
    /// Why messages of a subscription are missing.
    GapReason: u8 {
        /// The connection's outbox was full, and the oldest messages were dropped.
        Overflow = 1 "overflow",
        /// They were older, or more, than the stream keeps.
        Retention = 2 "retention",
        /// An operator removed them from the stream.
        Purge = 3 "purge",
        /// The stream's store cannot read them any more.
        Damage = 4 "damage",
    }
}

codes! {
    /// What a subscription that came back to a position is told.
    Resumed: u8 {
        /// All that it has not seen follows.
        Continued = 1 "continued",
        /// Something is lost, and a gap says what; all behind it follows.
        AfterGap = 2 "after_gap",
        /// Its position was in another epoch; what changed follows first.
        OtherEpoch = 3 "other_epoch",
    }
}

codes! {
    /// Why another epoch counts in a stream.
    EpochReason: u8 {
        /// The stream was made, perhaps after one of its name was removed.
        Created = 1 "created",
        /// The stream is kept in memory, and the broker started.
        Restarted = 2 "restarted",
        /// A repair lost sequences that had been given out.
        Repaired = 3 "repaired",
        /// An operator asked for it, after a restore from a backup.
        Renewed = 4 "renewed",
        /// It is not another one, but the position was behind the stream's end: what was there is lost.
        PositionAhead = 5 "position_ahead",
    }
}

codes! {
    /// What a notice is about.
    NoticeKind: u8 {
        /// The credentials run out, and with them the connection; refresh them.
        CredentialsExpire = 1 "credentials_expire",
    }
}

codes! {
    /// What happens to a subscription's messages when the connection's outbox is full.
    Overflow: u8 {
        /// The oldest waiting message is dropped, and a gap stands in its place. The default.
        DropOldest = 0 "drop_oldest",
        /// The connection is closed with `slow_consumer`; no message is dropped from a connection that goes on.
        Close = 1 "close",
    }
}
