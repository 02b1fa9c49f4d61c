//! Nchan's WebSockets: the path says who reads and who publishes, and a message is a payload.

use std::io;

use carillon_bench::{Dialect, Heard, Role, Upgrade};

/// How nginx is configured here: `/sub/TOPIC` and `/pub/TOPIC`.
const READ_AT: &str = "/sub/";
const PUBLISH_AT: &str = "/pub/";
/// What Nchan answers to each publication, and cannot be told to leave out. No payload begins so: its first bytes are a time.
const PUBLISHED: &[u8] = b"queued messages:";

/// It has no requests: whoever is there reads or publishes.
#[derive(Debug, Clone)]
pub(crate) struct Nchan;

impl Dialect for Nchan {
    fn name(&self) -> &'static str {
        "nginx+nchan"
    }

    fn upgrade(&self, role: Role<'_>) -> Upgrade {
        let path = match role {
            Role::Publisher { topic } => format!("{PUBLISH_AT}{topic}"),
            Role::Subscriber { topic } | Role::Idle { topic } => format!("{READ_AT}{topic}"),
        };
        Upgrade { path, subprotocol: None, headers: Vec::new() }
    }

    fn hello(&self, _role: Role<'_>, _out: &mut Vec<u8>) -> bool {
        false
    }

    fn subscribe(&self, _topic: &str, _request: u32, _out: &mut Vec<u8>) -> bool {
        false
    }

    fn unsubscribe(&self, _topic: &str, _subscription: u32, _request: u32, _out: &mut Vec<u8>) -> bool {
        false
    }

    fn publish(&self, _topic: &str, payload: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(payload);
    }

    fn opcode(&self) -> u8 {
        2
    }

    fn settle(&self, _request: u32, _out: &mut Vec<u8>) -> bool {
        false
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
        if !bytes.starts_with(PUBLISHED) {
            heard(Heard::Delivery(bytes))?;
        }
        Ok(bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dialects::cut_anywhere::{Said, hear};

    #[test]
    fn the_answer_to_a_publication_is_no_delivery() {
        let answer = b"queued messages: 4\r\nlast requested: 0 sec. ago\r\nactive subscribers: 1\r\n".to_vec();
        assert_eq!(hear(&Nchan, &[answer], &[300]).0, []);
    }

    proptest! {
        #[test]
        fn hears_the_same_wherever_it_is_cut(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 16..300), 0..8),
            cuts in proptest::collection::vec(0_usize..1000, 0..6),
        ) {
            let expected: Vec<_> = payloads.iter().cloned().map(Said::Delivery).collect();
            prop_assert_eq!(hear(&Nchan, &payloads, &cuts).0, expected);
        }
    }
}
