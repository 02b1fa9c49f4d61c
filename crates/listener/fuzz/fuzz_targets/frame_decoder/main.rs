//! Any bytes, cut in any way, are what RFC 6455 says of them, up to the same end; no message is over its bound.
//!
//! An input says how it is cut, then what is cut: a byte that chooses the bound, a byte that counts the sizes that follow,
//! these, which are taken again and again, and the bytes of a client.
#![no_main]

mod model;

use carillon_listener::websocket::{Decoder, Event, Kind, ProtocolError};
use libfuzzer_sys::fuzz_target;

use self::model::Happened;

/// The last one is no bound, so that a huge length is believed, and must not be made room for.
const BOUNDS: [usize; 6] = [0, 1, 125, 300, 70_000, usize::MAX];

/// What happens up to the first error, and the close code of that.
fn decode<'b>(max_message_bytes: usize, pieces: impl Iterator<Item = &'b [u8]>) -> (Vec<Happened>, Option<u16>) {
    let mut decoder = Decoder::new(max_message_bytes);
    let (mut happened, mut scratch) = (Vec::new(), Vec::new());
    let mut received_bytes = 0;
    for mut piece in pieces {
        received_bytes += piece.len();
        loop {
            match decoder.decode(&mut piece, &mut scratch) {
                Ok(Some(event)) => happened.push(owned(event)),
                Ok(None) => break,
                Err(error) => return (happened, Some(ProtocolError::close_code(error))),
            }
        }
        assert!(piece.is_empty(), "the decoder stopped before the end of its input");
        // A vector may have room for twice what is in it.
        assert!(decoder.buffered_bytes() <= 2 * received_bytes + 16, "memory for what has not come");
    }
    (happened, None)
}

fn owned(event: Event<'_>) -> Happened {
    match event {
        Event::Message(kind, bytes) => Happened::Message { is_text: kind == Kind::Text, bytes: bytes.to_vec() },
        Event::Ping(payload) => Happened::Ping(payload.to_vec()),
        Event::Pong => Happened::Pong,
        Event::Close(code) => Happened::Close(code),
    }
}

/// Takes pieces of these sizes, over and over, from the front of `bytes`. A size of 0 is an empty read.
fn cut<'b>(mut bytes: &'b [u8], sizes: &'b [u8]) -> impl Iterator<Item = &'b [u8]> {
    let takes_something = sizes.iter().any(|size| *size > 0);
    let mut sizes = sizes.iter().cycle();
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let size = if takes_something { sizes.next().map_or(0, |size| usize::from(*size)) } else { bytes.len() };
        bytes.split_off(..size.min(bytes.len()))
    })
}

fuzz_target!(|input: &[u8]| {
    let [bound, sizes, rest @ ..] = input else { return };
    let bound = BOUNDS[usize::from(*bound) % BOUNDS.len()];
    let (sizes, bytes) = rest.split_at(usize::from(*sizes).min(rest.len()));

    let expected = model::read(bytes, bound);
    assert_eq!(decode(bound, std::iter::once(bytes)), expected, "in one piece");
    assert_eq!(decode(bound, cut(bytes, sizes)), expected, "in pieces");
    for happened in expected.0 {
        match happened {
            Happened::Message { bytes, .. } => assert!(bytes.len() <= bound),
            Happened::Ping(payload) => assert!(payload.len() <= 125),
            Happened::Pong | Happened::Close(_) => {}
        }
    }
});
