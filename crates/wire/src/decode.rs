//! Takes a WebSocket message apart into the messages that it carries.
//!
//! A WebSocket message is one or more MessagePack arrays back to back. Three things can be found:
//!
//! - a message;
//! - [`Refused`]: a well-formed array that is not a message that is allowed. It is answered with an error, and what
//!   comes after it still counts;
//! - [`Malformed`]: no array, so that nothing tells where the next one starts. What stood before it holds; the
//!   connection is closed with [`CloseCode::BadMessage`](crate::CloseCode::BadMessage).

use crate::{
    BrokerMessage, ClientMessage, ErrorCode, Id, MAX_DEPTH,
    fields::{FieldError, Fields},
    scan,
};

/// Why the bytes are not a Carillon message at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// A WebSocket message without a byte.
    #[error("the WebSocket message is empty; it must carry at least one MessagePack array")]
    Empty,
    /// A value that goes on beyond the end.
    #[error("a MessagePack value goes on beyond the end of the WebSocket message")]
    Truncated,
    /// The byte 0xc1, which MessagePack never uses.
    #[error("the byte 0xc1 is not MessagePack")]
    ReservedByte,
    /// Arrays or maps in each other, deeper than [`MAX_DEPTH`].
    #[error("arrays and maps are nested deeper than {MAX_DEPTH}")]
    TooDeep,
    /// A value that is not an array.
    #[error("a message must be a MessagePack array `[op, field, ...]`, not another value")]
    NotAnArray,
    /// An array without an op.
    #[error("a message must start with its op, an integer from 0 to 127")]
    NoOp,
}

/// A well-formed array that is not a message that is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Refused {
    /// The request's id, where it had a valid one.
    pub id: Option<Id>,
    /// The op of the refused message.
    pub op: u8,
    /// The code for the error that answers it.
    pub code: ErrorCode,
    /// What was wrong and what is allowed, for the person who gets it.
    pub message: String,
}

/// Why there is no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Answer with an error and go on.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Close the connection.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

/// The messages that a client sent in one WebSocket message, in order; ends after the first [`Malformed`].
///
/// ```
/// use carillon_wire::{ClientMessage, decode};
///
/// let bytes = [0x93, 0x02, 0xc0, 0xa1, b'a']; // [publish, no id, "a"]
/// let messages: Vec<_> = decode::client_messages(&bytes).collect();
/// assert!(matches!(&messages[..], [Ok(ClientMessage::Publish(p))] if p.topic.as_str() == "a"));
/// ```
pub fn client_messages(bytes: &[u8]) -> ClientMessages<'_> {
    ClientMessages(Arrays::new(bytes))
}

/// What [`client_messages`] gives.
#[derive(Debug, Clone)]
pub struct ClientMessages<'a>(Arrays<'a>);

impl<'a> ClientMessages<'a> {
    /// The bytes behind the message that came last; a reader that must stop there goes on with them later. Empty after
    /// the end and after a [`Malformed`].
    pub fn rest(&self) -> &'a [u8] {
        self.0.rest
    }
}

impl<'a> Iterator for ClientMessages<'a> {
    type Item = Result<ClientMessage<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(match self.0.next()? {
            Ok((op, mut fields)) => ClientMessage::decode(op, &mut fields).map_err(|error| refuse(op, &fields, error)),
            Err(malformed) => Err(malformed.into()),
        })
    }
}

/// The messages that a broker sent in one WebSocket message, in order; ends after the first [`Malformed`].
///
/// A message whose op this version does not know comes as [`Refused`] with
/// [`ErrorCode::UnknownOp`]; a client passes over it.
pub fn broker_messages(bytes: &[u8]) -> impl Iterator<Item = Result<BrokerMessage<'_>, DecodeError>> {
    Arrays::new(bytes).map(|array| {
        let (op, mut fields) = array?;
        BrokerMessage::decode(op, &mut fields).map_err(|error| refuse(op, &fields, error))
    })
}

fn refuse(op: u8, fields: &Fields<'_>, error: FieldError) -> DecodeError {
    DecodeError::Refused(Refused { id: fields.request_id(), op, code: error.code, message: error.message })
}

/// Splits a WebSocket message into arrays, each as its op and its fields.
#[derive(Debug, Clone)]
struct Arrays<'a> {
    rest: &'a [u8],
    started: bool,
}

impl<'a> Arrays<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, started: false }
    }

    fn split(&mut self) -> Result<(u8, Fields<'a>), Malformed> {
        let marker = *self.rest.first().ok_or(Malformed::Empty)?;
        if !matches!(marker, 0x90..=0x9f | 0xdc | 0xdd) {
            return Err(Malformed::NotAnArray);
        }
        let length = scan::value_len(self.rest)?;
        let array = self.rest.split_off(..length).ok_or(Malformed::Truncated)?;
        let mut fields = Fields::of_array(array).ok_or(Malformed::NotAnArray)?;
        let op = fields.op().ok_or(Malformed::NoOp)?;
        Ok((op, fields))
    }
}

impl<'a> Iterator for Arrays<'a> {
    type Item = Result<(u8, Fields<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.started && self.rest.is_empty() {
            return None;
        }
        self.started = true;
        let array = self.split();
        if array.is_err() {
            // Nothing tells where the next array would start.
            self.rest = &[];
        }
        Some(array)
    }
}
