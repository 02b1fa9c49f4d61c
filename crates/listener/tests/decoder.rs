//! The frame decoder gives the same events however its input is cut, and never more memory than its bound.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "in a test a panic is the message"
)]

use carillon_listener::websocket::{Decoder, Event, Kind, ProtocolError, frame};
use fastwebsockets::OpCode;
use proptest::prelude::*;

/// What was sent, as a test says it.
#[derive(Debug, Clone, PartialEq)]
enum Sent {
    Message(Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    Close(Option<u16>),
}

fn masked(is_final: bool, opcode: OpCode, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::write_head(&mut bytes, opcode, payload.len());
    bytes[0] = (u8::from(is_final) << 7) | opcode as u8;
    bytes[1] |= 0x80;
    bytes.extend(mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// A message in fragments, with a ping between each two.
fn fragmented(payload: &[u8], cuts: &[usize], mask: [u8; 4]) -> (Vec<u8>, Vec<Sent>) {
    let mut bytes = Vec::new();
    let mut sent = Vec::new();
    let mut rest = payload;
    let mut opcode = OpCode::Binary;
    for cut in cuts {
        let (piece, behind) = rest.split_at((*cut).min(rest.len()));
        bytes.extend(masked(false, opcode, piece, mask));
        bytes.extend(masked(true, OpCode::Ping, b"between", mask));
        sent.push(Sent::Ping(b"between".to_vec()));
        opcode = OpCode::Continuation;
        rest = behind;
    }
    bytes.extend(masked(true, opcode, rest, mask));
    sent.push(Sent::Message(payload.to_vec()));
    (bytes, sent)
}

fn decode(decoder: &mut Decoder, pieces: &[&[u8]]) -> Result<Vec<Sent>, ProtocolError> {
    let mut events = Vec::new();
    let mut scratch = Vec::new();
    for piece in pieces {
        let mut input = *piece;
        loop {
            match decoder.decode(&mut input, &mut scratch)? {
                Some(Event::Message(Kind::Binary | Kind::Text, bytes)) => events.push(Sent::Message(bytes.to_vec())),
                Some(Event::Ping(bytes)) => events.push(Sent::Ping(bytes.to_vec())),
                Some(Event::Pong) => events.push(Sent::Pong),
                Some(Event::Close(code)) => events.push(Sent::Close(code)),
                // It may stop among very many frames.
                None if input.is_empty() => break,
                None => {}
            }
        }
    }
    Ok(events)
}

fn cut<'b>(bytes: &'b [u8], cuts: &[usize]) -> Vec<&'b [u8]> {
    let mut pieces = Vec::new();
    let mut rest = bytes;
    for cut in cuts {
        let (piece, behind) = rest.split_at((*cut).min(rest.len()));
        pieces.push(piece);
        rest = behind;
    }
    pieces.push(rest);
    pieces
}

prop_compose! {
    fn one_sent()(
        payload in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..300),
            (0..3_usize, any::<u8>()).prop_map(|(more, byte)| vec![byte; 65_534 + more]),
        ],
        cuts in prop::collection::vec(0..200_usize, 0..4),
        mask in any::<[u8; 4]>(),
        kind in 0..5_u8,
        code in prop_oneof![Just(None), Just(Some(1000)), Just(Some(4100))],
    ) -> (Vec<u8>, Vec<Sent>) {
        let short = &payload[..payload.len().min(125)];
        match kind {
            0 => (masked(true, OpCode::Ping, short, mask), vec![Sent::Ping(short.to_vec())]),
            1 => (masked(true, OpCode::Pong, short, mask), vec![Sent::Pong]),
            2 => {
                let bytes = code.map(u16::to_be_bytes);
                let payload = bytes.as_ref().map_or(&[][..], |bytes| &bytes[..]);
                (masked(true, OpCode::Close, payload, mask), vec![Sent::Close(code)])
            }
            _ => fragmented(&payload, &cuts, mask),
        }
    }
}

#[test]
fn every_close_code_that_may_be_sent_is_taken_and_no_other() {
    for code in 0..=u16::MAX {
        let frame = masked(true, OpCode::Close, &code.to_be_bytes(), [1, 2, 3, 4]);
        let decoded = decode(&mut Decoder::new(100), &[&frame]);
        // RFC 6455, section 7.4, and the registry that it set up.
        let may_be_sent = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
        assert_eq!(decoded.is_ok(), may_be_sent, "{code}");
    }
}

#[test]
fn very_many_tiny_fragments_are_taken_a_few_hundred_at_a_time() {
    let mask = [1, 2, 3, 4];
    let mut bytes = masked(false, OpCode::Binary, b"a", mask);
    for _ in 0..1_000 {
        bytes.extend(masked(false, OpCode::Continuation, b"", mask));
    }
    bytes.extend(masked(true, OpCode::Continuation, b"b", mask));
    let mut decoder = Decoder::new(1 << 20);
    let (mut input, mut scratch, mut pauses) = (bytes.as_slice(), Vec::new(), 0);
    let event = loop {
        let before = input.len();
        if let Some(event) = decoder.decode(&mut input, &mut scratch).unwrap() {
            break event;
        }
        pauses += 1;
        assert!(before - input.len() <= 300 * 7, "{} bytes at once", before - input.len());
    };
    assert_eq!(event, Event::Message(Kind::Binary, b"ab"));
    assert!(pauses >= 3, "{pauses}");
}

proptest! {
    #[test]
    fn events_do_not_depend_on_how_the_bytes_are_cut(
        sent in prop::collection::vec(one_sent(), 1..6),
        cuts in prop::collection::vec(prop_oneof![0..9_usize, 0..3000_usize], 0..60),
    ) {
        let bytes: Vec<u8> = sent.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
        let expected: Vec<Sent> = sent.into_iter().flat_map(|(_, sent)| sent).collect();
        prop_assert_eq!(decode(&mut Decoder::new(1 << 20), &cut(&bytes, &cuts)).unwrap(), expected);
    }

    #[test]
    fn a_text_is_valid_wherever_it_is_cut(text in "\\PC{0,40}", cuts in prop::collection::vec(0..5_usize, 0..20)) {
        let bytes = masked(true, OpCode::Text, text.as_bytes(), [1, 2, 3, 4]);
        let events = decode(&mut Decoder::new(1 << 20), &cut(&bytes, &cuts)).unwrap();
        prop_assert_eq!(events, vec![Sent::Message(text.into_bytes())]);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), cuts in prop::collection::vec(0..9_usize, 0..30)) {
        let _ = decode(&mut Decoder::new(100), &cut(&bytes, &cuts));
    }

    #[test]
    fn the_bound_counts_all_fragments(lengths in prop::collection::vec(0..60_usize, 1..6)) {
        let mut bytes = Vec::new();
        for (index, length) in lengths.iter().enumerate() {
            let opcode = if index == 0 { OpCode::Binary } else { OpCode::Continuation };
            bytes.extend(masked(index + 1 == lengths.len(), opcode, &vec![0; *length], [0; 4]));
        }
        let total: usize = lengths.iter().sum();
        let decoded = decode(&mut Decoder::new(100), &[&bytes]);
        if total <= 100 {
            prop_assert_eq!(decoded.unwrap(), vec![Sent::Message(vec![0; total])]);
        } else {
            prop_assert_eq!(decoded.unwrap_err(), ProtocolError::TooBig(100));
        }
    }
}

#[test]
fn a_bad_text_is_refused_before_its_end() {
    let bytes = masked(true, OpCode::Text, b"good \xff and much more", [9, 8, 7, 6]);
    let mut decoder = Decoder::new(1000);
    assert_eq!(decode(&mut decoder, &[&bytes[..12]]), Err(ProtocolError::InvalidUtf8));
}

#[test]
fn a_text_that_ends_inside_a_character_is_refused() {
    let first = masked(false, OpCode::Text, "é".as_bytes().split_at(1).0, [0; 4]);
    let end = masked(true, OpCode::Continuation, b"", [0; 4]);
    assert_eq!(decode(&mut Decoder::new(1000), &[&first, &end]), Err(ProtocolError::InvalidUtf8));
}
