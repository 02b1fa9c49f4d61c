//! The head of a frame (RFC 6455, section 5.2), both ways.

use fastwebsockets::OpCode;

use super::ProtocolError;

/// The most bytes of a control frame's payload (RFC 6455, section 5.5).
pub const MAX_CONTROL_BYTES: usize = 125;
/// The most bytes of a head that a client sends: 2, a length of 8, a mask of 4.
pub(super) const MAX_HEAD_BYTES: usize = 14;

const FIN: u8 = 0x80;
const RESERVED_BITS: u8 = 0x70;
const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7f;

/// The head of a frame from a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) is_final: bool,
    pub(super) opcode: OpCode,
    pub(super) mask: [u8; 4],
    pub(super) payload_bytes: u64,
}

impl Head {
    /// How many bytes the head has, as far as its first two bytes tell: 2 before they are there.
    pub(super) fn expected_bytes(head: &[u8]) -> usize {
        match head.get(1).map(|byte| byte & LENGTH) {
            None => 2,
            Some(126) => 2 + 2 + 4,
            Some(127) => 2 + 8 + 4,
            Some(_) => 2 + 4,
        }
    }

    /// What can be refused on the first two bytes alone, so that nobody waits for the rest of a bad head.
    pub(super) fn check_start(first: u8, second: u8) -> Result<OpCode, ProtocolError> {
        if first & RESERVED_BITS != 0 {
            return Err(ProtocolError::ReservedBits);
        }
        let opcode = match first & OPCODE {
            0x0 => OpCode::Continuation,
            0x1 => OpCode::Text,
            0x2 => OpCode::Binary,
            0x8 => OpCode::Close,
            0x9 => OpCode::Ping,
            0xa => OpCode::Pong,
            other => return Err(ProtocolError::UnknownOpcode(other)),
        };
        if second & MASKED == 0 {
            return Err(ProtocolError::Unmasked);
        }
        if is_control(opcode) {
            if first & FIN == 0 {
                return Err(ProtocolError::FragmentedControl);
            }
            if usize::from(second & LENGTH) > MAX_CONTROL_BYTES {
                return Err(ProtocolError::ControlTooLong);
            }
        }
        Ok(opcode)
    }

    /// Parses a whole head.
    pub(super) fn parse(head: &[u8]) -> Result<Self, ProtocolError> {
        let (&[first, second], rest) = head.split_first_chunk().ok_or(ProtocolError::Unmasked)?;
        let opcode = Self::check_start(first, second)?;
        let (length, mask) = rest.split_last_chunk().ok_or(ProtocolError::Unmasked)?;
        let long = length.iter().fold(0, |number: u64, byte| number << 8 | u64::from(*byte));
        let payload_bytes = match second & LENGTH {
            126 if long < 126 => return Err(ProtocolError::LengthNotMinimal),
            127 if long < 1 << 16 => return Err(ProtocolError::LengthNotMinimal),
            127 if long >= 1 << 63 => return Err(ProtocolError::LengthTopBit),
            126 | 127 => long,
            short => short.into(),
        };
        Ok(Self { is_final: first & FIN != 0, opcode, mask: *mask, payload_bytes })
    }
}

pub(super) fn is_control(opcode: OpCode) -> bool {
    matches!(opcode, OpCode::Close | OpCode::Ping | OpCode::Pong)
}

/// Appends the head of a whole, unmasked frame.
pub fn write_head(out: &mut Vec<u8>, opcode: OpCode, payload_bytes: usize) {
    out.extend(head(opcode, payload_bytes));
}

/// The head of a whole, unmasked frame, byte by byte.
pub fn head(opcode: OpCode, payload_bytes: usize) -> impl Iterator<Item = u8> {
    let length = (payload_bytes as u64).to_be_bytes();
    let (marker, digits) = match (u8::try_from(payload_bytes), u16::try_from(payload_bytes)) {
        (Ok(short @ 0..=125), _) => (short, 0),
        (_, Ok(_)) => (126, 2),
        _ => (127, length.len()),
    };
    [FIN | opcode as u8, marker].into_iter().chain(length.into_iter().skip(length.len() - digits))
}

/// Appends a whole close frame; the reason is shortened to what a control frame holds.
pub fn write_close(out: &mut Vec<u8>, code: u16, reason: &str) {
    let reason = reason.get(..reason.floor_char_boundary(MAX_CONTROL_BYTES - 2)).unwrap_or_default();
    write_head(out, OpCode::Close, 2 + reason.len());
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
}
