//! Reading: frames become whole messages, bounded in size. `read_frame` of fastwebsockets must not be dropped half way, so it
//! runs in a future that lives as long as the connection.

use std::{
    convert::Infallible,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use carillon_wire::CloseCode;
use fastwebsockets::{Frame, OpCode, Payload, WebSocketError, WebSocketRead};
use tokio::{
    io::{AsyncRead, ReadBuf},
    sync::mpsc,
    time::Instant,
};

/// What the broker's side of the WebSocket brought.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// A whole binary message.
    Message(Bytes),
    /// To be answered with a pong of the same payload.
    Ping(Bytes),
    /// The last frame.
    Close(CloseCode, String),
}

/// Why nothing more can be read.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// The stream ended or failed.
    Stream(String),
    /// The peer broke RFC 6455 or a limit, and is to be told so with this code.
    Protocol(CloseCode, String),
}

/// Reads whole messages.
pub(crate) struct Reader<R> {
    frames: WebSocketRead<R>,
    assembler: Assembler,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub(crate) fn new(mut frames: WebSocketRead<R>, max_message_bytes: usize) -> Self {
        // The answers leave with the other writes.
        frames.set_auto_close(false);
        frames.set_auto_pong(false);
        // fastwebsockets refuses a frame of exactly the size that it is given.
        frames.set_max_message_size(max_message_bytes.saturating_add(1));
        Self { frames, assembler: Assembler { max_message_bytes, open: None } }
    }

    /// The next message or control frame. **Not** cancel safe: when the future is dropped, the stream is of no use any more.
    pub(crate) async fn next(&mut self) -> Result<Incoming, ReadError> {
        let mut no_answer = |_: Frame<'_>| std::future::ready(Ok::<(), io::Error>(()));
        loop {
            let frame = self.frames.read_frame(&mut no_answer).await;
            let frame = frame.map_err(|error| read_error(error, self.assembler.max_message_bytes))?;
            if let Some(incoming) = self.assembler.push(frame)? {
                return Ok(incoming);
            }
        }
    }
}

/// Reads until the stream fails, and says so as its last item.
pub(crate) async fn read_loop<R: AsyncRead + Unpin>(
    mut reader: Reader<R>,
    out: mpsc::Sender<Result<Incoming, ReadError>>,
) -> Infallible {
    loop {
        let incoming = reader.next().await;
        let is_last = incoming.is_err();
        if out.send(incoming).await.is_err() || is_last {
            return std::future::pending().await;
        }
    }
}

fn read_error(error: WebSocketError, max_message_bytes: usize) -> ReadError {
    let ended = || ReadError::Stream("the stream ended without a close frame".to_owned());
    match error {
        // TLS calls it so when its own goodbye is missing; nobody needs to hear more of that.
        WebSocketError::IoError(error) if error.kind() == io::ErrorKind::UnexpectedEof => ended(),
        WebSocketError::IoError(error) => ReadError::Stream(error.to_string()),
        WebSocketError::UnexpectedEOF | WebSocketError::ConnectionClosed => ended(),
        WebSocketError::FrameTooLarge => too_large(max_message_bytes),
        other => ReadError::Protocol(CloseCode::ProtocolError, other.to_string()),
    }
}

fn too_large(max_message_bytes: usize) -> ReadError {
    ReadError::Protocol(
        CloseCode::MessageTooBig,
        format!("a WebSocket message has more than {max_message_bytes} bytes, which is this client's limit"),
    )
}

/// Puts fragments together. fastwebsockets' own collector has no bound.
#[derive(Debug)]
struct Assembler {
    max_message_bytes: usize,
    /// The fragments of an unfinished message.
    open: Option<BytesMut>,
}

impl Assembler {
    fn push(&mut self, frame: Frame<'_>) -> Result<Option<Incoming>, ReadError> {
        let protocol = |reason: &str| Err(ReadError::Protocol(CloseCode::ProtocolError, reason.to_owned()));
        match (frame.opcode, &mut self.open) {
            (OpCode::Ping, _) => Ok(Some(Incoming::Ping(bytes_of(frame.payload)))),
            (OpCode::Pong, _) => Ok(None),
            (OpCode::Close, _) => close(&frame.payload).map(Some),
            (OpCode::Text, _) => Err(ReadError::Protocol(
                CloseCode::TextMessage,
                "a text message came; carillon.v1 has only binary ones".to_owned(),
            )),
            (OpCode::Binary, Some(_)) => protocol("a message began inside another one"),
            (OpCode::Continuation, None) => protocol("a continuation came without a beginning"),
            (OpCode::Binary, None) if frame.fin => Ok(Some(Incoming::Message(bytes_of(frame.payload)))),
            (OpCode::Binary, None) => {
                self.open = Some(BytesMut::from(&*frame.payload));
                Ok(None)
            }
            (OpCode::Continuation, Some(open)) => {
                if open.len() + frame.payload.len() > self.max_message_bytes {
                    return Err(too_large(self.max_message_bytes));
                }
                open.extend_from_slice(&frame.payload);
                Ok(if frame.fin { self.open.take().map(|whole| Incoming::Message(whole.freeze())) } else { None })
            }
        }
    }
}

fn bytes_of(payload: Payload<'_>) -> Bytes {
    match payload {
        Payload::Bytes(bytes) => bytes.freeze(),
        other => Bytes::copy_from_slice(&other),
    }
}

fn close(payload: &[u8]) -> Result<Incoming, ReadError> {
    /// What stands for a close frame without a code.
    const NO_STATUS: u16 = 1005;
    let wrong = |reason: &str| ReadError::Protocol(CloseCode::ProtocolError, reason.to_owned());
    match payload.split_first_chunk::<2>() {
        None if payload.is_empty() => Ok(Incoming::Close(CloseCode::Other(NO_STATUS), String::new())),
        None => Err(wrong("a close frame has half a code")),
        Some((code, reason)) => {
            let reason = std::str::from_utf8(reason).map_err(|_| wrong("a close reason is not UTF-8"))?;
            Ok(Incoming::Close(CloseCode::from_number(u16::from_be_bytes(*code)), reason.to_owned()))
        }
    }
}

/// When a byte was last read from a connection.
#[derive(Debug)]
pub(crate) struct Heard {
    start: Instant,
    /// Milliseconds after `start`.
    last_ms: AtomicU64,
}

impl Heard {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), last_ms: AtomicU64::new(0) }
    }

    pub(crate) fn now(&self) {
        let elapsed = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(elapsed, Ordering::Relaxed);
    }

    pub(crate) fn last(&self) -> Instant {
        self.start + Duration::from_millis(self.last_ms.load(Ordering::Relaxed))
    }
}

/// A stream that notes when bytes come. Whole messages would not do: a large one takes its time on a slow line.
#[derive(Debug)]
pub(crate) struct Listening<R> {
    inner: R,
    heard: Arc<Heard>,
}

impl<R> Listening<R> {
    pub(crate) fn new(inner: R, heard: Arc<Heard>) -> Self {
        Self { inner, heard }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Listening<R> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let poll = Pin::new(&mut self.inner).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.heard.now();
        }
        poll
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assembler() -> Assembler {
        Assembler { max_message_bytes: 8, open: None }
    }

    fn frame(fin: bool, opcode: OpCode, payload: &[u8]) -> Frame<'static> {
        Frame::new(fin, opcode, None, Payload::Owned(payload.to_vec()))
    }

    fn code(result: Result<Option<Incoming>, ReadError>) -> CloseCode {
        match result {
            Err(ReadError::Protocol(code, _)) => code,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn fragments_become_one_message_and_control_frames_may_stand_between() {
        let mut assembler = assembler();
        assert!(assembler.push(frame(false, OpCode::Binary, b"ab")).unwrap().is_none());
        assert!(matches!(assembler.push(frame(true, OpCode::Ping, b"p")), Ok(Some(Incoming::Ping(p))) if p == "p"));
        assert!(assembler.push(frame(false, OpCode::Continuation, b"")).unwrap().is_none());
        let whole = assembler.push(frame(true, OpCode::Continuation, b"cd"));
        assert!(matches!(whole, Ok(Some(Incoming::Message(m))) if m == "abcd"));
        assert!(
            matches!(assembler.push(frame(true, OpCode::Binary, b"e")), Ok(Some(Incoming::Message(m))) if m == "e")
        );
    }

    #[test]
    fn endless_fragments_are_cut_at_the_limit() {
        let mut assembler = assembler();
        assembler.push(frame(false, OpCode::Binary, b"12345")).unwrap();
        assembler.push(frame(false, OpCode::Continuation, b"678")).unwrap();
        assert_eq!(code(assembler.push(frame(false, OpCode::Continuation, b"9"))), CloseCode::MessageTooBig);
    }

    #[test]
    fn fragments_out_of_order_are_refused() {
        assert_eq!(code(assembler().push(frame(true, OpCode::Continuation, b""))), CloseCode::ProtocolError);
        let mut assembler = assembler();
        assembler.push(frame(false, OpCode::Binary, b"")).unwrap();
        assert_eq!(code(assembler.push(frame(true, OpCode::Binary, b""))), CloseCode::ProtocolError);
    }

    #[test]
    fn text_is_refused() {
        assert_eq!(code(assembler().push(frame(true, OpCode::Text, b"a"))), CloseCode::TextMessage);
    }

    #[test]
    fn close_frames_are_taken_apart() {
        assert!(matches!(close(b"\x0f\xa2slow"), Ok(Incoming::Close(CloseCode::SlowConsumer, r)) if r == "slow"));
        assert!(matches!(close(b""), Ok(Incoming::Close(CloseCode::Other(1005), _))));
        assert!(close(b"\x0f").is_err());
        assert!(close(b"\x0f\xa2\xff").is_err());
    }
}
