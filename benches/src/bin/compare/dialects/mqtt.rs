//! MQTT 3.1.1 over a WebSocket, at quality of service 0.

use std::io::{self, Error, ErrorKind};

use carillon_bench::{Dialect, Heard, Role, Upgrade};

/// The first byte of each packet (MQTT 3.1.1, chapter 3), with the flags that it must have.
mod packet {
    pub(super) const CONNECT: u8 = 0x10;
    pub(super) const CONNACK: u8 = 0x20;
    pub(super) const PUBLISH: u8 = 0x30;
    pub(super) const SUBSCRIBE: u8 = 0x82;
    pub(super) const SUBACK: u8 = 0x90;
    pub(super) const UNSUBSCRIBE: u8 = 0xa2;
    pub(super) const UNSUBACK: u8 = 0xb0;
    pub(super) const PINGREQ: u8 = 0xc0;
    pub(super) const PINGRESP: u8 = 0xd0;
}

const PROTOCOL_LEVEL: u8 = 4;
/// User, password, clean session.
const CONNECT_FLAGS: u8 = 0b1100_0010;
/// A subscription that the broker does not grant.
const SUBSCRIPTION_FAILED: u8 = 0x80;
/// `Remaining Length` has 7 bits in a byte, and 4 bytes at most.
const MAX_LENGTH_BYTES: usize = 4;

/// With a user and a password.
#[derive(Debug, Clone)]
pub(crate) struct Mqtt {
    connect: Vec<u8>,
}

impl Mqtt {
    pub(crate) fn new(user: &str, password: &str) -> Self {
        let mut body = Vec::new();
        string("MQTT", &mut body);
        // No keep-alive: the comparison is of brokers that send what is published.
        body.extend_from_slice(&[PROTOCOL_LEVEL, CONNECT_FLAGS, 0, 0]);
        // The broker makes an id for the client.
        for text in ["", user, password] {
            string(text, &mut body);
        }
        let mut connect = Vec::new();
        head(packet::CONNECT, body.len(), &mut connect);
        connect.extend_from_slice(&body);
        Self { connect }
    }
}

/// Topics of MQTT are parted by slashes.
fn topic_name(topic: &str) -> String {
    topic.replace('.', "/")
}

fn string(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn head(first: u8, mut length: usize, out: &mut Vec<u8>) {
    out.push(first);
    loop {
        let (more, low) = (length >> 7, u8::try_from(length & 0x7f).unwrap_or_default());
        out.push(if more > 0 { low | 0x80 } else { low });
        if more == 0 {
            return;
        }
        length = more;
    }
}

/// Packets carry 16 bits of a request's number.
fn packet_id(request: u32) -> [u8; 2] {
    u16::try_from(request & 0xffff).unwrap_or_default().to_be_bytes()
}

impl Dialect for Mqtt {
    fn name(&self) -> &'static str {
        "mosquitto"
    }

    fn upgrade(&self, _role: Role<'_>) -> Upgrade {
        Upgrade { path: "/mqtt".to_owned(), subprotocol: Some("mqtt"), headers: Vec::new() }
    }

    fn hello(&self, _role: Role<'_>, out: &mut Vec<u8>) -> bool {
        out.extend_from_slice(&self.connect);
        true
    }

    fn subscribe(&self, topic: &str, request: u32, out: &mut Vec<u8>) -> bool {
        let topic = topic_name(topic);
        head(packet::SUBSCRIBE, 2 + 2 + topic.len() + 1, out);
        out.extend_from_slice(&packet_id(request));
        string(&topic, out);
        out.push(0);
        true
    }

    fn unsubscribe(&self, topic: &str, _subscription: u32, request: u32, out: &mut Vec<u8>) -> bool {
        let topic = topic_name(topic);
        head(packet::UNSUBSCRIBE, 2 + 2 + topic.len(), out);
        out.extend_from_slice(&packet_id(request));
        string(&topic, out);
        true
    }

    fn publish(&self, topic: &str, payload: &[u8], out: &mut Vec<u8>) {
        head(packet::PUBLISH, 2 + topic.len() + payload.len(), out);
        out.extend_from_slice(&u16::try_from(topic.len()).unwrap_or(u16::MAX).to_be_bytes());
        out.extend(topic.bytes().map(|byte| if byte == b'.' { b'/' } else { byte }));
        out.extend_from_slice(payload);
    }

    fn opcode(&self) -> u8 {
        2
    }

    fn settle(&self, _request: u32, out: &mut Vec<u8>) -> bool {
        out.extend_from_slice(&[packet::PINGREQ, 0]);
        true
    }

    fn hear<'a>(
        &self,
        bytes: &'a [u8],
        _message_ends: bool,
        _answer: &mut Vec<u8>,
        heard: &mut impl FnMut(Heard<'a>) -> io::Result<()>,
    ) -> io::Result<usize> {
        let mut rest = bytes;
        while let Some((first, body, after)) = split(rest)? {
            match (first, body) {
                // Its flags are for other qualities of service, and that it was kept.
                (packet::PUBLISH..=0x31, _) => heard(Heard::Delivery(payload(body)?))?,
                (packet::CONNACK, [_, 0]) => heard(Heard::Ready)?,
                (packet::CONNACK, [_, _]) => heard(Heard::Refused(0, "the broker does not let in who connects"))?,
                (packet::SUBACK, [high, low, SUBSCRIPTION_FAILED]) => {
                    heard(Heard::Refused(request(*high, *low), "the broker does not grant the subscription"))?;
                }
                (packet::SUBACK, [high, low, _]) | (packet::UNSUBACK, [high, low]) => {
                    heard(Heard::Done(request(*high, *low)))?;
                }
                (packet::PINGRESP, []) => heard(Heard::Done(0))?,
                _ => {
                    return Err(Error::new(ErrorKind::InvalidData, format!("an unexpected packet {first:#x} of MQTT")));
                }
            }
            rest = after;
        }
        Ok(bytes.len() - rest.len())
    }
}

fn request(high: u8, low: u8) -> u32 {
    u32::from(u16::from_be_bytes([high, low]))
}

/// A packet's first byte, its body, and what is behind it.
type Split<'a> = (u8, &'a [u8], &'a [u8]);

/// Splits off the first packet.
fn split(bytes: &[u8]) -> io::Result<Option<Split<'_>>> {
    let Some((&first, rest)) = bytes.split_first() else { return Ok(None) };
    let (mut length, mut taken) = (0, 0);
    for &byte in rest.iter().take(MAX_LENGTH_BYTES) {
        length |= usize::from(byte & 0x7f) << (7 * taken);
        taken += 1;
        if byte & 0x80 == 0 {
            let body = rest.get(taken..).and_then(|rest| rest.split_at_checked(length));
            return Ok(body.map(|(body, after)| (first, body, after)));
        }
    }
    if taken == MAX_LENGTH_BYTES {
        return Err(Error::new(ErrorKind::InvalidData, "a packet of MQTT has a length of more than 4 bytes"));
    }
    Ok(None)
}

/// What stands behind the topic.
fn payload(body: &[u8]) -> io::Result<&[u8]> {
    let payload =
        body.split_first_chunk().and_then(|(length, rest)| rest.get(usize::from(u16::from_be_bytes(*length))..));
    payload.ok_or_else(|| Error::new(ErrorKind::InvalidData, "a publication of MQTT has no whole topic"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dialects::cut_anywhere::{Said, hear};

    fn mqtt() -> Mqtt {
        Mqtt::new("bench", "secret")
    }

    /// As in the specification's own example of lengths.
    #[test]
    fn lengths_take_one_to_four_bytes() {
        for (length, bytes) in [(0, 1), (127, 1), (128, 2), (16_383, 2), (16_384, 3), (2_097_151, 3), (2_097_152, 4)] {
            let mut out = Vec::new();
            head(packet::PUBLISH, length, &mut out);
            assert_eq!(out.len(), 1 + bytes, "{length}");
        }
    }

    #[test]
    fn refusals_are_heard() {
        let told = |bytes: &[u8]| hear(&mqtt(), &[bytes.to_vec()], &[]).0;
        assert!(matches!(*told(&[packet::CONNACK, 2, 0, 5]), [Said::Refused(0, _)]));
        assert!(matches!(*told(&[packet::SUBACK, 3, 1, 2, 0x80]), [Said::Refused(0x102, _)]));
    }

    #[test]
    fn a_length_without_end_ends_the_connection() {
        let result = mqtt().hear(&[packet::PUBLISH, 0xff, 0xff, 0xff, 0xff], true, &mut Vec::new(), &mut |_| Ok(()));
        assert!(result.is_err());
    }

    proptest! {
        #[test]
        fn hears_the_same_wherever_it_is_cut(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..8),
            in_one in any::<bool>(),
            cuts in proptest::collection::vec(0_usize..1000, 0..6),
        ) {
            let mut messages = vec![vec![packet::CONNACK, 2, 0, 0], vec![packet::SUBACK, 3, 0, 9, 0], vec![packet::PINGRESP, 0]];
            for payload in &payloads {
                // What a broker sends looks like what a client does.
                let mut message = Vec::new();
                mqtt().publish("bench.a", payload, &mut message);
                messages.push(message);
            }
            if in_one {
                messages = vec![messages.concat()];
            }
            let mut expected = vec![Said::Ready, Said::Done(9), Said::Done(0)];
            expected.extend(payloads.into_iter().map(Said::Delivery));
            prop_assert_eq!(hear(&mqtt(), &messages, &cuts).0, expected);
        }

        #[test]
        fn no_bytes_do_harm(bytes: Vec<u8>) {
            if let Ok(used) = mqtt().hear(&bytes, true, &mut Vec::new(), &mut |_| Ok(())) {
                prop_assert!(used <= bytes.len());
            }
        }
    }
}
