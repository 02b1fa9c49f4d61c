//! The handshake, which rustls does. It is over when rustls has given its keys away, and has seen nothing of what the client
//! sent behind its own part.

use std::{future::poll_fn, io, rc::Rc, sync::Arc, task::Poll};

use rustls::{
    Error, HandshakeKind, PeerMisbehaved, ServerConfig,
    pki_types::CertificateDer,
    server::UnbufferedServerConnection,
    unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{buffers::Buffers, record::MAX_RECORD_BYTES, session::Session, stream::TlsSocket};
use crate::socket::Socket;

/// What one read of the socket makes room for. Most clients' parts of a handshake have less.
const READ_BYTES: usize = 4 << 10;
/// The longest handshake message that rustls takes, with its records.
pub(super) const MAX_INCOMING_BYTES: usize = 64 << 10;

/// A handshake that came to a good end.
pub(crate) struct Shaken {
    pub(crate) stream: TlsSocket,
    pub(crate) kind: HandshakeKind,
    /// The client's own first, where it was asked for one and has shown it.
    pub(crate) peer_certificates: Option<Vec<CertificateDer<'static>>>,
}

/// Shakes hands as the server. The error holds a [`rustls::Error`] where that is the reason; the client was told by then, and
/// the socket is there for other words. The caller bounds the time.
pub(crate) async fn shake_hands(
    mut socket: Socket,
    config: Arc<ServerConfig>,
    buffers: &Rc<Buffers>,
) -> Result<Shaken, (io::Error, Socket)> {
    let handshake = match Handshake::new(config) {
        Ok(handshake) => handshake,
        Err(error) => return Err((invalid(error), socket)),
    };
    let mut handshake = match drive(handshake, &mut socket).await {
        Ok(handshake) => handshake,
        Err(error) => return Err((error, socket)),
    };
    let kind = handshake.tls.handshake_kind().unwrap_or(HandshakeKind::Full);
    let peer_certificates = handshake.tls.peer_certificates().map(<[_]>::to_vec);
    let unsent = std::mem::take(&mut handshake.outgoing);
    match handshake.finish() {
        Ok((session, behind)) => {
            let stream = TlsSocket::new(socket, session, unsent, behind, Rc::clone(buffers));
            Ok(Shaken { stream, kind, peer_certificates })
        }
        Err(error) => Err((invalid(error), socket)),
    }
}

async fn drive(mut handshake: Handshake, socket: &mut Socket) -> io::Result<Handshake> {
    loop {
        match handshake.step() {
            Ok(Step::Done) => return Ok(handshake),
            // The last of it, such as a session ticket, leaves with what is written first then: mostly that is the answer to
            // a request that has come already.
            Ok(Step::Write) if !handshake.tls.is_handshaking() => {}
            Ok(Step::Write) => {
                socket.write_all(&handshake.outgoing).await?;
                handshake.outgoing.clear();
            }
            Ok(Step::Read) => {
                if handshake.incoming.len() >= MAX_INCOMING_BYTES {
                    return Err(invalid(Error::General("the client's part of the handshake has no end".into())));
                }
                handshake.incoming.reserve(READ_BYTES);
                if socket.read_buf(&mut handshake.incoming).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            Err(error) => {
                handshake.take_alert();
                // As much as the socket takes at once: whoever breaks off is not waited for.
                let outgoing = &handshake.outgoing;
                poll_fn(|cx| {
                    let _ = socket.poll_send(cx, outgoing);
                    Poll::Ready(())
                })
                .await;
                return Err(invalid(error));
            }
        }
    }
}

fn invalid(error: Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// A handshake without its socket.
pub(super) struct Handshake {
    tls: UnbufferedServerConnection,
    /// What came and is not done.
    pub(super) incoming: Vec<u8>,
    /// How much of it rustls may see.
    shown_bytes: usize,
    /// What is to be sent.
    pub(super) outgoing: Vec<u8>,
}

/// What a handshake needs.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// More of `incoming`.
    Read,
    /// That `outgoing` is sent and cleared.
    Write,
    /// Nothing more.
    Done,
}

/// What rustls asks for.
enum Asked {
    Again,
    Write,
    More,
}

impl Handshake {
    pub(super) fn new(config: Arc<ServerConfig>) -> Result<Self, Error> {
        let tls = UnbufferedServerConnection::new(config)?;
        Ok(Self { tls, incoming: Vec::new(), shown_bytes: 0, outgoing: Vec::new() })
    }

    /// Goes on as far as it can.
    pub(super) fn step(&mut self) -> Result<Step, Error> {
        loop {
            match self.process()? {
                Asked::Again => {}
                Asked::Write => return Ok(Step::Write),
                Asked::More if !self.tls.is_handshaking() => return Ok(Step::Done),
                Asked::More if self.show_more() => {}
                Asked::More => return Ok(Step::Read),
            }
        }
    }

    fn process(&mut self) -> Result<Asked, Error> {
        let shown = self.incoming.get_mut(..self.shown_bytes).unwrap_or_default();
        let UnbufferedStatus { discard, state } = self.tls.process_tls_records(shown);
        let asked = match state {
            Ok(ConnectionState::EncodeTlsData(data)) => encode(data, &mut self.outgoing).map(|()| Asked::Again),
            Ok(ConnectionState::TransmitTlsData(data)) => {
                data.done();
                Ok(Asked::Write)
            }
            Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_)) => Ok(Asked::More),
            // The rest comes of application data, which is not shown to rustls.
            Ok(_) => Err(Error::HandshakeNotComplete),
            Err(error) => Err(error),
        };
        let discard = discard.min(self.shown_bytes);
        self.incoming.drain(..discard);
        self.shown_bytes -= discard;
        asked
    }

    /// Shows the next record to rustls, if one has come whole, or is none. One at a time, so that rustls is done before it
    /// sees what the client has sent behind the handshake.
    fn show_more(&mut self) -> bool {
        let hidden = self.incoming.get(self.shown_bytes..).unwrap_or_default();
        let &[kind, major, _, high, low, ..] = hidden else { return false };
        let record_bytes = 5 + usize::from(u16::from_be_bytes([high, low]));
        let is_record = (20..=23).contains(&kind) && major == 3 && record_bytes <= MAX_RECORD_BYTES;
        if is_record && record_bytes > hidden.len() {
            return false;
        }
        self.shown_bytes += record_bytes.min(hidden.len());
        true
    }

    /// Puts the alert that goes with an error behind what is to be sent.
    pub(super) fn take_alert(&mut self) {
        // With anything waiting, rustls does not look at what it is shown. It must be what it has seen all the same: where that
        // is shorter than what is half done, rustls panics.
        while self.tls.wants_write() {
            if self.process().is_err() {
                return;
            }
        }
    }

    /// The keys, and what the client has sent behind its part of the handshake.
    pub(super) fn finish(self) -> Result<(Session, Vec<u8>), Error> {
        if self.shown_bytes > 0 {
            // The front of a handshake message that belongs to none.
            return Err(PeerMisbehaved::KeyEpochWithPendingFragment.into());
        }
        Ok((Session::take_over(self.tls)?, self.incoming))
    }
}

/// Puts a record of the handshake behind what is to be sent.
fn encode<Data>(mut data: EncodeTlsData<'_, Data>, outgoing: &mut Vec<u8>) -> Result<(), Error> {
    let start = outgoing.len();
    // A slice of no length tells how long it must be.
    if let Err(EncodeError::InsufficientSize(size)) = data.encode(&mut []) {
        outgoing.resize(start + size.required_size, 0);
        let room = outgoing.get_mut(start..).unwrap_or_default();
        data.encode(room).map_err(|error| Error::General(error.to_string()))?;
    }
    Ok(())
}
