//! What the broker says.

use crate::{
    CloseCode, ErrorCode, GapReason, Headers, Id, NoticeKind, Topic,
    encode::{Array, control},
    fields::{FieldError, Fields},
};

/// Op of [`Welcome`].
pub const WELCOME: u8 = 64;
/// Op of [`BrokerMessage::Ok`].
pub const OK: u8 = 65;
/// Op of [`ErrorReply`].
pub const ERROR: u8 = 66;
/// Op of [`Delivery`].
pub const DELIVERY: u8 = 67;
/// Op of [`Gap`].
pub const GAP: u8 = 68;
/// Op of [`BrokerMessage::Heartbeat`].
pub const HEARTBEAT: u8 = 69;
/// Op of [`Closing`].
pub const CLOSING: u8 = 73;

/// Op of [`Notice`].
pub const NOTICE: u8 = 74;
/// Op of [`Ended`].
pub const ENDED: u8 = 75;

/// One message from the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BrokerMessage<'a> {
    /// `[64, id, connection, server, max_payload_bytes, max_message_bytes, max_subscriptions, max_wildcards,
    /// heartbeat_ms]`: the answer to connect.
    Welcome(Welcome<'a>),
    /// `[65, id]`: the request was done.
    Ok(Id),
    /// `[66, id, code, message, retry_after_ms]`: the request was refused.
    Error(ErrorReply<'a>),
    /// `[67, topic, payload, time_us, headers]`: a message, once for the connection, however many of its
    /// subscriptions match.
    Delivery(Delivery<'a>),
    /// `[68, subscription, reason, count]`: messages are missing here.
    Gap(Gap),
    /// `[69, number]`: answer with the same number.
    Heartbeat(Id),
    /// `[73, code, reason, retry_after_ms]`: the connection is about to be closed with this code.
    Closing(Closing<'a>),
    /// `[74, kind, message, in_ms]`: something is about to happen.
    Notice(Notice<'a>),
    /// `[75, subscription, code, message]`: the broker has ended a subscription.
    Ended(Ended<'a>),
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
}

/// A message that matched at least one subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery<'a> {
    /// Where it was published.
    pub topic: Topic<'a>,
    /// Opaque bytes.
    pub payload: &'a [u8],
    /// When the broker accepted it, in microseconds since 1970 began (UTC).
    pub time_us: u64,
    /// As published.
    pub headers: Headers<'a>,
}

/// Messages of one subscription that are missing, at the place where they would have been.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// Whose.
    pub subscription: Id,
    /// Why.
    pub reason: GapReason,
    /// How many.
    pub count: u64,
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
    pub(crate) fn decode(op: u8, fields: &mut Fields<'a>) -> Result<Self, FieldError> {
        Ok(match op {
            DELIVERY => Self::Delivery(Delivery {
                topic: {
                    let name = fields.str("topic")?;
                    Topic::new(name)
                        .map_err(|error| FieldError::new(ErrorCode::InvalidTopic, format!("the topic: {error}")))?
                },
                payload: fields.bin("payload")?,
                time_us: number(fields, "time_us")?,
                headers: fields.headers()?,
            }),
            WELCOME => Self::Welcome(Welcome {
                id: fields.id("id")?,
                connection: fields.optional_str("connection")?.unwrap_or_default(),
                server: fields.optional_str("server")?.unwrap_or_default(),
                max_payload_bytes: number(fields, "max_payload_bytes")?,
                max_message_bytes: number(fields, "max_message_bytes")?,
                max_subscriptions: number(fields, "max_subscriptions")?,
                max_wildcards: number(fields, "max_wildcards")?,
                heartbeat_ms: number(fields, "heartbeat_ms")?,
            }),
            OK => Self::Ok(fields.id("id")?),
            ERROR => Self::Error(ErrorReply {
                id: fields.optional_id("id")?,
                code: ErrorCode::from_number(small(fields, "code")?),
                message: fields.optional_str("message")?.unwrap_or_default(),
                retry_after_ms: fields.optional_int("retry_after_ms", MILLISECONDS)?,
            }),
            GAP => Self::Gap(Gap {
                subscription: fields.id("subscription")?,
                reason: GapReason::from_number(small(fields, "reason")?),
                count: number(fields, "count")?,
            }),
            HEARTBEAT => Self::Heartbeat(fields.id("number")?),
            CLOSING => Self::Closing(Closing {
                code: CloseCode::from_number(small(fields, "code")?),
                reason: fields.optional_str("reason")?.unwrap_or_default(),
                retry_after_ms: fields.optional_int("retry_after_ms", MILLISECONDS)?,
            }),
            NOTICE => Self::Notice(Notice {
                kind: NoticeKind::from_number(small(fields, "kind")?),
                message: fields.optional_str("message")?.unwrap_or_default(),
                in_ms: fields.optional_int("in_ms", MILLISECONDS)?,
            }),
            ENDED => Self::Ended(Ended {
                subscription: fields.id("subscription")?,
                code: ErrorCode::from_number(small(fields, "code")?),
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
            Self::Delivery(m) => {
                let mut array = Array::start(out, if m.headers.is_empty() { 4 } else { 5 });
                array.int(DELIVERY.into()).str(m.topic.as_str()).bin(m.payload).int(m.time_us);
                array.raw(m.headers.as_msgpack());
            }
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
            Self::Ok(id) => control(out, &(OK, id.get())),
            Self::Error(m) => match m.retry_after_ms {
                None => control(out, &(ERROR, m.id.map(Id::get), m.code.number(), m.message)),
                Some(delay) => control(out, &(ERROR, m.id.map(Id::get), m.code.number(), m.message, delay)),
            },
            Self::Gap(m) => control(out, &(GAP, m.subscription.get(), m.reason.number(), m.count)),
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

fn number(fields: &mut Fields<'_>, field: &str) -> Result<u64, FieldError> {
    Ok(fields.optional_int(field, "an integer from 0 to 2^53 - 1")?.unwrap_or_default())
}

fn small<T: TryFrom<u64> + Default>(fields: &mut Fields<'_>, field: &str) -> Result<T, FieldError> {
    Ok(fields.optional_int(field, "a code's number")?.unwrap_or_default())
}
