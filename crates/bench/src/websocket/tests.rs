use proptest::prelude::*;

use super::*;
use crate::{Role, Upgrade};

/// Payloads that begin with their length, in one byte; a length of 0 wants an answer.
#[derive(Debug, Clone)]
struct Counted;

impl Dialect for Counted {
    fn name(&self) -> &'static str {
        "counted"
    }

    fn upgrade(&self, _: Role<'_>) -> Upgrade {
        Upgrade { path: "/".to_owned(), subprotocol: None, headers: Vec::new() }
    }

    fn hello(&self, _: Role<'_>, _: &mut Vec<u8>) -> bool {
        false
    }

    fn subscribe(&self, _: &str, _: u32, _: &mut Vec<u8>) -> bool {
        false
    }

    fn unsubscribe(&self, _: &str, _: u32, _: u32, _: &mut Vec<u8>) -> bool {
        false
    }

    fn publish(&self, _: &str, _: &[u8], _: &mut Vec<u8>) {}

    fn opcode(&self) -> u8 {
        0x2
    }

    fn settle(&self, _: u32, _: &mut Vec<u8>) -> bool {
        false
    }

    fn hear<'a>(
        &self,
        bytes: &'a [u8],
        _: bool,
        answer: &mut Vec<u8>,
        heard: &mut impl FnMut(Heard<'a>) -> io::Result<()>,
    ) -> io::Result<usize> {
        let mut rest = bytes;
        while let Some((length, behind)) = rest.split_first() {
            let Some((payload, behind)) = behind.split_at_checked(usize::from(*length)) else { break };
            if payload.is_empty() {
                answer.push(b'!');
            } else {
                heard(Heard::Delivery(payload))?;
            }
            rest = behind;
        }
        Ok(bytes.len() - rest.len())
    }
}

/// A frame as a server writes it.
fn frame(opcode: u8, is_last: bool, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![if is_last { 0x80 | opcode } else { opcode }];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short @ 0..=125), _) => frame.push(short),
        (_, Ok(medium)) => {
            frame.push(126);
            frame.extend(medium.to_be_bytes());
        }
        _ => {
            frame.push(127);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame
}

/// What is heard when bytes come in these pieces, and what is answered.
fn heard(bytes: &[u8], mut cuts: Vec<usize>) -> io::Result<(Vec<Vec<u8>>, Vec<u8>)> {
    let (mut frames, mut payloads, mut out) = (Frames::default(), Vec::new(), Vec::new());
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    for piece in cuts.windows(2) {
        frames.take(&bytes[piece[0]..piece[1]], &Counted, &mut out, &mut |heard| {
            if let Heard::Delivery(payload) = heard {
                payloads.push(payload.to_vec());
            }
            Ok(())
        })?;
    }
    Ok((payloads, out))
}

proptest! {
    #[test]
    fn bytes_may_be_cut_anywhere(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..200), 0..20),
        frame_bytes in prop_oneof![1..20usize, 100..700usize],
        ping in prop::collection::vec(any::<u8>(), 0..125),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..30),
    ) {
        let stream: Vec<u8> = payloads.iter().flat_map(|p| [vec![u8::try_from(p.len()).unwrap()], p.clone()].concat()).collect();
        let mut bytes = Vec::new();
        let mut chunks = stream.chunks(frame_bytes).peekable();
        let mut opcode = 0x2;
        while let Some(chunk) = chunks.next() {
            bytes.extend(frame(opcode, chunks.peek().is_none(), chunk));
            bytes.extend(frame(PING, true, &ping));
            opcode = 0;
        }
        let pings = stream.len().div_ceil(frame_bytes);
        let cuts = cuts.into_iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        let (came, out) = heard(&bytes, cuts).unwrap();
        prop_assert_eq!(came, payloads);
        let mut pong = Vec::new();
        put_frame(PONG, &ping, &mut pong);
        prop_assert_eq!(out, pong.repeat(pings));
    }

    #[test]
    fn length_is_in_its_shortest_form(bytes in prop_oneof![0..300usize, 65_530..65_540usize]) {
        let mut out = Vec::new();
        put_frame(0x2, &vec![7; bytes], &mut out);
        // Without the mask it is a server's frame.
        let head = out.len() - bytes - 4;
        prop_assert_eq!(&out[head..head + 4], &[0; 4]);
        out.drain(head..head + 4);
        out[1] &= 0x7f;
        prop_assert_eq!(out, frame(0x2, true, &vec![7; bytes]));
    }
}

#[test]
fn answers_are_frames_of_their_own() {
    let (_, out) = heard(&frame(0x2, true, &[0, 0]), vec![]).unwrap();
    assert_eq!(out, [0x82, 0x82, 0, 0, 0, 0, b'!', b'!']);
}

#[test]
fn close_tells_its_code_and_reason() {
    let error = heard(&frame(CLOSE, true, b"\x10\x04too slow"), vec![]).unwrap_err().to_string();
    assert!(error.contains("4100") && error.contains("too slow"), "{error}");
    assert!(heard(&frame(CLOSE, true, b""), vec![1]).is_err());
}

#[test]
fn what_no_server_sends_is_refused() {
    for wrong in [&[0xc2, 0][..], &[0x82, 0x80], &[0x89, 126, 0, 126]] {
        assert!(heard(wrong, vec![]).is_err(), "{wrong:?}");
    }
}
