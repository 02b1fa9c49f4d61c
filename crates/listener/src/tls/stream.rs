//! A TLS connection after its handshake, as a stream: brings together the socket, the keys, and the buffers that a thread's
//! connections share.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};

use super::{
    buffers::{Buffers, Received},
    gather::Gather,
    record::SealError,
    session::{Read, ReadError, Session},
};
use crate::socket::Socket;

/// As much of what was to be sent before leaves in one write with what is sealed next: a session ticket, answers.
const MAX_FRONT_BYTES: usize = 1 << 10;

/// The server's end of a TLS connection.
///
/// Reading and writing are cancel-safe. It belongs to one thread, whose connections share the buffers that it works in;
/// while it is idle it has none of its own. Who stops reading before all was consumed calls [`TlsSocket::park`].
pub(crate) struct TlsSocket {
    socket: Socket,
    session: Session,
    received: Received,
    /// Records that the socket did not take.
    unsent: Unsent,
    buffers: Rc<Buffers>,
    reading: Reading,
}

enum Reading {
    Open,
    /// The client has said that no more comes.
    Closed,
    /// It has failed, as each further read will.
    Failed(io::ErrorKind),
}

/// Records that have to be sent before any other.
#[derive(Default)]
struct Unsent {
    bytes: Vec<u8>,
    sent: usize,
    /// The socket has refused some of them.
    is_refused: bool,
}

impl Unsent {
    fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, socket: &mut Socket) -> Poll<io::Result<()>> {
        while let Some(left @ [_, ..]) = self.bytes.get(self.sent..) {
            let sent = socket.poll_send(cx, left);
            self.is_refused = sent.is_pending();
            self.sent += ready!(sent)?;
        }
        *self = Self::default();
        Poll::Ready(Ok(()))
    }

    /// Takes what may leave in one write with what is sealed behind it; empty where that is not so.
    fn take_front(&mut self) -> Vec<u8> {
        let may_wait = !self.is_refused && self.sent == 0 && self.bytes.len() <= MAX_FRONT_BYTES;
        if may_wait { std::mem::take(&mut self.bytes) } else { Vec::new() }
    }
}

impl TlsSocket {
    /// Goes on from a handshake, from the last of it that is still to be sent, and from what the client sent behind it. What
    /// is to be sent leaves with the first write, or when the client is waited for.
    pub(super) fn new(
        socket: Socket,
        session: Session,
        unsent: Vec<u8>,
        behind: Vec<u8>,
        buffers: Rc<Buffers>,
    ) -> Self {
        let received = Received::new(Rc::clone(&buffers), behind);
        let unsent = Unsent { bytes: unsent, ..Unsent::default() };
        Self { socket, session, received, unsent, buffers, reading: Reading::Open }
    }

    /// Bytes that the kernel took so far.
    pub(crate) fn sent_bytes(&self) -> u64 {
        self.socket.sent_bytes()
    }

    /// Bytes of records that the kernel did not take yet.
    pub(crate) fn unsent_bytes(&self) -> usize {
        self.unsent.bytes.len()
    }

    /// Reading does not go on for now: what is left is moved out of the buffer that others need.
    pub(crate) fn park(&mut self) {
        self.received.park();
    }

    /// Receives until there is plain text, the client has closed, or nothing more has come.
    fn poll_plain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.received.plain().is_empty() {
            match self.reading {
                Reading::Open => {}
                Reading::Closed => return Poll::Ready(Ok(())),
                Reading::Failed(kind) => return Poll::Ready(Err(kind.into())),
            }
            match self.session.read(self.received.records_mut(), &mut self.unsent.bytes) {
                Ok(Read::Data { plain, record_bytes }) => self.received.opened(plain, record_bytes),
                Ok(Read::Done(record_bytes)) => self.received.skip(record_bytes),
                Ok(Read::Closed) => {
                    // What stands behind is to be passed over (RFC 8446, section 6.1).
                    self.reading = Reading::Closed;
                    self.received.clear();
                }
                Ok(Read::Incomplete) => {
                    let received = self.poll_receive(cx);
                    if received.is_pending() {
                        self.received.park();
                    }
                    if !matches!(received, Poll::Ready(Ok(()))) && !self.unsent.is_empty() {
                        // Answers leave now if they can, or with what is written next.
                        let _ = self.poll_send_unsent(cx)?;
                    }
                    ready!(received)?;
                }
                Err(error) => return Poll::Ready(Err(self.fail(cx, &error))),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut room = ReadBuf::new(self.received.room());
        let received = ready!(Pin::new(&mut self.socket).poll_read(cx, &mut room));
        let bytes = room.filled().len();
        let ended = match received {
            // Whoever ends a connection says so first; else somebody may have cut it off.
            Ok(()) if bytes == 0 => Err(io::ErrorKind::UnexpectedEof.into()),
            other => other,
        };
        self.received.received(bytes);
        if let Err(error) = &ended {
            self.stop_reading(error.kind());
        }
        Poll::Ready(ended)
    }

    /// Reading has failed: tells the client why, as far as the socket takes it at once.
    fn fail(&mut self, cx: &mut Context<'_>, error: &ReadError) -> io::Error {
        self.stop_reading(io::ErrorKind::InvalidData);
        self.session.end(error, &mut self.unsent.bytes);
        let _ = self.poll_send_unsent(cx);
        io::Error::new(io::ErrorKind::InvalidData, *error)
    }

    fn stop_reading(&mut self, kind: io::ErrorKind) {
        self.reading = Reading::Failed(kind);
        self.received.clear();
    }

    fn poll_send_unsent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.unsent.poll_send(cx, &mut self.socket))?;
        self.session.on_answers_sent();
        Poll::Ready(Ok(()))
    }

    /// Takes what it seals; `Pending` where the socket did not take all that was sealed before.
    fn poll_seal(&mut self, cx: &mut Context<'_>, mut data: Gather<'_>) -> Poll<io::Result<usize>> {
        if self.session.is_closed() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let offered_bytes = data.left();
        if offered_bytes == 0 {
            return Poll::Ready(Ok(0));
        }
        let front = self.unsent.take_front();
        if !self.unsent.is_empty() {
            ready!(self.poll_send_unsent(cx))?;
        }
        let mut staged = self.buffers.take_seal();
        let sealed = self.seal_and_send(cx, front, &mut data, &mut staged);
        self.buffers.give_seal(staged);
        Poll::Ready(sealed.map(|()| offered_bytes - data.left()))
    }

    /// Seals behind the records in `front`, as long as the socket takes all of it.
    fn seal_and_send(
        &mut self,
        cx: &mut Context<'_>,
        mut front: Vec<u8>,
        data: &mut Gather<'_>,
        staged: &mut [u8],
    ) -> io::Result<()> {
        while data.left() > 0 && self.unsent.is_empty() {
            let (before, room) = staged.split_at_mut_checked(front.len()).unwrap_or_default();
            before.copy_from_slice(&front);
            let sealed_bytes = match self.session.seal(data, room) {
                Ok(sealed_bytes) => before.len() + sealed_bytes,
                Err(error) => {
                    self.unsent.bytes = front;
                    self.stop_sealing(cx, error);
                    return Err(io::Error::other(error));
                }
            };
            front.clear();
            let mut sealed = staged.get(..sealed_bytes).unwrap_or_default();
            while !sealed.is_empty() {
                match self.socket.poll_send(cx, sealed) {
                    Poll::Ready(Ok(sent)) => sealed = sealed.get(sent..).unwrap_or_default(),
                    Poll::Ready(Err(error)) => {
                        self.session.abandon();
                        return Err(error);
                    }
                    Poll::Pending => {
                        self.unsent.bytes.extend_from_slice(sealed);
                        self.unsent.is_refused = true;
                        break;
                    }
                }
            }
            if self.unsent.is_empty() {
                self.session.on_answers_sent();
            }
        }
        Ok(())
    }

    /// Says so where there is a key left to say it with.
    fn stop_sealing(&mut self, cx: &mut Context<'_>, error: SealError) {
        match error {
            SealError::UsedUp => {
                self.session.close(&mut self.unsent.bytes);
                let _ = self.poll_send_unsent(cx);
            }
            SealError::Cipher => self.session.abandon(),
        }
    }
}

impl AsyncBufRead for TlsSocket {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        ready!(this.poll_plain(cx))?;
        Poll::Ready(Ok(this.received.plain()))
    }

    fn consume(mut self: Pin<&mut Self>, amt: usize) {
        self.received.consume(amt);
    }
}

impl AsyncRead for TlsSocket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_plain(cx))?;
        let plain = self.received.plain();
        let taken = plain.split_at_checked(buf.remaining()).map_or(plain, |(fitting, _)| fitting);
        buf.put_slice(taken);
        let taken_bytes = taken.len();
        self.received.consume(taken_bytes);
        self.park();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TlsSocket {
    /// What it takes may stay here until it is flushed.
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_seal(cx, Gather::from(buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_seal(cx, Gather::from(bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.unsent.is_empty() { Poll::Ready(Ok(())) } else { self.poll_send_unsent(cx) }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.session.close(&mut this.unsent.bytes);
        ready!(this.poll_send_unsent(cx))?;
        match ready!(Pin::new(&mut this.socket).poll_shutdown(cx)) {
            // The client has reset it: it is as closed as it can be.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            other => Poll::Ready(other),
        }
    }
}
