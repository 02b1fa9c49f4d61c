//! Frames of the WebSocket protocol, as a client writes and reads them.

use std::io;

use crate::{Dialect, Heard};

/// Opcode of the frame that ends a WebSocket.
pub(crate) const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;
/// The longest head of a frame that is not masked.
const MAX_HEAD_BYTES: usize = 10;
/// What a dialect may leave for later. No protocol has longer messages in a load.
const MAX_PENDING_BYTES: usize = 64 << 20;

/// Appends a frame that is a whole message.
pub(crate) fn put_frame(opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.push(0x80 | opcode);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short @ 0..=125), _) => out.push(0x80 | short),
        (_, Ok(medium)) => {
            out.push(0xfe);
            out.extend(medium.to_be_bytes());
        }
        _ => {
            out.push(0xff);
            out.extend((payload.len() as u64).to_be_bytes());
        }
    }
    // A mask of zeros is a mask: only browsers need to keep a script from choosing the bytes on the wire.
    out.extend([0; 4]);
    out.extend_from_slice(payload);
}

/// Takes a server's frames apart, wherever they are cut, and hands their payloads to a dialect. Copies only what a dialect
/// could not use yet.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    /// The head of the next frame, as far as it came.
    head: Head,
    /// The frame whose payload comes.
    current: Option<Frame>,
    /// Payloads of data frames that the dialect could not use yet.
    pending: Vec<u8>,
    /// The payload of a control frame, as far as it came.
    control: Vec<u8>,
    /// What the dialect answers.
    answer: Vec<u8>,
}

#[derive(Debug, Default)]
struct Head {
    bytes: [u8; MAX_HEAD_BYTES],
    have: usize,
}

#[derive(Debug, Clone, Copy)]
struct Frame {
    opcode: u8,
    is_last: bool,
    left: u64,
}

impl Frames {
    /// Takes bytes as they came, and appends the frames that answer them to `out`.
    pub(crate) fn take<D: Dialect>(
        &mut self,
        mut bytes: &[u8],
        dialect: &D,
        out: &mut Vec<u8>,
        heard: &mut impl FnMut(Heard<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        loop {
            let frame = match self.current.take() {
                Some(frame) => frame,
                None => match self.head.take(&mut bytes)? {
                    Some(frame) => frame,
                    None => return Ok(()),
                },
            };
            let length = usize::try_from(frame.left).map_or(bytes.len(), |left| left.min(bytes.len()));
            let (payload, rest) = bytes.split_at_checked(length).unwrap_or((bytes, &[]));
            bytes = rest;
            let left = frame.left - length as u64;
            if frame.opcode >= CLOSE {
                self.control.extend_from_slice(payload);
                if left == 0 {
                    self.control_frame(frame.opcode, out)?;
                }
            } else {
                self.data(payload, left == 0 && frame.is_last, dialect, out, heard)?;
            }
            if left > 0 {
                self.current = Some(Frame { left, ..frame });
                return Ok(());
            }
        }
    }

    fn data<D: Dialect>(
        &mut self,
        payload: &[u8],
        message_ends: bool,
        dialect: &D,
        out: &mut Vec<u8>,
        heard: &mut impl FnMut(Heard<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        let Self { pending, answer, .. } = self;
        if pending.is_empty() {
            let used = dialect.hear(payload, message_ends, answer, heard)?;
            pending.extend_from_slice(payload.get(used..).unwrap_or_default());
        } else {
            pending.extend_from_slice(payload);
            let used = dialect.hear(pending, message_ends, answer, heard)?;
            pending.drain(..used.min(pending.len()));
        }
        if pending.len() > MAX_PENDING_BYTES {
            return Err(protocol("a message that has no end"));
        }
        if !answer.is_empty() {
            put_frame(dialect.opcode(), answer, out);
            answer.clear();
        }
        Ok(())
    }

    fn control_frame(&mut self, opcode: u8, out: &mut Vec<u8>) -> io::Result<()> {
        let payload = std::mem::take(&mut self.control);
        match opcode {
            PING => put_frame(PONG, &payload, out),
            CLOSE => {
                let (code, reason) = payload.split_first_chunk().unwrap_or((&[0, 0], &[]));
                let (code, reason) = (u16::from_be_bytes(*code), String::from_utf8_lossy(reason));
                return Err(io::Error::new(
                    io::ErrorKind::ConnectionAborted,
                    format!("the server closed the WebSocket with {code}: {reason}"),
                ));
            }
            _ => {}
        }
        Ok(())
    }
}

impl Head {
    /// Takes a frame's head off the front; none where it is not whole yet.
    fn take(&mut self, bytes: &mut &[u8]) -> io::Result<Option<Frame>> {
        // Nearly always all of it is there.
        if self.have == 0
            && let Some((frame, rest)) = parse_head(bytes)?
        {
            *bytes = rest;
            return Ok(Some(frame));
        }
        while let Some((byte, rest)) = bytes.split_first() {
            *bytes = rest;
            if let Some(slot) = self.bytes.get_mut(self.have) {
                *slot = *byte;
            }
            self.have += 1;
            if let Some((frame, _)) = parse_head(self.bytes.get(..self.have).unwrap_or(&self.bytes))? {
                self.have = 0;
                return Ok(Some(frame));
            }
        }
        Ok(None)
    }
}

fn parse_head(bytes: &[u8]) -> io::Result<Option<(Frame, &[u8])>> {
    let Some((&[first, second], rest)) = bytes.split_first_chunk() else { return Ok(None) };
    if first & 0x70 != 0 || second & 0x80 != 0 {
        return Err(protocol(&format!("a frame that begins with {first:#04x} {second:#04x}")));
    }
    let (left, rest) = match second {
        126 => match rest.split_first_chunk() {
            Some((length, rest)) => (u64::from(u16::from_be_bytes(*length)), rest),
            None => return Ok(None),
        },
        127 => match rest.split_first_chunk() {
            Some((length, rest)) => (u64::from_be_bytes(*length), rest),
            None => return Ok(None),
        },
        short => (u64::from(short), rest),
    };
    let frame = Frame { opcode: first & 0x0f, is_last: first & 0x80 != 0, left };
    if frame.opcode >= CLOSE && left > 125 {
        return Err(protocol(&format!("a control frame of {left} bytes")));
    }
    Ok(Some((frame, rest)))
}

fn protocol(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the server sent {what}, which is no WebSocket of a server"))
}

#[cfg(test)]
mod tests;
