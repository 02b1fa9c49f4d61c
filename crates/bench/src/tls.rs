//! The TLS of one connection, over buffers that belong to somebody else.
//!
//! It is rustls' unbuffered client: the buffered one reads 4 KiB in each call, and keeps a buffer for each connection, which
//! makes the load the limit long before a broker is.

use std::{io, sync::Arc};

use rustls::{
    ClientConfig, HandshakeKind,
    client::UnbufferedClientConnection,
    pki_types::ServerName,
    unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus},
};

/// What a record adds to what is in it, at most: head, type, tag, and the nonce of TLS 1.2.
const RECORD_OVERHEAD_BYTES: usize = 64;
/// A record holds at most so much.
const RECORD_BYTES: usize = 16 << 10;
/// Room for a message of a handshake; where it is not enough, rustls tells how much is.
const HANDSHAKE_BYTES: usize = 2 << 10;

/// One connection's TLS.
pub(crate) struct Tls(UnbufferedClientConnection);

/// What [`Tls::take`] has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Taken {
    /// So many bytes are done with; the rest is needed again, with more behind it.
    pub(crate) bytes: usize,
    /// The peer sends nothing more.
    pub(crate) has_ended: bool,
}

impl Tls {
    pub(crate) fn new(config: Arc<ClientConfig>, server_name: ServerName<'static>) -> io::Result<Self> {
        UnbufferedClientConnection::new(config, server_name).map(Self).map_err(io::Error::other)
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        self.0.is_handshaking()
    }

    /// Version, cipher suite and group of the key exchange, by their names.
    pub(crate) fn negotiated(&self) -> [String; 3] {
        let name = |name: Option<String>| name.unwrap_or_default();
        [
            name(self.0.protocol_version().map(|version| format!("{version:?}"))),
            name(self.0.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite()))),
            name(self.0.negotiated_key_exchange_group().map(|group| format!("{:?}", group.name()))),
        ]
    }

    pub(crate) fn is_resumed(&self) -> bool {
        self.0.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Takes what came, gives what each record held to `plain`, and appends what has to be sent.
    pub(crate) fn take(
        &mut self,
        came: &mut [u8],
        outgoing: &mut Vec<u8>,
        plain: &mut impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<Taken> {
        let (mut bytes, mut has_ended) = (0, false);
        loop {
            let rest = came.get_mut(bytes..).unwrap_or_default();
            let UnbufferedStatus { mut discard, state, .. } = self.0.process_tls_records(rest);
            let goes_on = match state.map_err(io::Error::other)? {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(io::Error::other)?;
                        discard += record.discard;
                        plain(record.payload)?;
                    }
                    true
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    append(outgoing, HANDSHAKE_BYTES, |room| data.encode(room))?;
                    true
                }
                // What is appended is sent before anything that comes later.
                ConnectionState::TransmitTlsData(transmit) => {
                    transmit.done();
                    true
                }
                ConnectionState::PeerClosed | ConnectionState::Closed => {
                    has_ended = true;
                    false
                }
                _ => false,
            };
            bytes += discard;
            if !goes_on {
                return Ok(Taken { bytes, has_ended });
            }
        }
    }

    /// Appends records that hold `plain`. `kept` is what [`take`](Self::take) left of what came.
    pub(crate) fn encrypt(&mut self, plain: &[u8], kept: &mut [u8], outgoing: &mut Vec<u8>) -> io::Result<()> {
        loop {
            // Nothing of what was kept is a whole record, so nothing of it is taken here.
            let UnbufferedStatus { state, .. } = self.0.process_tls_records(kept);
            match state.map_err(io::Error::other)? {
                ConnectionState::WriteTraffic(mut traffic) => {
                    let room = plain.len() + (plain.len() / RECORD_BYTES + 1) * RECORD_OVERHEAD_BYTES;
                    return append(outgoing, room, |room| traffic.encrypt(plain, room));
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    append(outgoing, HANDSHAKE_BYTES, |room| data.encode(room))?;
                }
                ConnectionState::TransmitTlsData(transmit) => transmit.done(),
                other => return Err(io::Error::other(format!("TLS cannot write now: {other:?}"))),
            }
        }
    }
}

/// Appends what `write` writes into the room that it gets, and gives it more where it asks for more.
fn append<E: NeedsRoom>(
    out: &mut Vec<u8>,
    mut room: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, E>,
) -> io::Result<()> {
    let before = out.len();
    loop {
        out.resize(before + room, 0);
        match write(out.get_mut(before..).unwrap_or_default()) {
            Ok(written) => {
                out.truncate(before + written);
                return Ok(());
            }
            Err(error) => {
                out.truncate(before);
                room = error.room().filter(|needed| *needed > room).ok_or_else(|| error.into_io())?;
            }
        }
    }
}

/// An error that may ask for more room.
trait NeedsRoom {
    fn room(&self) -> Option<usize>;
    fn into_io(self) -> io::Error;
}

impl NeedsRoom for EncodeError {
    fn room(&self) -> Option<usize> {
        match self {
            Self::InsufficientSize(size) => Some(size.required_size),
            Self::AlreadyEncoded => None,
        }
    }

    fn into_io(self) -> io::Error {
        io::Error::other(self.to_string())
    }
}

impl NeedsRoom for EncryptError {
    fn room(&self) -> Option<usize> {
        match self {
            Self::InsufficientSize(size) => Some(size.required_size),
            Self::EncryptExhausted => None,
        }
    }

    fn into_io(self) -> io::Error {
        io::Error::other(self.to_string())
    }
}
