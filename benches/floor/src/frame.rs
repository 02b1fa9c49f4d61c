//! WebSocket's bytes: frames to write, and a parser for what clients say, which is little.

use base64::{Engine, engine::general_purpose::STANDARD};
use sha1::{Digest, Sha1};

const BINARY: u8 = 0x2;
const IS_FINAL: u8 = 0x80;
const IS_MASKED: u8 = 0x80;
const MASK_BYTES: usize = 4;
/// RFC 6455, section 1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Requests are short.
const MAX_REQUEST_BYTES: usize = 4096;

/// What kind of message a binary one is.
pub(crate) const DONE: u8 = 0;
/// A byte of this and the payload.
pub(crate) const DELIVERY: u8 = 1;

/// Appends the head of a binary message.
pub(crate) fn write_head(payload_bytes: usize, out: &mut Vec<u8>) {
    out.push(IS_FINAL | BINARY);
    match (u8::try_from(payload_bytes), u16::try_from(payload_bytes)) {
        (Ok(bytes @ 0..=125), _) => out.push(bytes),
        (_, Ok(bytes)) => {
            out.push(126);
            out.extend_from_slice(&bytes.to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(payload_bytes as u64).to_be_bytes());
        }
    }
}

/// Appends the answer to a request.
pub(crate) fn write_done(request: u32, out: &mut Vec<u8>) {
    write_head(1 + size_of::<u32>(), out);
    out.push(DONE);
    out.extend_from_slice(&request.to_le_bytes());
}

/// What was split off.
#[derive(Debug, PartialEq)]
pub(crate) enum Split {
    /// The first frame, unmasked.
    Whole { opcode: u8, payload: Vec<u8>, bytes: usize },
    /// More has to come.
    NotYet,
    /// No short, masked frame in one piece.
    Bad,
}

/// Splits off the first frame.
pub(crate) fn split(bytes: &[u8]) -> Split {
    let Some((&[first, second], rest)) = bytes.split_first_chunk() else { return Split::NotYet };
    if first & IS_FINAL == 0 || second & IS_MASKED == 0 {
        return Split::Bad;
    }
    let (length, head, rest) = match second & !IS_MASKED {
        126 => match rest.split_first_chunk() {
            Some((length, rest)) => (usize::from(u16::from_be_bytes(*length)), 4, rest),
            None => return Split::NotYet,
        },
        127 => return Split::Bad,
        length => (usize::from(length), 2, rest),
    };
    if length > MAX_REQUEST_BYTES {
        return Split::Bad;
    }
    let Some((mask, rest)) = rest.split_first_chunk::<MASK_BYTES>() else { return Split::NotYet };
    let Some(masked) = rest.get(..length) else { return Split::NotYet };
    let payload = masked.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
    Split::Whole { opcode: first & 0x0f, payload, bytes: head + MASK_BYTES + length }
}

/// The response to an upgrade's head, or nothing if it is none.
pub(crate) fn upgrade(head: &[u8]) -> Option<String> {
    let head = str::from_utf8(head).ok()?;
    let key = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("sec-websocket-key").then(|| value.trim())
    })?;
    let accept = STANDARD.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize());
    Some(format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn masked(payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
        let mut head = Vec::new();
        write_head(payload.len(), &mut head);
        head[1] |= IS_MASKED;
        head.extend_from_slice(&mask);
        head.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        head
    }

    #[test]
    fn the_accept_of_the_specification() {
        let response = upgrade(b"GET /ws HTTP/1.1\r\nsec-websocket-KEY: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n").unwrap();
        assert!(response.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{response}");
        assert_eq!(upgrade(b"GET /ws HTTP/1.1\r\nhost: a\r\n\r\n"), None);
    }

    proptest! {
        #[test]
        fn a_frame_is_whole_with_its_last_byte(payload in proptest::collection::vec(any::<u8>(), 0..4096), mask: [u8; 4]) {
            let bytes = masked(&payload, mask);
            for cut in [0, 1, 2, 3, bytes.len() / 2, bytes.len() - 1] {
                prop_assert_eq!(split(&bytes[..cut.min(bytes.len() - 1)]), Split::NotYet);
            }
            prop_assert_eq!(split(&bytes), Split::Whole { opcode: BINARY, payload, bytes: bytes.len() });
        }

        #[test]
        fn no_bytes_do_harm(bytes: Vec<u8>) {
            if let Split::Whole { bytes: split, .. } = split(&bytes) {
                prop_assert!(split <= bytes.len());
            }
        }
    }
}
