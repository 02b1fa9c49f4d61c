//! The floor's few words: see `benches/floor`.

use std::io::{self, Error, ErrorKind, Write};

use carillon_bench::{Dialect, Heard, Order, Role, Upgrade};

const DONE: u8 = 0;
const DELIVERY: u8 = 1;

/// It publishes itself, on order.
#[derive(Debug, Clone)]
pub(crate) struct Floor;

impl Dialect for Floor {
    fn name(&self) -> &'static str {
        "floor"
    }

    fn upgrade(&self, _role: Role<'_>) -> Upgrade {
        Upgrade { path: "/".to_owned(), subprotocol: None, headers: Vec::new() }
    }

    fn hello(&self, _role: Role<'_>, _out: &mut Vec<u8>) -> bool {
        false
    }

    fn subscribe(&self, topic: &str, request: u32, out: &mut Vec<u8>) -> bool {
        // Writing to a Vec cannot fail.
        let _ = write!(out, "subscribe {request} {topic}");
        true
    }

    fn unsubscribe(&self, _topic: &str, _subscription: u32, _request: u32, _out: &mut Vec<u8>) -> bool {
        false
    }

    /// Never: it takes orders.
    fn publish(&self, _topic: &str, _payload: &[u8], _out: &mut Vec<u8>) {}

    fn opcode(&self) -> u8 {
        1
    }

    fn settle(&self, request: u32, out: &mut Vec<u8>) -> bool {
        let _ = write!(out, "settle {request}");
        true
    }

    fn order(&self, order: &Order<'_>, out: &mut Vec<u8>) -> bool {
        let Order { topic, messages, per_second, payload_bytes, start_at_ns } = order;
        let _ = write!(out, "order {topic} {messages} {per_second} {payload_bytes} {start_at_ns}");
        true
    }

    fn hear<'a>(
        &self,
        bytes: &'a [u8],
        message_ends: bool,
        _answer: &mut Vec<u8>,
        heard: &mut impl FnMut(Heard<'a>) -> io::Result<()>,
    ) -> io::Result<usize> {
        if !message_ends {
            return Ok(0);
        }
        match bytes.split_first() {
            Some((&DELIVERY, payload)) => heard(Heard::Delivery(payload))?,
            Some((&DONE, number)) => {
                let number = number.first_chunk().map_or(0, |number| u32::from_le_bytes(*number));
                heard(Heard::Done(number))?;
            }
            _ => return Err(Error::new(ErrorKind::InvalidData, "the floor says what it does not say")),
        }
        Ok(bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dialects::cut_anywhere::{Said, hear};

    proptest! {
        #[test]
        fn hears_the_same_wherever_it_is_cut(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 16..300), 0..8),
            cuts in proptest::collection::vec(0_usize..1000, 0..6),
        ) {
            let mut messages = vec![vec![DONE, 7, 1, 0, 0]];
            messages.extend(payloads.iter().map(|payload| [&[DELIVERY], payload.as_slice()].concat()));
            let mut expected = vec![Said::Done(263)];
            expected.extend(payloads.into_iter().map(Said::Delivery));
            prop_assert_eq!(hear(&Floor, &messages, &cuts).0, expected);
        }
    }
}
