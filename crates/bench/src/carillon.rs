//! Carillon's own dialect: `carillon.v1`.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use carillon_wire::{
    BrokerMessage, ClientMessage, DecodeError, Headers, Id, Overflow, Pattern, SUBPROTOCOL, Start, Topic,
    client_message::{Connect, Publish, Subscribe, Unsubscribe},
    decode,
};

use crate::{Dialect, Heard, Role, Upgrade};

mod quick;

/// No other request has it: theirs begin at 1.
const CONNECT_ID: u32 = 0;

/// Speaks `carillon.v1`.
#[derive(Debug, Clone)]
pub struct Carillon {
    /// What connections show, in turn.
    tokens: Arc<[String]>,
    /// How many were shown.
    shown: Arc<AtomicUsize>,
    path: Arc<str>,
}

impl Default for Carillon {
    fn default() -> Self {
        Self { tokens: Arc::default(), shown: Arc::default(), path: "/ws".into() }
    }
}

impl Carillon {
    /// Shows a token or an API key with every connection.
    #[must_use]
    pub fn with_token(self, token: &str) -> Self {
        self.with_tokens([token.to_owned()])
    }

    /// Shows one of them with each connection, in turn.
    #[must_use]
    pub fn with_tokens(self, tokens: impl Into<Arc<[String]>>) -> Self {
        Self { tokens: tokens.into(), ..self }
    }

    fn next_token(&self) -> Option<&str> {
        let shown = self.shown.fetch_add(1, Ordering::Relaxed);
        self.tokens.get(shown.checked_rem(self.tokens.len())?).map(String::as_str)
    }

    /// Asks for another path than `/ws`.
    #[must_use]
    pub fn with_path(self, path: &str) -> Self {
        Self { path: path.into(), ..self }
    }
}

impl Dialect for Carillon {
    fn name(&self) -> &'static str {
        "carillon"
    }

    fn upgrade(&self, _: Role<'_>) -> Upgrade {
        Upgrade { path: self.path.to_string(), subprotocol: Some(SUBPROTOCOL), headers: Vec::new() }
    }

    fn hello(&self, _: Role<'_>, out: &mut Vec<u8>) -> bool {
        ClientMessage::Connect(Connect {
            id: Id::from(CONNECT_ID),
            token: self.next_token(),
            client: Some(concat!("carillon-bench/", env!("CARGO_PKG_VERSION"))),
            headers: Headers::EMPTY,
        })
        .encode(out);
        true
    }

    fn subscribe(&self, topic: &str, request: u32, out: &mut Vec<u8>) -> bool {
        subscribe(topic, request, None, out)
    }

    fn unsubscribe(&self, _: &str, subscription: u32, request: u32, out: &mut Vec<u8>) -> bool {
        ClientMessage::Unsubscribe(Unsubscribe { id: Id::from(request), subscription: Id::from(subscription) })
            .encode(out);
        true
    }

    fn publish(&self, topic: &str, payload: &[u8], out: &mut Vec<u8>) {
        publish(topic, payload, None, out);
    }

    fn publish_acknowledged(&self, topic: &str, payload: &[u8], request: u32, out: &mut Vec<u8>) -> bool {
        publish(topic, payload, Some(Id::from(request)), out);
        true
    }

    fn subscribe_from_beginning(&self, topic: &str, request: u32, out: &mut Vec<u8>) -> bool {
        subscribe(topic, request, Some(Start::Beginning), out)
    }

    fn opcode(&self) -> u8 {
        0x2
    }

    fn settle(&self, request: u32, out: &mut Vec<u8>) -> bool {
        ClientMessage::Ping(Id::from(request)).encode(out);
        true
    }

    fn hear<'a>(
        &self,
        bytes: &'a [u8],
        message_ends: bool,
        answer: &mut Vec<u8>,
        heard: &mut impl FnMut(Heard<'a>) -> io::Result<()>,
    ) -> io::Result<usize> {
        let mut rest = bytes;
        loop {
            if let Some((payload, behind)) = quick::delivery(rest) {
                heard(Heard::Delivery(payload))?;
                rest = behind;
            } else if let Some((array, behind)) = quick::flat_array(rest) {
                say(array, answer, heard)?;
                rest = behind;
            } else if message_ends && !rest.is_empty() {
                // Whatever this is, the specification's decoder knows, and goes to the end.
                say(rest, answer, heard)?;
                return Ok(bytes.len());
            } else {
                return Ok(bytes.len() - rest.len());
            }
        }
    }
}

fn subscribe(topic: &str, request: u32, start: Option<Start<'_>>, out: &mut Vec<u8>) -> bool {
    let Ok(pattern) = Pattern::new(topic) else { return false };
    ClientMessage::Subscribe(Subscribe { id: Id::from(request), pattern, overflow: Overflow::DropOldest, start })
        .encode(out);
    true
}

fn publish(topic: &str, payload: &[u8], id: Option<Id>, out: &mut Vec<u8>) {
    // Nothing is published to what is no topic; then all deliveries are missing, and the run says so.
    let Ok(topic) = Topic::new(topic) else { return };
    let publication =
        Publish { id, topic, payload, headers: Headers::EMPTY, message_id: None, expected_sequence: None };
    ClientMessage::Publish(publication).encode(out);
}

/// Says what whole messages mean.
fn say<'a>(
    messages: &'a [u8],
    answer: &mut Vec<u8>,
    heard: &mut impl FnMut(Heard<'a>) -> io::Result<()>,
) -> io::Result<()> {
    for message in decode::broker_messages(messages) {
        match message {
            Ok(BrokerMessage::Welcome(_)) => heard(Heard::Ready)?,
            Ok(BrokerMessage::Ok(reply)) => {
                let request = number(Some(reply.id));
                heard(if reply.stream.is_some() { Heard::Kept(request) } else { Heard::Done(request) })?;
            }
            Ok(BrokerMessage::Error(error)) => heard(Heard::Refused(number(error.id), error.message))?,
            Ok(BrokerMessage::Delivery(delivery)) => heard(Heard::Delivery(delivery.payload))?,
            Ok(BrokerMessage::Gap(gap)) => heard(Heard::Gap(gap.count.max(1)))?,
            Ok(BrokerMessage::Live(_)) => heard(Heard::CaughtUp)?,
            Ok(BrokerMessage::Heartbeat(number)) => ClientMessage::HeartbeatReply(number).encode(answer),
            Ok(BrokerMessage::Closing(closing)) => {
                return Err(io::Error::other(format!("closing: {}", closing.reason)));
            }
            Ok(BrokerMessage::Ended(ended)) => {
                return Err(io::Error::other(format!("a subscription was ended: {}", ended.message)));
            }
            // What else is well formed changes nothing for a load.
            Ok(_) | Err(DecodeError::Refused(_)) => {}
            Err(malformed @ DecodeError::Malformed(_)) => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, malformed));
            }
        }
    }
    Ok(())
}

/// The number of a request, which was a `u32`.
fn number(id: Option<Id>) -> u32 {
    id.and_then(|id| u32::try_from(id.get()).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests;
