//! RFC 6455 of a client's bytes, as simple as it can be written: all bytes are there, and every frame is a slice of them.

/// What a client did.
#[derive(Debug, PartialEq)]
pub enum Happened {
    /// A whole message, of all its fragments.
    Message {
        /// Whether it is one of text.
        is_text: bool,
        /// What is in it.
        bytes: Vec<u8>,
    },
    /// A ping with its payload.
    Ping(Vec<u8>),
    /// A pong.
    Pong,
    /// A close with its code.
    Close(Option<u16>),
}

const PROTOCOL_ERROR: u16 = 1002;
const NOT_UTF8: u16 = 1007;
const TOO_BIG: u16 = 1009;

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

struct Frame {
    is_final: bool,
    opcode: u8,
    /// As much of it as is there, unmasked.
    payload: Vec<u8>,
    /// How long it is.
    payload_bytes: u64,
}

/// What `bytes` say, up to their end or to what is to be closed for with the code.
pub fn read(mut bytes: &[u8], max_message_bytes: usize) -> (Vec<Happened>, Option<u16>) {
    let mut happened = Vec::new();
    // The message that is not ended, and whether it is one of text.
    let mut message: Option<(bool, Vec<u8>)> = None;
    loop {
        match read_frame(&mut bytes, &mut message, max_message_bytes) {
            Ok(Some(event)) => happened.extend(event),
            Ok(None) => return (happened, None),
            Err(code) => return (happened, Some(code)),
        }
    }
}

/// One frame, and what it brings to its end. `None` when its end is not there.
#[expect(clippy::type_complexity, reason = "a frame may be there and bring nothing")]
fn read_frame(
    bytes: &mut &[u8],
    message: &mut Option<(bool, Vec<u8>)>,
    max_message_bytes: usize,
) -> Result<Option<Option<Happened>>, u16> {
    let Some(frame) = parse(bytes, message.is_some())? else { return Ok(None) };
    let is_whole = frame.payload.len() as u64 == frame.payload_bytes;
    if frame.opcode >= CLOSE {
        return if is_whole { control(frame).map(|event| Some(Some(event))) } else { Ok(None) };
    }
    let (is_text, so_far) = message.get_or_insert((frame.opcode == TEXT, Vec::new()));
    if frame.payload_bytes > (max_message_bytes - so_far.len()) as u64 {
        return Err(TOO_BIG);
    }
    so_far.extend(frame.payload);
    let is_ended = is_whole && frame.is_final;
    if *is_text && std::str::from_utf8(so_far).is_err_and(|error| is_ended || error.error_len().is_some()) {
        return Err(NOT_UTF8);
    }
    match message.take_if(|_| is_ended) {
        Some((is_text, bytes)) => Ok(Some(Some(Happened::Message { is_text, bytes }))),
        None if is_whole => Ok(Some(None)),
        None => Ok(None),
    }
}

/// Section 5.2. A head is judged by its first two bytes as soon as they are there, and by the others when all are.
fn parse(bytes: &mut &[u8], is_inside_message: bool) -> Result<Option<Frame>, u16> {
    let [first, second, rest @ ..] = *bytes else { return Ok(None) };
    let (is_final, opcode) = (first & 0x80 != 0, first & 0x0f);
    let (is_masked, short_length) = (second & 0x80 != 0, second & 0x7f);
    let is_known = match opcode {
        0 => is_inside_message,
        1 | 2 => !is_inside_message,
        CLOSE | PING | PONG => is_final && short_length <= 125,
        _ => false,
    };
    if first & 0x70 != 0 || !is_known || !is_masked {
        return Err(PROTOCOL_ERROR);
    }
    let length_bytes = match short_length {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let Some((head, rest)) = rest.split_at_checked(length_bytes + 4) else { return Ok(None) };
    let (length, mask) = head.split_at(length_bytes);
    let long_length = length.iter().fold(0_u64, |length, byte| length << 8 | u64::from(*byte));
    let (payload_bytes, least, most) = match short_length {
        126 => (long_length, 126, u64::MAX),
        127 => (long_length, 0x1_0000, u64::MAX >> 1),
        short => (u64::from(short), 0, u64::MAX),
    };
    if !(least..=most).contains(&payload_bytes) {
        return Err(PROTOCOL_ERROR);
    }
    let there = usize::try_from(payload_bytes).unwrap_or(usize::MAX).min(rest.len());
    let (payload, rest) = rest.split_at(there);
    let payload = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
    *bytes = rest;
    Ok(Some(Frame { is_final, opcode, payload, payload_bytes }))
}

/// Sections 5.5 and 7.4. From the registry that section 7.4 opens, 1012 and 1013 are good; its 1014 is for gateways to
/// tell their clients, and no client's.
fn control(frame: Frame) -> Result<Happened, u16> {
    match (frame.opcode, frame.payload.as_slice()) {
        (PING, _) => Ok(Happened::Ping(frame.payload)),
        (PONG, _) => Ok(Happened::Pong),
        (_, []) => Ok(Happened::Close(None)),
        (_, [_]) => Err(PROTOCOL_ERROR),
        (_, [high, low, reason @ ..]) => {
            let code = u16::from_be_bytes([*high, *low]);
            match code {
                1000..=1003 | 1007..=1014 | 3000..=4999 if std::str::from_utf8(reason).is_ok() => {
                    Ok(Happened::Close(Some(code)))
                }
                1000..=1003 | 1007..=1014 | 3000..=4999 => Err(NOT_UTF8),
                _ => Err(PROTOCOL_ERROR),
            }
        }
    }
}
