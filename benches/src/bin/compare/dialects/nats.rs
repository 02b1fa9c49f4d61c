//! The text protocol of NATS over a WebSocket.

use std::io::{self, Error, ErrorKind, Write};

use carillon_bench::{Dialect, Heard, Role, Upgrade};

const LINE_END: &[u8] = b"\r\n";
/// The head of a message names a subject, which is short here.
const MAX_LINE_BYTES: usize = 64 << 10;

/// With a user and a password, where that is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Nats {
    /// What is sent first.
    connect: String,
}

impl Nats {
    pub(crate) fn new(user: &str, password: &str) -> Self {
        // No acknowledgement of each request (verbose), no second look at subjects (pedantic): as its own clients connect.
        let options = serde_json::json!({
            "verbose": false, "pedantic": false, "user": user, "pass": password, "name": "carillon-benches",
            "lang": "rust", "version": "1", "protocol": 1, "echo": true, "headers": true, "no_responders": true,
        });
        // The answer to the ping tells that the server let us in.
        Self { connect: format!("CONNECT {options}\r\nPING\r\n") }
    }
}

impl Dialect for Nats {
    fn name(&self) -> &'static str {
        "nats-server"
    }

    fn upgrade(&self, _role: Role<'_>) -> Upgrade {
        Upgrade { path: "/".to_owned(), subprotocol: None, headers: Vec::new() }
    }

    fn hello(&self, _role: Role<'_>, out: &mut Vec<u8>) -> bool {
        out.extend_from_slice(self.connect.as_bytes());
        true
    }

    /// The request's number is the subscription's. The ping behind it tells when it is in force.
    fn subscribe(&self, topic: &str, request: u32, out: &mut Vec<u8>) -> bool {
        // Writing to a Vec cannot fail.
        let _ = write!(out, "SUB {topic} {request}\r\nPING\r\n");
        true
    }

    fn unsubscribe(&self, _topic: &str, subscription: u32, _request: u32, out: &mut Vec<u8>) -> bool {
        let _ = write!(out, "UNSUB {subscription}\r\nPING\r\n");
        true
    }

    fn publish(&self, topic: &str, payload: &[u8], out: &mut Vec<u8>) {
        let _ = write!(out, "PUB {topic} {}\r\n", payload.len());
        out.extend_from_slice(payload);
        out.extend_from_slice(LINE_END);
    }

    fn opcode(&self) -> u8 {
        2
    }

    fn settle(&self, _request: u32, out: &mut Vec<u8>) -> bool {
        out.extend_from_slice(b"PING\r\n");
        true
    }

    fn hear<'a>(
        &self,
        bytes: &'a [u8],
        _message_ends: bool,
        answer: &mut Vec<u8>,
        heard: &mut impl FnMut(Heard<'a>) -> io::Result<()>,
    ) -> io::Result<usize> {
        let mut rest = bytes;
        while let Some((line, after)) = split_line(rest) {
            if line.first() == Some(&b'M') {
                let Some((payload, after)) = split_payload(line, after)? else { break };
                heard(Heard::Delivery(payload))?;
                rest = after;
            } else {
                control(line, answer, heard)?;
                rest = after;
            }
        }
        if rest.len() > MAX_LINE_BYTES && !rest.starts_with(b"MSG ") && !rest.starts_with(b"INFO ") {
            return Err(Error::new(ErrorKind::InvalidData, "nats-server sends a line without an end"));
        }
        Ok(bytes.len() - rest.len())
    }
}

/// A line that is no message.
fn control<'a>(
    line: &'a [u8],
    answer: &mut Vec<u8>,
    heard: &mut impl FnMut(Heard<'a>) -> io::Result<()>,
) -> io::Result<()> {
    match line {
        // The first answers what was sent first; who is ready already does not mind the others.
        b"PONG" => {
            heard(Heard::Ready)?;
            heard(Heard::Done(0))
        }
        b"PING" => {
            answer.extend_from_slice(b"PONG\r\n");
            Ok(())
        }
        // What the server is; it comes unasked.
        [b'I', b'N', b'F', b'O', ..] | b"+OK" | b"" => Ok(()),
        [b'-', b'E', b'R', b'R', why @ ..] => heard(Heard::Refused(0, str::from_utf8(why).unwrap_or_default().trim())),
        other => {
            let other = String::from_utf8_lossy(other.get(..80).unwrap_or(other)).into_owned();
            Err(Error::new(ErrorKind::InvalidData, format!("nats-server says {other:?}")))
        }
    }
}

/// Up to the first line end, and what is behind it.
fn split_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|&byte| byte == b'\r')?;
    let (line, rest) = bytes.split_at_checked(end)?;
    Some((line, rest.strip_prefix(LINE_END)?))
}

/// The payload of `MSG subject sid [reply] bytes`, if it is there with its line end.
fn split_payload<'a>(line: &[u8], after: &'a [u8]) -> io::Result<Option<(&'a [u8], &'a [u8])>> {
    let digits = line.rsplit(|&byte| byte == b' ').next().unwrap_or_default();
    let length = digits.iter().try_fold(0_usize, |length, &digit| {
        let digit = usize::from(digit.checked_sub(b'0').filter(|&digit| digit < 10)?);
        length.checked_mul(10)?.checked_add(digit)
    });
    let is_message = line.starts_with(b"MSG ") && !digits.is_empty();
    let length = length.filter(|_| is_message).ok_or_else(|| {
        let line = String::from_utf8_lossy(line).into_owned();
        Error::new(ErrorKind::InvalidData, format!("nats-server sends {line:?}, which is no head of a message"))
    })?;
    let Some((payload, rest)) = after.split_at_checked(length) else { return Ok(None) };
    if rest.len() < LINE_END.len() {
        return Ok(None);
    }
    let rest =
        rest.strip_prefix(LINE_END).ok_or_else(|| Error::new(ErrorKind::InvalidData, "a message without an end"))?;
    Ok(Some((payload, rest)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dialects::cut_anywhere::{Said, hear};

    fn nats() -> Nats {
        Nats::new("bench", "secret")
    }

    fn message(payload: &[u8]) -> Vec<u8> {
        let mut bytes = format!("MSG bench.a 7 {}\r\n", payload.len()).into_bytes();
        bytes.extend_from_slice(payload);
        bytes.extend_from_slice(LINE_END);
        bytes
    }

    #[test]
    fn a_refusal_has_its_reason() {
        let (said, _) = hear(&nats(), &[b"-ERR 'Authorization Violation'\r\n".to_vec()], &[]);
        assert_eq!(said, [Said::Refused(0, "'Authorization Violation'".to_owned())]);
    }

    #[test]
    fn a_ping_is_answered() {
        assert_eq!(hear(&nats(), &[b"PING\r\n".to_vec()], &[]), (Vec::new(), b"PONG\r\n".to_vec()));
    }

    #[test]
    fn what_is_no_head_of_a_message_ends_the_connection() {
        for head in
            ["MSG a 1 x\r\n", "MSG a 1 \r\n", "MSG a 1 99999999999999999999999\r\n", "HELLO\r\n", "MSX a 1 1\r\n"]
        {
            let result = nats().hear(head.as_bytes(), true, &mut Vec::new(), &mut |_| Ok(()));
            assert!(result.is_err(), "{head:?}");
        }
    }

    proptest! {
        #[test]
        fn hears_the_same_wherever_it_is_cut(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..8),
            in_one in any::<bool>(),
            cuts in proptest::collection::vec(0_usize..1000, 0..6),
        ) {
            let mut messages = vec![b"INFO {\"server_id\":\"A\"}\r\n".to_vec(), b"PONG\r\n".to_vec()];
            messages.extend(payloads.iter().map(|payload| message(payload)));
            if in_one {
                messages = vec![messages.concat()];
            }
            let mut expected = vec![Said::Ready, Said::Done(0)];
            expected.extend(payloads.into_iter().map(Said::Delivery));
            prop_assert_eq!(hear(&nats(), &messages, &cuts).0, expected);
        }
    }
}
