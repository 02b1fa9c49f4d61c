//! One connection: its TLS session, its socket, and what its socket did not take.

use std::{
    io::{self, Error, ErrorKind, Read, Write},
    net::TcpStream,
    sync::Arc,
};

use rustls::{
    ServerConfig,
    server::UnbufferedServerConnection,
    unbuffered::{ConnectionState, EncodeError, EncodeTlsData, InsufficientSizeError},
};

use crate::frame::{self, Split};

/// Of a TLS record over its plaintext, generously.
const RECORD_OVERHEAD_BYTES: usize = 64;
const RECORD_BYTES: usize = 16 << 10;
/// A request with its head.
const MAX_HEAD_BYTES: usize = 16 << 10;
const TEXT: u8 = 0x1;
const CLOSE: u8 = 0x8;

/// What all connections of the thread read and encrypt in.
#[derive(Debug)]
pub(crate) struct Scratch {
    read: Vec<u8>,
    encrypted: Vec<u8>,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        Self { read: vec![0; 64 << 10], encrypted: Vec::new() }
    }
}

/// A client.
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    tls: UnbufferedServerConnection,
    /// Of a TLS record that is not whole; empty, and without memory, in between.
    incoming: Vec<u8>,
    /// Of a request that is not whole.
    plain: Vec<u8>,
    /// What the socket did not take.
    pending: Vec<u8>,
    is_upgraded: bool,
    /// What it subscribed to, by the server's number.
    pub(crate) topic: Option<usize>,
}

impl Connection {
    pub(crate) fn new(stream: TcpStream, config: Arc<ServerConfig>) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let tls = UnbufferedServerConnection::new(config).map_err(Error::other)?;
        let (incoming, plain, pending) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Self { stream, tls, incoming, plain, pending, is_upgraded: false, topic: None })
    }

    /// Whether something waits for the socket.
    pub(crate) fn is_blocked(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Reads what came, and gives each request to `handle`. An error is the connection's end.
    pub(crate) fn read(&mut self, scratch: &mut Scratch, mut handle: impl FnMut(&str)) -> io::Result<()> {
        match (&self.stream).read(&mut scratch.read) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => self.incoming.extend_from_slice(scratch.read.get(..count).unwrap_or_default()),
            Err(error) if is_temporary(&error) => return Ok(()),
            Err(error) => return Err(error),
        }
        self.decrypt()?;
        if !self.is_upgraded && !self.upgrade(scratch)? {
            return Ok(());
        }
        let mut used = 0;
        loop {
            match frame::split(self.plain.get(used..).unwrap_or_default()) {
                Split::Whole { opcode, payload, bytes } => {
                    used += bytes;
                    match opcode {
                        TEXT => handle(str::from_utf8(&payload).map_err(Error::other)?),
                        CLOSE => return Err(ErrorKind::ConnectionReset.into()),
                        _ => {}
                    }
                }
                Split::NotYet => break,
                Split::Bad => return Err(ErrorKind::InvalidData.into()),
            }
        }
        forget(&mut self.plain, used);
        Ok(())
    }

    /// Encrypts and writes. What the socket does not take waits.
    pub(crate) fn send(&mut self, plain: &[u8], scratch: &mut Scratch) -> io::Result<()> {
        let encrypted = &mut scratch.encrypted;
        let room = plain.len() + (plain.len() / RECORD_BYTES + 1) * RECORD_OVERHEAD_BYTES;
        if encrypted.len() < room {
            encrypted.resize(room, 0);
        }
        let bytes = loop {
            match self.tls.process_tls_records(&mut []).state.map_err(Error::other)? {
                ConnectionState::WriteTraffic(mut writer) => {
                    break writer.encrypt(plain, encrypted).map_err(Error::other)?;
                }
                // New keys, after very many records.
                ConnectionState::EncodeTlsData(mut data) => encode(&mut data, &mut self.pending)?,
                ConnectionState::TransmitTlsData(data) => data.done(),
                _ => return Err(ErrorKind::NotConnected.into()),
            }
        };
        let encrypted = encrypted.get(..bytes).unwrap_or_default();
        let written = if self.pending.is_empty() { write(&self.stream, encrypted)? } else { 0 };
        if let Some(rest) = encrypted.get(written..)
            && !rest.is_empty()
        {
            self.pending.extend_from_slice(rest);
        }
        Ok(())
    }

    /// Writes what waits.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if self.is_blocked() {
            let written = write(&self.stream, &self.pending)?;
            forget(&mut self.pending, written);
        }
        Ok(())
    }

    /// Takes what is whole out of `incoming`: plaintext to `plain`, and handshakes' answers to the socket.
    fn decrypt(&mut self) -> io::Result<()> {
        let mut used = 0;
        loop {
            let status = self.tls.process_tls_records(self.incoming.get_mut(used..).unwrap_or_default());
            let discard = status.discard;
            match status.state.map_err(Error::other)? {
                ConnectionState::ReadTraffic(mut reader) => {
                    while let Some(record) = reader.next_record() {
                        self.plain.extend_from_slice(record.map_err(Error::other)?.payload);
                    }
                }
                ConnectionState::EncodeTlsData(mut data) => encode(&mut data, &mut self.pending)?,
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_) => {
                    used += discard;
                    break;
                }
                _ => return Err(ErrorKind::UnexpectedEof.into()),
            }
            used += discard;
        }
        forget(&mut self.incoming, used);
        self.flush()
    }

    fn upgrade(&mut self, scratch: &mut Scratch) -> io::Result<bool> {
        const END: &[u8] = b"\r\n\r\n";
        let Some(end) = self.plain.windows(END.len()).position(|bytes| bytes == END) else {
            let is_possible = self.plain.len() <= MAX_HEAD_BYTES;
            return if is_possible { Ok(false) } else { Err(ErrorKind::InvalidData.into()) };
        };
        let end = end + END.len();
        let response = frame::upgrade(self.plain.get(..end).unwrap_or_default()).ok_or(ErrorKind::InvalidData)?;
        forget(&mut self.plain, end);
        self.is_upgraded = true;
        self.send(response.as_bytes(), scratch)?;
        Ok(true)
    }
}

/// Takes off the start; nothing left keeps no memory.
fn forget(buffer: &mut Vec<u8>, used: usize) {
    if used == buffer.len() {
        *buffer = Vec::new();
    } else {
        buffer.drain(..used);
    }
}

fn encode<Data>(data: &mut EncodeTlsData<'_, Data>, out: &mut Vec<u8>) -> io::Result<()> {
    let begin = out.len();
    let written = loop {
        match data.encode(out.get_mut(begin..).unwrap_or_default()) {
            Ok(written) => break written,
            Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) => {
                out.resize(begin + required_size, 0);
            }
            Err(error) => return Err(Error::other(error)),
        }
    };
    out.truncate(begin + written);
    Ok(())
}

fn write(mut stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    match stream.write(bytes) {
        Err(error) if is_temporary(&error) => Ok(0),
        written => written,
    }
}

fn is_temporary(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
