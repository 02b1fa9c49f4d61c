//! What a client says.

use std::fmt;

use crate::{
    ErrorCode, Headers, Id, Overflow, Pattern, Topic,
    encode::{Array, control},
    fields::{FieldError, Fields, missing},
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

/// One message from a client. All but the heartbeat's answer are requests: field 1 is the id that the reply names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientMessage<'a> {
    /// `[1, id, token, client, headers]`: the first message; answered with a welcome, or an error and a close.
    Connect(Connect<'a>),
    /// `[2, id, topic, payload, headers]`: answered with ok or an error; without an id only with an error.
    Publish(Publish<'a>),
    /// `[3, id, pattern, overflow]`: answered with ok or an error; the id then names the subscription.
    Subscribe(Subscribe<'a>),
    /// `[4, id, subscription]`: answered with ok or an error.
    Unsubscribe(Unsubscribe),
    /// `[5, number]`: answers the heartbeat that had this number.
    HeartbeatReply(Id),
    /// `[6, id]`: answered with ok.
    Ping(Id),
    /// `[7, id, token]`: answered with ok or an error.
    Refresh(Refresh<'a>),
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
}

/// Asks for all messages whose topic matches a pattern, from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// Named by the reply, and from then on the name of the subscription.
    pub id: Id,
    /// Which topics.
    pub pattern: Pattern<'a>,
    /// What happens when the connection's outbox is full.
    pub overflow: Overflow,
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
            REFRESH => Self::Refresh(Refresh { id: fields.id("id")?, token: fields.str("token")? }),
            other => {
                return Err(FieldError::new(
                    ErrorCode::UnknownOp,
                    format!("no request has the op {other}; this broker knows the ops {CONNECT} to {REFRESH}"),
                ));
            }
        })
    }

    /// Appends the message in its MessagePack form.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Connect(m) => {
                let mut array = Array::start(out, if m.headers.is_empty() { 4 } else { 5 });
                array.int(CONNECT.into()).int(m.id.get()).optional_str(m.token).optional_str(m.client);
                array.raw(m.headers.as_msgpack());
            }
            Self::Publish(m) => {
                let mut array = Array::start(out, if m.headers.is_empty() { 4 } else { 5 });
                array.int(PUBLISH.into()).optional_int(m.id.map(Id::get)).str(m.topic.as_str()).bin(m.payload);
                array.raw(m.headers.as_msgpack());
            }
            Self::Subscribe(m) => {
                control(out, &(SUBSCRIBE, m.id.get(), m.pattern.as_str(), m.overflow.number()));
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
    let publish = Publish { id, topic, payload: fields.bin("payload")?, headers: fields.headers()? };
    refuse_reserved(fields, "message_id")?;
    refuse_reserved(fields, "expected_sequence")?;
    Ok(publish)
}

fn decode_subscribe<'a>(fields: &mut Fields<'a>) -> Result<Subscribe<'a>, FieldError> {
    let id = fields.id("id")?;
    let name = fields.optional_str("pattern")?.ok_or_else(|| missing("pattern", "a string"))?;
    let pattern = Pattern::new(name).map_err(|error| {
        FieldError::new(ErrorCode::InvalidPattern, format!("the pattern {} is not valid: {error}", quoted(name)))
    })?;
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
    refuse_reserved(fields, "start")?;
    Ok(Subscribe { id, pattern, overflow })
}

/// A client that asks for what is reserved must not believe that it has it.
fn refuse_reserved(fields: &mut Fields<'_>, field: &str) -> Result<(), FieldError> {
    if fields.is_given() {
        return Err(FieldError::new(
            ErrorCode::Unsupported,
            format!("the field `{field}` is reserved, and this broker does not offer it; leave it out or nil"),
        ));
    }
    Ok(())
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
