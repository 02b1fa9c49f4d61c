//! Turns the bytes of a connection, in whatever pieces they come, into messages and control frames.
//!
//! The decoder keeps its place between calls, so a read may be given up at any moment. It holds no buffer while a
//! connection is idle: a message that lies in one piece is unmasked into the caller's scratch space, and only one
//! that comes in several is put together here, growing with what has arrived and not with what was announced.

use fastwebsockets::{OpCode, unmask};

use super::frame::{Head, MAX_CONTROL_BYTES, MAX_HEAD_BYTES, is_control};

/// Whether a message is text or bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// UTF-8; checked.
    Text,
    /// Bytes.
    Binary,
}

/// What a client sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A whole message.
    Message(Kind, &'a [u8]),
    /// To be answered with a pong of the same payload.
    Ping(&'a [u8]),
    /// Nothing to do.
    Pong,
    /// The client closes, with its code where it gave one.
    Close(Option<u16>),
}

/// How a client broke RFC 6455, or a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// No extension was negotiated that would use them.
    #[error("a reserved bit is set, but no extension was negotiated")]
    ReservedBits,
    /// RFC 6455, section 5.2.
    #[error("the opcode {0:#x} is not defined")]
    UnknownOpcode(u8),
    /// RFC 6455, section 5.1.
    #[error("a client must mask its frames")]
    Unmasked,
    /// RFC 6455, section 5.4.
    #[error("a control frame must not be fragmented")]
    FragmentedControl,
    /// RFC 6455, section 5.5.
    #[error("a control frame must not have more than {MAX_CONTROL_BYTES} bytes")]
    ControlTooLong,
    /// RFC 6455, section 5.2.
    #[error("a payload length must be written in its shortest form")]
    LengthNotMinimal,
    /// RFC 6455, section 5.2.
    #[error("a payload length must be below 2^63")]
    LengthTopBit,
    /// RFC 6455, section 5.4.
    #[error("a continuation frame came, but no message was begun")]
    NothingToContinue,
    /// RFC 6455, section 5.4.
    #[error("a new message began before the last one ended")]
    MessageNotEnded,
    /// RFC 6455, section 5.5.1.
    #[error("a close frame has a code of two bytes, or nothing")]
    CloseTooShort,
    /// RFC 6455, section 7.4.
    #[error("the close code {0} must not be sent")]
    CloseCode(u16),
    /// RFC 6455, section 8.1.
    #[error("the text is not valid UTF-8")]
    InvalidUtf8,
    /// Over the bound on a message, fragments together.
    #[error("a message has at most {0} bytes here, fragments together")]
    TooBig(usize),
}

impl ProtocolError {
    /// The code to close with (RFC 6455, section 7.4.1).
    pub const fn close_code(self) -> u16 {
        match self {
            Self::InvalidUtf8 => 1007,
            Self::TooBig(_) => 1009,
            _ => 1002,
        }
    }
}

/// Frames that are read in one call.
const MAX_FRAMES_AT_ONCE: u32 = 256;

/// The decoder of one connection.
#[derive(Debug)]
pub struct Decoder {
    max_message_bytes: usize,
    head: [u8; MAX_HEAD_BYTES],
    head_bytes: u8,
    /// The frame whose payload is being read.
    frame: Option<Frame>,
    /// The message that is being put together.
    message: Vec<u8>,
    /// Its kind, from its first fragment to its end.
    message_kind: Option<Kind>,
    /// How much of a text is known to be valid.
    valid_bytes: usize,
    /// A control frame that came in pieces, perhaps between the fragments of a message.
    control: Vec<u8>,
}

#[derive(Debug)]
struct Frame {
    head: Head,
    received_bytes: u64,
}

impl Decoder {
    /// A decoder for a connection whose messages have at most this many bytes.
    pub fn new(max_message_bytes: usize) -> Self {
        Self {
            max_message_bytes,
            head: [0; MAX_HEAD_BYTES],
            head_bytes: 0,
            frame: None,
            message: Vec::new(),
            message_kind: None,
            valid_bytes: 0,
            control: Vec::new(),
        }
    }

    /// Memory that is held for what has come and is not whole yet, in bytes.
    pub fn buffered_bytes(&self) -> usize {
        self.message.capacity() + self.control.capacity()
    }

    /// Takes bytes from the front of `input` until something is whole, nothing is left, or a few hundred frames were
    /// read, so that very small fragments do not hold others up. It goes on where it stopped.
    ///
    /// `scratch` is overwritten. After an error the connection must be closed: the decoder has lost its place.
    pub fn decode<'a>(
        &'a mut self,
        input: &mut &[u8],
        scratch: &'a mut Vec<u8>,
    ) -> Result<Option<Event<'a>>, ProtocolError> {
        let mut frames = 0;
        loop {
            if self.frame.is_none() {
                if frames == MAX_FRAMES_AT_ONCE || !self.read_head(input)? {
                    return Ok(None);
                }
                frames += 1;
            }
            let Some(frame) = &mut self.frame else { return Ok(None) };
            let lacking = frame.head.payload_bytes - frame.received_bytes;
            let length = usize::try_from(lacking).unwrap_or(usize::MAX).min(input.len());
            let piece = input.split_off(..length).unwrap_or_default();
            let is_whole = length as u64 == lacking;
            let is_first = frame.received_bytes == 0;
            let head = frame.head;
            let mask = rotated(head.mask, frame.received_bytes);
            frame.received_bytes += length as u64;
            if is_whole {
                self.frame = None;
            } else if length == 0 {
                return Ok(None);
            }

            if is_control(head.opcode) {
                append_unmasked(&mut self.control, piece, mask);
                if is_whole {
                    scratch.clear();
                    scratch.append(&mut self.control);
                    self.control = Vec::new();
                    return control_event(head.opcode, scratch).map(Some);
                }
            } else if is_whole && is_first && head.is_final && head.opcode == OpCode::Binary {
                scratch.clear();
                append_unmasked(scratch, piece, mask);
                return Ok(Some(Event::Message(Kind::Binary, scratch)));
            } else {
                self.append(head.opcode, piece, mask)?;
                if is_whole && head.is_final {
                    return self.end_message(scratch).map(Some);
                }
            }
        }
    }

    /// Reads a head, piece by piece; true once a frame has begun.
    fn read_head(&mut self, input: &mut &[u8]) -> Result<bool, ProtocolError> {
        loop {
            let have = usize::from(self.head_bytes);
            let expected = Head::expected_bytes(self.head.get(..have).unwrap_or_default());
            if have == expected {
                break;
            }
            let Some(byte) = input.split_off_first() else { return Ok(false) };
            if let Some(slot) = self.head.get_mut(have) {
                *slot = *byte;
            }
            self.head_bytes += 1;
            if self.head_bytes == 2 {
                let [first, second, ..] = self.head;
                self.check_order(Head::check_start(first, second)?)?;
            }
        }
        let head = Head::parse(self.head.get(..usize::from(self.head_bytes)).unwrap_or_default())?;
        self.head_bytes = 0;
        if !is_control(head.opcode) {
            let allowed = self.max_message_bytes.saturating_sub(self.message.len());
            if head.payload_bytes > allowed as u64 {
                return Err(ProtocolError::TooBig(self.max_message_bytes));
            }
        }
        self.frame = Some(Frame { head, received_bytes: 0 });
        Ok(true)
    }

    fn check_order(&self, opcode: OpCode) -> Result<(), ProtocolError> {
        match (opcode, self.message_kind) {
            (OpCode::Continuation, None) => Err(ProtocolError::NothingToContinue),
            (OpCode::Text | OpCode::Binary, Some(_)) => Err(ProtocolError::MessageNotEnded),
            _ => Ok(()),
        }
    }

    fn append(&mut self, opcode: OpCode, piece: &[u8], mask: [u8; 4]) -> Result<(), ProtocolError> {
        let kind = *self.message_kind.get_or_insert(match opcode {
            OpCode::Text => Kind::Text,
            _ => Kind::Binary,
        });
        append_unmasked(&mut self.message, piece, mask);
        if kind == Kind::Text { self.check_text(false) } else { Ok(()) }
    }

    /// Checks what was added to a text, at once and not only at its end, so that a bad one is refused early.
    fn check_text(&mut self, is_ended: bool) -> Result<(), ProtocolError> {
        let unchecked = self.message.get(self.valid_bytes..).unwrap_or_default();
        match std::str::from_utf8(unchecked) {
            Ok(text) => self.valid_bytes += text.len(),
            Err(error) if error.error_len().is_none() && !is_ended => self.valid_bytes += error.valid_up_to(),
            Err(_) => return Err(ProtocolError::InvalidUtf8),
        }
        Ok(())
    }

    fn end_message<'a>(&mut self, scratch: &'a mut Vec<u8>) -> Result<Event<'a>, ProtocolError> {
        let kind = self.message_kind.take().unwrap_or(Kind::Binary);
        if kind == Kind::Text {
            self.check_text(true)?;
        }
        self.valid_bytes = 0;
        *scratch = std::mem::take(&mut self.message);
        Ok(Event::Message(kind, scratch))
    }
}

fn control_event(opcode: OpCode, payload: &[u8]) -> Result<Event<'_>, ProtocolError> {
    match opcode {
        OpCode::Ping => Ok(Event::Ping(payload)),
        OpCode::Pong => Ok(Event::Pong),
        _ => match payload.split_first_chunk() {
            None if payload.is_empty() => Ok(Event::Close(None)),
            None => Err(ProtocolError::CloseTooShort),
            Some((code, reason)) => {
                let code = u16::from_be_bytes(*code);
                // Registered since RFC 6455, which the crate does not know of.
                let is_bad_gateway = code == 1014;
                if !is_bad_gateway && !fastwebsockets::CloseCode::from(code).is_allowed() {
                    return Err(ProtocolError::CloseCode(code));
                }
                std::str::from_utf8(reason).map_err(|_| ProtocolError::InvalidUtf8)?;
                Ok(Event::Close(Some(code)))
            }
        },
    }
}

fn append_unmasked(out: &mut Vec<u8>, piece: &[u8], mask: [u8; 4]) {
    let start = out.len();
    out.extend_from_slice(piece);
    unmask(out.get_mut(start..).unwrap_or_default(), mask);
}

/// The mask as it applies behind so many bytes.
fn rotated(mut mask: [u8; 4], bytes: u64) -> [u8; 4] {
    mask.rotate_left((bytes % 4) as usize);
    mask
}
