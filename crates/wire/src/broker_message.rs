//! What the broker says.

use crate::{
    CloseCode, ErrorCode, Id, NoticeKind,
    encode::{Array, control, field_count},
    fields::{FieldError, Fields, INTEGER},
};
pub use crate::{
    delivery::{Delivery, InStream},
    stream_message::{EpochChanged, Gap, GapRange, Marker, OkReply, Page, Position},
};

/// Op of [`Welcome`].
pub const WELCOME: u8 = 64;
/// Op of [`OkReply`].
pub const OK: u8 = 65;
/// Op of [`ErrorReply`].
pub const ERROR: u8 = 66;
/// Op of [`Delivery`].
pub const DELIVERY: u8 = 67;
/// Op of [`Gap`].
pub const GAP: u8 = 68;
/// Op of [`BrokerMessage::Heartbeat`].
pub const HEARTBEAT: u8 = 69;
/// Op of [`Marker`].
pub const MARKER: u8 = 70;
/// Op of [`BrokerMessage::Live`].
pub const LIVE: u8 = 71;
/// Op of [`BrokerMessage::Position`].
pub const POSITION: u8 = 72;
/// Op of [`Closing`].
pub const CLOSING: u8 = 73;
/// Op of [`Notice`].
pub const NOTICE: u8 = 74;
/// Op of [`Ended`].
pub const ENDED: u8 = 75;
/// Op of [`EpochChanged`].
pub const EPOCH: u8 = 76;
/// Op of [`Page`].
pub const PAGE: u8 = 77;

/// One message from the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BrokerMessage<'a> {
    /// `[64, id, connection, server, max_payload_bytes, max_message_bytes, max_subscriptions, max_wildcards,
    /// heartbeat_ms]`: the answer to connect.
    Welcome(Welcome<'a>),
    /// `[65, id, stream, sequence, epoch, duplicate, resumed]`: the request was done.
    Ok(OkReply<'a>),
    /// `[66, id, code, message, retry_after_ms, last_sequence]`: the request was refused.
    Error(ErrorReply<'a>),
    /// `[67, topic, payload, time_us, headers, stream, sequence]`: a message, once for the connection, however many of
    /// its subscriptions match.
    Delivery(Delivery<'a>),
    /// `[68, subscription, reason, count, first, last, stream]`: messages are missing here.
    Gap(Gap<'a>),
    /// `[69, number]`: answer with the same number.
    Heartbeat(Id),
    /// `[70, subscription, stream, count]`: the subscription is catching up, and the next deliveries are for it alone.
    Marker(Marker<'a>),
    /// `[71, subscription, stream, epoch, sequence]`: it has caught up; it shares deliveries with the others again.
    Live(Position<'a>),
    /// `[72, subscription, stream, epoch, sequence]`: it is complete up to here.
    Position(Position<'a>),
    /// `[73, code, reason, retry_after_ms]`: the connection is about to be closed with this code.
    Closing(Closing<'a>),
    /// `[74, kind, message, in_ms]`: something is about to happen.
    Notice(Notice<'a>),
    /// `[75, subscription, code, message]`: the broker has ended a subscription.
    Ended(Ended<'a>),
    /// `[76, subscription, stream, epoch, reason, from]`: from here on another epoch counts.
    EpochChanged(EpochChanged<'a>),
    /// `[77, id, stream, epoch, count, sequence, is_end, as_of, gaps]`: history, whose messages follow.
    Page(Page<'a>),
}

/// The answer to connect: what holds on this connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Welcome<'a> {
    /// The id of the connect message.
    pub id: Id,
    /// The connection's name in the operator's log.
    pub connection: &'a str,
    /// The broker's software and version.
    pub server: &'a str,
    /// Payload and headers of one publication together, in bytes.
    pub max_payload_bytes: u64,
    /// One WebSocket message in either direction, in bytes.
    pub max_message_bytes: u64,
    /// Live subscriptions of this connection.
    pub max_subscriptions: u64,
    /// `*` tokens in one pattern.
    pub max_wildcards: u64,
    /// Time between two heartbeats, in milliseconds; 0 where the broker sends none. A client that has heard nothing at
    /// all for twice as long closes the connection and comes back.
    pub heartbeat_ms: u64,
}

/// The answer to a request that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorReply<'a> {
    /// The request's id; none where it had no valid one, as with a publication without an id.
    pub id: Option<Id>,
    /// What to do about it.
    pub code: ErrorCode,
    /// What was wrong and what is allowed, for people.
    pub message: &'a str,
    /// How long to wait before the same request may succeed, in milliseconds.
    pub retry_after_ms: Option<u64>,
    /// With [`ErrorCode::UnexpectedSequence`]: the sequence of the topic's newest message, 0 if it has none.
    pub last_sequence: Option<u64>,
}

/// The last message before the broker closes a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closing<'a> {
    /// The code that the close frame will carry.
    pub code: CloseCode,
    /// For people.
    pub reason: &'a str,
    /// When to come back, in milliseconds from now, where the code says that one may.
    pub retry_after_ms: Option<u64>,
}

/// Something that is about to happen to the connection, unless the client does something about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notice<'a> {
    /// What.
    pub kind: NoticeKind,
    /// For people.
    pub message: &'a str,
    /// When, in milliseconds from now.
    pub in_ms: Option<u64>,
}

/// A subscription that the broker has ended; nothing of it follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended<'a> {
    /// Which.
    pub subscription: Id,
    /// Why.
    pub code: ErrorCode,
    /// For people.
    pub message: &'a str,
}

impl<'a> BrokerMessage<'a> {
    /// The request was done, and there is nothing else to say about it.
    pub const fn ok(id: Id) -> Self {
        Self::Ok(OkReply::new(id))
    }

    pub(crate) fn decode(op: u8, fields: &mut Fields<'a>) -> Result<Self, FieldError> {
        Ok(match op {
            DELIVERY => Self::Delivery(Delivery::decode(fields)?),
            WELCOME => Self::Welcome(Welcome {
                id: fields.id("id")?,
                connection: fields.optional_str("connection")?.unwrap_or_default(),
                server: fields.optional_str("server")?.unwrap_or_default(),
                max_payload_bytes: fields.int_or_0("max_payload_bytes")?,
                max_message_bytes: fields.int_or_0("max_message_bytes")?,
                max_subscriptions: fields.int_or_0("max_subscriptions")?,
                max_wildcards: fields.int_or_0("max_wildcards")?,
                heartbeat_ms: fields.int_or_0("heartbeat_ms")?,
            }),
            OK => Self::Ok(OkReply::decode(fields)?),
            ERROR => Self::Error(ErrorReply {
                id: fields.optional_id("id")?,
                code: ErrorCode::from_number(fields.code("code")?),
                message: fields.optional_str("message")?.unwrap_or_default(),
                retry_after_ms: fields.optional_int("retry_after_ms", MILLISECONDS)?,
                last_sequence: fields.optional_int("last_sequence", INTEGER)?,
            }),
            GAP => Self::Gap(Gap::decode(fields)?),
            MARKER => Self::Marker(Marker::decode(fields)?),
            LIVE => Self::Live(Position::decode(fields)?),
            POSITION => Self::Position(Position::decode(fields)?),
            EPOCH => Self::EpochChanged(EpochChanged::decode(fields)?),
            PAGE => Self::Page(Page::decode(fields)?),
            HEARTBEAT => Self::Heartbeat(fields.id("number")?),
            CLOSING => Self::Closing(Closing {
                code: CloseCode::from_number(fields.code("code")?),
                reason: fields.optional_str("reason")?.unwrap_or_default(),
                retry_after_ms: fields.optional_int("retry_after_ms", MILLISECONDS)?,
            }),
            NOTICE => Self::Notice(Notice {
                kind: NoticeKind::from_number(fields.code("kind")?),
                message: fields.optional_str("message")?.unwrap_or_default(),
                in_ms: fields.optional_int("in_ms", MILLISECONDS)?,
            }),
            ENDED => Self::Ended(Ended {
                subscription: fields.id("subscription")?,
                code: ErrorCode::from_number(fields.code("code")?),
                message: fields.optional_str("message")?.unwrap_or_default(),
            }),
            other => {
                return Err(FieldError::new(ErrorCode::UnknownOp, format!("no broker message has the op {other}")));
            }
        })
    }

    /// Appends the message in its MessagePack form.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Delivery(m) => m.encode(out),
            Self::Welcome(m) => control(
                out,
                &(
                    WELCOME,
                    m.id.get(),
                    m.connection,
                    m.server,
                    m.max_payload_bytes,
                    m.max_message_bytes,
                    m.max_subscriptions,
                    m.max_wildcards,
                    m.heartbeat_ms,
                ),
            ),
            Self::Ok(m) => m.encode(out),
            Self::Error(m) => {
                let given = [m.retry_after_ms.is_some(), m.last_sequence.is_some()];
                let mut array = Array::start(out, field_count(4, &given));
                array.int(ERROR).optional_int(m.id.map(Id::get)).int(m.code.number()).str(m.message);
                array.optional_int(m.retry_after_ms).optional_int(m.last_sequence);
            }
            Self::Gap(m) => m.encode(out),
            Self::Marker(m) => m.encode(out),
            Self::Live(m) => m.encode(LIVE, out),
            Self::Position(m) => m.encode(POSITION, out),
            Self::EpochChanged(m) => m.encode(out),
            Self::Page(m) => m.encode(out),
            Self::Notice(m) => control(out, &(NOTICE, m.kind.number(), m.message, m.in_ms)),
            Self::Ended(m) => control(out, &(ENDED, m.subscription.get(), m.code.number(), m.message)),
            Self::Heartbeat(number) => control(out, &(HEARTBEAT, number.get())),
            Self::Closing(m) => match m.retry_after_ms {
                None => control(out, &(CLOSING, m.code.number(), m.reason)),
                Some(delay) => control(out, &(CLOSING, m.code.number(), m.reason, delay)),
            },
        }
    }
}

const MILLISECONDS: &str = "a number of milliseconds";
