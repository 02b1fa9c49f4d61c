//! What a client says.

use std::fmt;

use crate::{
    ErrorCode, Headers, Id, Overflow, Pattern, Start, Topic,
    encode::{Array, control, field_count},
    fields::{FieldError, Fields, INTEGER},
    start::HistoryStart,
};

/// Op of [`Connect`].
pub const CONNECT: u8 = 1;
/// Op of [`Publish`].
pub const PUBLISH: u8 = 2;
/// Op of [`Subscribe`].
pub const SUBSCRIBE: u8 = 3;
/// Op of [`Unsubscribe`].
pub const UNSUBSCRIBE: u8 = 4;
/// Op of the answer to a heartbeat.
pub const HEARTBEAT_REPLY: u8 = 5;
/// Op of [`ClientMessage::Ping`].
pub const PING: u8 = 6;
/// Op of [`Refresh`].
pub const REFRESH: u8 = 7;
/// Op of [`History`].
pub const HISTORY: u8 = 8;

/// One message from a client. All but the heartbeat's answer are requests: field 1 is the id that the reply names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientMessage<'a> {
    /// `[1, id, token, client, headers]`: the first message; answered with a welcome, or an error and a close.
    Connect(Connect<'a>),
    /// `[2, id, topic, payload, headers, message_id, expected_sequence]`: answered with ok or an error; without an id only
    /// with an error.
    Publish(Publish<'a>),
    /// `[3, id, pattern, overflow, start]`: answered with ok or an error; the id then names the subscription.
    Subscribe(Subscribe<'a>),
    /// `[4, id, subscription]`: answered with ok or an error.
    Unsubscribe(Unsubscribe),
    /// `[5, number]`: answers the heartbeat that had this number.
    HeartbeatReply(Id),
    /// `[6, id]`: answered with ok.
    Ping(Id),
    /// `[7, id, token]`: answered with ok or an error.
    Refresh(Refresh<'a>),
    /// `[8, id, pattern, start, max_messages, through]`: answered with a page or an error.
    History(History<'a>),
}

/// The first message of a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Connect<'a> {
    /// Named by the welcome.
    pub id: Id,
    /// Credentials; none for an anonymous client.
    pub token: Option<&'a str>,
    /// The client's software and version, for the operator's log.
    pub client: Option<&'a str>,
    /// Room for what comes later.
    pub headers: Headers<'a>,
}

/// Shows no credentials.
impl fmt::Debug for Connect<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect").field("id", &self.id).field("client", &self.client).finish_non_exhaustive()
    }
}

/// A message for everyone whose subscription matches its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publish<'a> {
    /// Named by the reply; without it there is a reply only when the publication is refused.
    pub id: Option<Id>,
    /// Where to.
    pub topic: Topic<'a>,
    /// Opaque bytes.
    pub payload: &'a [u8],
    /// Passed on unread.
    pub headers: Headers<'a>,
    /// By this a stream knows a publication that it has taken already. 1 to
    /// [`MAX_MESSAGE_ID_BYTES`](crate::MAX_MESSAGE_ID_BYTES) bytes.
    pub message_id: Option<&'a str>,
    /// To be kept only if the newest message of its topic has this sequence in its stream; 0: only if it has none.
    pub expected_sequence: Option<u64>,
}

/// Asks for all messages whose topic matches a pattern, from now on or from a place in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// Named by the reply, and from then on the name of the subscription.
    pub id: Id,
    /// Which topics.
    pub pattern: Pattern<'a>,
    /// What happens when the connection's outbox is full.
    pub overflow: Overflow,
    /// Where in the stream that keeps these topics; none for a subscription from now on to topics of any streams or none.
    pub start: Option<Start<'a>>,
}

/// Ends a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsubscribe {
    /// Named by the reply.
    pub id: Id,
    /// The id of the request that made the subscription.
    pub subscription: Id,
}

/// Renews the credentials of a connection before they run out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Refresh<'a> {
    /// Named by the reply.
    pub id: Id,
    /// New credentials of the same subject.
    pub token: &'a str,
}

/// Shows no credentials.
impl fmt::Debug for Refresh<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refresh").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Asks for one page of what a stream keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct History<'a> {
    /// Named by the page.
    pub id: Id,
    /// Which topics.
    pub pattern: Pattern<'a>,
    /// From where.
    pub start: HistoryStart<'a>,
    /// At most so many messages, and at least 1; none for as many as a page holds.
    pub max_messages: Option<u64>,
    /// Up to this sequence; none for the end as it is when the request arrives.
    pub through: Option<u64>,
}

impl<'a> ClientMessage<'a> {
    pub(crate) fn decode(op: u8, fields: &mut Fields<'a>) -> Result<Self, FieldError> {
        Ok(match op {
            PUBLISH => Self::Publish(decode_publish(fields)?),
            CONNECT => Self::Connect(Connect {
                id: fields.id("id")?,
                token: fields.optional_str("token")?,
                client: fields.optional_str("client")?,
                headers: fields.headers()?,
            }),
            SUBSCRIBE => Self::Subscribe(decode_subscribe(fields)?),
            UNSUBSCRIBE => {
                Self::Unsubscribe(Unsubscribe { id: fields.id("id")?, subscription: fields.id("subscription")? })
            }
            HEARTBEAT_REPLY => Self::HeartbeatReply(fields.id("number")?),
            PING => Self::Ping(fields.id("id")?),
            HISTORY => Self::History(History {
                id: fields.id("id")?,
                pattern: decode_pattern(fields)?,
                start: HistoryStart::decode(fields)?,
                max_messages: fields.optional_positive("max_messages")?,
                through: fields.optional_int("through", INTEGER)?,
            }),
            REFRESH => Self::Refresh(Refresh { id: fields.id("id")?, token: fields.str("token")? }),
            other => {
                return Err(FieldError::new(
                    ErrorCode::UnknownOp,
                    format!("no request has the op {other}; this broker knows the ops {CONNECT} to {HISTORY}"),
                ));
            }
        })
    }

    /// Appends the message in its MessagePack form.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Connect(m) => {
                let mut array = Array::start(out, field_count(4, &[!m.headers.is_empty()]));
                array.int(CONNECT).int(m.id.get()).optional_str(m.token).optional_str(m.client).headers(m.headers);
            }
            Self::Publish(m) => {
                let given = [!m.headers.is_empty(), m.message_id.is_some(), m.expected_sequence.is_some()];
                let mut array = Array::start(out, field_count(4, &given));
                array.int(PUBLISH).optional_int(m.id.map(Id::get)).str(m.topic.as_str()).bin(m.payload);
                array.headers(m.headers).optional_str(m.message_id).optional_int(m.expected_sequence);
            }
            Self::Subscribe(m) => {
                let mut array = Array::start(out, field_count(4, &[m.start.is_some()]));
                array.int(SUBSCRIBE).int(m.id.get()).str(m.pattern.as_str()).int(m.overflow.number());
                array.optional(m.start, Start::encode);
            }
            Self::History(m) => {
                let given = [m.max_messages.is_some(), m.through.is_some()];
                let mut array = Array::start(out, field_count(4, &given));
                array
                    .int(HISTORY)
                    .int(m.id.get())
                    .str(m.pattern.as_str())
                    .optional(Some(m.start), HistoryStart::encode);
                array.optional_int(m.max_messages).optional_int(m.through);
            }
            Self::Unsubscribe(m) => control(out, &(UNSUBSCRIBE, m.id.get(), m.subscription.get())),
            Self::HeartbeatReply(number) => control(out, &(HEARTBEAT_REPLY, number.get())),
            Self::Ping(id) => control(out, &(PING, id.get())),
            Self::Refresh(m) => control(out, &(REFRESH, m.id.get(), m.token)),
        }
    }
}

fn decode_publish<'a>(fields: &mut Fields<'a>) -> Result<Publish<'a>, FieldError> {
    let id = fields.optional_id("id")?;
    let name = fields.str("topic")?;
    let topic = Topic::new(name).map_err(|error| {
        FieldError::new(ErrorCode::InvalidTopic, format!("the topic {} is not valid: {error}", quoted(name)))
    })?;
    Ok(Publish {
        id,
        topic,
        payload: fields.bin("payload")?,
        headers: fields.headers()?,
        message_id: fields.optional_message_id()?,
        expected_sequence: fields.optional_int("expected_sequence", INTEGER)?,
    })
}

fn decode_pattern<'a>(fields: &mut Fields<'a>) -> Result<Pattern<'a>, FieldError> {
    let name = fields.str("pattern")?;
    Pattern::new(name).map_err(|error| {
        FieldError::new(ErrorCode::InvalidPattern, format!("the pattern {} is not valid: {error}", quoted(name)))
    })
}

fn decode_subscribe<'a>(fields: &mut Fields<'a>) -> Result<Subscribe<'a>, FieldError> {
    let id = fields.id("id")?;
    let pattern = decode_pattern(fields)?;
    let overflow = match fields.optional_int::<u8>("overflow", "an overflow policy's number")? {
        None => Overflow::DropOldest,
        Some(number) => match Overflow::from_number(number) {
            Overflow::Other(number) => {
                return Err(FieldError::new(
                    ErrorCode::Unsupported,
                    format!("no overflow policy {number} here; this broker offers 0 (drop_oldest) and 1 (close)"),
                ));
            }
            known => known,
        },
    };
    Ok(Subscribe { id, pattern, overflow, start: Start::decode(fields)? })
}

/// A name from outside, shortened and escaped, so that an error stays readable whatever was sent.
fn quoted(name: &str) -> String {
    const SHOWN_CHARACTERS: usize = 64;
    let mut shown: String = name.chars().take(SHOWN_CHARACTERS).flat_map(char::escape_debug).collect();
    if name.chars().nth(SHOWN_CHARACTERS).is_some() {
        shown.push_str("...");
    }
    format!("\"{shown}\"")
}
