//! Writing: one WebSocket message for each batch, and a flush behind it, because TLS may hold the last bytes back otherwise.

use std::convert::Infallible;

use bytes::Bytes;
use carillon_wire::CloseCode;
use fastwebsockets::{Frame, OpCode, Payload, WebSocketError, WebSocketWrite};
use tokio::{io::AsyncWrite, sync::mpsc};

/// The longest reason that fits into a close frame beside its code.
const MAX_REASON_BYTES: usize = 123;
/// A buffer that grew beyond this for one large message is given back.
const KEPT_BUFFER_BYTES: usize = 256 * 1024;

/// One frame to be written.
#[derive(Debug)]
pub(crate) enum Outgoing {
    /// Messages, back to back.
    Batch(Vec<u8>),
    /// The answer to a ping.
    Pong(Bytes),
    /// The last frame.
    Close(CloseCode, String),
}

/// Writes what comes, one at a time, and answers each with an empty buffer to fill next, or with why it failed.
pub(crate) async fn write_loop<W: AsyncWrite + Unpin>(
    mut frames: WebSocketWrite<W>,
    mut work: mpsc::Receiver<Outgoing>,
    done: mpsc::Sender<Result<Vec<u8>, String>>,
) -> Infallible {
    while let Some(outgoing) = work.recv().await {
        let mut buffer = Vec::new();
        let frame = match outgoing {
            Outgoing::Batch(batch) => {
                buffer = batch;
                // Masked in place.
                Frame::binary(Payload::BorrowedMut(&mut buffer))
            }
            Outgoing::Pong(payload) => Frame::new(true, OpCode::Pong, None, Payload::Owned(payload.to_vec())),
            Outgoing::Close(code, reason) => Frame::close(code.number(), shortened(&reason).as_bytes()),
        };
        let written = write(&mut frames, frame).await;
        buffer.clear();
        if buffer.capacity() > KEPT_BUFFER_BYTES {
            buffer = Vec::new();
        }
        let _ = done.send(written.map(|()| buffer).map_err(|error| error.to_string())).await;
    }
    std::future::pending().await
}

pub(super) async fn write<W: AsyncWrite + Unpin>(
    frames: &mut WebSocketWrite<W>,
    frame: Frame<'_>,
) -> Result<(), WebSocketError> {
    frames.write_frame(frame).await?;
    frames.flush().await
}

fn shortened(reason: &str) -> &str {
    let end = (0..=MAX_REASON_BYTES.min(reason.len())).rev().find(|end| reason.is_char_boundary(*end));
    reason.get(..end.unwrap_or(0)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_cut_between_characters() {
        assert_eq!(shortened("short"), "short");
        let long = "ä".repeat(100);
        assert_eq!(shortened(&long), "ä".repeat(61));
    }
}
